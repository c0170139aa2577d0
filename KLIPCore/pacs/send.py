"""C-STORE: files to a PACS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom

from KLIPCore.errors import EmptyInputError, ResourceError
from KLIPCore.io.fields import quiet_pydicom, read_header, text
from KLIPCore.pacs.dimse import association, silent
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.peers import Peer
from KLIPCore.pacs.uids import short

MOST_CONTEXTS = 128
"""Kinds of objects that one association can have."""


def dicom_files(paths: Sequence[Path]) -> list[Path]:
    """Return the DICOM files among files, and below folders.

    Raises
    ------
    EmptyInputError : there is none.
    UnreadableFileError : one is damaged.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    found = [file for file in files if file.is_file() and read_header(file, ("SOPClassUID",)) is not None]
    if not found:
        raise EmptyInputError("There is no DICOM file to send.", "Give regions.dcm, kl_map.dcm, report.dcm of a run.")
    return found


def send_files(peer: Peer, files: Sequence[Path], pace: Pace) -> int:
    """Send DICOM files and return how many the PACS took.

    Parameters
    ----------
    peer : the PACS.
    files : DICOM files of any kinds.
    pace : how fast.

    Raises
    ------
    ResourceError : the PACS does not answer, or did not take one; the message says how many it has taken.
    UnreadableFileError : a file is damaged.
    """
    kinds = dict.fromkeys(_kind(file) for file in files)
    if len(kinds) > MOST_CONTEXTS:
        raise ResourceError("Too many kinds of objects for one association.", "Send them in several parts.")
    contexts = [(sop_class, (syntax,)) for sop_class, syntax in kinds]
    with quiet_pydicom(), association(peer, contexts) as link:
        for number, file in enumerate(files):
            pace.wait()
            try:
                error = silent(peer, link.send_c_store(pydicom.dcmread(file)))
            except ValueError:  # no context for it was accepted
                error = ResourceError(
                    f"The PACS {peer.title} does not take this kind of object.", "Ask its administrator to allow it."
                )
            if error is not None:
                name = short(text(pydicom.dcmread(file, stop_before_pixels=True), "SOPInstanceUID"))
                raise ResourceError(
                    f"{number} of {len(files)} objects were stored; then, of {name}: {error.message}", error.remedy
                )
    return len(files)


def _kind(file: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file."""
    meta = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
