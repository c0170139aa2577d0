"""What a client says before it sends anything: files with sizes and hashes, and the settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.errors import ConfigError, KlipError
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.settings import ServerSettings
from KLIPCore.volume.selection import check_slices, parse_box

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}(\.[A-Za-z0-9]{1,8}){1,2}")
"""A plain name: no folder, no drive, no hidden file, nothing that a shell or a file system reads otherwise."""

DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)
"""Names that Windows keeps for devices."""

EXTENSIONS = (
    ".dcm", ".nii.gz", ".nii", ".nrrd", ".mha", ".hdr.gz", ".img.gz", ".hdr", ".img", ".npz", ".mat",
)  # fmt: skip
"""What the readers take in one piece (NIfTI in two files)."""

Words = Annotated[str, Field(max_length=200)]


class FileClaim(BaseModel):
    """One file to come."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(max_length=120)]
    size: Annotated[int, Field(ge=1, le=1 << 50)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Claim(BaseModel):
    """A study to come, and what is to be done with it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    files: Annotated[list[FileClaim], Field(min_length=1, max_length=20_000)]
    entry: Annotated[str, Field(max_length=120)] | None = None
    settings: dict[str, Any] = {}
    series: Words | None = None
    slices: Words | None = None
    roi: Words | None = None
    holder: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Wanted:
    """A claim that is good.

    Attributes
    ----------
    claim : as it was made.
    config : its settings, complete and checked.
    job : hash of content and settings.
    """

    claim: Claim
    config: Config
    job: str


def read_claim(raw: bytes, settings: ServerSettings, priors: Mapping[str, Path]) -> Wanted:
    """Return a client's claim, checked; nothing has been stored so far.

    Parameters
    ----------
    raw : the request's body.
    settings : the server's limits.
    priors : the server's priors by name.

    Raises
    ------
    Refusal : a bad name, too large, too many files, or settings that are not offered.
    """
    try:
        claim = Claim.model_validate_json(raw)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise Refusal(
            422, f"The claim is not as protocol and limits want it (at '{where[:80]}').", "Update the client."
        ) from error
    check_files(claim, settings)
    try:
        config = Config.from_preset(str(claim.settings.get("preset", "default"))).updated(claim.settings).with_layer()
        check_slices(claim.slices)
        parse_box(claim.roi)
        if config.prior not in priors:
            raise ConfigError(
                f"This server has no prior called '{config.prior[:80]}'.", f"Choose from {', '.join(sorted(priors))}."
            )
    except KlipError as error:
        raise Refusal.of(error) from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:  # a section that is no mapping
        raise Refusal(422, "The settings are of the wrong kind.", "Write them as docs/settings.md shows.") from error
    return Wanted(claim, config, job_name(claim, config))


def check_files(claim: Claim, settings: ServerSettings) -> None:
    """Refuse names that could lead elsewhere, files that no reader takes, and too much of them.

    Raises
    ------
    Refusal : one of these.
    """
    names = [file.name for file in claim.files]
    for name in names:
        check_file_name(name)
    if len({name.lower() for name in names}) < len(names):
        raise Refusal(422, "Two files of the study have the same name.", "Update the client.")
    if claim.entry is not None and claim.entry not in names:
        raise Refusal(422, "The file that stands for the study is not among its files.", "Update the client.")
    if claim.entry is None and not all(name.endswith(".dcm") for name in names):
        raise Refusal(422, "A folder holds DICOM files only.", "Name the file that stands for the study.")
    if len(names) > settings.max_files:
        raise Refusal(
            413,
            f"The study has {len(names)} files; this server takes {settings.max_files}.",
            "Send a single series, or ask its administrator for a larger --max-files.",
            lasting=True,
        )
    if claim.size > settings.max_upload_gb * 1e9:
        raise Refusal(
            413,
            f"The study has {claim.size / 1e9:.1f} GB; this server takes {settings.max_upload_gb:g} GB.",
            "Send a single series, or ask its administrator for a larger --max-upload.",
            lasting=True,
        )


def check_file_name(name: str) -> None:
    """Refuse what is no plain name of a file that a reader takes.

    Raises
    ------
    Refusal : it is none.
    """
    if not NAME.fullmatch(name) or DEVICES.fullmatch(name.split(".")[0]):
        raise Refusal(422, "A file of the study has a name that is not taken.", "Update the client.")
    if not name.endswith(EXTENSIONS):
        raise Refusal(
            422, "A file of the study is of a kind that no reader takes.", f"Send one of {', '.join(EXTENSIONS)}."
        )


def job_name(claim: Claim, config: Config) -> str:
    """Return the hash of what decides a result: the files' content and order, the settings, this version."""
    study = [(file.name, file.size, file.sha256) for file in sorted(claim.files, key=lambda file: file.name)]
    part = [claim.entry, claim.series, claim.slices, claim.roi]
    settings = {name: value for name, value in config.to_dict().items() if name != "device"}  # the server's own
    text = json.dumps([__version__, study, part, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
