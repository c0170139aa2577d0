"""Runs `klip` as the leader of a process group of its own.

    python process_leader.py FOLDER_OF_KLIPCORE detect STUDY -o OUT --progress json

This file runs in the other process, never in Slicer's. It exists for two promises that QProcess alone cannot keep:

* **Cancel ends everything.** The leader opens a new session before anything else is imported, so that one signal to
  the group reaches whatever `klip` has started. Its first line of output says which group that is; the process that
  QProcess started may only be a launcher in front of it (PythonSlicer is one).
* **Nothing outlives Slicer.** Slicer holds the other end of the standard input. When Slicer ends, however it ends,
  reading there ends too, and the leader ends its group. On Windows a thread that is blocked in reading a pipe keeps
  numpy and scipy from being imported (numpy#24290, cpython#78961), so there the leader waits for Slicer's process
  itself, whose number is in the environment.

Only the standard library is imported here: any Python 3.11 can run it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

PARENT = "KLIP_SLICER_PID"
"""Environment variable with the number of Slicer's process."""

SYNCHRONIZE, FOREVER, NO_SUCH_PROCESS = 0x00100000, 0xFFFFFFFF, 87
"""Windows' access right to wait for a process, its longest time-out, and ERROR_INVALID_PARAMETER."""

REMOTE = "remote"
"""First argument of a run that a server does: its client needs Python alone."""

GRACE_SECONDS = 1.0
"""Between asking the group to stop and ending it."""


def followPipe(stream: int = 0) -> None:
    """Wait until the standard input is closed, then end the whole group, this process included."""
    while True:
        try:
            if not os.read(stream, 4096):
                break
        except OSError:
            break
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def followProcess(pid: int, kernel: Any, lastError: Callable[[], int], end: Callable[[], None]) -> None:
    """Wait until a process of Windows has ended, then call ``end``.

    :param kernel: kernel32 as ctypes loads it.
    :param lastError: the number of the error of its last call.
    """
    handle = kernel.OpenProcess(SYNCHRONIZE, False, pid)
    if not handle:
        if lastError() == NO_SUCH_PROCESS:
            end()
        return  # it may not be watched: what the user starts, the user can end
    kernel.WaitForSingleObject(handle, FOREVER)
    kernel.CloseHandle(handle)
    end()


def endTree() -> None:
    """End this process of Windows and all that it started."""
    subprocess.run(["taskkill", "/PID", str(os.getpid()), "/T", "/F"], check=False, capture_output=True)
    os._exit(130)


def watcher(platform: str, environment: Mapping[str, str]) -> Callable[[], None] | None:
    """What waits for Slicer's end on a platform (``sys.platform``); None where nothing can."""
    if platform != "win32":
        return followPipe
    pid = environment.get(PARENT, "")
    if not pid.isdecimal():
        return None

    def follow() -> None:
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
        kernel.OpenProcess.restype = ctypes.c_void_p  # a handle has 64 bits
        kernel.WaitForSingleObject.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        followProcess(int(pid), kernel, ctypes.get_last_error, endTree)  # type: ignore[attr-defined]

    return follow


def main() -> None:
    """Become a leader, say so, and become `klip`."""
    if os.name == "posix" and os.getpid() != os.getsid(0):
        os.setsid()
    print(json.dumps({"stage": "start", "pid": os.getpid(), "fraction": 0.0, "eta_s": None, "detail": ""}), flush=True)
    follow = watcher(sys.platform, os.environ)
    if follow is not None:
        threading.Thread(target=follow, daemon=True).start()
    folder, *arguments = sys.argv[1:]
    sys.path[0] = folder  # in place of this file's own folder, whose modules are Slicer's
    remote = arguments[:1] == [REMOTE]
    sys.argv = ["klip", *(arguments[1:] if remote else arguments)]
    runpy.run_module("KLIPCore.client" if remote else "KLIPCore.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
