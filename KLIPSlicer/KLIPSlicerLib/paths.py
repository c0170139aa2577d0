"""Where the module's files are: installed, built, or in a plain checkout added to Slicer's module paths.

Built and installed, ``KLIPCore`` and ``Resources`` lie beside the module, as the CMake files put them. In a
checkout both lie one level up. So one rule serves all: look beside the module first, then one level up.

Slicer puts the module's folder on ``sys.path``, so ``KLIPSlicerLib`` is found; ``KLIPCore`` is not until
:func:`makeKlipCoreImportable` was called, which the module does when it is loaded. Nothing is imported by it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[1]
"""The folder of ``KLIPSlicer.py``."""

PLACES = (MODULE_FOLDER, MODULE_FOLDER.parent)
"""Beside the module, and one level up."""


def resourcePath(name: str) -> Path:
    """Path of a file below ``Resources/``, e.g. ``"ColorTables/KLIP.ctbl"``.

    Raises
    ------
    FileNotFoundError : the extension is not whole.
    """
    for place in PLACES:
        path = place / "Resources" / name
        if path.exists():
            return path
    raise FileNotFoundError(f"Resources/{name} is missing. Install the KLIPSlicer extension again.")


def makeKlipCoreImportable() -> None:
    """Put the folder that holds ``KLIPCore`` on ``sys.path``, behind everything that is there; an installed
    one wins."""
    if importlib.util.find_spec("KLIPCore") is not None:
        return
    for place in PLACES:
        if (place / "KLIPCore" / "__init__.py").is_file() and str(place) not in sys.path:
            sys.path.append(str(place))
            return
