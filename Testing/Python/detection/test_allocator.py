"""Freed memory is kept: the second time costs no page fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from KLIPCore.detection.allocator import keep_freed_memory

told = keep_freed_memory() if {keep} else None

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [np.ones(8 * 1024**2, np.uint8) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(told, faults())
"""


def run(keep: bool) -> tuple[str, int]:
    """Whether the C library was told, and page faults of a loop that frees and asks again, in a process of its own."""
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True
    ).stdout.split()
    return said[0], int(said[1])


def test_keeping_saves_page_faults() -> None:
    pytest.importorskip("resource")
    told, kept = run(True)
    if told != "True":
        pytest.skip("needs glibc")
    _, plain = run(False)
    assert kept < 100
    assert plain > 10 * max(kept, 1)
