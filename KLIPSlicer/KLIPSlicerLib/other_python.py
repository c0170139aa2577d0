"""A Python of the user's choice, in which klip's packages are installed already."""

from __future__ import annotations

import sys
from pathlib import Path

from slicer.i18n import tr as _

from . import platforms
from .dependency_error import DependencyError


def pythonIn(path: Path) -> Path:
    """The Python that a path means: an executable, `klip` beside one, or an environment's folder.

    :raises DependencyError: none.
    """
    if path.is_dir():
        found = beside(path, platforms.pythonsIn(sys.platform))
    elif path.is_file() and path.stem == "klip":
        found = beside(path.parent, platforms.besideKlip(sys.platform))
    else:
        found = path if path.is_file() else None
    if found is None:
        raise DependencyError(
            _("There is no Python at {path}. Choose its executable or its environment's folder.").format(path=path)
        )
    return found


def beside(path: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these files that lies in a folder, or beside a file; None where none does."""
    folder = path if path.is_dir() else path.parent
    return next((folder / name for name in names if (folder / name).is_file()), None)
