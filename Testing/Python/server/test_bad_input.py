"""What goes wrong between a user and a server: a sentence there, a line without names in the log, nothing lost."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from serving import SETTINGS, Serving, serving, wait_for

from KLIPCore.client.connection import PROTOCOL
from KLIPCore.client.detector import Request
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.errors import ServerError
from KLIPCore.server.worker import Worker

TOKEN = "a-token-that-is-long-enough-to-be-one-0123456789"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB and 40 files."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=40", "none", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(file: Path) -> None:
    """Write until nothing more goes."""
    with file.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        stream.writelines(repeat(bytes(4096)))


def put(served: Serving, job: str, offset: int, body: bytes) -> tuple[int, dict]:
    status, _, answer = served.ask("PUT", f"/v1/jobs/{job}/files/a.dcm", body, {"Upload-Offset": str(offset)})
    return status, json.loads(answer)


def test_an_upload_meets_a_full_disk_and_goes_on(
    small_disk: Path, prior: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = bytes(range(256)) * 400
    claim = {"name": "a.dcm", "size": len(study), "sha256": hashlib.sha256(study).hexdigest()}
    with caplog.at_level(logging.INFO), serving(small_disk / "served", prior) as served:
        status, told = served.claim(files=[claim])
        assert status == 200
        assert put(served, told["id"], 0, study[:50_000]) == (200, {"offset": 50_000, "complete": False})
        fill(small_disk / "other")
        status, answer = put(served, told["id"], 50_000, study[50_000:])
        assert (status, answer["message"]) == (507, "The server's disk is full.")
        assert "continues" in answer["remedy"]
        assert "a request was refused (status 507): The server's disk is full." in caplog.messages
        status, answer = served.claim(files=[claim | {"sha256": "1" * 64}])
        assert (status, len(served.job_folders)) == (507, 1)
        assert "no space for this study" in answer["message"]
        (small_disk / "other").unlink()
        have = served.claim(files=[claim])[1]["missing"]["a.dcm"]
        assert have >= 50_000
        assert put(served, told["id"], have, study[have:]) == (200, {"offset": len(study), "complete": True})
        served.ask("DELETE", f"/v1/jobs/{told['id']}?holder={'a' * 32}")
    assert not [line for line in caplog.messages if "a.dcm" in line]


def test_a_claim_that_cannot_be_noted_leaves_nothing(
    small_disk: Path, prior: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No file can be made any more, though there is space: of the job, then of its note."""
    with caplog.at_level(logging.INFO), serving(small_disk / "served", prior) as served:
        made = [small_disk / str(number) for number in range(100)]
        with pytest.raises(OSError, match="No space"):
            list(map(Path.touch, made))
        made = [file for file in made if file.exists()]
        for left in (0, 2):  # the job's two folders, and then no file in them
            for file in made[:left]:
                file.unlink()
            status, told = served.claim()
            assert (status, told["message"]) == (507, "The server's disk is full.")
            assert served.job_folders == []
        made[2].unlink()
        made[3].unlink()
        assert served.claim()[0] == 200
    assert caplog.messages.count("a request was refused (status 507): The server's disk is full.") == 2


def test_the_queue_waits_while_the_disk_is_full(
    small_disk: Path, prior: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot be noted as running stays in the queue; one whose end cannot be noted has ended, too."""
    monkeypatch.setattr("KLIPCore.server.worker.LOOK_EVERY_S", 0.2)
    with serving(small_disk / "served", prior) as served:
        service = served.app.service
        service.worker.stop()
        _, told = served.claim(files=[{"name": "a.dcm", "size": 5, "sha256": hashlib.sha256(b"12345").hexdigest()}])
        assert put(served, told["id"], 0, b"12345")[0] == 200
        fill(small_disk / "other")
        service.worker = Worker(service.jobs, service.priors)
        service.worker.start()
        wait_for(lambda: "The worker met OSError (No space left on device) and goes on." in caplog.messages)
        job = service.jobs.get(told["id"])
        assert job.state == "queued"
        (small_disk / "other").unlink()
        wait_for(lambda: job.state == "running" and service.worker.child)
        fill(small_disk / "other")
        service.jobs.end(job, "failed", 1.0, {"message": "This was wrong."})
        state = json.loads(served.ask("GET", f"/v1/jobs/{told['id']}")[2])
        assert (state["state"], state["error"]) == ("failed", {"message": "This was wrong."})
        assert f"job {job.id[:12]}: its end cannot be written (No space left on device)" in caplog.messages
        service.worker.stop()


def test_folders_without_a_job_are_deleted(tmp_path: Path, prior: Path) -> None:
    """Studies whose job was never noted are nobody's, and would never be deleted."""
    (tmp_path / "jobs" / "abc" / "study").mkdir(parents=True)
    (tmp_path / "jobs" / "abc" / "study" / "a.dcm.part").write_bytes(b"DOE^JANE")
    with serving(tmp_path, prior) as served:
        assert served.job_folders == []


def test_wrong_tokens_and_old_clients_are_lines_in_the_log(
    tmp_path: Path, prior: Path, study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), serving(tmp_path / "served", prior, TOKEN) as served:
        wrong = "another-token-of-the-right-length"
        with pytest.raises(ServerError, match="does not accept this token"):
            RemoteDetector(served.server(wrong)).start(Request(study, tmp_path / "out", SETTINGS))
        assert caplog.messages.pop() == "a request without the token was refused"
        monkeypatch.setattr("KLIPCore.client.remote.PROTOCOL", PROTOCOL - 1)
        with pytest.raises(ServerError, match=r"protocol .*client"):
            RemoteDetector(served.server(TOKEN)).start(Request(study, tmp_path / "out", SETTINGS))
        assert "a client was told at once: Update the client" in caplog.messages.pop()
        old = {"Authorization": f"Bearer {TOKEN}", "X-KLIP-Protocol": str(PROTOCOL - 1)}
        assert served.ask("POST", "/v1/jobs", b"{}", old)[0] == 426
        assert "(status 426): Update the client" in caplog.messages.pop()
        assert served.job_folders == []
    assert not [word for word in (TOKEN, wrong, "DOE", "Doe") if word in caplog.text]
