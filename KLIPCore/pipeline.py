"""The whole story on one page: a study goes in, a KL map and flagged regions come out.

    study → volume → frame → measurement → posterior samples → KL trace → KL map → regions → files

:func:`detect` does all of it and can be stopped and run again at any time; :func:`redo_regions` does the last three steps,
from a trace that is already there.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from KLIPCore import __version__
from KLIPCore.config import Config, RegionConfig
from KLIPCore.errors import Cancelled, ConfigError, TraceError
from KLIPCore.framing import FramedStudy, Framing, frame_study
from KLIPCore.io.images import write_image
from KLIPCore.io.results import RunFolder
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.kl.map import KLMap, MapVolumes, make_map
from KLIPCore.kl.trace import KLTrace
from KLIPCore.outputs import write_map, write_report
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import ModelCard, Prior
from KLIPCore.regions.find import Region, find_regions
from KLIPCore.regions.report import Report
from KLIPCore.scan import Scanner, trace_slice
from KLIPCore.selection import Box, box_mask, check_memory, choose_device, parse_slices
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

Progress = Callable[[str, float, str], None]
"""Called with (stage, fraction of the whole run, detail for people)."""

SAMPLING_SHARE = (0.04, 0.92)
"""Part of the progress bar that sampling takes; reading comes before, exports after."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What a run found.

    Attributes
    ----------
    report : regions, settings, provenance.
    kl_map : nats, p and q over base cells.
    volumes : the map on the study's grid.
    study : where the study's voxels lie; with its images after :func:`detect`.
    folder : where everything was written.
    """

    report: Report
    kl_map: KLMap
    volumes: MapVolumes
    study: Framing
    folder: RunFolder


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


def redo_regions(
    out: Path, config: RegionConfig | None = None, *, study: Path | None = None, roi: Box | None = None, report: bool = True, progress: Progress | None = None
) -> Detection:
    """Map and regions again from the trace in ``out``, with another block size, window, score or rate; no sampling.

    Parameters
    ----------
    out : folder that :func:`detect` wrote.
    config : new settings; those of the run when None.
    study : where the study is now, when it has moved.
    roi : LPS box in mm instead of the run's own.
    report : whether to write the HTML report and the DICOM SEG again, for which the study is read; without, old ones are removed.
    progress : called as work goes on.

    Raises
    ------
    TraceError : no run there, or its trace cannot answer.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    folder = RunFolder(out)
    run = folder.run()
    framing: Framing = folder.read_framing()
    if report:
        tell("read", 0.0, "reading the study")
        volume = read_study(study or Path(run["study"]["path"]), run["study"]["series"])
        if volume_hash(volume) != run["study"]["hash"]:
            raise TraceError("The study is not the one this trace was made from.", "Give the original with --study.")
        framing = FramedStudy.of(volume, framing.body, framing.frame)
    settings = config or Config.from_dict(run["config"]).regions
    box = roi if roi is not None else _box(run.get("roi"))
    result = finish(folder, framing, settings, ModelCard.from_dict(run["prior"]), tell, box)
    tell("done", 1.0, f"{len(result.report.regions)} regions")
    return result


def finish(folder: RunFolder, framing: Framing, settings: RegionConfig, card: ModelCard, tell: Progress, roi: Box | None) -> Detection:
    """From the trace in ``folder`` to the output files; with the study's images (a :class:`FramedStudy`) also the report."""
    run = folder.run()
    layer = settings.chosen.layer
    trace = folder.trace(run["slices"], run["fingerprint"], (layer, f"twin-{layer}"))
    tell("map", SAMPLING_SHARE[1], "adding up nats")
    mask = box_mask(framing.lps_grid, roi) if roi is not None else None
    kl_map = make_map(trace, framing, settings, mask)
    volumes = kl_map.volumes(framing, settings.fdr)
    regions = regions_of(volumes, settings)
    voxel = framing.grid.voxel_volume_mm3
    config = replace(Config.from_dict(run["config"]), regions=settings)
    made = Report(
        regions=tuple(regions),
        settings=config.to_dict(),
        provenance=provenance(run, trace, kl_map),
        significant_mm3=float(volumes.significant.sum() * voxel),
        tested_mm3=float(volumes.tested.sum() * voxel),
        slices=framing.lps_grid.shape[0],
        false_discovery_rate=settings.fdr,
        warnings=tuple(run["warnings"]),
    )
    tell("export", 0.95, "writing results")
    for name in ("report.html", "regions.dcm"):  # of other regions: they must not stay
        folder.file(name).unlink(missing_ok=True)
    if isinstance(framing, FramedStudy):
        reconstruction = reconstruction_volume(trace, framing, card)
        write_image(reconstruction, folder.file("reconstruction.nrrd"), description="posterior mean, HU, clipped to the prior's window")
        made = write_report(folder, made, kl_map, volumes, framing, reconstruction, card)
    write_map(folder, made, kl_map, volumes)
    return Detection(made, kl_map, volumes, framing, folder)


