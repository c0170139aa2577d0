"""The command serve: this computer examines the studies that others send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from KLIPCore.cli.options import SettingOptions, reading
from KLIPCore.server.settings import ServerSettings

ServeSettings = Annotated[dict[str, Any], SettingOptions(ServerSettings)]
"""A server's settings, given as options."""


@reading
def serve(
    settings: ServeSettings,
    prior: Annotated[
        list[Path] | None,
        typer.Option(help="Further prior to offer, a .safetensors file with its card; clients name it by its stem."),
    ] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Serve a network without TLS, behind a proxy that adds it.")
    ] = False,
) -> None:
    """Examine studies that other computers send with klip detect --server.

    A token is asked for everywhere but on loopback: from KLIP_TOKEN or --token-file, else made in FOLDER/token.

    Studies are deleted --keep-uploads hours after their job, and at once when a client cancels it.
    """
    from KLIPCore.errors import optional

    for package in ("fastapi", "uvicorn"):
        optional(package, "server")
    from KLIPCore.server.serve import log_to_stderr
    from KLIPCore.server.serve import serve as run_server

    chosen = ServerSettings(**settings)
    log_to_stderr()
    run_server(chosen, priors=prior or (), plain_http=plain_http)
