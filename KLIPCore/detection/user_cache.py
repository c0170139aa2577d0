"""What was found out about this computer, and is kept in the user's cache folder: small JSON files.

An entry can always be found out again. A file that is damaged or somebody else's counts as empty, a folder that
cannot be written to stops nobody, and a file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SWITCH = "KLIP_TUNING"
"""Environment variable that turns measuring off."""


def measuring() -> bool:
    """Return whether the user lets this computer be measured."""
    return os.environ.get(SWITCH, "").lower() not in ("off", "0", "no")


def cache_folder() -> Path:
    """Return where this user's programs keep what they can find out again."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "klip"


def key_of(facts: Sequence[Any]) -> str:
    """Return a short name for everything that an answer depends on."""
    return hashlib.sha256(json.dumps([str(fact) for fact in facts]).encode()).hexdigest()[:16]


def read_entries(file: Path, make: Callable[[Any], T]) -> dict[str, T]:
    """Return the entries of a file by their keys.

    Parameters
    ----------
    file : may be missing, damaged or not ours: then there are none.
    make : makes an entry of what the file holds; may raise whatever it likes.
    """
    try:
        return {str(key): make(value) for key, value in json.loads(file.read_text(encoding="utf-8")).items()}
    except Exception:  # whatever is wrong with it, it can be found out again
        return {}


def write_entries(file: Path, entries: dict[str, Any]) -> None:
    """Replace a file's entries, JSON-ready; nothing happens where that is impossible."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with suppress(OSError):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
