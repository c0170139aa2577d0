"""The secret that lets a client in: read, made, compared."""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b64decode
from pathlib import Path

from KLIPCore.client.loopback import is_loopback
from KLIPCore.client.token import VARIABLE
from KLIPCore.errors import ConfigError, OutputError
from KLIPCore.server.settings import ServerSettings

SHORTEST = 20
"""Characters of a token: what a person would choose can be guessed."""
LONGEST = 4096


def token_of(settings: ServerSettings) -> tuple[str | None, Path | None]:
    """Return the token that clients must show, and the file that it was written to when it was made just now.

    Parameters
    ----------
    settings : where the server listens, and where a token may lie.

    Returns
    -------
    None for the token on loopback, where none was given.

    Raises
    ------
    ConfigError : too short, or not printable.
    OutputError : it cannot be read or written: a server is not opened to a network without one.
    """
    named = settings.token_file
    given = None if named else os.environ.get(VARIABLE)
    if given is not None:
        return checked(given.strip(), f"the variable {VARIABLE}"), None
    if not named and is_loopback(settings.host):
        return None, None
    path = Path(named) if named else Path(settings.folder) / "token"
    try:
        if path.exists():
            return checked(path.read_text(encoding="utf-8")[:LONGEST].strip(), str(path)), None
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = secrets.token_urlsafe(32)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(made + "\n")
        return made, path
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(
            f"The token file {path} cannot be read or made, and without a token no network is served.",
            "Give --token-file a file that can be, or put the token into KLIP_TOKEN.",
        ) from error


def checked(token: str, where: str) -> str:
    """Return the token.

    Raises
    ------
    ConfigError : it is none.
    """
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"What {where} holds is no token: at least {SHORTEST} characters, without spaces.",
            "Make one with: openssl rand -hex 32.",
        )
    return token


def shows(authorization: str, token: str) -> bool:
    """Return whether a request's Authorization header shows the token, in time that does not depend on it.

    Browsers show it as a password, with any name.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            value = b64decode(value.strip(), validate=True).decode("utf-8").partition(":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(value.strip().encode("utf-8", "replace"), token.encode())
