"""Windows, macOS and Linux by design: what differs is told the platform, so all three are tested here. None
of it has run on Windows or a Mac.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from KLIPSlicerLib import platforms, process_leader, runner
from KLIPSlicerLib.platforms import longPath

DEEP = "C:\\Users\\José Müller\\" + "\\".join(["a long folder name"] * 13) + "\\1.dcm"


@pytest.mark.parametrize(
    ("path", "platform", "expected"),
    [
        (DEEP, "win32", "\\\\?\\" + DEEP),
        (DEEP.replace("\\", "/"), "win32", "\\\\?\\" + DEEP),  # as Qt and Slicer's database write it
        ("\\\\server\\share\\" + DEEP[3:], "win32", "\\\\?\\UNC\\server\\share\\" + DEEP[3:]),
        ("\\\\?\\" + DEEP, "win32", "\\\\?\\" + DEEP),
        ("C:\\short\\1.dcm", "win32", "C:\\short\\1.dcm"),
        ("/" + "x" * 300, "linux", "/" + "x" * 300),
        ("/" + "x" * 300, "darwin", "/" + "x" * 300),
    ],
)
def test_long_paths_are_marked_on_windows_only(path: str, platform: str, expected: str) -> None:
    assert longPath(path, platform) == expected


@pytest.mark.parametrize(
    ("device", "platform", "refused"),
    [("mps", "darwin", False), ("mps", "win32", True), ("cuda", "darwin", True), ("cuda", "linux", False)],
)
def test_a_device_that_cannot_be_there_is_refused_in_a_sentence(device: str, platform: str, refused: bool) -> None:
    reason = platforms.reasonAgainstDevice(device, platform)
    assert bool(reason) == refused
    assert not refused or "Choose" in reason


def test_where_a_python_lies() -> None:
    assert "Scripts/python.exe" in platforms.pythonsIn("win32")
    assert platforms.pythonsIn("darwin") == platforms.pythonsIn("linux") == ("bin/python3", "bin/python")
    assert platforms.slicersOwn("win32") == ("PythonSlicer.exe",)
    assert all(name.endswith(".exe") for name in platforms.besideKlip("win32"))
    assert not platforms.endsByGroup("win32")
    assert platforms.endsByGroup("darwin")


# ---- the leader: a reader of the standard input would stall imports on Windows, so there it waits for
# Slicer's process


class Kernel:
    """Windows' kernel32, as much of it as the leader uses."""

    def __init__(self, handle: int = 7, error: int = 0) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.handle, self.error = handle, error

    def OpenProcess(self, access: int, inherit: bool, pid: int) -> int:  # noqa: N802
        self.calls.append(("open", (access, inherit, pid)))
        return self.handle

    def WaitForSingleObject(self, handle: int, milliseconds: int) -> int:  # noqa: N802
        self.calls.append(("wait", (handle, milliseconds)))
        return 0

    def CloseHandle(self, handle: int) -> int:  # noqa: N802
        self.calls.append(("close", handle))
        return 1

    def follow(self) -> list[str]:
        process_leader.followProcess(4711, self, lambda: self.error, lambda: self.calls.append(("end", None)))
        return [name for name, _ in self.calls]


def test_on_windows_the_leader_waits_for_slicers_process() -> None:
    kernel = Kernel()
    assert kernel.follow() == ["open", "wait", "close", "end"]
    assert kernel.calls[0] == ("open", (0x00100000, False, 4711))
    assert kernel.calls[1] == ("wait", (7, 0xFFFFFFFF))


def test_on_windows_a_slicer_that_is_gone_already_ends_the_leader() -> None:
    assert Kernel(handle=0, error=87).follow() == ["open", "end"]


def test_on_windows_a_slicer_that_may_not_be_watched_ends_nothing() -> None:
    assert Kernel(handle=0, error=5).follow() == ["open"]


def test_the_standard_input_is_read_elsewhere_only() -> None:
    assert process_leader.watcher("linux", {}) is process_leader.followPipe
    assert process_leader.watcher("darwin", {}) is process_leader.followPipe
    assert process_leader.watcher("win32", {process_leader.PARENT: "4711"}) not in (None, process_leader.followPipe)
    assert process_leader.watcher("win32", {}) is None  # started by hand: nobody to wait for


def test_the_child_knows_whose_child_it_is_and_speaks_utf8() -> None:
    variables = runner.childVariables()
    assert variables[process_leader.PARENT] == str(os.getpid())
    assert variables["PYTHONUTF8"] == "1"


def test_a_user_whose_name_is_not_ascii(tmp_path: Path) -> None:
    """Paths reach the other process and come back as they are, under a locale that knows nothing but ASCII."""
    folder = tmp_path / "José Müller 山田"
    folder.mkdir()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", **runner.childVariables()}
    code = (
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); (p / 'ü').write_text('ß'); print(p, open(p / 'ü').read())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, check=True)
    assert done.stdout.decode("utf-8").split() == [*str(folder).split(), "ß"]
