"""Detections on a server: the study up, events as they come, the same output folder down."""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from KLIPCore.client.child import told_error
from KLIPCore.client.connection import PROTOCOL, Connection, Server
from KLIPCore.client.detector import Detector, Event, Request
from KLIPCore.client.download import RemoteFile, fetch
from KLIPCore.client.event_stream import follow
from KLIPCore.client.study_files import StudyFiles, study_files
from KLIPCore.client.upload import missing, upload
from KLIPCore.errors import ConfigError, KlipError, OutputError, ServerError

UPLOADED, COMPUTED = 0.1, 0.95
"""Parts of the progress bar at which the study is up, and at which the results come down."""

HASTY_S = 5.0
"""How long the first and the last word to a server are tried."""

RUN_FILES = (
    "run.json",
    "body.npz",
    "organs.npz",
    "reconstruction.nrrd",
    "kl_map.nrrd",
    "regions.seg.nrrd",
    "regions.dcm",
    "kl_map.dcm",
    "report.dcm",
    "report.html",
    "result.json",
)
"""What a run writes besides ``trace/``; nothing else is removed to make room for another run."""

BESIDE = ("synthetic", "run.lock")
"""What may lie in the folder before a run."""

EARLY = ("run.json", "body.npz", "trace/")
"""What is brought while slices are still being sampled: enough for a map of those that are done."""


