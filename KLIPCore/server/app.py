"""The addresses of a server.

::

    GET    /healthz                       that it is there
    GET    /version?protocol=1            whether client and server fit, and which to update
    POST   /v1/jobs                       claim: files, settings → job
    GET    /v1/jobs/ID                    state, and what is missing of the study
    PUT    /v1/jobs/ID/files/NAME         a piece of a file, from Upload-Offset on
    GET    /v1/jobs/ID/events             server-sent events, from Last-Event-ID on
    GET    /v1/jobs/ID/files              what the run has written so far
    GET    /v1/jobs/ID/files/NAME         one of it, also in part (Range, If-Range)
    GET    /v1/jobs/ID/report.html        the page to read
    DELETE /v1/jobs/ID?holder=CLIENT      give up: ended and deleted, unless somebody else wants it
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from KLIPCore import __version__
from KLIPCore.client.connection import PROTOCOL
from KLIPCore.runs.folder import OWN_FILES
from KLIPCore.server.claim import read_claim
from KLIPCore.server.gate import Gate, fit
from KLIPCore.server.jobs import Job, Jobs
from KLIPCore.server.journal import event_stream
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.settings import ServerSettings
from KLIPCore.server.uploads import Uploads
from KLIPCore.server.worker import Worker

log = logging.getLogger(__name__)

LARGEST_CLAIM = 8 << 20
"""Bytes; 20 000 files take a third of it."""

DRAIN_S = 5.0
"""For each part of a piece that is not taken."""

RESULT = re.compile(r"trace/slice_\d{4,6}\.npz")

REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:; worker-src blob:; font-src data:; sandbox allow-scripts allow-downloads"
)
"""The page runs its own two scripts and fetches nothing; it can neither call this server nor be called."""


class Service:
    """What the addresses stand for.

    Parameters
    ----------
    settings : limits and folder.
    priors : weights by name.
    """

    def __init__(self, settings: ServerSettings, priors: Mapping[str, Path]) -> None:
        self.settings, self.priors = settings, priors
        self.jobs = Jobs(settings)
        self.uploads = Uploads(self.jobs)
        self.worker = Worker(self.jobs, priors)
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def status(self, job: Job) -> dict[str, Any]:
        """Return what a client may know of a job."""
        return {
            "id": job.id,
            "state": job.state,
            "missing": self.jobs.missing(job),
            "seconds": job.seconds,
            "error": job.error,
        }

    async def claim(self, request: Request) -> dict[str, Any]:
        """Take a study's claim."""
        if request.headers.get("content-type") != "application/json":
            raise Refusal(415, "A claim is JSON.", "Update the client.", lasting=True)
        raw = bytearray()
        async for piece in request.stream():
            raw += piece
            if len(raw) > LARGEST_CLAIM:
                raise Refusal(413, "The claim is too long.", "Send a single series.", lasting=True)
        wanted = await asyncio.to_thread(read_claim, bytes(raw), self.settings, self.priors)
        job, new = await asyncio.to_thread(self.jobs.claim, wanted)
        count, size = len(job.files), job.size / 1e6
        log.info("job %s claimed%s: %d files, %.1f MB", job.id[:12], "" if new else " again", count, size)
        return self.status(job)

    async def receive(self, request: Request, job_id: str, name: str) -> dict[str, Any]:
        """Take a piece of a file."""
        offset = request.headers.get("upload-offset", "")
        if not offset.isdecimal() or len(offset) > 16:
            raise Refusal(422, "The piece does not say where it belongs.", "Update the client.", lasting=True)
        pieces = _pieces(request)
        try:
            return await self.uploads.receive(self.jobs.get(job_id), name, int(offset), pieces)
        except Refusal as refusal:
            if refusal.status == 409:  # the sender goes on, and reads the answer when its piece is through
                await _drain(pieces)
            raise

    def files(self, job_id: str) -> list[dict[str, Any]]:
        """Return what a job's run has written, with hashes."""
        self.jobs.get(job_id)
        out = self.jobs.place(job_id) / "out"
        found = []
        for name in [*OWN_FILES, *sorted(f"trace/{path.name}" for path in (out / "trace").glob("slice_*.npz"))]:
            try:
                size = (out / name).stat().st_size
                found.append({"name": name, "size": size, "sha256": self.hash(out / name)})
            except FileNotFoundError:
                continue
        return found

    def hash(self, path: Path) -> str:
        """Return a file's hash; read once for each content."""
        known = path.stat()
        key = (path, known.st_mtime_ns, known.st_size)
        if key not in self._hashes:
            with path.open("rb") as stream:
                self._hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            while len(self._hashes) > 20_000:
                self._hashes.pop(next(iter(self._hashes)))
        return self._hashes[key]

    def file(self, job_id: str, name: str) -> FileResponse:
        """Return a file of a job's run."""
        self.jobs.get(job_id)
        path = self.jobs.place(job_id) / "out" / name
        if (name not in OWN_FILES and not RESULT.fullmatch(name)) or not path.is_file():
            raise Refusal(404, "The run has no such file (yet).", "Wait for its end.", lasting=True)
        headers = {"ETag": f'"{self.hash(path)}"', "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if name == "report.html":
            headers["Content-Security-Policy"] = REPORT_POLICY
            return FileResponse(path, headers=headers, media_type="text/html")
        return FileResponse(path, headers=headers, media_type="application/octet-stream")

    def give_up(self, job_id: str, holder: str) -> dict[str, Any]:
        """Take a client's wish for a job back."""
        job, folder = self.jobs.release(job_id, holder)
        if folder is None:
            return {"state": "kept", "message": "Another client wants the same job; it goes on."}
        self.worker.drop(job, folder)
        log.info("job %s given up and deleted", job_id[:12])
        return {"state": "deleted", "message": "The job has ended; its study and results are deleted."}


def create_app(settings: ServerSettings, token: str | None, priors: Mapping[str, Path]) -> Gate:
    """Return the whole server as an ASGI application; its queue works from its start-up to its shutdown.

    Parameters
    ----------
    settings : of the server.
    token : that clients must show; None where they need not.
    priors : weights by name.
    """
    service = Service(settings, priors)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        service.worker.start()
        yield
        await asyncio.to_thread(service.worker.stop)

    app = FastAPI(title="klip serve", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.state.service = service
    _add_addresses(app, service)
    for kind in (HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _unknown)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(Exception, _failed)
    gate = Gate(app, token, settings.requests_per_minute)
    gate.service = service  # type: ignore[attr-defined]
    return gate


def _add_addresses(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version")
    async def version(request: Request, protocol: str = str(PROTOCOL)) -> dict[str, Any]:
        fits, sentence, remedy = fit(protocol, request.headers.get("x-klip-version", __version__))
        if not fits:
            log.info("a client was told at once: %s", remedy)
        own = {"version": __version__, "protocol": PROTOCOL, "priors": sorted(service.priors)}
        return {**own, "fits": fits, "sentence": sentence, "remedy": remedy}

    @app.post("/v1/jobs")
    async def claim(request: Request) -> dict[str, Any]:
        return await service.claim(request)

    @app.get("/v1/jobs/{job_id}")
    def status(job_id: str) -> dict[str, Any]:
        return service.status(service.jobs.get(job_id))

    @app.put("/v1/jobs/{job_id}/files/{name}")
    async def receive(request: Request, job_id: str, name: str) -> dict[str, Any]:
        return await service.receive(request, job_id, name)

    @app.get("/v1/jobs/{job_id}/events")
    async def events(request: Request, job_id: str) -> StreamingResponse:
        service.jobs.get(job_id)
        last = request.headers.get("last-event-id", "0")
        number = int(last) if last.isdecimal() and len(last) < 10 else 0
        stream = event_stream(service.jobs, job_id, number)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/v1/jobs/{job_id}/files")
    def files(job_id: str) -> dict[str, Any]:
        return {"files": service.files(job_id)}

    @app.get("/v1/jobs/{job_id}/files/{name:path}")
    def file(job_id: str, name: str) -> FileResponse:
        return service.file(job_id, name)

    @app.get("/v1/jobs/{job_id}/report.html")
    def report(job_id: str) -> FileResponse:
        return service.file(job_id, "report.html")

    @app.delete("/v1/jobs/{job_id}")
    def give_up(job_id: str, holder: str = "") -> dict[str, Any]:
        return service.give_up(job_id, holder)


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    """Answer what is no address of this server."""
    status = getattr(error, "status_code", 422)
    told = {"error": "ServerError", "message": "The server has no such address.", "remedy": "Update the client."}
    return JSONResponse({**told, "lasting": True}, status)


async def _refused(request: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)
    refusal.note()
    return JSONResponse(refusal.body, refusal.status, refusal.headers)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Answer a fault of ours; the gate logs its kind."""
    return await _refused(request, Refusal.of_fault(error))


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Let a piece that is not taken pass, up to what a client sends at once."""
    passed = 0
    with suppress(TimeoutError, StopAsyncIteration):
        while passed < LARGEST_CLAIM:
            passed += len(await asyncio.wait_for(anext(pieces), DRAIN_S))


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, up to its end or the sender's."""
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect:
        return
