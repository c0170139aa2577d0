"""Jobs on the disk: what a restarted server finds, what goes when, and who may end what."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from serving import SETTINGS, wait_for

from KLIPCore.server.claim import Wanted, read_claim
from KLIPCore.server.gate import Gate
from KLIPCore.server.jobs import DONE, FAILED, QUEUED, RUNNING, Job, Jobs
from KLIPCore.server.journal import Journal, note
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.settings import ServerSettings
from KLIPCore.server.worker import Worker

FILE = {"name": "file000001.dcm", "size": 5, "sha256": "0" * 64}


def settings_in(folder: Path, **more: Any) -> ServerSettings:
    return ServerSettings(folder=str(folder), min_free_gb=0.0, **more)


def wanted(folder: Path, holder: str = "a", **changes: Any) -> Wanted:
    values = {"files": [FILE], "settings": SETTINGS, "holder": holder * 32} | changes
    return read_claim(json.dumps(values).encode(), settings_in(folder), {"seed": Path("seed")})


def arrived(jobs: Jobs, job: Job) -> None:
    """Put the claimed file where it belongs."""
    (jobs.place(job.id) / "study" / FILE["name"]).write_bytes(b"12345")
    jobs.look(job, str(FILE["name"]))


def test_the_name_of_a_job_is_study_and_settings(tmp_path: Path) -> None:
    name = wanted(tmp_path).job
    assert wanted(tmp_path, holder="b").job == name
    assert wanted(tmp_path, settings=SETTINGS | {"device": "cuda"}).job == name  # the server has its own
    others = [
        {"settings": SETTINGS | {"sampling": {"seed": 1}}},
        {"slices": "0:1"},
        {"files": [FILE | {"sha256": "1" * 64}]},
        {"entry": FILE["name"]},
    ]
    assert len({name, *(wanted(tmp_path, **changes).job for changes in others)}) == 5


def test_the_folder_is_the_servers_own(tmp_path: Path) -> None:
    Jobs(settings_in(tmp_path / "new"))
    assert [folder.stat().st_mode & 0o777 for folder in (tmp_path / "new", tmp_path / "new" / "jobs")] == [0o700] * 2


def test_a_restarted_server_finds_its_queue(tmp_path: Path) -> None:
    jobs = Jobs(settings_in(tmp_path))
    first, second = (jobs.claim(wanted(tmp_path, slices=f"{n}"))[0] for n in range(2))
    for job in (first, second):
        arrived(jobs, job)
    assert jobs.next() is first
    assert (first.state, second.state, jobs.ahead(second)) == (RUNNING, QUEUED, 1)
    third, _ = jobs.claim(wanted(tmp_path, slices="2"))
    (jobs.place(third.id) / "study" / "file000001.dcm.part").write_bytes(b"12")
    (tmp_path / "jobs" / "damaged").mkdir()
    (tmp_path / "jobs" / "damaged" / "job.json").write_text("{")
    (tmp_path / "jobs" / ".gone-x").mkdir()

    again = Jobs(settings_in(tmp_path))
    assert again.arrived.is_set()
    assert [again.get(job.id).state for job in (first, second, third)] == [QUEUED, QUEUED, "arriving"]
    assert again.missing(again.get(third.id)) == {"file000001.dcm": 2}
    assert not (tmp_path / "jobs" / "damaged").exists()
    assert not (tmp_path / "jobs" / ".gone-x").exists()
    running = again.next()
    assert running is not None
    assert running.id == first.id  # which was before the other


def test_a_job_ends_when_its_last_client_gives_it_up(tmp_path: Path) -> None:
    jobs = Jobs(settings_in(tmp_path))
    job, new = jobs.claim(wanted(tmp_path))
    same, known = jobs.claim(wanted(tmp_path, holder="b"))
    assert (same is job, new, known) == (True, True, False)
    assert jobs.release(job.id, "a" * 32)[1] is None
    assert jobs.release(job.id, "nobody")[1] is None
    place = jobs.place(job.id)
    _, gone = jobs.release(job.id, "b" * 32)
    assert gone is not None
    assert gone.is_dir()
    assert not place.exists()
    with pytest.raises(Refusal, match="no such job"):
        jobs.get(job.id)
    fresh, new = jobs.claim(wanted(tmp_path))  # sent again before the old folder is gone
    assert new
    assert fresh.holders == ["a" * 32]


def test_what_has_had_its_time_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr("KLIPCore.server.jobs.time.time", lambda: now[0])
    jobs = Jobs(settings_in(tmp_path, keep_uploads_h=1.0, keep_results_h=10.0))
    worker = Worker(jobs, {})
    done, _ = jobs.claim(wanted(tmp_path))
    arrived(jobs, done)
    jobs.next()
    jobs.end(done, DONE, 1.0)
    waiting, _ = jobs.claim(wanted(tmp_path, slices="1"))
    queued, _ = jobs.claim(wanted(tmp_path, slices="2"))
    arrived(jobs, queued)

    now[0] += 3500
    worker._clean()
    assert (jobs.place(done.id) / "study").is_dir()
    now[0] += 200
    worker._clean()
    assert not (jobs.place(done.id) / "study").exists()
    assert jobs.get(done.id).state == DONE
    assert not jobs.place(waiting.id).exists()  # it never arrived whole
    now[0] += 10 * 3600
    worker._clean()
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == [queued.id]  # the queue has no end of time


def test_a_claim_has_time_to_arrive(tmp_path: Path) -> None:
    """The cleaner may come round between a claim and its first bytes."""
    jobs = Jobs(settings_in(tmp_path))
    job, _ = jobs.claim(wanted(tmp_path))
    Worker(jobs, {})._clean()
    assert jobs.get(job.id) is job
    assert jobs.place(job.id).is_dir()


def test_a_job_that_was_given_up_does_not_come_back(tmp_path: Path) -> None:
    jobs = Jobs(settings_in(tmp_path))
    job, _ = jobs.claim(wanted(tmp_path))
    jobs.release(job.id, "a" * 32)
    jobs.look(job, str(FILE["name"]))  # its last file was being hashed
    assert not jobs.place(job.id).exists()
    assert Jobs(settings_in(tmp_path)).next() is None


def test_a_run_that_cannot_begin_is_told(tmp_path: Path) -> None:
    jobs = Jobs(settings_in(tmp_path))
    job, _ = jobs.claim(wanted(tmp_path))
    arrived(jobs, job)
    worker = Worker(jobs, {})  # the job's prior has gone
    worker.start()
    wait_for(lambda: job.state == FAILED)
    worker.stop()
    assert job.error is not None
    assert "could not start" in job.error["message"]


def test_a_failed_job_is_tried_again_and_sent_again_where_its_study_is_gone(tmp_path: Path) -> None:
    jobs = Jobs(settings_in(tmp_path))
    job, _ = jobs.claim(wanted(tmp_path))
    arrived(jobs, job)
    jobs.next()
    note(jobs.place(job.id), {"stage": "read"})
    jobs.end(job, FAILED, 1.0, {"error": "ResourceError", "message": "m", "remedy": "r"})
    assert jobs.missing(job) == {}
    jobs.claim(wanted(tmp_path))
    assert (job.state, job.error) == (QUEUED, None)
    assert Journal(jobs.place(job.id), 0).new() == []
    jobs.next()
    jobs.end(job, FAILED, 1.0)
    (jobs.place(job.id) / "study" / FILE["name"]).unlink()
    jobs.claim(wanted(tmp_path))
    assert (job.state, jobs.missing(job)) == ("arriving", {FILE["name"]: 0})


def test_a_line_that_was_half_written_when_the_server_died(tmp_path: Path) -> None:
    note(tmp_path, {"stage": "read"})
    with (tmp_path / "events.jsonl").open("ab") as stream:
        stream.write(b'{"stage": "fra')
    journal = Journal(tmp_path, 0)
    assert journal.new() == [(1, {"stage": "read"})]
    note(tmp_path, {"stage": "lost"})
    note(tmp_path, {"stage": "sample"})
    assert journal.new() == [(3, {"stage": "sample"})]


def test_an_error_of_the_server_is_one_word_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/srv/DOE_JANE.dcm")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/DOE_JANE", "headers": [(b"host", b"localhost")]}
    with caplog.at_level(logging.INFO):
        asyncio.run(Gate(broken, None, 100)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"])["message"] == "The server met an error of its own."
    assert "RuntimeError on a GET request, at test_jobs.py:" in caplog.text
    assert "DOE" not in caplog.text + sent[1]["body"].decode()
