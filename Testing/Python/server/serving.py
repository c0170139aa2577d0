"""Real servers on loopback ports for the tests: in a thread of this process, or as the command in its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import uvicorn
from busy import in_vain

from KLIPCore.client.connection import Server
from KLIPCore.server.app import create_app
from KLIPCore.server.serve import offered_priors
from KLIPCore.server.settings import ServerSettings

REPOSITORY = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-the-tests-1234567890"
SETTINGS: dict[str, Any] = {
    "preset": "quick",
    "prior": "seed",
    "device": "cpu",
    "sampling": {"n_samples": 1, "n_steps": 12},
    "record": {"n_nodes": 4, "cell": 2, "layers": ["cold", "path"]},
    "regions": {"score": "surprise"},
}
"""Of a run of a second, after the two that Python needs to start."""


@dataclass
class Serving:
    """A server that runs.

    Attributes
    ----------
    port : of loopback.
    folder : its state.
    app : what serves, to look into; None where it is another process.
    """

    port: int
    folder: Path
    app: Any = None

    def server(self, token: str | None = None, patience_s: float = 30.0) -> Server:
        """Return how a client names it."""
        return Server(f"http://127.0.0.1:{self.port}", token, patience_s=patience_s)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of one raw request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def claim(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Send a claim of one small file that is good but for the changes."""
        file = {"name": "file000001.dcm", "size": 5, "sha256": "0" * 64}
        values = {"files": [file], "settings": SETTINGS, "holder": "a" * 32} | changes
        status, _, body = self.ask(
            "POST", "/v1/jobs", json.dumps(values).encode(), {"Content-Type": "application/json"}
        )
        return status, json.loads(body)

    @property
    def job_folders(self) -> list[Path]:
        """Folders of the jobs that there are."""
        return sorted(self.folder.glob("jobs/*"))


@contextmanager
def serving(folder: Path, prior: Path, token: str | None = None, **settings: Any) -> Iterator[Serving]:
    """Serve from a thread, with uvicorn, until the block ends."""
    chosen = ServerSettings(folder=str(folder), device="cpu", min_free_gb=0.0, **settings)
    app = create_app(chosen, token, offered_priors([prior]))
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, log_level="critical", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Serving(listener.getsockname()[1], folder, app)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


def start_command(folder: Path, prior: Path, port: int, *more: str) -> subprocess.Popen[str]:
    """Start `klip serve` and wait until it answers."""
    words = ["serve", "--port", str(port), "--folder", str(folder), "--prior", str(prior), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "KLIPCore.cli", *words, "--min-free", "0", *more],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "klip serves at" in process.stderr.readline()
    return process


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    """Wait until something holds, which takes so many seconds at most on a quiet machine."""
    began = time.monotonic()
    while not condition():
        assert not in_vain(began, seconds), "it did not happen"
        time.sleep(0.02)


def processes_of_group(group: int) -> list[int]:
    """Return the processes of a group that live; zombies, which only wait to be counted, do not."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive
