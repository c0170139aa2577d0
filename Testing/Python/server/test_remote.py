"""A study examined by a server comes out as it does here, whatever happens on the way."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from busy import longest
from serving import SETTINGS, Serving, free_port, processes_of_group, serving, start_command, wait_for

from KLIPCore.client.connection import Connection, Server
from KLIPCore.client.detector import Event, Request
from KLIPCore.client.event_stream import follow
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.errors import Cancelled, InputError, NotCTError, OutputError
from KLIPCore.io.images import write_image
from KLIPCore.lab.fuzz.seeds import tiny_study

EQUAL = ("kl_map.nrrd", "reconstruction.nrrd", "body.npz", "regions.seg.nrrd")
"""Files without seconds or new DICOM UIDs in them: equal to the bit."""


def equal_results(one: Path, other: Path) -> None:
    for name in EQUAL:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    names = [sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) for out in (one, other)]
    assert names[0] == names[1]
    numbers = [json.loads((out / "result.json").read_text()) for out in (one, other)]
    for values in numbers:
        values["settings"].pop("prior")  # the server has it elsewhere
        values["provenance"].pop("seconds_sampling")
    assert numbers[0] == numbers[1]


@pytest.mark.slow
def test_a_killed_server_goes_on_and_the_result_is_the_local_one(
    study: Path, prior: Path, local: Path, tmp_path: Path
) -> None:
    """Killed with signal 9 while it samples: its detection dies with it, the client waits, the new one continues."""
    port, out = free_port(), tmp_path / "out"
    first = start_command(tmp_path / "state", prior, port)
    detector = RemoteDetector(Server(f"http://127.0.0.1:{port}", patience_s=60))
    seen: list[Event] = []
    servers = [first]
    detector.start(Request(study, out, SETTINGS))
    for event in detector.events():
        seen.append(event)
        if "(3 of 6)" in event.detail and len(servers) == 1:
            (group,) = children_of(first.pid)
            first.kill()
            first.communicate()
            wait_for(partial(group_is_gone, group), 5)
            kept = sorted(path.name for path in (tmp_path / "state").glob("jobs/*/out/trace/*.npz"))
            assert "slice_0000.npz" in kept
            servers.append(start_command(tmp_path / "state", prior, port))
    files = detector.results()
    servers[-1].send_signal(signal.SIGTERM)
    _, log = servers[-1].communicate(timeout=longest(30))
    assert servers[-1].returncode == 0
    assert len(servers) == 2
    assert len(list((tmp_path / "state" / "jobs").iterdir())) == 1
    assert sum("(1 of 6)" in event.detail for event in seen) == 1  # not sampled twice
    assert sorted(str(p.relative_to(out)) for p in files)[-1] == "trace/slice_0005.npz"
    equal_results(local, out)
    run = json.loads((out / "run.json").read_text())
    assert run["study"]["path"] == str(study.resolve())
    for word in ("Doe", "DOE", "letter"):
        assert word not in log
        stored = [p for p in (tmp_path / "state").rglob("*") if word in p.name]
        assert not stored, "names of files stay with the client"


def group_is_gone(group: int) -> bool:
    return not processes_of_group(group)


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()
    ]


class Watched(RemoteDetector):
    """A client whose progress can be looked at from outside."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.seen: list[Event] = []
        self.error: BaseException | None = None

    def work(self, request: Request) -> None:
        try:
            self.run(request, lambda stage, fraction, detail: self.seen.append(Event(stage, fraction, detail)))
        except BaseException as error:
            self.error = error


