"""Instances as they come over the network → whole files in a folder.

Names are hashes, so that nothing a peer sends becomes a path. What was received is written bit by bit as it came,
beside its place, and renamed. Limits hold for one instance, for all together, and for the room left on the disk.
"""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from KLIPCore.errors import OutputError, ResourceError, UnreadableFileError
from KLIPCore.export.files import write_bytes
from KLIPCore.io.fields import DAMAGE, quiet_pydicom, text
from KLIPCore.pacs.uids import short

TAGS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")


@dataclass(frozen=True)
class Limits:
    """How much is taken.

    Attributes
    ----------
    instance_bytes : of one instance.
    total_bytes : of everything together.
    free_bytes : that must be left on the disk.
    """

    instance_bytes: int = 1 << 30
    total_bytes: int = 64 << 30
    free_bytes: int = 1 << 30


@dataclass(frozen=True)
class Kept:
    """An instance that was written.

    Attributes
    ----------
    study, series, instance : its UIDs.
    path : its file.
    """

    study: str
    series: str
    instance: str
    path: Path


@dataclass
class Keeper:
    """Writes instances into a folder.

    Attributes
    ----------
    folder : where.
    limits : how much is taken.
    sorted_by_study : whether each study gets a folder, and each series one in it; else all files lie together.
    kept : what was written, by instance UID; the same instance again replaces its file.
    """

    folder: Path
    limits: Limits = field(default_factory=Limits)
    sorted_by_study: bool = False
    kept: dict[str, Kept] = field(default_factory=dict)
    total: int = 0

    def keep(self, content: bytes) -> Kept:
        """Write one instance, given as the bytes of a DICOM file.

        Raises
        ------
        ResourceError : a limit is reached.
        UnreadableFileError : these are no bytes of a DICOM file, or its UIDs are missing.
        OutputError : it cannot be written.
        """
        header = header_of(content)
        self._check_room(len(content))
        uids = [text(header, keyword) for keyword in TAGS[:3]]
        instance, study, series = uids
        if not all(uids):
            raise UnreadableFileError("An instance without UIDs came.", "Look into the log of the sender.")
        place = self.folder / short(study, 20) / short(series) if self.sorted_by_study else self.folder
        path = write_bytes(place / f"{short(instance, 24)}.dcm", content)
        found = Kept(study, series, instance, path)
        self.total += len(content)
        self.kept[instance] = found
        return found

    def _check_room(self, size: int) -> None:
        """Refuse what is too large, before it is stored."""
        limits = self.limits
        if size > limits.instance_bytes or self.total + size > limits.total_bytes:
            raise ResourceError(
                f"More came than is allowed: {size} bytes after {self.total}.", "Raise the limit, if that is right."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise OutputError(f"The folder {self.folder} cannot be used ({error.strerror}).", "Check it.") from error
        if free - size < limits.free_bytes:
            raise ResourceError("The disk is nearly full.", "Make room; then send again.")


def header_of(content: bytes) -> Dataset:
    """Return the UIDs and the modality of an instance.

    Raises
    ------
    UnreadableFileError : these are no bytes of a DICOM file.
    """
    try:
        with quiet_pydicom():
            return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=list(TAGS))
    except (*DAMAGE, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise UnreadableFileError("An instance came that is no DICOM.", "Look into the log of the sender.") from error
