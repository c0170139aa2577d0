"""`klip detect --server`: the same folder as without, made elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from KLIPCore.cli.options import Examine, Place, Speed, Telling, given_options, tell_result
from KLIPCore.client.connection import Server
from KLIPCore.client.detector import Request
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.client.token import read_token
from KLIPCore.config import Config
from KLIPCore.errors import ConfigError
from KLIPCore.progress import show_progress
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import read_finished
from KLIPCore.volume.selection import check_slices, parse_box


def detect_remotely(
    study: Path, out: Path, config: Config, examine: Examine, speed: Speed, place: Place, telling: Telling
) -> None:
    """Let a server examine a study, and tell what it found.

    Parameters
    ----------
    study, out, config, examine, speed, telling : as `klip detect` takes them.
    place : the server.

    Raises
    ------
    ConfigError : options that only this computer could follow.
    KlipError : the study, the server or the output folder cannot be used; see :mod:`KLIPCore.client`.
    """
    if local := given_options(speed):
        raise ConfigError(f"{', '.join(local)} cannot be chosen for a server.", "Leave that out: it knows its device.")
    if examine.within is not None:
        raise ConfigError(
            "A server does not see the segmentation of --within.", "Run klip regions OUT --within afterwards."
        )
    check_slices(examine.slices)
    parse_box(examine.roi)
    server = Server(str(place.server), read_token(place.token_file, os.environ), place.server_ca)
    request = Request(
        study, out, config.to_dict(), examine.series, examine.slices, examine.roi, overwrite=telling.overwrite
    )
    folder = RunFolder(out)
    with folder.locked():
        with show_progress(telling.progress.value) as tell:
            RemoteDetector(server).run(request, tell)
        report = read_finished(out).report
    tell_result(report.text_table(), list(report.warnings), out, telling.progress)
