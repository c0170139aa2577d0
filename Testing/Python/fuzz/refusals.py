"""What tests of hostile files share: changing one, and the sentence in which it is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from busy import longest
from pydicom.dataset import Dataset

from KLIPCore.errors import InputError, KlipError

SECONDS = 5.0
"""In which a quiet computer refuses a file."""


def edit(file: Path, change: Callable[[Dataset], object]) -> None:
    """Change a DICOM file, whatever pydicom thinks of it."""
    dataset = pydicom.dcmread(file)
    change(dataset)
    dataset.save_as(file)


def refused(read: Callable[[], object], error: type[KlipError] = InputError) -> KlipError:
    """The error of a read that is refused soon."""
    began = time.monotonic()
    with pytest.raises(error) as caught:
        read()
    assert time.monotonic() - began < longest(SECONDS)
    assert caught.value.remedy
    assert "pickle" not in str(caught.value)
    return caught.value
