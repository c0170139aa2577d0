"""What differs between Windows, macOS and Linux, as small functions that are told the platform.

``platform`` is always a value of ``sys.platform``: ``"win32"``, ``"darwin"``, ``"linux"``. So each of them is tested
for all three on any computer. The process leader, which runs in another Python, has its own (process_leader.py).
"""

from __future__ import annotations

import ntpath

from slicer.i18n import tr as _

DEVICES = ("auto", "cpu", "cuda", "mps")
"""All of them on every computer: a scene that was saved on a Mac must load elsewhere."""

LONGEST_PLAIN_PATH = 240
"""Windows refuses paths of 260 characters and more, folders of 248 and more, unless they are marked as long ones."""


def endsByGroup(platform: str) -> bool:
    """Whether a run and all that it started can be reached by one signal to their process group."""
    return platform != "win32"


def taskkillArguments(pid: int) -> list[str]:
    """Arguments of Windows' ``taskkill`` that end a process and all its descendants."""
    return ["/PID", str(pid), "/T", "/F"]


def creationFlags(platform: str) -> int:
    """Flags for a program that is asked something in passing: without a console window that flashes up on Windows."""
    return 0x08000000 if platform == "win32" else 0  # CREATE_NO_WINDOW


def pythonsIn(platform: str) -> tuple[str, ...]:
    """Where in an environment's folder its Python may be."""
    if platform == "win32":
        return ("Scripts/python.exe", "python.exe")
    return ("bin/python3", "bin/python")


def besideKlip(platform: str) -> tuple[str, ...]:
    """What the Python may be called that lies beside the command ``klip``."""
    return ("python.exe",) if platform == "win32" else ("python3", "python")


def slicersOwn(platform: str) -> tuple[str, ...]:
    """What Slicer's launcher of its own Python is called."""
    return ("PythonSlicer.exe",) if platform == "win32" else ("PythonSlicer",)


def longPath(path: str, platform: str) -> str:
    """A path that the system opens however long it is; shorter ones, and those of other systems, as they are."""
    if platform != "win32" or len(path) < LONGEST_PLAIN_PATH or path.startswith("\\\\?\\"):
        return path
    absolute = ntpath.normpath(path)  # the marked form knows neither / nor ..
    if absolute.startswith("\\\\"):
        return "\\\\?\\UNC\\" + absolute[2:]
    return "\\\\?\\" + absolute if ntpath.isabs(absolute) else path


def reasonAgainstDevice(device: str, platform: str) -> str:
    """Why a device cannot be there, in a sentence; empty when it may."""
    if device == "mps" and platform != "darwin":
        return _("The device “mps” is the graphics of Apple's computers. Choose “auto” under “Advanced”.")
    if device == "cuda" and platform == "darwin":
        return _("Apple's computers have no CUDA. Choose “mps” or “cpu” under “Advanced”.")
    return ""
