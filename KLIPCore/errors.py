"""The exceptions KLIPCore raises, one tree, each naming its remedy.

Every error a user can cause derives from :class:`KlipError` and carries two sentences: what is wrong
(``message``) and what to do about it (``remedy``). The command line prints both and exits with
:attr:`KlipError.exit_code`; the Slicer panel shows both in its status line. A traceback therefore always
means a bug of ours, never a bad input of theirs.

::

    KlipError
    ├── InputError                 the study cannot be used as it is
    │   ├── EmptyInputError        nothing readable there
    │   ├── UnreadableFileError    truncated, corrupt, or of an unknown format
    │   ├── NotCTError             another modality, or colour pictures
    │   ├── AmbiguousSeriesError   several series, none chosen
    │   ├── GeometryError          missing or duplicate slices, gantry tilt, uneven spacing
    │   └── IntensityError         NaN, no rescale, values no CT has
    ├── ConfigError                an option out of its range, or two that contradict each other (a ValueError, too)
    ├── OutputError                the output folder cannot be written, or holds another run
    ├── ResourceError              not enough memory, no such device
    ├── PriorError                 weights or model card missing, damaged, or unfit for this study
    ├── TraceError                 a KL trace missing, damaged, or unable to answer the question
    ├── DeterministicStepError     a KL was asked of a step without noise
    ├── ServerError                a server refuses, is full, or cannot be reached
    └── Cancelled                  the user stopped the run; what was finished is kept
"""

from __future__ import annotations

import importlib
from typing import Any


class KlipError(Exception):
    """What is wrong, and what to do about it.

    Parameters
    ----------
    message : what is wrong, in one sentence, without patient data.
    remedy : what the user can do, in one sentence; may be empty only for :class:`Cancelled`.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy
        super().__init__(f"{message} {remedy}".strip())


class InputError(KlipError):
    """The study cannot be used as it is."""

    exit_code = 2


class EmptyInputError(InputError):
    """Nothing readable where the study should be."""


class UnreadableFileError(InputError):
    """A file is truncated, corrupt, or of an unknown format."""


class NotCTError(InputError):
    """The images are not CT slices in Hounsfield units (another modality, or colour)."""


class AmbiguousSeriesError(InputError):
    """Several series were found and none was chosen; the message lists them."""


class GeometryError(InputError):
    """Slices are missing, doubled, tilted or unevenly spaced: a regular grid cannot be formed."""


class IntensityError(InputError):
    """Values are NaN, infinite, or such as no CT has."""


class ConfigError(KlipError, ValueError):
    """An option is out of its range, or two options contradict each other."""

    exit_code = 2


class OutputError(KlipError):
    """The output folder cannot be written or already holds something else."""

    exit_code = 3


class ResourceError(KlipError):
    """Too little memory, or a device that is not there."""

    exit_code = 4


class PriorError(KlipError):
    """Weights or model card are missing, damaged or unfit."""

    exit_code = 5


class TraceError(KlipError):
    """A KL trace is missing, damaged, or cannot answer what was asked."""

    exit_code = 6


class DeterministicStepError(KlipError):
    """A path KL was asked of a transition without noise (variance 0), where it does not exist."""

    exit_code = 7


class ServerError(KlipError):
    """A server refuses a request, is full, speaks another version, or cannot be reached."""

    exit_code = 8


class Cancelled(KlipError):  # noqa: N818  (stopping is not an error of anybody's)
    """The user stopped the run. Finished slices are kept; running again continues."""

    exit_code = 130


def optional(package: str, extra: str) -> Any:
    """Import and return a package that only some jobs need.

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
        raise ResourceError(
            f"This needs the package {package}, which is not installed.",
            f"Install it with: pip install 'klipcore[{extra}]'.",
        ) from error
