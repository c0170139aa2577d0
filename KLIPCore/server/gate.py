"""Who may come in: every request passes here before anything is done with it.

In this order: not too many from one address; not from a page of another site (a browser on this computer reaches
loopback, too); a client whose protocol is ours; the token. Whatever goes wrong further in is answered here in a
sentence, and the log gets its kind alone.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from KLIPCore import __version__
from KLIPCore.client.connection import PROTOCOL
from KLIPCore.client.loopback import is_loopback
from KLIPCore.server.refusal import Refusal
from KLIPCore.server.token import shows

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

MOST_ADDRESSES = 10_000
"""Of clients whose rate is remembered."""


class Rate:
    """A bucket of requests for each address, refilled evenly.

    Parameters
    ----------
    per_minute : requests, also those that may come at once.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, address: str) -> None:
        """Take one request.

        Raises
        ------
        Refusal : there is none left.
        """
        now = time.monotonic()
        left, since = self._buckets.pop(address, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - since) * self._per_minute / 60)
        if len(self._buckets) >= MOST_ADDRESSES:
            self._buckets.pop(next(iter(self._buckets)))  # the one that has been silent longest
        self._buckets[address] = (left - 1 if left >= 1 else left, now)  # what is refused costs nothing
        if left < 1:
            raise Refusal(429, "Too many requests at once.", "Wait a moment.", retry_after_s=1)


class Gate:
    """The server's only entrance.

    Parameters
    ----------
    app : what lies behind.
    token : that a client must show; None where it need not.
    requests_per_minute : of one address.
    """

    def __init__(self, app: App, token: str | None, requests_per_minute: int) -> None:
        self._app, self._token = app, token
        self._rate = Rate(requests_per_minute)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket: uvicorn closes it
        begun = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, watched)
        except Refusal as refusal:
            refusal.note()
            await answer(send, refusal)
        except Exception as error:  # answered already; a traceback could hold a path or a name
            log.error("%s on a %s request, at %s", type(error).__name__, scope["method"], whereabouts(error))
            if not begun:
                await answer(send, Refusal.of_fault(error))

    def _check(self, scope: MutableMapping[str, Any]) -> None:
        self._rate.check((scope.get("client") or ("?",))[0])
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_site(headers)
        if self._token is not None and not shows(headers.get("authorization", ""), self._token):
            log.info("a request without the token was refused")
            refusal = Refusal(
                401,
                "The server does not accept this token."
                if "authorization" in headers
                else "The server wants a token.",
                "Put what its administrator gave you into a file for --token-file, or into KLIP_TOKEN.",
            )
            refusal.headers["WWW-Authenticate"] = 'Basic realm="klip"'  # a browser then asks for it
            raise refusal
        spoken = headers.get("x-klip-protocol")
        if spoken is not None and spoken != str(PROTOCOL) and scope["path"] != "/version":
            raise Refusal(426, *fit(spoken, headers.get("x-klip-version", "an unknown version"))[1:], lasting=True)

    def _check_site(self, headers: dict[str, str]) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        alien = origin is not None and urlsplit(origin).netloc != host
        if self._token is None and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            alien = True  # a name of another site that was made to point here
        if alien:
            raise Refusal(403, "Pages of other sites may not use this server.", "Open its own address.", lasting=True)


def whereabouts(error: BaseException) -> str:
    """Return file and line of the code that raised an error, and of the last of ours: a log without its words."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "KLIPCore" in frame.filename]
    shown = dict.fromkeys(f"{Path(frame.filename).name}:{frame.lineno}" for frame in [*ours[-1:], *frames[-1:]])
    return " in ".join(reversed(shown)) or "an unknown place"


def fit(spoken: str, version: str) -> tuple[bool, str, str]:
    """Return whether a client's protocol is ours, a sentence on both sides, and what to update."""
    ours, theirs = f"The server is klip {__version__}, protocol {PROTOCOL}", f"the client klip {version[:20]}"
    number = int(spoken) if spoken.isdecimal() and len(spoken) < 6 else -1
    sentence = f"{ours}; {theirs}, protocol {number}."
    if number == PROTOCOL:
        same = "they fit" if version == __version__ else "they fit, though results may differ between versions"
        return True, f"{ours}; {theirs}: {same}.", ""
    if number < PROTOCOL:
        return False, sentence, "Update the client: pip install --upgrade klipcore, or the KLIPSlicer extension."
    return False, sentence, "Update the server, or ask its administrator to."


async def answer(send: Send, refusal: Refusal) -> None:
    """Send a refusal."""
    body = json.dumps(refusal.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
