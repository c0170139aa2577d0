"""Where a client's token comes from: a file or the environment, never the command line, which others can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from KLIPCore.errors import ConfigError

VARIABLE = "KLIP_TOKEN"
LONGEST = 4096


def read_token(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """Return the token from a file, else from the environment, else None.

    Raises
    ------
    ConfigError : the file cannot be read, or is empty.
    """
    if file is None:
        return environment.get(VARIABLE, "").strip() or None
    try:
        with file.open(encoding="utf-8") as stream:
            token = stream.read(LONGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The token file {file} cannot be read.", "Check its path and permissions.") from error
    if not token:
        raise ConfigError(f"The token file {file} is empty.", "Put the token of the server's administrator into it.")
    return token