class RemoteDetector(Detector):
    """`klip detect` on the computer of a `klip serve`.

    Parameters
    ----------
    server : where it is, and the token.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._connection = Connection(server)
        self._request: Request | None = None
        self._study: StudyFiles | None = None
        self._job: str = ""
        self._claim = b""
        self._state: dict[str, Any] = {}
        self._brought: set[str] = set()

    def handshake(self) -> str:
        """Ask whether both sides understand each other; returns a sentence on the server.

        Raises
        ------
        ServerError : they do not: which side to update; or a wrong token, or no server there.
        """
        with closing(self._hasty()) as connection:
            answer = connection.ask("GET", f"/version?protocol={PROTOCOL}")
        if not answer.get("fits"):
            sentence = str(answer.get("sentence") or f"{self.server.name()} is no klip server.")
            raise ServerError(sentence, str(answer.get("remedy") or "Check the address."))
        return str(answer["sentence"])

    def start(self, request: Request) -> None:
        """Shake hands and claim the job: what will be sent, and the settings."""
        self._request, self._brought = request, set()
        prior = str(request.settings.get("prior", ""))
        if "/" in prior or "\\" in prior or prior.endswith(".safetensors"):
            raise ConfigError(
                "A server works with the priors that it has, not with a file of this computer.",
                "Name one of them with --prior; its administrator can add others with klip serve --prior FILE.",
            )
        check_folder(request.out)
        self.handshake()
        self._study = study_files(request.study)
        claim = {
            "files": [file.claim() for file in self._study.files],
            "entry": self._study.entry,
            "settings": dict(request.settings),
            "series": request.series,
            "slices": request.slices,
            "roi": request.roi,
            "holder": holder(request.out),
        }
        self._claim = json.dumps(claim).encode()
        with self._in_the_users_words(), closing(self._connection):
            self._state = self._claimed(self._connection)
        self._job = str(self._state["id"])

    def events(self) -> Iterator[Event]:
        """Send what the server has not yet, follow the work, bring the results."""
        if not self._job:
            return
        with closing(self._connection):
            yield from self._upload()
            yield from self._follow()
            yield from self._download()
        yield Event("done", 1.0, "all results are here")

    def cancel(self) -> None:
        """Give the job up. The server ends it and deletes what it has, unless another client wants it, too."""
        if not self._claim or self._request is None:
            return
        self._connection.close()
        with suppress(KlipError), closing(self._hasty()) as connection:
            # stopped while the claim was on its way: sent again it is the same job, whose name comes back
            job = self._job or str(self._claimed(connection)["id"])
            connection.ask("DELETE", f"/v1/jobs/{job}?holder={holder(self._request.out)}")
        self._job, self._claim = "", b""

    def results(self) -> list[Path]:
        """Return the files that were brought."""
        out = self._request.out if self._request is not None else Path()
        return sorted(out / name for name in self._brought)

    def _claimed(self, connection: Connection) -> dict[str, Any]:
        """Send the claim and return the job's state."""
        return connection.ask("POST", "/v1/jobs", self._claim, {"Content-Type": "application/json"})

    def _hasty(self) -> Connection:
        """A connection for what somebody waits for."""
        return Connection(replace(self.server, patience_s=min(HASTY_S, self.server.patience_s)), HASTY_S)

    def _upload(self) -> Iterator[Event]:
        assert self._study is not None
        waits = missing(self._state)
        todo = [file for file in self._study.files if file.name in waits]
        sent = self._study.size - sum(file.size - waits[file.name] for file in todo)
        for number, file in enumerate(todo, 1):
            before = waits[file.name]
            with self._in_the_users_words():
                for offset in upload(self._connection, self._job, file, before):
                    part = (sent + offset - before) / max(self._study.size, 1)
                    yield Event("upload", UPLOADED * min(part, 1.0), f"file {number} of {len(todo)}")
            sent += file.size - before
        yield Event("upload", UPLOADED, "the server has the study")

    def _follow(self) -> Iterator[Event]:
        for name, values in follow(self._connection, f"/v1/jobs/{self._job}/events"):
            if name == "end":
                self._check_end(values)
                return
            event = Event.from_dict(values)
            if event.stage == "sample":
                self._bring_early()
            scaled = UPLOADED + (COMPUTED - UPLOADED) * min(max(event.fraction, 0.0), 1.0)
            if event.stage != "done":
                yield Event(event.stage, scaled, self._shown(event.detail), event.eta_s)

    def _bring_early(self) -> None:
        """Bring slices that are done."""
        for file in self._listing():
            if file.name.startswith(EARLY) and file.name not in self._brought:
                self._bring(file)

    def _download(self) -> Iterator[Event]:
        files = sorted(self._listing(), key=lambda file: (file.name == "result.json", file.name))
        for number, file in enumerate(files, 1):
            if file.name not in self._brought or not file.name.startswith("trace/"):
                self._bring(file)
            part = COMPUTED + (1 - COMPUTED) * number / len(files)
            yield Event("download", part, f"{file.name} ({number} of {len(files)})")

    def _listing(self) -> list[RemoteFile]:
        files = RemoteFile.all_of(self._connection.ask("GET", f"/v1/jobs/{self._job}/files"))
        return sorted(files, key=lambda file: (file.name != "run.json", file.name))  # it decides on the folder

    def _bring(self, file: RemoteFile) -> None:
        assert self._request is not None
        target = self._request.out / file.name
        address = f"/v1/jobs/{self._job}/files/{file.name}"
        if file.name == "run.json":
            self._write_record(self._connection.ask("GET", address))
        else:
            fetch(self._connection, address, file, target)
        self._brought.add(file.name)

    def _write_record(self, run: dict[str, Any]) -> None:
        """Write ``run.json`` with this computer's path of the study, so that later commands find it.

        Raises
        ------
        OutputError : the folder holds another run, or cannot be written.
        """
        assert self._request is not None
        out, study = self._request.out, self._request.study
        run.pop("status")
        run.get("study", {})["path"] = str(study.resolve())
        if "prior" in self._request.settings:
            run.get("config", {})["prior"] = self._request.settings["prior"]
        try:
            make_room(out, run.get("fingerprint"), overwrite=self._request.overwrite)
            part = out / "run.json.part"
            part.write_text(json.dumps(run, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            part.replace(out / "run.json")
        except OSError as error:
            raise OutputError(
                f"The output folder {out} cannot be written to ({error.strerror or error}).",
                "Choose a folder you may write to with -o.",
            ) from error

    def _check_end(self, values: dict[str, Any]) -> None:
        if values.get("state") == "done":
            return
        told = values.get("error") or {}
        if values.get("state") == "failed" and told:
            with self._in_the_users_words():
                raise told_error(told)
        raise ServerError("The job was cancelled on the server.", "Run the same command again to start it anew.")

    def _shown(self, text: str) -> str:
        return text if self._study is None else self._study.in_the_users_words(text)

    def _in_the_users_words(self) -> _UsersWords:
        return _UsersWords(self._shown)


class _UsersWords:
    """Puts the real names of files into the sentences of errors that pass."""

    def __init__(self, shown: Any) -> None:
        self._shown = shown

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KlipError):
            error.message, error.remedy = self._shown(error.message), self._shown(error.remedy)
            error.args = (f"{error.message} {error.remedy}".strip(),)


def holder(out: Path) -> str:
    """Return what stands for this client of a job: the same for the same folder of the same computer."""
    return hashlib.sha256(f"{uuid.getnode()} {out.resolve()}".encode()).hexdigest()[:32]


def check_folder(out: Path) -> None:
    """Refuse an output folder that holds anything but a run.

    Raises
    ------
    OutputError : it does, or is none.
    """
    try:
        strange = out.exists() and any(item.name not in BESIDE for item in out.iterdir())
    except OSError as error:
        raise OutputError(
            f"The output folder {out} cannot be used ({error.strerror}).", "Choose another folder with -o."
        ) from error
    if strange and not (out / "run.json").is_file():
        raise OutputError(f"{out} is not empty and holds no earlier run.", "Choose a new or empty folder with -o.")


def make_room(out: Path, fingerprint: Any, *, overwrite: bool) -> None:
    """Make the output folder, and remove another run's files from it where that was asked for.

    Raises
    ------
    OutputError : it holds another run.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        before = json.loads((out / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or before.get("fingerprint") == fingerprint:
        return
    if not overwrite:
        raise OutputError(
            f"{out} holds a run with other settings or of another study.",
            "Choose another folder with -o, or replace that run with --overwrite.",
        )
    for name in RUN_FILES:
        (out / name).unlink(missing_ok=True)
    if (out / "trace").is_dir():
        shutil.rmtree(out / "trace")
