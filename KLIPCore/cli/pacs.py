"""The commands of `klip pacs`: fetch a study, send results, listen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from KLIPCore.cli.options import PROGRESS, ProgressStyle, reading
from KLIPCore.errors import Cancelled, ConfigError

if TYPE_CHECKING:
    from KLIPCore.pacs.fetch import Manner
    from KLIPCore.pacs.tls import Tls

pacs_app = typer.Typer(
    no_args_is_help=True, help="Studies out of a PACS and results into it: DICOM (C-GET, C-MOVE, C-STORE) or DICOMweb."
)

ADDRESS = "AE@HOST:PORT, or https://HOST/dicom-web."
TITLE = Annotated[str, typer.Option("--aet", help="Our AE title.")]
RATE = Annotated[float, typer.Option(min=0, help="At most so many objects a second; 0: no limit.")]
QUIET = Annotated[str, typer.Option(help="07:00-19:00: hours in which the PACS is not asked; waits for their end.")]


@dataclass(frozen=True)
class Which:
    """Which study is meant."""

    study_uid: Annotated[str, typer.Option(help="StudyInstanceUID.")] = ""
    accession: Annotated[str, typer.Option(help="Accession number.")] = ""
    series_uid: Annotated[str, typer.Option(help="One CT series; else the one with most images.")] = ""
    every_series: Annotated[bool, typer.Option("--every-series", help="All CT series.")] = False


@dataclass(frozen=True)
class How:
    """How a PACS is asked."""

    move: Annotated[
        str, typer.Option(help="HOST:PORT at which the PACS knows us, for C-MOVE; C-GET when not given.")
    ] = ""
    aet: TITLE = "KLIP"
    rate: RATE = 0.0
    quiet: QUIET = ""
    timeout: Annotated[float, typer.Option(min=1, help="Seconds of silence after which it is given up.")] = 60.0


@dataclass(frozen=True)
class Security:
    """How an association is secured."""

    tls: Annotated[bool, typer.Option("--tls", help="Speak TLS (DICOM; a DICOMweb address says https).")] = False
    tls_ca: Annotated[
        Path | None, typer.Option(help="Trusted certificate authorities, PEM; the system's when left out.")
    ] = None
    tls_certificate: Annotated[Path | None, typer.Option(help="Our certificate with its chain, PEM.")] = None
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM, where it is in another file.")] = None


def tls_of(security: Security, address: str = "") -> Tls | None:
    """Return the certificates that the options name; None where there are none.

    Parameters
    ----------
    security : the options.
    address : of the PACS; TLS is a matter of the address where it is one of a DICOMweb service.

    Raises
    ------
    ConfigError : certificates without TLS, or a key without a certificate.
    """
    from KLIPCore.pacs.peers import is_web
    from KLIPCore.pacs.tls import Tls

    named = security.tls_ca or security.tls_certificate or security.tls_key
    if (named and address.startswith("https://")) or (security.tls and not is_web(address)):
        return Tls(security.tls_ca, security.tls_certificate, security.tls_key)
    if named and not security.tls:
        raise ConfigError("Certificates were given, but not --tls.", "Add --tls, or leave them out.")
    return None


@pacs_app.command("fetch")
@reading
def fetch(
    source: Annotated[str, typer.Option("--from", help=ADDRESS, show_default=False)],
    to: Annotated[Path, typer.Option("--to", help="Folder for the study; it appears whole.", show_default=False)],
    which: Which,
    how: How,
    security: Security,
    progress: PROGRESS = ProgressStyle.bar,
) -> None:
    """Fetch the CT series of one study into a folder, whole or not at all."""
    from KLIPCore.pacs.fetch import fetch_study
    from KLIPCore.pacs.find import Wanted
    from KLIPCore.pacs.pace import Pace, QuietHours
    from KLIPCore.pacs.peers import Peer, is_web
    from KLIPCore.progress import show_progress

    if bool(which.study_uid) == bool(which.accession):
        raise ConfigError("Which study is meant is not said.", "Give --study-uid or --accession.")
    wanted = Wanted(which.study_uid, which.accession, which.series_uid)
    manner, tls = _manner(how.move, which.every_series), tls_of(security, source)
    _wait(QuietHours.parse(how.quiet).wait_s())
    with show_progress(progress.value) as tell:

        def told(came: int, of: int | None) -> None:
            tell("fetch", min(came / of, 1.0) if of else 0.0, f"{came} of {of or 'an unknown number'}")

        if is_web(source):
            from KLIPCore.pacs.service import Service
            from KLIPCore.pacs.web import fetch_study_web

            service = Service(source, how.timeout, tls)
            found = fetch_study_web(service, wanted, to, Pace(how.rate), manner=manner, tell=told)
        else:
            peer = Peer.parse(source, how.aet, how.timeout, tls)
            found = fetch_study(peer, wanted, to, Pace(how.rate), manner=manner, tell=told)
    if progress is not ProgressStyle.json:
        images = sum(file.is_file() for file in to.iterdir())
        typer.echo(f"{images} images in {to}." if found else f"{to} was there already.")


def _manner(move: str, every_series: bool) -> Manner:
    """How a study comes."""
    from KLIPCore.pacs.fetch import Manner
    from KLIPCore.pacs.peers import Peer

    if not move:
        return Manner(every_series=every_series)
    own = Peer.parse(f"KLIP@{move}")
    return Manner("move", own.port, own.host, every_series)


def _wait(seconds: float) -> None:
    """Wait for the end of quiet hours."""
    if seconds:
        typer.echo(f"Quiet hours: waiting {seconds / 3600:.1f} h.", err=True)
        time.sleep(seconds)


@pacs_app.command("send")
@reading
def send(
    files: Annotated[list[Path], typer.Argument(help="DICOM files, or folders with them.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help=ADDRESS, show_default=False)],
    security: Security,
    aet: TITLE = "KLIP",
    rate: RATE = 0.0,
    quiet: QUIET = "",
) -> None:
    """Send DICOM files, such as the results of a run, to a PACS."""
    from KLIPCore.pacs.pace import Pace, QuietHours
    from KLIPCore.pacs.peers import Peer, is_web
    from KLIPCore.pacs.send import dicom_files, send_files

    found, tls = dicom_files(files), tls_of(security, to)
    _wait(QuietHours.parse(quiet).wait_s())
    if is_web(to):
        from KLIPCore.pacs.service import Service
        from KLIPCore.pacs.web import send_files_web

        stored = send_files_web(Service(to, tls=tls), found, Pace(rate))
    else:
        stored = send_files(Peer.parse(to, aet, tls=tls), found, Pace(rate))
    typer.echo(f"{stored} objects stored.")


@dataclass(frozen=True)
class Most:
    """How much is taken."""

    largest_mb: Annotated[int, typer.Option(min=1, help="Largest object that is accepted, in MB.")] = 1024
    most_gb: Annotated[int, typer.Option(min=1, help="All objects together, in GB.")] = 64


@pacs_app.command("listen")
@reading
def listen(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the studies.", show_default=False)],
    security: Security,
    allow: Annotated[
        list[str] | None, typer.Option(help="AE title that may send. May be given several times.")
    ] = None,
    aet: TITLE = "KLIP",
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all, with --allow.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 11112,
    *,
    most: Most,
    idle: Annotated[float, typer.Option(min=0, help="Leave after so many seconds of silence; 0: never.")] = 0.0,
) -> None:
    """Take studies that a PACS sends, into a folder each; Ctrl-C ends it."""
    from KLIPCore.pacs.keep import Limits
    from KLIPCore.pacs.listen import Listener, Rules

    limits = Limits(most.largest_mb << 20, most.most_gb << 30)
    rules = Rules(aet, host, port, tuple(allow or ()), limits, tls=tls_of(security))
    with Listener(out, rules, lambda study, series, n: typer.echo(f"{n} study {study} series {series}")) as listener:
        typer.echo(f"Listening at {host}:{listener.port} as {aet}.")
        try:
            while not idle or time.monotonic() - listener.last < idle:
                time.sleep(0.2)
        except KeyboardInterrupt as stop:
            raise Cancelled("Stopped listening.", "What came before is whole.") from stop
