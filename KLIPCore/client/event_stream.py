"""Read server-sent events, and continue after the last one when the connection is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from KLIPCore.client.connection import FAULTS, Busy, Connection, Patience

LONGEST_LINE = 1 << 20


def follow(connection: Connection, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and values of each event, each once, through any number of connections, to the event ``end``.

    Raises
    ------
    KlipError : the server refuses, in its words.
    ServerError : it is gone.
    """
    last, patience = 0, Patience(connection.server)
    while True:
        try:
            with connection.stream(path, {"Last-Event-ID": str(last), "Accept": "text/event-stream"}) as answer:
                for number, name, values in _events(answer, patience):
                    if number and number <= last:
                        continue
                    last = number or last  # of what has none, such as a place in the queue, only the newest counts
                    yield name, values
                    if name == "end":
                        return
            raise ConnectionResetError("cut")
        except Busy as busy:
            patience.failed(busy.refusal, busy.wait_s)
        except FAULTS as error:
            patience.failed(error)


def _events(answer: Any, patience: Patience) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, name and values of the events of one connection; half an event at its end is dropped."""
    number, name, data = 0, "message", ""
    while raw := answer.readline(LONGEST_LINE):
        line = raw.decode("utf-8", "replace")
        if not line.endswith("\n"):
            return
        patience.progressed()  # also a comment, which says that the server is there
        field, _, value = line.rstrip("\r\n").partition(": ")
        if not line.strip():
            if data:
                yield number, name, json.loads(data)
            number, name, data = 0, "message", ""
        elif field == "id":
            number = int(value)
        elif field == "event":
            name = value
        elif field == "data":
            data += value
