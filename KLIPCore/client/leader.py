"""`klip` in a process that does not outlive the one that started it: ``python -m KLIPCore.client.leader detect …``.

The starter holds the other end of the standard input. However it ends, reading there ends too, and this process ends
its group: no detection goes on for nobody, and a server that is killed and started again finds no run at work. On
Windows a thread that is blocked in reading a pipe keeps numpy from being imported, so there only the starter's own
cancel ends the process.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

GRACE_S = 1.0
"""Between asking the group to stop and ending it."""


def _follow(stream: int = 0) -> None:
    """Wait until the standard input is closed, then end the whole group, this process included."""
    while True:
        try:
            if not os.read(stream, 4096):
                break
        except OSError:
            break
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Watch the standard input and become `klip`."""
    if os.name == "posix" and os.getpgid(0) == os.getpid():
        threading.Thread(target=_follow, daemon=True).start()
    sys.argv[0] = "klip"
    runpy.run_module("KLIPCore.cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
