"""A study's way up: piece by piece, each from where the server stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from KLIPCore.client.connection import FAULTS, Busy, Connection, Patience
from KLIPCore.client.study_files import SentFile
from KLIPCore.errors import ServerError, UnreadableFileError

PIECE = 4 << 20
"""Bytes sent in one request; what is lost at most when a connection is cut."""

MOST_DAMAGED = 3
"""Times that a file may arrive with another hash than it was read with."""


def upload(connection: Connection, job: str, file: SentFile, offset: int) -> Iterator[int]:
    """Send one file; yields how many of its bytes the server has.

    Parameters
    ----------
    connection : with the server.
    job : its name for the job.
    file : what to send.
    offset : where the server stands.

    Raises
    ------
    UnreadableFileError : the file has changed since it was read first.
    ServerError : the server refuses it, or is gone.
    """
    path, patience, damaged = f"/v1/jobs/{job}/files/{file.name}", Patience(connection.server), 0
    while True:
        try:
            answer = _send(connection, path, file, offset)
        except FAULTS as error:
            patience.failed(error)
            offset = _standing(connection, job, file)
            continue
        except Busy as busy:
            patience.failed(busy.refusal, busy.wait_s)
            continue
        if answer.get("damaged"):
            damaged += 1
            if damaged == MOST_DAMAGED:
                raise UnreadableFileError(
                    f"{file.shown} arrives with another content than it had when it was read first.",
                    "See that nothing writes to the study, and run the same command again.",
                )
        if int(answer["offset"]) != offset or answer.get("complete"):
            patience.progressed()
        if answer.get("busy"):  # another client with the same study, or our own request that was cut a moment ago
            patience.failed(ServerError(str(answer.get("message")), str(answer.get("remedy"))))
        offset = int(answer["offset"])
        yield offset
        if answer.get("complete"):
            return


def _send(connection: Connection, path: str, file: SentFile, offset: int) -> dict[str, Any]:
    """Send one piece; the answer says where the server stands, after a piece that did not fit there, too."""
    with file.path.open("rb") as stream:
        stream.seek(offset)
        piece = stream.read(min(PIECE, file.size - offset))
    headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
    return connection.once("PUT", path, piece, headers, accept=(409,))


def _standing(connection: Connection, job: str, file: SentFile) -> int:
    """Where the server stands with a file."""
    return missing(connection.ask("GET", f"/v1/jobs/{job}")).get(file.name, 0)


def missing(status: Mapping[str, Any]) -> dict[str, int]:
    """Return the offsets of the files that a job still waits for, by name."""
    return {str(name): int(offset) for name, offset in dict(status.get("missing") or {}).items()}
