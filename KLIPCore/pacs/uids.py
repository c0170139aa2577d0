"""Names that say nothing about a patient: what stands in logs and in file names in the place of identifiers."""

from __future__ import annotations

import hashlib
import re

from KLIPCore.errors import InputError

UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID = 64


def short(identifier: str, length: int = 12) -> str:
    """Return the first hexadecimal digits of an identifier's SHA-256: the same for the same identifier."""
    return hashlib.sha256(identifier.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def check_uid(text: str, what: str) -> str:
    """Return a UID as it is.

    Raises
    ------
    InputError : it is none; wildcards would ask a PACS for everything.
    """
    if len(text) > LONGEST_UID or not UID.fullmatch(text):
        raise InputError(f"The {what} is no DICOM UID.", "UIDs are numbers with dots between, e.g. 1.2.840.1.")
    return text


def check_accession(text: str) -> str:
    """Return an accession number as it is.

    Raises
    ------
    InputError : it is empty, too long, or has wildcards.
    """
    if not text or len(text) > 64 or any(sign in text for sign in "*?\\") or not text.isprintable():
        raise InputError(
            "An accession number is empty, too long, or has wildcards in it.", "Write it as the RIS has it."
        )
    return text
