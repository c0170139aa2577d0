"""The command `klip`, one file a group of commands; nothing is loaded before a command is asked for."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["app", "main"]


def __getattr__(name: str) -> Any:
    """Return ``app`` or ``main`` of :mod:`KLIPCore.cli.application` on first use."""
    if name in __all__:
        return getattr(importlib.import_module("KLIPCore.cli.application"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
