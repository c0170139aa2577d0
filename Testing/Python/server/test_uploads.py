"""A study's way up, as badly as networks and people treat it: no error of the server's own, and nothing lost."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import socket
import threading
import time
from http.client import HTTPException
from pathlib import Path

import pytest
from serving import Serving, serving

BYTES = {f"file00000{k}.dcm": random.Random(k).randbytes(40_000 + 7 * k) for k in range(1, 6)}
NEVER = "file000009.dcm"
"""It is claimed and not sent: the job stays open, and nothing is examined."""


def claimed(served: Serving, holder: str) -> str:
    files = [{"name": n, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in BYTES.items()]
    files.append({"name": NEVER, "size": 9, "sha256": "0" * 64})
    status, job = served.claim(files=files, holder=holder * 32)
    assert status == 200, job
    return str(job["id"])


def put(served: Serving, job: str, name: str, offset: int, body: bytes) -> tuple[int, dict]:
    status, _, answer = served.ask("PUT", f"/v1/jobs/{job}/files/{name}", body, {"Upload-Offset": str(offset)})
    return status, json.loads(answer)


def cut(served: Serving, job: str, name: str, offset: int, body: bytes, sent: int) -> None:
    """A request whose connection is cut after part of its body."""
    head = f"PUT /v1/jobs/{job}/files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpload-Offset: {offset}\r\n"
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:sent])


def sent_badly(served: Serving, holder: str, seed: int, statuses: list[int], until: float, gives_up: bool) -> bool:
    """Send all files in pieces of any size, many of them cut, doubled or out of place; whether all have arrived."""
    draw, job = random.Random(seed), claimed(served, holder)
    offsets = dict.fromkeys(BYTES, 0)
    while offsets and time.monotonic() < until:
        name = draw.choice(sorted(offsets))
        start = offsets[name] if draw.random() < 0.9 else draw.randrange(len(BYTES[name]))
        piece = BYTES[name][start : start + draw.randrange(1, 20_000)]
        try:
            if draw.random() < 0.3:
                cut(served, job, name, start, piece, draw.randrange(len(piece) + 1))
                continue
            if gives_up and draw.random() < 0.03:
                status, _, _ = served.ask("DELETE", f"/v1/jobs/{job}?holder={holder * 32}")
                statuses.append(status)
                job = claimed(served, holder)
                offsets = dict.fromkeys(BYTES, 0)
                continue
            status, answer = put(served, job, name, start, piece)
        except (OSError, HTTPException):
            continue
        statuses.append(status)
        if status == 404:
            job, offsets = claimed(served, holder), dict.fromkeys(BYTES, 0)
        elif answer.get("complete"):
            del offsets[name]
            if gives_up and not offsets:
                job, offsets = claimed(served, holder), dict.fromkeys(BYTES, 0)
        elif "offset" in answer and name in offsets:
            offsets[name] = int(answer["offset"])
    return not offsets


def crowd(served: Serving, seeds: range, gives_up: bool, seconds: float) -> tuple[list[int], list[bool]]:
    """Several senders of one study at once: their statuses, and who got all of it across."""
    statuses: list[int] = []
    arrived: list[bool] = []
    until = time.monotonic() + seconds

    def send(seed: int) -> None:
        arrived.append(sent_badly(served, "a" if gives_up else "bc"[seed % 2], seed, statuses, until, gives_up))

    threads = [threading.Thread(target=send, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, arrived


def test_two_senders_of_one_study_whose_connections_are_cut(
    prior: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), serving(tmp_path, prior, requests_per_minute=1_000_000) as served:
        statuses, arrived = crowd(served, range(2), False, 40.0)
        (folder,) = served.job_folders
        stored = {file.name: file.read_bytes() for file in (folder / "study").iterdir()}
    assert set(statuses) <= {200, 409}, caplog.text
    assert arrived == [True, True]
    assert stored == BYTES
    assert not caplog.records, caplog.text


def test_senders_who_give_up_and_come_back(prior: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), serving(tmp_path, prior, requests_per_minute=1_000_000) as served:
        statuses, _ = crowd(served, range(4), True, 6.0)
        served.ask("DELETE", f"/v1/jobs/{claimed(served, 'a')}?holder={'a' * 32}")
        time.sleep(0.3)
        left = [path.name for folder in served.job_folders for path in folder.rglob("*")]
    assert set(statuses) <= {200, 404, 409}, (sorted(set(statuses)), caplog.text)
    assert 404 in statuses or 409 in statuses
    assert not caplog.records, caplog.text
    assert left == []
