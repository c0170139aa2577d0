"""Long work as a generator that stops every few milliseconds, so that somebody else can have a turn.

What only numbers need is done by a thread, :func:`aside`, while each step lends it the interpreter: Slicer's main
thread holds that whenever it runs no Python, so a thread alone would hardly get on. Nodes and widgets are touched on
the main thread alone, between two yields. Nothing of Qt is here: without it, :func:`atOnce` does the work to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

LENT_SECONDS = 0.01
"""For which a step lends the interpreter to a thread."""

T = TypeVar("T")
Steps = Generator[None, None, T]


def aside(work: Callable[[], T]) -> Steps[T]:
    """Do arithmetic in a thread; what it raises is raised here.

    When the generator is closed before, the thread comes to its end unheard.
    """
    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(work)
        while not future.done():
            wait([future], LENT_SECONDS)
            yield
        return future.result()
    finally:
        pool.shutdown(wait=False)


def atOnce(steps: Steps[T]) -> T:
    """Do a task to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
