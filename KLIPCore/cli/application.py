"""The command `klip`: every job of the library from a shell, for people and for programs.

Each command is a thin reading of its options, in :mod:`KLIPCore.cli`; the work is in the modules they name.
Errors of the input print what is wrong and what to do, and exit with the class's code
(:mod:`KLIPCore.errors`); Ctrl-C and SIGTERM leave a run that can be continued.
"""

from __future__ import annotations

import errno
import gc
import io
import json
import logging
import signal
import sys
import warnings
from typing import Annotated

import typer

from KLIPCore import __version__
from KLIPCore.cli.archive import archive_app
from KLIPCore.cli.audit import audit
from KLIPCore.cli.evaluate import bench, demo, evaluate, score, selftest
from KLIPCore.cli.guard import drift, guard
from KLIPCore.cli.pacs import pacs_app
from KLIPCore.cli.priors import priors_app, train
from KLIPCore.cli.serve import serve
from KLIPCore.cli.study import detect, export, reconstruct, regions
from KLIPCore.errors import Cancelled, KlipError, OutputError, ResourceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Where does a CT depart from healthy anatomy? KL maps in nats from diffusion priors.\n\n"
    "[bold]klip detect STUDY -o OUT[/bold] is the main job; [bold]klip demo[/bold] shows it on a synthetic "
    "patient.\n\n"
    "[dim]Research software. Not a medical device.[/dim]",
)


LEAST_ADDRESSES = 1 << 30
"""Bytes of addresses that loading PyTorch takes."""

NO_MEMORY = ResourceError(
    "The memory of this computer does not suffice.",
    "Close other programs, take fewer --workers or a smaller --batch, or fewer slices.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"klip {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # the help text is the app's
    _check_address_space()


def _check_address_space() -> None:
    """Raise under a limit within which PyTorch cannot be loaded: it would end the process while it is."""
    try:
        import resource
    except ImportError:  # Windows knows no such limit
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_ADDRESSES:
        raise NO_MEMORY


for _command in (
    detect,
    audit,
    guard,
    drift,
    regions,
    export,
    reconstruct,
    serve,
    train,
    evaluate,
    score,
    demo,
    bench,
    selftest,
):  # in the order of the help
    app.command()(_command)
app.add_typer(archive_app, name="archive")
app.add_typer(pacs_app, name="pacs")
app.add_typer(priors_app, name="priors")


def _on_terminate(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command `klip`."""
    _speak_alone()
    signal.signal(signal.SIGTERM, _on_terminate)  # a program's stop is a person's stop
    try:
        app(standalone_mode=False)
    except typer.Exit as leave:
        sys.exit(leave.exit_code)
    except KlipError as error:
        _tell_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell_error(Cancelled("Stopped.", "Run the same command again to continue."))
        sys.exit(Cancelled.exit_code)
    except Exception as error:
        told = _of_the_machine(error)
        if told is not None:
            _tell_error(told)
            sys.exit(told.exit_code)
        if hasattr(error, "format_message"):  # a usage error: an unknown option, a value of the wrong kind
            typer.secho(f"{error.format_message()}", fg="red", err=True)
            typer.echo("Try: klip --help", err=True)
            sys.exit(2)
        raise
    finally:
        # torch and MONAI leave a million objects, which the interpreter would search for garbage as it ends:
        # more than a second
        gc.freeze()


class _Told(logging.Handler):
    """Our own warnings, as plain lines on today's standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(record.getMessage(), err=True)


def _speak_alone() -> None:
    """Let no library write to the user's screen, and no name that is not UTF-8 end the program when it is printed."""
    logging.getLogger("KLIPCore").handlers = [_Told(logging.WARNING)]
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _of_the_machine(error: BaseException) -> KlipError | None:
    """What the operating system refused, as a sentence; None for what is no refusal of its."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:  # libraries wrap what they could not allocate in errors of theirs
        chain.append(link)
        link = link.__cause__ or link.__context__
    if any(isinstance(one, MemoryError) or _speaks_of_memory(one) for one in chain):
        return NO_MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        name = f" ({error.filename})" if error.filename else ""
        return OutputError(
            f"The computer refused a file operation: {error.strerror}{name}.",
            "Check the path, its permissions and the free space.",
        )
    return None


def _speaks_of_memory(error: BaseException) -> bool:
    """Whether a library says, in whatever kind of error, that it got no memory or no thread."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    words = ("not enough memory", "allocate memory", "out of memory", "bad_alloc", "start new thread", "failed to map")
    kinds = (RuntimeError, ImportError, OSError, SystemError, ValueError)
    return isinstance(error, kinds) and any(word in str(error) for word in words)


def _tell_error(error: KlipError) -> None:
    """What is wrong and what to do; for programs also as a JSON line."""
    if "json" in sys.argv:
        typer.echo(
            json.dumps(
                {"stage": "error", "error": type(error).__name__, "message": error.message, "remedy": error.remedy}
            )
        )
    typer.secho(error.message, fg="red", err=True)
    if error.remedy:
        typer.echo(error.remedy, err=True)
