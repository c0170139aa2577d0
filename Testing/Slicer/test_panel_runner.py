"""The process behind the panel: its group ends with it, and every way to fail ends in a sentence with a
remedy. Real processes.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import panel_at_work
import psutil
import pytest
from busy import in_vain, longest
from KLIPSlicerLib import process_leader
from KLIPSlicerLib.runner import Callbacks, Interpreter, Runner, failureSentence
from panel_at_work import klip_processes
from standins import person

LEADER = Path(process_leader.__file__)
THIS = Interpreter(sys.executable, ofSlicer=False)


class Heard:
    """What a runner said."""

    def __init__(self) -> None:
        self.progress: list[tuple] = []
        self.end: list[tuple[str, str]] = []
        self.runner = Runner(
            Callbacks(
                onProgress=lambda *told: self.progress.append(told),
                onFinished=lambda: self.end.append(("finished", "")),
                onCancelled=lambda: self.end.append(("cancelled", "")),
                onFailed=lambda sentence: self.end.append(("failed", sentence)),
            )
        )

    def ended(self, seconds: float = 60) -> tuple[str, str]:
        return person.wait(lambda: self.end, seconds, "an end")[0]


@pytest.fixture
def heard():
    made = Heard()
    yield made
    made.runner.cancelAndWait()


def stubborn(folder: Path) -> Path:
    """In place of KLIPCore: something that has a child and ignores being asked to stop."""
    (folder / "KLIPCore").mkdir()
    (folder / "KLIPCore" / "__init__.py").write_text("")
    (folder / "KLIPCore" / "cli.py").write_text(
        textwrap.dedent(
            """
            import json, signal, subprocess, sys, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            child = subprocess.Popen([sys.executable, "-c", code])
            told = {"stage": "sample", "fraction": 0.1, "eta_s": None, "detail": str(child.pid)}
            print(json.dumps(told), flush=True)
            time.sleep(600)
            """
        )
    )
    return folder


def test_cancel_ends_children_that_do_not_want_to(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: stubborn(tmp_path))
    heard.runner.start(THIS, ["detect"])
    person.wait(lambda: heard.progress, 20, "it runs")
    assert len(klip_processes()) == 2
    pressed = time.monotonic()
    heard.runner.cancel()
    person.wait(lambda: not klip_processes(), 5, "all are gone")
    assert time.monotonic() - pressed < longest(2.0)
    assert heard.ended() == ("cancelled", "")
    assert not heard.runner.running


def test_cancel_and_wait_returns_when_all_are_gone(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: stubborn(tmp_path))
    heard.runner.start(THIS, ["detect"])
    person.wait(lambda: heard.progress, 20, "it runs")
    heard.runner.cancelAndWait()  # no event loop: the application is ending
    until = time.monotonic() + longest(0.5)
    while klip_processes() and time.monotonic() < until:  # the system reaps them
        time.sleep(0.01)
    assert klip_processes() == []


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_nothing_outlives_a_slicer_that_dies(tmp_path: Path) -> None:
    """The parent is killed outright, without a chance to clean up."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"p = subprocess.Popen([sys.executable, {str(LEADER)!r}, {str(stubborn(tmp_path))!r}], "
            "stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
            "for line in p.stdout: print(line.decode(), end='', flush=True)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    leader = json.loads(parent.stdout.readline())["pid"]
    child = int(json.loads(parent.stdout.readline())["detail"])
    assert os.getpgid(child) == leader != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    killed = time.monotonic()
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in (leader, child)):
        assert not in_vain(killed, 5), "something was left behind"
        time.sleep(0.05)


