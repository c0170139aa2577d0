"""Files that appear whole or not at all, and what is said where they cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from KLIPCore.errors import OutputError
from KLIPCore.export.files import written

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_disk_under_pydicom_is_told_in_a_line(tmp_path: Path) -> None:
    inner = Dataset()
    inner.TextValue = "x" * 1_000_000
    dataset = Dataset()
    dataset.ContentSequence = [inner]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

    def save() -> None:
        with written(tmp_path / "report.dcm") as part, FULL.open("wb") as full:
            part.write_bytes(b"")
            dataset.save_as(full, enforce_file_format=False)

    with pytest.raises(OutputError) as told:
        save()
    assert told.value.message == f"report.dcm cannot be written ({os.strerror(28)})."
    assert not list(tmp_path.iterdir())
