"""Whole volumes with masks: `klip evaluate FOLDER -o OUT`, or a YAML file of ``kind: volumes``.

Every scan goes through the ordinary :func:`KLIPCore.detection.detect.detect` into ``OUT/runs/NAME``, where a stopped
run is continued and a finished one is read back; then every score is read from its trace and compared with the mask.
A scan that cannot be evaluated is listed with its reason and does not stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.errors import Cancelled, InputError, KlipError, OutputError, ResourceError, TraceError
from KLIPCore.export.report import json_ready
from KLIPCore.io.images import write_image
from KLIPCore.io.study import read_study
from KLIPCore.lab.evaluation.volumes.config import Scan, VolumesConfig
from KLIPCore.lab.evaluation.volumes.metrics import FPR_LIMIT
from KLIPCore.lab.evaluation.volumes.reading import read_scan
from KLIPCore.lab.evaluation.volumes.scoring import ScanFigures, score_scan
from KLIPCore.lab.evaluation.volumes.summary import froc_curve, summarize
from KLIPCore.lab.evaluation.volumes.table import write_outcome
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import volume_hash
from KLIPCore.scores import SCORES
from KLIPCore.volume.selection import Part

Tell = Callable[[str, float, str], None]

DETECTION_SHARE = 0.9
"""Part of a scan's progress that detection takes."""


def evaluate_volumes(
    config: VolumesConfig, out: Path, progress: Tell | None = None, command: str = ""
) -> dict[str, Any]:
    """Run and score all scans, and write ``table.json``, ``table.md``, ``scans.csv`` and ``froc.png`` into ``out``.

    Parameters
    ----------
    config : what is evaluated.
    out : folder for the results; runs are kept below it and continued.
    progress : called as work goes on.
    command : the command line, for the record.

    Returns
    -------
    what ``table.json`` holds.

    Raises
    ------
    InputError : no scan could be evaluated; the message is the first one's.
    PriorError : the prior cannot be loaded.
    ConfigError : a score reads what the settings do not record.
    Cancelled : stopped from the keyboard; finished slices are kept.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    started = time.monotonic()
    run = config.recorded
    run.require_layer()
    sha256 = load_prior(run.prior).card.sha256 if any(scan.run is None for scan in config.studies) else ""
    made = _Made(config)
    n = len(config.studies)
    for place, scan in enumerate(config.studies):
        part = _part(tell, place / n, 1 / n, scan.name)
        try:
            folder = RunFolder(scan.run) if scan.run is not None else _detected(scan, out, run, sha256, part)
            part("score", DETECTION_SHARE, "scoring")
            made.add(scan, *score_scan(scan, folder, config))
        except Cancelled:
            raise
        except (KlipError, OSError, MemoryError) as error:
            made.fail(scan, "", error if isinstance(error, KlipError) else _told(scan, error))
    table = _table(made, time.monotonic() - started, command)
    write_outcome(table, made.figures, out)
    if not made.figures:
        first = made.failed[0]
        raise InputError(f"None of the {n} studies could be evaluated. {first['message']}", first["remedy"])
    tell("done", 1.0, f"{len({own.scan for own in made.figures})} of {n} studies")
    return table


@dataclass
class _Made:
    """What has been measured so far, and what could not be."""

    config: VolumesConfig
    figures: list[ScanFigures] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def add(self, scan: Scan, figures: Sequence[ScanFigures], failed: Sequence[tuple[str, KlipError]]) -> None:
        """Take up the figures of a scan."""
        self.figures += figures
        for score, error in failed:
            self.fail(scan, score, error)

    def fail(self, scan: Scan, score: str, error: KlipError) -> None:
        """Note why a scan, or one score of it, could not be measured."""
        self.failed.append(
            {
                "scan": scan.name,
                "patient": scan.patient,
                "score": score,
                "error": type(error).__name__,
                "message": error.message,
                "remedy": error.remedy,
            }
        )


def _part(tell: Tell, begin: float, length: float, name: str) -> Tell:
    """Progress of one scan, as progress of the whole. The stage stays: the time left is told while slices are
    sampled.
    """
    return lambda stage, fraction, detail: tell(stage, begin + length * fraction, f"{name}: {detail}")


def _detected(scan: Scan, out: Path, config: Config, sha256: str, tell: Tell) -> RunFolder:
    """A finished run of a scan: the one that is there, or one that is made or continued now.

    Raises
    ------
    KlipError : the scan cannot be read, or detection fails.
    """
    folder = RunFolder(out / "runs" / scan.name)
    tell("read", 0.0, "reading the study")
    image, volume = scan.image, read_scan(scan)
    assert image is not None
    if scan.changed:  # detection reads a file
        image = out / "studies" / f"{scan.name}.nrrd"
        write_image(volume, image, description=f"{scan.name}, as examined")
        volume = read_study(image)
    if _finished(folder, config.fingerprints(sha256, volume_hash(volume))):
        return folder
    try:
        series = None if scan.changed else scan.series
        detect(image, folder.path, config, part=Part(series), progress=lambda s, f, d: tell(s, DETECTION_SHARE * f, d))
    except OutputError as error:
        if "other settings" not in error.message:
            raise
        raise OutputError(error.message, "Choose another folder with -o; finished runs are kept.") from error
    return folder


def _told(scan: Scan, error: OSError | MemoryError) -> KlipError:
    """What the machine refused for one scan, as a sentence."""
    if isinstance(error, MemoryError):
        return ResourceError(
            f"{scan.name}: the memory does not suffice.", "Close other programs, or read fewer slices."
        )
    why = error.strerror or type(error).__name__
    return InputError(f"{scan.name}: a file operation was refused ({why}).", "Check its files and their permissions.")


def _finished(folder: RunFolder, expected: Sequence[str]) -> bool:
    """Whether a folder holds this very run, to its end: its fingerprint is one of those expected."""
    try:
        run = folder.run()
        folder.result()
        folder.read_framing()
        done = len(folder.finished(run["slices"], run["fingerprint"], ())) == len(run["slices"])
        return bool(run["fingerprint"] in expected and done)
    except TraceError:
        return False


def _table(made: _Made, wall: float, command: str) -> dict[str, Any]:
    """Everything that ``table.json`` holds."""
    config, figures = made.config, made.figures
    scans = [{key: value for key, value in json_ready(own).items() if key not in ("run", "notes")} for own in figures]
    runs = {own.scan: own for own in figures}
    return {
        "kind": "volumes",
        "title": config.title,
        "name": config.name,
        "software": f"KLIPCore {__version__}",
        "command": command,
        "settings": config.recorded.to_dict() | {"prior": Path(config.run.prior).stem},  # no folder of somebody's
        "scores": {score: SCORES[score].explanation for score in config.scores},
        "fpr_limit": FPR_LIMIT,
        "lesion_mm": config.lesion_mm,
        "n_studies": len(config.studies),
        "n_evaluated": len(runs),
        "wall_seconds": round(wall, 1),
        "summary": json_ready(summarize(figures)),
        "froc": {
            score: json_ready(froc_curve(own, config.lesion_mm))
            for score in config.scores
            if (own := [f for f in figures if f.score == score])
        },
        "scans": scans,
        "runs": {name: own.run | {"notes": list(own.notes)} for name, own in runs.items()},
        "failed": made.failed,
        "notes": list(config.notes),
    }
