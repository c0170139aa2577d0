"""The whole story on one page: a study goes in, a KL map and flagged regions come out.

    study → volume → frame → measurement → posterior samples → KL trace → KL map → regions → files

:func:`detect` does all of it and can be stopped and run again at any time; :func:`redo_regions` does the last three steps,
from a trace that is already there.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.errors import Cancelled, ConfigError
from KLIPCore.framing import FramedStudy, frame_study
from KLIPCore.io.results import RunFolder
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.mapping import SAMPLING_SHARE, Detection, Progress, finish, volume_hash
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import ModelCard, Prior
from KLIPCore.scan import Scanner, trace_slice
from KLIPCore.selection import Box, box_mask, check_memory, choose_device, parse_slices
from KLIPCore.volume.volume import Volume


def detect(
    study: Path,
    out: Path,
    config: Config | None = None,
    *,
    series: str | None = None,
    slices: str | None = None,
    roi: Box | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Detection:
    """Find where a CT study departs from what a prior of healthy anatomy expects.

    Parameters
    ----------
    study : DICOM folder, NIfTI, NRRD or MHA.
    out : folder for the results; a stopped run with the same settings is continued there.
    config : settings; the default preset when None.
    series : which DICOM series, where there are several.
    slices : Python-style range counted from the feet, e.g. ``"12:17"``; all when None.
    roi : LPS box in mm; only blocks centred in it are tested, only slices that meet it are sampled.
    overwrite : replace a run with other settings in ``out``.
    progress : called as work goes on.

    Raises
    ------
    KlipError : one of its descendants, with a remedy; see :mod:`KLIPCore.errors`.
    Cancelled : stopped from the keyboard; finished slices are kept.
    """
    config = config or Config()
    tell = progress or (lambda stage, fraction, detail: None)
    wanted = config.regions.chosen
    if wanted.layer not in config.record.layers:
        raise ConfigError(
            f"The score '{wanted.name}' reads the layer '{wanted.layer}', which would not be recorded.", "Record it too, or choose another score."
        )
    device = choose_device(config.device)
    tell("read", 0.0, "reading the study")
    volume = read_study(study, series)
    warnings = check_ct(volume)
    check_memory(volume.grid)
    prior = load_prior(config.prior, device)
    tell("frame", 0.02, "finding the body")
    framed = frame_study(volume, prior.card)
    indices = chosen_slices(framed, slices, roi)

    fingerprint = config.fingerprint(prior.card.sha256, volume_hash(volume))
    folder = RunFolder(out)
    folder.open(_run_record(study, series, slices, roi, indices, config, prior.card, volume, fingerprint, [*warnings, *framed.warnings]), overwrite)
    folder.write_framing(framed)
    seconds = sample_slices(folder, framed, config, prior, device, indices, fingerprint, tell)
    result = finish(folder, framed, config.regions, prior.card, tell, roi)
    tell("done", 1.0, f"{len(indices)} slices, {seconds:.0f} s of sampling")
    return result


def sample_slices(
    folder: RunFolder, framed: FramedStudy, config: Config, prior: Prior, device: torch.device, indices: list[int], fingerprint: str, tell: Progress
) -> float:
    """Trace every slice that is not done yet; returns the seconds this took.

    Raises
    ------
    Cancelled : stopped from the keyboard; finished slices are kept.
    """
    started = time.monotonic()
    done = set(folder.finished(indices, fingerprint, ()))
    todo = [index for index in indices if index not in done]
    lo, hi = SAMPLING_SHARE
    if todo:
        tell("sample", lo, f"{len(done)} of {len(indices)} slices were done before" if done else "setting up the scanner")
        scanner = Scanner.build(config, prior, framed.frame.pixel_mm, device)
        try:
            for n, index in enumerate(todo):
                tell("sample", lo + (hi - lo) * (len(done) + n) / len(indices), f"slice {index} ({len(done) + n + 1} of {len(indices)})")
                trace_slice(scanner, framed, index, twin=config.regions.null == "twin").save(folder.slice_file(index), fingerprint)
        except KeyboardInterrupt as stop:
            kept = len(folder.finished(indices, fingerprint, ()))
            raise Cancelled(f"Stopped. {kept} of {len(indices)} slices are done and kept.", "Run the same command again to continue.") from stop
    return time.monotonic() - started


def chosen_slices(framed: FramedStudy, slices: str | None, roi: Box | None) -> list[int]:
    """Slices that are asked for, meet the box and show a body.

    Raises
    ------
    ConfigError : none is left.
    """
    indices = parse_slices(slices, framed.lps.grid.shape[0])
    if roi is not None:
        inside = box_mask(framed.lps.grid, roi)
        indices = [k for k in indices if inside[k].any()]
    indices = [k for k in indices if framed.body[k].any()]
    if not indices:
        raise ConfigError("None of the chosen slices shows a body inside the region of interest.", "Choose other slices or another box.")
    return indices


def _run_record(
    path: Path,
    series: str | None,
    slices: str | None,
    roi: Box | None,
    indices: list[int],
    config: Config,
    card: ModelCard,
    volume: Volume,
    fingerprint: str,
    warnings: list[str],
) -> dict[str, Any]:
    prior = card.to_dict()
    prior.pop("training")
    return {
        "version": __version__,
        "fingerprint": fingerprint,
        "study": {"path": str(path.resolve()), "series": volume.source.series_uid or series, "hash": volume_hash(volume), "shape": list(volume.grid.shape)},
        "config": config.to_dict(),
        "prior": prior,
        "slices_asked": slices,
        "slices": indices,
        "roi": roi,
        "warnings": list(dict.fromkeys(warnings)),
    }
