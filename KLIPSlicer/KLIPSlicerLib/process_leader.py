"""Runs `klip` as the leader of a process group of its own.

    python process_leader.py FOLDER_OF_KLIPCORE detect STUDY -o OUT --progress json

This file runs in the other process, never in Slicer's. It exists for two promises that QProcess alone cannot keep:

* **Cancel ends everything.** The leader opens a new session before anything else is imported, so that one signal to
  the group reaches whatever `klip` has started. Its first line of output says which group that is; the process that
  QProcess started may only be a launcher in front of it (PythonSlicer is one).
* **Nothing outlives Slicer.** Slicer holds the other end of the standard input. When Slicer ends, however it ends,
  reading there ends too, and the leader ends its group.

Only the standard library is imported here: any Python 3.11 can run it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 1.0
"""Between asking the group to stop and ending it."""


def follow(stream: int = 0) -> None:
    """Wait until the standard input is closed, then end the whole group, this process included."""
    while True:
        try:
            if not os.read(stream, 4096):
                break
        except OSError:
            break
    if os.name != "posix":
        os._exit(130)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Become a leader, say so, and become `klip`."""
    if os.name == "posix" and os.getpid() != os.getsid(0):
        os.setsid()
    print(json.dumps({"stage": "start", "pid": os.getpid(), "fraction": 0.0, "eta_s": None, "detail": ""}), flush=True)
    threading.Thread(target=follow, daemon=True).start()
    folder, *arguments = sys.argv[1:]
    sys.path[0] = folder  # in place of this file's own folder, whose modules are Slicer's
    sys.argv = ["klip", *arguments]
    runpy.run_module("KLIPCore.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
