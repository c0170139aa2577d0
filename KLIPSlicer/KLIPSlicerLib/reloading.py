"""Reload, for developers: Slicer reloads the module's file, and what it imports must be read anew, too."""

from __future__ import annotations

import sys

PACKAGES = ("KLIPSlicerLib", "KLIPCore")


def forgetParts() -> list[str]:
    """Let the next import of each part of the module and of its library read its file again.

    Returns
    -------
    names of the parts that were forgotten.
    """
    names = [name for name in sys.modules if name.split(".")[0] in PACKAGES]
    for name in names:
        del sys.modules[name]
    return sorted(names)
