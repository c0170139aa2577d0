"""`klip serve` with a certificate, as docs/server.md makes it, and clients that trust it or do not."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from serving import REPOSITORY, free_port, start_command

from KLIPCore.client.connection import Server
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.errors import ConfigError, ServerError
from KLIPCore.server.serve import serve
from KLIPCore.server.settings import ServerSettings


def certificate(folder: Path) -> Path:
    """Make key.pem and cert.pem by the page's own command."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes the certificate")
    page = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
    command = re.search(r"^openssl req .*\\\n.*$", page, re.MULTILINE)
    assert command is not None
    folder.mkdir()
    subprocess.run(["sh", "-c", command[0]], cwd=folder, check=True, capture_output=True)
    return folder


def test_the_certificate_of_the_tutorial(prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server makes its token; who trusts the certificate and has the token gets in, and nobody else."""
    monkeypatch.delenv("KLIP_TOKEN", raising=False)
    tls, other = certificate(tmp_path / "tls"), certificate(tmp_path / "other")
    pair = ("--certificate", str(tls / "cert.pem"), "--key", str(tls / "key.pem"))
    port, state = free_port(), tmp_path / "state"
    process = start_command(state, prior, port, "--host", "0.0.0.0", *pair)
    try:
        token = (state / "token").read_text().strip()
        for host in ("localhost", "127.0.0.1"):
            server = Server(f"https://{host}:{port}", token, tls / "cert.pem", patience_s=5.0)
            assert "they fit" in RemoteDetector(server).handshake()
        for bad in (
            Server(f"https://localhost:{port}", token, patience_s=2.0),
            Server(f"https://localhost:{port}", token, other / "cert.pem", patience_s=2.0),
            Server(f"https://localhost:{port}", token[::-1], tls / "cert.pem", patience_s=2.0),
            Server(f"http://127.0.0.1:{port}", token, patience_s=2.0),
        ):
            with pytest.raises(ServerError) as caught:
                RemoteDetector(bad).handshake()
            assert caught.value.remedy
            assert token not in f"{caught.value.message} {caught.value.remedy}"
    finally:
        process.terminate()
        with closing(process.stderr):  # type: ignore[arg-type]
            said = process.stderr.read()  # type: ignore[union-attr]
            process.wait(60)
    assert token not in said
    assert "Traceback" not in said


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    tls, other = certificate(tmp_path / "tls"), certificate(tmp_path / "other")
    settings = ServerSettings(
        port=0, folder=str(tmp_path / "state"), certificate=str(tls / "cert.pem"), key=str(other / "key.pem")
    )
    with pytest.raises(ConfigError, match="cannot be used together"):
        serve(settings)
