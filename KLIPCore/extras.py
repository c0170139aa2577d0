"""Packages that only some jobs need, and the sentence that says so when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from KLIPCore.errors import ResourceError


def optional(package: str, extra: str) -> Any:
    """An optional package.

    Parameters
    ----------
    package : its import name.
    extra : the extra of this distribution that installs it.

    Raises
    ------
    ResourceError : it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ResourceError(f"This needs the package {package}, which is not installed.", f"Install it with: pip install 'klipcore[{extra}]'.") from error
