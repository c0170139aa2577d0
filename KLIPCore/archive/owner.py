"""Who holds a study: a process, named so that others on the same computer can tell whether it still lives."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import psutil

SLACK_S = 2.0
"""Seconds by which the start of one and the same process may be told differently."""


@cache
def place() -> str:
    """Return this computer, and the space in which its process numbers mean anything: containers have their own."""
    space = Path("/proc/self/ns/pid")
    return f"{platform.node()} {os.readlink(space) if space.exists() else ''}".strip()  # noqa: PTH115


def own_name() -> str:
    """Return the name of this process: place, number, start."""
    return f"{place()}|{os.getpid()}|{psutil.Process().create_time():.1f}"


def is_gone(owner: str) -> bool:
    """Return whether a process has certainly ended: it was one of this computer, and is there no more.

    Parameters
    ----------
    owner : as :func:`own_name` made it.
    """
    where, _, rest = owner.partition("|")
    number, _, start = rest.partition("|")
    try:
        if where != place():
            return False
        process = psutil.Process(int(number))
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - float(start)) > SLACK_S
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, ValueError):
        return False