def read_regions(out: Path) -> tuple[list[Region], Grid]:
    """The regions of a finished run, found again from its trace with its last settings, and the study's grid.

    Raises
    ------
    TraceError : no finished run there.
    """
    folder = RunFolder(out)
    run = folder.run()
    framing = folder.read_framing()
    settings = Config.from_dict(folder.result()["settings"]).regions
    layer = settings.chosen.layer
    trace = folder.trace(run["slices"], run["fingerprint"], (layer, f"twin-{layer}"))
    box = _box(run.get("roi"))
    kl_map = make_map(trace, framing, settings, box_mask(framing.lps_grid, box) if box else None)
    return regions_of(kl_map.volumes(framing, settings.fdr), settings), framing.grid


def regions_of(volumes: MapVolumes, settings: RegionConfig) -> list[Region]:
    """One region a reported cluster."""
    return find_regions(
        volumes.kl_map,
        volumes.significant,
        volumes.p,
        volumes.density,
        components=volumes.labels,
        tested=volumes.tested,
        q_values=volumes.q,
        minimum_volume_mm3=settings.min_volume_mm3,
        maximum_regions=settings.max_regions,
    )


def reconstruction_volume(trace: KLTrace, framed: Framing, card: ModelCard) -> Volume:
    """The posterior mean in HU on the study's grid; air (the window's lower end) where nothing was sampled."""
    lps = framed.lps_grid
    out = np.zeros(lps.shape, np.float32)
    for s in trace.slices:
        out[s.index] = framed.frame_of(s.index).push(s.reconstruction[None], lps.shape[1:])[0]
    return framed.to_study(card.window.invert(np.clip(out, 0, 1)), "HU")


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


def volume_hash(volume: Volume) -> str:
    """Hash of a volume's numbers and places: two studies with the same hash are the same."""
    digest = hashlib.blake2b(np.ascontiguousarray(volume.array).data, digest_size=16)
    digest.update(np.ascontiguousarray(volume.grid.affine).data)
    return digest.hexdigest()


def provenance(run: dict[str, Any], trace: KLTrace, kl_map: KLMap) -> dict[str, Any]:
    """What is needed to do it again, and what it cost."""
    infos = [s.info for s in trace.slices]
    return {
        "software": f"KLIPCore {__version__}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "prior": run["prior"]["name"],
        "prior_sha256": run["prior"]["sha256"],
        "prior_anatomy": run["prior"]["anatomy"],
        "measurement": "SIMULATED from the loaded volume, on a finer grid, with noise; no scanner data were used",
        "score": kl_map.score.name,
        "score_meaning": kl_map.score.explanation,
        "sigma_window": list(kl_map.score.window),
        "block_mm": kl_map.block_mm,
        "block_depth_mm": kl_map.depth_mm,
        "null": kl_map.null,
        "fingerprint": run["fingerprint"],
        "slices_sampled": len(trace.slices),
        "seconds_sampling": round(sum(i["seconds"] for i in infos), 1),
        "network_evaluations_per_slice": round(float(np.mean([i["network_evaluations"] for i in infos])), 1),
        "psnr_db_median": round(float(np.median([i["psnr_db"] for i in infos])), 2),
    }


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


def _box(values: Any) -> Box | None:
    return None if values is None else ((values[0][0], values[0][1]), (values[1][0], values[1][1]), (values[2][0], values[2][1]))
