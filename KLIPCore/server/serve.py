"""Start a server, and end it well."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import uvicorn

from KLIPCore.client.loopback import is_loopback
from KLIPCore.errors import ConfigError, OutputError, PriorError
from KLIPCore.server.app import create_app
from KLIPCore.server.settings import ServerSettings
from KLIPCore.server.token import token_of

log = logging.getLogger(__name__)

ZOO = Path(__file__).resolve().parents[1] / "priors" / "zoo"


def offered_priors(more: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the priors of a server by name: the shipped ones, and others by their file's.

    Raises
    ------
    PriorError : a file is not there, or has no card beside it.
    """
    found = {path.stem: Path(path.stem) for path in sorted(ZOO.glob("*.safetensors"))}
    for path in more:
        if path.suffix != ".safetensors" or not path.is_file() or not path.with_suffix(".json").is_file():
            raise PriorError(f"{path} is no prior.", "Give a .safetensors file with its card beside it.")
        found[path.stem] = path.resolve()
    return found


def serve(settings: ServerSettings, *, priors: Sequence[Path] = (), plain_http: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C; the job at work is stopped, keeps its slices and is queued again.

    Parameters
    ----------
    settings : where, what and how long.
    priors : weights besides the shipped ones.
    plain_http : serve a network without TLS, because something before this server adds it.

    Raises
    ------
    ConfigError : a network without TLS or token.
    OutputError : address or folder cannot be used.
    PriorError : a prior cannot be.
    """
    if not is_loopback(settings.host) and settings.certificate is None and not plain_http:
        raise ConfigError(
            f"At {settings.host} studies would travel unencrypted.",
            "Give --certificate and --key, or --plain-http behind a proxy that speaks TLS.",
        )
    offered = offered_priors(priors)
    token, made = token_of(settings)
    with closing(_listen(settings)) as listener:
        try:
            app = create_app(settings, token, offered)
        except OSError as error:
            raise OutputError(
                f"The folder {settings.folder} cannot be used ({error.strerror}).", "Choose another with --folder."
            ) from error
        server = uvicorn.Server(_uvicorn(settings, app))
        scheme = "https" if settings.certificate else "http"
        host, port = listener.getsockname()[:2]
        log.info("klip serves at %s://%s:%d", scheme, f"[{host}]" if ":" in host else host, port)
        if made is not None:
            log.info("a new token is in %s; give it to those who may send studies", made)
        if token is None:
            log.info("no token is asked for: only this computer's users get in, and all of them do")
        log.info("Research software. Not a medical device.")
        with suppress(KeyboardInterrupt):  # uvicorn has ended everything by then
            server.run([listener])
        log.info("stopped; a job that was at work goes on with the next start")


def _uvicorn(settings: ServerSettings, app: object) -> uvicorn.Config:
    """uvicorn's side of the settings.

    Raises
    ------
    ConfigError : certificate and key do not go together.
    """
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_config=None,
        log_level="critical",  # its lines name addresses and paths
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=settings.max_sessions,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "Certificate and private key cannot be used together.", "Give both as PEM files that belong together."
        ) from error
    return config


def _listen(settings: ServerSettings) -> socket.socket:
    """A socket that listens.

    Raises
    ------
    OutputError : the address is in use, or none of this computer's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise OutputError(
            f"{settings.host}:{settings.port} cannot be listened at ({error.strerror or error}).",
            "Choose another --port, or --host 127.0.0.1.",
        ) from error
    return listener


def log_to_stderr() -> None:
    """Write the server's own lines to standard error, with their time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    own = logging.getLogger("KLIPCore.server")
    own.handlers, own.propagate = [handler], False
    own.setLevel(logging.INFO)
