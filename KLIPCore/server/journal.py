"""What happens to a job, a line an event, numbered by lines; and how a browser or a client is told of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from KLIPCore.server.jobs import DONE, FAILED, QUEUED, Jobs
from KLIPCore.server.refusal import Refusal

LOOK_EVERY_S = 0.05
ALIVE_EVERY_S = 10.0
"""A comment is sent so often where nothing else is, so that both sides know of each other."""


def note(folder: Path, event: dict[str, Any]) -> None:
    """Append an event."""
    with (folder / "events.jsonl").open("ab") as stream:
        stream.write(json.dumps(event).encode() + b"\n")


class Journal:
    """Reads a job's events as they are appended.

    Parameters
    ----------
    folder : of the job.
    last : number of the last event that is known already.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self._path, self._last, self._number, self._place = folder / "events.jsonl", last, 0, 0

    def new(self) -> list[tuple[int, dict[str, Any]]]:
        """Return what has come since, each with its number."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._place)
                text = stream.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        found = []
        for line in whole.splitlines():
            self._number += 1
            if self._number > self._last:
                with suppress(ValueError):  # half a line of a server that was killed as it wrote
                    found.append((self._number, json.loads(line)))
        return found


async def event_stream(jobs: Jobs, job_id: str, last: int) -> AsyncIterator[bytes]:
    """Yield a job's events as server-sent ones, from the one after ``last`` to the event ``end``."""
    journal, told, quiet_since = Journal(jobs.place(job_id), last), -1, time.monotonic()
    while True:
        try:
            job = jobs.get(job_id)
        except Refusal:  # given up by its last client, or its time is over
            yield _event("end", {"state": "cancelled"})
            return
        state = job.state
        for number, values in journal.new():  # the state was read before: nothing comes after an end
            yield _event("progress", values, number)
            quiet_since = time.monotonic()
        if state in (DONE, FAILED):
            yield _event("end", {"state": state, "error": job.error})
            return
        if state == QUEUED and (ahead := jobs.ahead(job)) != told:
            told = ahead
            detail = "next in the queue" if ahead == 0 else f"{ahead} job{'s' * (ahead > 1)} before this one"
            yield _event("progress", {"stage": "queue", "fraction": 0.0, "eta_s": None, "detail": detail}, live=True)
            quiet_since = time.monotonic()
        if time.monotonic() - quiet_since > ALIVE_EVERY_S:
            yield b": alive\n\n"
            quiet_since = time.monotonic()
        await asyncio.sleep(LOOK_EVERY_S)


def _event(name: str, values: dict[str, Any], number: int = 0, *, live: bool = False) -> bytes:
    """One event; only those of the journal have a number to continue from."""
    identity = f"id: {number}\n" if number else ""
    kind = "live" if live else name
    return f"{identity}event: {kind}\ndata: {json.dumps(values)}\n\n".encode()
