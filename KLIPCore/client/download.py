"""Results' way down: file by file, each checked against its hash, a cut one continued by range."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KLIPCore.client.connection import FAULTS, Busy, Connection, Patience
from KLIPCore.errors import OutputError, ServerError

BLOCK = 1 << 18


@dataclass(frozen=True)
class RemoteFile:
    """One file of a run on the server.

    Attributes
    ----------
    name : in the run's folder, e.g. ``trace/slice_0001.npz``.
    size : bytes.
    sha256 : of its content.
    """

    name: str
    size: int
    sha256: str

    @classmethod
    def all_of(cls, answer: dict[str, Any]) -> list[RemoteFile]:
        """Return the files that a listing names, none that would lie outside the run's folder."""
        found = [cls(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in answer.get("files", ())]
        return [f for f in found if ".." not in f.name and not f.name.startswith(("/", "\\")) and ":" not in f.name]


def fetch(connection: Connection, address: str, file: RemoteFile, target: Path) -> None:
    """Bring one file to ``target``, whole or not at all; nothing is done where it lies there already.

    Parameters
    ----------
    connection : with the server.
    address : path of the file on the server.
    file : what it must be.
    target : where to.

    Raises
    ------
    OutputError : it cannot be written.
    ServerError : the server refuses, or is gone.
    """
    if same(file, target):
        return
    part, patience = target.with_name(target.name + ".part"), Patience(connection.server)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while True:
            have = part.stat().st_size if part.is_file() else 0
            if have < file.size:
                _more(connection, address, file, part, patience)
                continue
            if same(file, part):
                part.replace(target)
                return
            part.unlink()  # the file was another one in the meantime
            patience.failed(
                ServerError(f"{file.name} does not arrive as the server has it.", "Run the same command again.")
            )
    except OSError as error:
        raise OutputError(
            f"{target.name} cannot be written ({error.strerror or error}).",
            "Choose a folder you may write to, with space left.",
        ) from error


def _more(connection: Connection, address: str, file: RemoteFile, part: Path, patience: Patience) -> None:
    """Append to ``part`` what comes until the file is whole or the connection ends."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{file.sha256}"'} if have else {}
    with part.open("ab") as stream:
        try:
            with connection.stream(address, headers) as answer:
                if answer.status == 200:
                    stream.truncate(0)
                while block := answer.read(BLOCK):
                    stream.write(block)
                    patience.progressed()
            if stream.tell() < file.size:
                raise ConnectionResetError("cut")
        except Busy as busy:
            patience.failed(busy.refusal, busy.wait_s)
        except FAULTS as error:
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise
            patience.failed(error)


_OF_THE_DISK = (13, 27, 28, 30, 122)
"""EACCES, EFBIG, ENOSPC, EROFS, EDQUOT: not the connection's."""


def same(file: RemoteFile, path: Path) -> bool:
    """Return whether a file lies at ``path``, with its content."""
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False
