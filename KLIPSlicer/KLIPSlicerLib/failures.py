"""What a person is told of an error; of one that nobody foresaw, too, whose traceback goes into Slicer's log."""

from __future__ import annotations

import logging

from slicer.i18n import tr as _

from .dependency_error import DependencyError


def sentenceOf(error: Exception) -> str:
    """What to say of an error that ended what was asked for."""
    from KLIPCore.errors import KlipError

    if isinstance(error, KlipError | DependencyError):
        return str(error)
    if isinstance(error, OSError):
        return _(
            "Files could not be read or written ({error}). Look whether the disk is full, and whether the results "
            "folder under “This computer” is one that you may write to."
        ).format(error=error)
    logging.error("KLIPSlicer: what was asked for could not be done", exc_info=error)
    return _(
        "Something failed that nobody foresaw ({error}). The application log (Help menu) has the details."
    ).format(error=type(error).__name__)
