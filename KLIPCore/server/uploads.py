"""A study's arrival: pieces appended to files that were claimed, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from KLIPCore.server.jobs import ARRIVING, Job, Jobs, no_such_job
from KLIPCore.server.refusal import Refusal, is_full

SILENCE_S = 30.0
"""A sender who says nothing for so long has gone; another connection may then go on."""


class Uploads:
    """Writes pieces; of one file one at a time.

    Parameters
    ----------
    jobs : whose files they are.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._busy: set[tuple[int, str]] = set()
        """Jobs and files; of a study that was given up and claimed again, the new job is another."""

    async def receive(self, job: Job, name: str, offset: int, pieces: AsyncIterator[bytes]) -> dict[str, Any]:
        """Append what comes to a claimed file.

        Parameters
        ----------
        job : which it belongs to.
        name : of the file.
        offset : where the sender believes it to end.
        pieces : of the request's body; what has come of a cut one is kept.

        Returns
        -------
        where the file ends now, and whether it is complete; or that another sender is at it.

        Raises
        ------
        Refusal : no such file was claimed, more comes than was claimed, another offset, a full disk; or the job was
            given up meanwhile.
        """
        claimed = {str(file[0]): (int(file[1]), str(file[2])) for file in job.files}
        if name not in claimed:
            raise Refusal(404, "The file was not claimed.", "Update the client.", lasting=True)
        size, sha256 = claimed[name]
        part = self._jobs.place(job.id) / "study" / (name + ".part")
        have = self._jobs.offset(job, name)
        if job.state != ARRIVING or part.with_suffix("").is_file():
            return {"offset": size, "complete": True}  # another client has sent it
        if (id(job), name) in self._busy:
            raise Refusal(
                409,
                "Another client sends the same study.",
                "Wait: both get the results of one job.",
                offset=have,
                busy=True,
            )
        if offset != have:
            raise Refusal(409, "The server stands elsewhere in this file.", "Go on from there.", offset=have)
        self._busy.add((id(job), name))
        try:
            have = await self._append(job, part, have, size, pieces)
            self._jobs.touch(job)
            if have < size:
                return {"offset": have, "complete": False}
            return await self._finish(job, part, sha256, size)
        except OSError as error:
            if not self._jobs.has(job):
                raise no_such_job() from error
            if is_full(error):
                raise Refusal.of_fault(error) from error
            raise
        finally:
            self._busy.discard((id(job), name))

    async def _append(self, job: Job, part: Path, have: int, size: int, pieces: AsyncIterator[bytes]) -> int:
        with self._jobs.lock:  # nobody gives the job up meanwhile: its folder would be made again
            if not self._jobs.has(job):
                raise no_such_job()
            part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            stream = part.open("ab", buffering=0)
        with stream:
            while True:
                try:
                    piece = await asyncio.wait_for(anext(pieces), SILENCE_S)
                except (StopAsyncIteration, TimeoutError):
                    return have
                if have + len(piece) > size:
                    raise Refusal(
                        413,
                        "More arrives of a file than was claimed.",
                        "Update the client.",
                        lasting=True,
                        offset=have,
                    )
                view = memoryview(piece)
                while view:
                    written = stream.write(view)
                    have, view = have + written, view[written:]

    async def _finish(self, job: Job, part: Path, sha256: str, size: int) -> dict[str, Any]:
        """Take a file whose hash is right, drop it where it is not."""
        right = await asyncio.to_thread(_hash, part) == sha256
        with self._jobs.lock:
            if not self._jobs.has(job):  # what lies there now, if anything, is of the next job of that name
                raise no_such_job()
            if right:
                part.replace(part.with_suffix(""))
            else:
                part.unlink()
        if not right:
            raise Refusal(409, "A file arrived damaged.", "Send it again from its beginning.", offset=0, damaged=True)
        self._jobs.look(job, part.stem)
        return {"offset": size, "complete": True}


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
