"""One run of `klip` in a process of its own, watched from Slicer without waiting for it.

Torch never enters Slicer's process, and Slicer never freezes: `klip detect … --progress json` runs under a
:class:`Runner`, which reads its lines as they come. A run ends in exactly one of three calls: ``onFinished``,
``onCancelled``, or ``onFailed`` with a sentence that says what is wrong and what to do.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from . import platforms
from .process_leader import PARENT

GRACE_MSEC = 1000
"""From asking `klip` to stop (it then keeps what is finished) to ending it."""

KEPT_ERROR_LINES = 200


def _nothing(*_args) -> None:
    """What is called where nobody listens."""


@dataclass
class Callbacks:
    """Who is told what; every one is called on Slicer's main thread.

    onProgress(stage, fraction, detail, secondsLeft or None), onSlice(number of slices done so far in this run),
    onFinished(), onCancelled(), onFailed(sentence), onLog(line) for every line that is not progress.
    """

    onProgress: Callable[[str, float, str, float | None], None] = _nothing
    onSlice: Callable[[int], None] = _nothing
    onFinished: Callable[[], None] = _nothing
    onCancelled: Callable[[], None] = _nothing
    onFailed: Callable[[str], None] = _nothing
    onLog: Callable[[str], None] = _nothing


def klipCoreFolder() -> Path:
    """The folder that KLIPCore lies in: the other process must run the code that reads its results here."""
    found = importlib.util.find_spec("KLIPCore")
    if found is None or found.origin is None:
        raise RuntimeError("KLIPCore is missing. Install the KLIPSlicer extension again.")
    return Path(found.origin).parents[1]


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run `klip`.

    program : its executable.
    ofSlicer : whether it is Slicer's own; another one must not see Slicer's environment variables.
    """

    program: str
    ofSlicer: bool = True


@dataclass
class Runner:
    """Starts, watches and stops one process at a time.

    accepted : exit codes of a run that did what it should; again : the button that begins another one.
    """

    callbacks: Callbacks = field(default_factory=Callbacks)
    accepted: frozenset[int] = frozenset({0})
    again: str = ""

    def __post_init__(self) -> None:
        self._process: Any = None
        self._last: Any = None  # see _done
        self._forget()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._end)

    @property
    def running(self) -> bool:
        """Whether a process is there, or one that could not be started is not told of yet."""
        return self._process is not None or self._failing

    def start(self, interpreter: Interpreter, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        """Start `klip` with these arguments (``["detect", STUDY, "-o", OUT, …]``).

        :param environment: the other process's environment variables; Slicer's own when None.
        """
        if self.running:
            raise RuntimeError("A run is in progress.")
        self._forget()
        core = str(klipCoreFolder())
        process = qt.QProcess()
        variables = qt.QProcessEnvironment.systemEnvironment()
        if environment is not None:
            variables = qt.QProcessEnvironment()
            for name, value in environment.items():
                variables.insert(name, value)
        for name, value in childVariables().items():
            variables.insert(name, value)
        process.setProcessEnvironment(variables)
        process.connect("readyReadStandardOutput()", self._readOutput)
        process.connect("readyReadStandardError()", self._readErrors)
        process.connect("finished(int,QProcess::ExitStatus)", self._onEnded)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onProcessError)
        self._process = process
        self._program = interpreter.program
        leader = Path(__file__).with_name("process_leader.py")
        self.callbacks.onLog(f"{interpreter.program} -m KLIPCore.cli " + " ".join(arguments))
        process.start(interpreter.program, [str(leader), core, *arguments, "--progress", "json"])

    def _forget(self) -> None:
        """What the former run said."""
        self._buffer, self._errorBuffer = b"", b""
        self._errors: list[str] = []
        self._failure, self._cancelled, self._slices, self._group = "", False, 0, 0
        self._failing = False

    def cancel(self) -> None:
        """Ask the run to stop; within :data:`GRACE_MSEC` it is ended. Finished slices stay on disk."""
        if not self.running or self._cancelled:
            return
        self._cancelled = True
        self._signal(signal.SIGTERM)
        self._timer.start(GRACE_MSEC)

    def cancelAndWait(self) -> None:
        """Stop now and return when the processes are gone: for the end of the application."""
        process = self._process
        if process is None:
            return
        self.cancel()
        if not process.waitForFinished(GRACE_MSEC):
            self._end()
            process.waitForFinished(GRACE_MSEC)

    def _end(self) -> None:
        """What did not stop when asked is ended, with everything that it started."""
        if self._process is not None:
            self._signal(None)
            self._process.kill()

    def _signal(self, number: int | None) -> None:
        """Send a signal to the whole group; None ends it without asking."""
        pid = self._group or (int(self._process.processId()) if self._process is not None else 0)
        if pid <= 0:
            return
        if not platforms.endsByGroup(sys.platform):  # Windows knows trees of processes, not groups
            qt.QProcess.execute("taskkill", platforms.taskkillArguments(pid))
            return
        try:
            if self._group:
                os.killpg(pid, signal.SIGKILL if number is None else number)
            else:  # it has not opened its group yet, so nothing else belongs to it
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    # -- what the process says

    def _readOutput(self) -> None:
        if self._process is None:
            return
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._onLine(line.decode("utf-8", "replace").strip())

    def _readErrors(self) -> None:
        if self._process is None:
            return
        self._errorBuffer += bytes(self._process.readAllStandardError().data())
        *lines, self._errorBuffer = self._errorBuffer.split(b"\n")
        self._keepErrors(lines)

    def _keepErrors(self, lines: list[bytes]) -> None:
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
        self._errors = [*self._errors, *texts][-KEPT_ERROR_LINES:]
        for text in filter(None, texts):
            self.callbacks.onLog(text)

    def _onLine(self, line: str) -> None:
        try:
            said = json.loads(line)
            stage = said["stage"]
        except (ValueError, TypeError, KeyError):
            if line:
                self.callbacks.onLog(line)
            return
        if stage == "start":
            self._group = int(said["pid"])
            if self._cancelled:
                self._signal(signal.SIGTERM)
        elif stage == "error":
            if said.get("error") != "Cancelled":
                self._failure = f"{said['message']} {said['remedy']}".strip()
        elif not self._cancelled:
            eta = said.get("eta_s")
            self.callbacks.onProgress(
                stage, float(said["fraction"]), str(said["detail"]), None if eta is None else float(eta)
            )
            self._countSlices(stage, str(said["detail"]))

    def _countSlices(self, stage: str, detail: str) -> None:
        """A slice is announced when it begins: so the ones announced before it are done."""
        begun = re.search(r"\((\d+) of \d+\)$", detail) if stage == "sample" else None
        done = int(begun.group(1)) - 1 if begun else 0
        if done > self._slices:
            self._slices = done
            self.callbacks.onSlice(done)

    # -- how it ends

    def _onProcessError(self, error) -> None:
        if error != qt.QProcess.FailedToStart or self._process is None:
            return
        self._done()
        self._failing = True
        sentence = _("The Python at {program} cannot be started. Choose another one under “This computer”.").format(
            program=self._program
        )
        # not from inside the signal: whoever hears of it may start again, and Qt is not done with this process yet
        qt.QTimer.singleShot(0, lambda: self._fail(sentence))

    def _fail(self, sentence: str) -> None:
        """Say that the run failed, in the panel and in its log."""
        self._failing = False
        self.callbacks.onLog(sentence)
        self.callbacks.onFailed(sentence)

    def _onEnded(self, exitCode: int, exitStatus) -> None:
        if self._process is None:
            return
        self._readOutput()
        self._readErrors()
        self._keepErrors([self._errorBuffer] if self._errorBuffer else [])
        cancelled, crashed = self._cancelled, exitStatus == qt.QProcess.CrashExit
        self._signal(None)  # whatever of the group is left
        self._done()
        if self._errors and (crashed or exitCode) and not cancelled:
            logging.error("klip ended with code %s:\n%s", exitCode, "\n".join(self._errors))
        if cancelled or (exitCode == 130 and not self._failure):
            self.callbacks.onCancelled()
        elif exitCode in self.accepted and not crashed:
            self.callbacks.onFinished()
        else:
            self._fail(self._failure or failureSentence(exitCode, crashed, self._errors, self.again))

    def _done(self) -> None:
        """The run is over. Its process is kept until the next one has ended.

        PythonQt deletes a QProcess with the last reference to it, also while its own signal is being delivered, and
        Slicer then crashes in freed memory.
        """
        self._timer.stop()
        self._process, self._last, self._group = None, self._process, 0