def test_two_clients_one_job_and_each_gets_all_of_it(study: Path, prior: Path, local: Path, tmp_path: Path) -> None:
    """The second joins while the first runs; a third, who gives up, takes nothing from them. Then: events, parts
    of files, and the page.
    """
    with serving(tmp_path / "state", prior) as served:
        clients = [Watched(served.server()) for _ in range(2)]
        threads = [
            threading.Thread(target=client.work, args=(Request(study, tmp_path / f"out{n}", SETTINGS),))
            for n, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        third = RemoteDetector(served.server())
        third.start(Request(study, tmp_path / "out3", SETTINGS))
        third.cancel()
        for thread in threads:
            thread.join(120)
        assert [client.error for client in clients] == [None, None]
        assert len(served.job_folders) == 1
        for n in range(2):
            equal_results(local, tmp_path / f"out{n}")
        assert all(client.seen[-1].stage == "done" for client in clients)
        fractions = [event.fraction for event in clients[0].seen]
        assert fractions == sorted(fractions)
        look_at_the_finished_job(served, served.job_folders[0].name)


def look_at_the_finished_job(served: Serving, job: str) -> None:
    whole = [values for _, values in follow(Connection(served.server()), f"/v1/jobs/{job}/events")]
    assert whole[-1] == {"state": "done", "error": None}
    status, _, body = served.ask("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "3"})
    assert status == 200
    numbers = [int(line[4:]) for line in body.decode().splitlines() if line.startswith("id: ")]
    assert numbers == list(range(4, len(whole)))  # from the fourth on; the end has no number

    address = f"/v1/jobs/{job}/files/kl_map.nrrd"
    status, headers, map_file = served.ask("GET", address)
    assert status == 200
    assert map_file == (served.folder / "jobs" / job / "out" / "kl_map.nrrd").read_bytes()
    part = served.ask("GET", address, headers={"Range": "bytes=100-", "If-Range": headers["etag"]})
    assert (part[0], part[2]) == (206, map_file[100:])
    other = served.ask("GET", address, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (other[0], other[2]) == (200, map_file)

    status, headers, page = served.ask("GET", f"/v1/jobs/{job}/report.html")
    assert status == 200
    assert page.startswith(b"<!DOCTYPE html>") or page.startswith(b"<!doctype html>")
    assert "default-src 'none'" in headers["content-security-policy"]
    for name in ("job.json", "../job.json", "%2e%2e/job.json", "trace/../../job.json", "settings.yaml"):
        assert served.ask("GET", f"/v1/jobs/{job}/files/{name}")[0] == 404


def test_cancel_leaves_no_process_and_no_study(study: Path, prior: Path, tmp_path: Path) -> None:
    slow = SETTINGS | {"sampling": {"n_samples": 8, "n_steps": 2000}}
    with serving(tmp_path / "state", prior) as served:
        detector = RemoteDetector(served.server())
        detector.start(Request(study, tmp_path / "out", slow))
        events = detector.events()
        wait_for(lambda: next(events).stage == "sample", 120)
        worker = served.app.service.worker
        group = worker.child
        assert processes_of_group(group)
        began = time.monotonic()
        detector.cancel()
        wait_for(partial(group_is_gone, group), 2)
        assert time.monotonic() - began < longest(2)
        wait_for(lambda: worker.child is None)
        assert served.job_folders == []


def test_a_cancel_while_the_claim_is_answered_reaches_the_server(
    study: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Connection.ask

    def interrupted(self: Connection, method: str, path: str, *rest: Any) -> Any:
        answer = ask(self, method, path, *rest)
        if path == "/v1/jobs" and not stopped:
            stopped.append(answer["id"])
            raise KeyboardInterrupt
        return answer

    stopped: list[str] = []
    monkeypatch.setattr(Connection, "ask", interrupted)
    with serving(tmp_path / "state", prior) as served:
        with pytest.raises(Cancelled):
            RemoteDetector(served.server()).run(Request(study, tmp_path / "out", SETTINGS))
        assert stopped
        assert served.job_folders == []


def test_what_is_no_ct_is_told_in_the_clients_words(
    prior: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The detection's own sentence; the file's name is the user's again; what failed is kept out of the log."""
    flat = tiny_study(4)
    flat.array[:] = 3.0
    write_image(flat, tmp_path / "Jane Doe.nrrd")
    with caplog.at_level(logging.INFO), serving(tmp_path / "state", prior) as served:
        detector = RemoteDetector(served.server())
        with pytest.raises(InputError) as caught:
            detector.run(Request(tmp_path / "Jane Doe.nrrd", tmp_path / "out", SETTINGS))
        assert "Jane" not in "".join(p.read_text() for p in served.folder.glob("jobs/*/job.json"))
        assert caught.value.remedy
        assert "volume.nrrd" not in str(caught.value)
        assert "jobs/" not in str(caught.value)
    failed = [line for line in caplog.messages if "failed after" in line]
    assert len(failed) == 1
    assert type(caught.value).__name__ in failed[0]
    assert "Jane" not in caplog.text


def test_a_folder_with_something_else_is_refused_before_anything_is_sent(study: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match="holds no earlier run"):
        RemoteDetector(Server("http://127.0.0.1:9")).start(Request(study, tmp_path, SETTINGS))


def test_the_error_classes_are_the_librarys() -> None:
    from KLIPCore.client.child import told_error

    assert isinstance(told_error({"error": "NotCTError", "message": "m", "remedy": "r"}), NotCTError)
    values: dict[str, Any] = {"error": "annotations", "message": "m"}  # a name in the module that is no error
    assert type(told_error(values)).__name__ == "KlipError"
