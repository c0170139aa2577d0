"""A user's hand and the program's: controls that code is setting must not answer as if somebody had moved them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Guard:
    """Up while the program sets controls.

    Attributes
    ----------
    up : whether it does.
    """

    def __init__(self) -> None:
        self.up = False

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Up inside, down after."""
        self.up = True
        try:
            yield
        finally:
            self.up = False