def childVariables() -> dict[str, str]:
    """Environment variables of the other process: text is UTF-8 whatever the user is called, and whose child it is."""
    return {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1", PARENT: str(os.getpid())}


MISSING = re.compile(r"(?:ModuleNotFoundError|ImportError): No module named '([\w.]+)'")
GPU_MEMORY = re.compile(
    r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUDA error: out of memory|MPS backend out of memory", re.I
)
MEMORY = re.compile(r"MemoryError|can't allocate memory|DefaultCPUAllocator|Cannot allocate memory|bad_alloc", re.I)
MISMATCH = re.compile(
    r"_ARRAY_API not found|numpy\.dtype size changed|compiled using NumPy 1|undefined symbol|DLL load failed", re.I
)


def failureSentence(exitCode: int, crashed: bool, errors: list[str], again: str = "") -> str:
    """What a process that ended without an explanation most likely died of, and what to do about it.

    :param again: the button that begins another run; Detect OOD when empty.
    """
    button = again or _("Detect OOD")
    text = "\n".join(errors)
    missing = MISSING.search(text)
    if missing:
        return _(
            "The Python package {name} is missing where klip runs. Press {button} again to install what is missing, "
            "or choose another Python under “This computer”."
        ).format(name=missing.group(1).split(".")[0], button=button)
    if GPU_MEMORY.search(text):
        return _("The graphics card ran out of memory. Choose the device “cpu” or fewer samples under “Advanced”.")
    if MEMORY.search(text) or exitCode in (9, 137):
        return _(
            "The computer ran out of memory. Close other programs, choose fewer slices or a smaller region, "
            "then press {button} again: what is finished is kept."
        ).format(button=button)
    if MISMATCH.search(text):
        return _(
            "Python packages of different versions do not fit each other. Choose a separate Python environment "
            "with klip under “This computer”."
        )
    last = next((line.strip() for line in reversed(errors) if line.strip()), "")
    how = _("crashed") if crashed else _("ended with code {code}").format(code=exitCode)
    return _(
        "klip {how}. {last} Press {button} again to continue from what is finished; if it happens again, "
        "the application log (Help menu) has the details."
    ).format(how=how, last=last, button=button)
