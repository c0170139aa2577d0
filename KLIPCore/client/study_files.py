"""What is sent of a study: its files under names of our own, with sizes and hashes.

A file's name often holds a patient's. It stays here: a server gets ``file000001.dcm``, and sentences that come back
are read with the real names put in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from KLIPCore.errors import EmptyInputError, UnreadableFileError

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Volumes in one file."""

PAIRS = {".hdr": ".img", ".img": ".hdr", ".hdr.gz": ".img.gz", ".img.gz": ".hdr.gz"}
"""NIfTI in two files, each with the other."""

SCANS = (".npz", ".mat")
"""Measured projections."""

PUBLIC_NAME = "htc2022_"
"""Discs of the Helsinki Tomography Challenge are read by their names, which are nobody's."""

BLOCK = 1 << 20


@dataclass(frozen=True)
class SentFile:
    """One file of a study.

    Attributes
    ----------
    name : what the server calls it.
    path : where it is.
    shown : what the user calls it.
    size : bytes.
    sha256 : of its content.
    """

    name: str
    path: Path
    shown: str
    size: int
    sha256: str

    def claim(self) -> dict[str, str | int]:
        """Return what is told of it before it is sent."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class StudyFiles:
    """A study as it is sent.

    Attributes
    ----------
    files : in the order of their names here.
    entry : name of the file that stands for the study; None where the folder does.
    """

    files: tuple[SentFile, ...]
    entry: str | None

    def in_the_users_words(self, text: str) -> str:
        """Return a sentence with the real names of files."""
        for file in self.files:
            text = text.replace(file.name, file.shown)
        return text

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def study_files(study: Path) -> StudyFiles:
    """Find what makes up a study; each file is read once, for its hash.

    Parameters
    ----------
    study : a folder of DICOM files, one of them, a DICOMDIR, a volume in one file, NIfTI in two, or projections.

    Raises
    ------
    EmptyInputError : nothing there, or no DICOM file in a folder.
    UnreadableFileError : a file that cannot be read, or of a format that cannot be sent.
    """
    if not study.exists():
        raise EmptyInputError(f"There is nothing at {study}.", "Check the path.")
    try:
        if study.is_dir():
            return _folder(study, None)
        extension = _extension(study, (*VOLUMES, *PAIRS, *SCANS))
        if extension:
            return _volume(study, extension)
        if study.name.lower().endswith((".mhd", ".nhdr")):
            raise UnreadableFileError(
                f"{study.name} keeps its numbers in a second file, which is found by its name.",
                "Save the volume as .mha, .nrrd or .nii.gz, or examine it on this computer.",
            )
        if _is_index(study):
            return _folder(study.parent, None)
        return _folder(study.parent, study)
    except OSError as error:
        raise UnreadableFileError(
            f"A file of the study cannot be read ({error.strerror}).", "Check that it is there and may be read."
        ) from error


def _volume(study: Path, extension: str) -> StudyFiles:
    own = study.name if study.name.startswith(PUBLIC_NAME) else f"volume{extension}"
    files = [_sent(study, own, study.name)]
    if extension in PAIRS:
        other = study.with_name(study.name[: -len(extension)] + PAIRS[extension])
        if not other.is_file():
            raise EmptyInputError(f"{study.name} needs {other.name} beside it.", "Put it there.")
        files.append(_sent(other, f"volume{PAIRS[extension]}", other.name))
    return StudyFiles(tuple(files), own)


def _folder(folder: Path, member: Path | None) -> StudyFiles:
    """The DICOM files below a folder; of one given by name, what lies beside it, too: its series does."""
    paths = [path for path in _dicom_files(folder) if path != member]
    paths = sorted([*paths, *([member] if member is not None else [])])
    if not paths:
        raise EmptyInputError(
            f"No DICOM file was found in {folder}.",
            "Give the folder that holds the slices, or a NIfTI, NRRD or MetaImage file.",
        )
    files = tuple(
        _sent(path, f"file{number:06d}.dcm", str(path.relative_to(folder))) for number, path in enumerate(paths, 1)
    )
    entry = next((file.name for file in files if file.path == member), None)
    return StudyFiles(files, entry)


def _dicom_files(folder: Path) -> Iterator[Path]:
    """Files that begin like DICOM: nothing else of a folder is sent, be it a letter or a photograph."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file() or _is_index(path):
            continue
        with path.open("rb") as stream:
            start = stream.read(132)
        if start[128:132] == b"DICM" or start[:2] in (b"\x08\x00", b"\x00\x08", b"\x02\x00", b"\x00\x02"):
            yield path


def _is_index(path: Path) -> bool:
    """Whether a file is named as the index of a medium, which holds no image."""
    return path.name.lower().startswith(("dicomdir", "dirfile"))


def _extension(path: Path, known: tuple[str, ...]) -> str:
    return next((end for end in known if path.name.lower().endswith(end)), "")


def _sent(path: Path, name: str, shown: str) -> SentFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            size += len(block)
    if size == 0:
        raise UnreadableFileError(f"{shown} is empty.", "Export or copy it again.")
    return SentFile(name, path, shown, size, digest.hexdigest())
