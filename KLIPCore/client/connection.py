"""Talk to a `klip serve`: requests that are tried again, refusals that are sentences.

Every request may be sent twice without harm (a claim of the same study is the same job, a piece of a file has its
offset), so one whose connection is cut is simply sent again, for as long as something progresses.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from KLIPCore import __version__
from KLIPCore.client.child import told_error
from KLIPCore.client.loopback import is_loopback
from KLIPCore.errors import ConfigError, ServerError

PROTOCOL = 1
"""Raised when requests or answers change so that an older side would misread them."""

FAULTS = (OSError, http.client.HTTPException)
"""What a cut connection raises; of TLS, too."""

LARGEST_ANSWER = 64 << 20
BUSY = (429, 500, 502, 503, 504)
"""Answers that may be another one in a moment."""


@dataclass(frozen=True)
class Server:
    """Where a server is and how to be let in.

    Attributes
    ----------
    url : ``https://HOST:PORT``; plain ``http`` for this computer only, where nobody listens in.
    token : its secret; None where the server asks for none.
    ca_file : certificate to trust beside the system's: that of a server that made its own.
    patience_s : how long a connection may stay away before the server counts as gone.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigError(f"'{self.url}' is no address of a server.", "Write it like https://gpu.example:8443.")
        if parts.username or parts.password or parts.query:
            raise ConfigError("A server's address holds no secrets.", "Give the token in a file or in KLIP_TOKEN.")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ConfigError(
                f"The study would travel unencrypted to {parts.hostname}.",
                "Use https://; docs/server.md shows how a server gets a certificate.",
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise ConfigError("The token holds characters that no token has.", "Copy it again, without line breaks.")
        object.__setattr__(self, "_place", (parts.scheme, parts.hostname, port))

    def open(self, timeout_s: float) -> HTTPConnection:
        """Return a connection; it opens when it is used."""
        scheme, host, port = self._place  # type: ignore[attr-defined]
        if scheme == "http":
            return HTTPConnection(host, port or 80, timeout=timeout_s)
        try:
            context = ssl.create_default_context()
            if self.ca_file is not None:
                context.load_verify_locations(self.ca_file)
        except OSError as error:
            raise ConfigError(
                f"The certificate {self.ca_file} cannot be read.", "Give a PEM file, as the server's --certificate is."
            ) from error
        return HTTPSConnection(host, port or 443, timeout=timeout_s, context=context)

    def name(self) -> str:
        """Return host and port, for sentences."""
        _, host, port = self._place  # type: ignore[attr-defined]
        return f"{host}:{port}" if port else str(host)


class Patience:
    """Waits between attempts, and an end to them when nothing progresses.

    Parameters
    ----------
    server : for whom.
    """

    def __init__(self, server: Server) -> None:
        self._server, self._tries, self._since = server, 0, time.monotonic()

    def progressed(self) -> None:
        """Note that something went well."""
        self._tries, self._since = 0, time.monotonic()

    def failed(self, error: Exception, wait_s: float | None = None) -> None:
        """Wait a little, longer each time.

        Parameters
        ----------
        error : what went wrong.
        wait_s : what the server asked for.

        Raises
        ------
        ServerError : nothing has progressed for too long, or never will.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            raise ServerError(
                f"The server {self._server.name()} shows a certificate that is not trusted.",
                "Check the address, or give the server's own certificate with --server-ca FILE.",
            ) from error
        gone = time.monotonic() - self._since
        if gone > self._server.patience_s:
            if isinstance(error, ServerError):
                raise error
            raise ServerError(
                f"The server {self._server.name()} has not answered for {gone:.0f} s.",
                "Check the address and that it runs; the same command again continues where this one stopped.",
            ) from error
        self._tries += 1
        backoff = min(0.05 * 2 ** min(self._tries, 6), 2.0) * random.uniform(0.5, 1.0)
        time.sleep(min(wait_s if wait_s is not None else backoff, self._server.patience_s))


class Connection:
    """One client's conversation with a server.

    Parameters
    ----------
    server : with whom.
    timeout_s : of a single wait for bytes; a server says something at least every ten seconds.
    """

    def __init__(self, server: Server, timeout_s: float = 30.0) -> None:
        self.server = server
        self._timeout_s = min(timeout_s, max(server.patience_s, 1.0))
        self._open: HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        """Return the answer to a request, tried again while connections are cut.

        Parameters
        ----------
        method, path, body, headers : of the request.
        accept : statuses besides success whose answer is wanted; its ``status`` is among the values.

        Raises
        ------
        KlipError : the server refuses, in its words.
        ServerError : it is gone.
        """
        patience = Patience(self.server)
        while True:
            try:
                return self.once(method, path, body, headers, accept=accept)
            except FAULTS as error:
                patience.failed(error)
            except Busy as busy:
                patience.failed(busy.refusal, busy.wait_s)

    def once(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        accept: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        """Ask as :meth:`ask` does, with a single attempt; a cut connection raises one of :data:`FAULTS`."""
        try:
            self._open = self._open or self.server.open(self._timeout_s)
            self._open.request(method, path, body, {**self.headers(), **(headers or {})})
            answer = self._open.getresponse()
            values = _read_json(answer)
        except BaseException:
            self.close()
            raise
        if 200 <= answer.status < 300 or answer.status in accept:
            return values | {"status": answer.status}
        raise refusal(answer, values, self.server)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[HTTPResponse]:
        """Open an answer that is read as it comes, on a connection of its own.

        Raises
        ------
        KlipError : the server refuses, in its words.
        """
        opened = self.server.open(self._timeout_s)
        try:
            opened.request("GET", path, headers={**self.headers(), **(headers or {})})
            answer = opened.getresponse()
            if answer.status not in (200, 206):
                raise refusal(answer, _read_json(answer), self.server)
            yield answer
        finally:
            opened.close()

    def headers(self) -> dict[str, str]:
        """Return what every request says."""
        said = {"X-KLIP-Protocol": str(PROTOCOL), "X-KLIP-Version": __version__}
        if self.server.token is not None:
            said["Authorization"] = f"Bearer {self.server.token}"
        return said

    def close(self) -> None:
        """Let go of the connection; the next request opens another."""
        if self._open is not None:
            with suppress(OSError):
                self._open.close()
            self._open = None


class Busy(Exception):  # noqa: N818  (no error yet)
    """A refusal that may not last."""

    def __init__(self, refusal: ServerError, wait_s: float | None) -> None:
        self.refusal, self.wait_s = refusal, wait_s
        super().__init__(str(refusal))


def refusal(answer: HTTPResponse, values: dict[str, Any], server: Server) -> Exception:
    """Return what to raise for an answer that is no success."""
    if "message" in values:
        told = told_error(values)
    elif answer.status == 503:
        told = ServerError(
            f"{server.name()} has no free session.", "Run the same command again in some minutes; it continues."
        )
    else:  # a proxy in between, or no klip at all
        told = ServerError(
            f"{server.name()} answered {answer.status} {answer.reason}, as no klip server does.",
            "Check the address; a proxy in between must pass everything on.",
        )
    if answer.status in BUSY and values.get("lasting") is not True:
        wait = answer.headers.get("Retry-After", "")
        busy = told if isinstance(told, ServerError) else ServerError(told.message, told.remedy)
        return Busy(busy, float(wait) if wait.isdecimal() else None)
    return told


def _read_json(answer: HTTPResponse) -> dict[str, Any]:
    """The object that an answer holds; nothing where it holds something else."""
    raw = answer.read(LARGEST_ANSWER)
    try:
        values = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