def test_a_bad_input_ends_in_the_librarys_own_sentence(heard: Heard, tmp_path: Path) -> None:
    heard.runner.start(THIS, ["detect", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")])
    kind, sentence = heard.ended()
    assert kind == "failed"
    assert "There is nothing at" in sentence
    assert "Check the path." in sentence


def test_a_run_that_the_system_kills_speaks_of_memory(
    heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: stubborn(tmp_path))
    heard.runner.start(THIS, ["detect"])
    person.wait(lambda: heard.progress, 20, "it runs")
    os.kill(klip_processes()[0].pid, signal.SIGKILL)  # as the kernel does when memory is short
    kind, sentence = heard.ended()
    assert kind == "failed"
    assert "ran out of memory" in sentence
    assert "fewer slices" in sentence
    person.wait(lambda: not klip_processes(), 3, "its child is gone too")


def test_a_python_without_the_packages_names_the_first_that_is_missing(heard: Heard, tmp_path: Path) -> None:
    heard.runner.start(THIS, ["detect"], {"PYTHONPATH": str(hidden(tmp_path)), "PATH": os.environ["PATH"]})
    kind, sentence = heard.ended()
    assert kind == "failed"
    assert "The Python package typer is missing" in sentence
    assert "Detect OOD" in sentence


def hidden(folder: Path) -> Path:
    """A folder for PYTHONPATH under which the package typer cannot be imported."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n"
        "sys.meta_path.insert(0, Hide())\n"
    )
    return folder


def test_a_program_that_is_not_there(heard: Heard, tmp_path: Path) -> None:
    heard.runner.start(Interpreter(str(tmp_path / "no python")), ["detect"])
    kind, sentence = heard.ended(10)
    assert kind == "failed"
    assert "cannot be started" in sentence
    assert "This computer" in sentence


def test_whoever_hears_of_a_failed_start_may_start_again(tmp_path: Path) -> None:
    """PythonQt deletes a QProcess with its last reference, also inside its own signal (no_crash_of_slicer in
    conftest.py sees it).
    """
    said: list[str] = []
    inside: list[int] = []
    runner = Runner()

    def again(sentence: str) -> None:
        said.append(sentence)
        inside.append(
            sum(process._delivery.depth for process in (runner._process, runner._last) if process is not None)
        )
        if len(said) < 4:
            runner.start(Interpreter(str(tmp_path / f"no python {len(said)}")), ["detect"])

    runner.callbacks = Callbacks(onFailed=again)
    runner.start(Interpreter(str(tmp_path / "no python")), ["detect"])
    person.wait(lambda: len(said) == 4, 10, "four failures")
    assert inside == [0, 0, 0, 0]
    assert not runner.running


def test_fifty_starts_that_fail_leave_one_process_object(tmp_path: Path) -> None:
    from standins.processes import QProcess

    heard = Heard()
    for n in range(1, 51):
        heard.runner.start(Interpreter(str(tmp_path / "no python")), ["detect"])
        person.wait(lambda n=n: len(heard.end) == n, 10, "it has failed")
    gc.collect()
    runners = sum(type(thing) is Runner for thing in gc.get_objects())
    assert sum(type(thing) is QProcess for thing in gc.get_objects()) <= runners  # each keeps its last one


def test_the_log_hears_what_is_no_progress(heard: Heard, tmp_path: Path) -> None:
    lines: list[str] = []
    heard.runner.callbacks.onLog = lines.append
    heard.runner.start(THIS, ["detect", str(tmp_path / "nothing"), "-o", str(tmp_path / "out")])
    _kind, sentence = heard.ended()
    assert lines[0].startswith(sys.executable)
    assert "detect" in lines[0]
    assert lines[-1] == sentence
    assert not any(line.startswith("{") for line in lines)


@pytest.mark.parametrize(
    ("errors", "code", "crashed", "words"),
    [
        (["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"], 1, False, ["graphics card", "cpu"]),
        (
            ["RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"],
            1,
            False,
            ["out of memory", "kept"],
        ),
        (["MemoryError"], 1, False, ["out of memory"]),
        ([], 137, False, ["out of memory"]),
        (["AttributeError: _ARRAY_API not found"], 1, False, ["do not fit", "This computer"]),
        (["ModuleNotFoundError: No module named 'monai.networks'"], 1, False, ["package monai"]),
        (["Segmentation fault"], 11, True, ["crashed", "Segmentation fault", "continue"]),
        (["ValueError: odd", ""], 1, False, ["ended with code 1", "ValueError: odd", "log"]),
    ],
)
def test_every_end_has_a_remedy(errors: list[str], code: int, crashed: bool, words: list[str]) -> None:
    sentence = failureSentence(code, crashed, errors)
    assert all(word in sentence for word in words), sentence
    assert "Traceback" not in sentence


def test_one_run_at_a_time(heard: Heard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: stubborn(tmp_path))
    heard.runner.start(THIS, ["detect"])
    with pytest.raises(RuntimeError, match="in progress"):
        heard.runner.start(THIS, ["detect"])


assert panel_at_work.slicer is not None
