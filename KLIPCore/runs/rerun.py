"""From a trace to a map, regions and files: what a slider moves.

    KL trace → KL map → regions → files

Nothing here samples, and nothing here needs torch: :func:`redo_regions` answers another block size, window, score or
rate from a finished run. :func:`KLIPCore.detection.detect.detect` ends with the same :func:`finish`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore import __version__
from KLIPCore.config import Config, RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.export.organ_table import organ_rows
from KLIPCore.export.report import Report
from KLIPCore.io.images import write_image
from KLIPCore.maps.kl_map import KLMap, MapVolumes
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.regions import KnownRegions, Region, RegionLimits, find_regions
from KLIPCore.maps.trace import KLTrace
from KLIPCore.runs.bill import bill_of_materials
from KLIPCore.runs.dicom_results import DICOM_FILES
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import approximation_of, judge_study, reference_hash, reference_of, window_of
from KLIPCore.runs.outputs import write_map, write_report, write_result
from KLIPCore.runs.search import Search
from KLIPCore.volume.framed_study import FramedStudy, Framing
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.organs import FOUND
from KLIPCore.volume.selection import Box
from KLIPCore.volume.volume import Volume

Progress = Callable[[str, float, str], None]
"""Called with (stage, fraction of the whole run, detail for people)."""

SIMULATED = "SIMULATED from the loaded volume, on a finer grid, with noise; no scanner data were used"
"""What a run says of its measurement, unless it had a real one."""

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


Reopen = Callable[[dict[str, Any], Framing, Path | None], FramedStudy]
"""From what a run noted, its framing and where its input lies now to that input, framed."""


def reopen_study(run: dict[str, Any], framing: Framing, where: Path | None) -> FramedStudy:
    """Return the study that a run was made from, read again.

    Parameters
    ----------
    run : what the run noted of itself.
    framing : its frames.
    where : where the study is now; where it was when None.

    Raises
    ------
    TraceError : another study lies there.
    """
    from KLIPCore.io.study import read_study  # pydicom: nothing that a map without a report waits for

    volume = read_study(where or Path(run["study"]["path"]), run["study"]["series"])
    if volume_hash(volume) != run["study"]["hash"]:
        raise TraceError("The study is not the one this trace was made from.", "Give the original with --study.")
    return FramedStudy.of(volume, framing.body, framing.frame)


def redo_regions(
    out: Path,
    config: RegionConfig | None = None,
    *,
    study: Path | None = None,
    roi: Box | None = None,
    within: str | None = None,
    report: bool = False,
    progress: Progress | None = None,
    reopen: Reopen = reopen_study,
) -> Detection:
    """Make map and regions again from the trace in ``out``, without sampling.

    Block size, window, score and rate may be others.

    Parameters
    ----------
    out : folder that :func:`detect` wrote.
    config : new settings; those of the run when None.
    study : where the study is now, when it has moved.
    roi : LPS box in mm instead of the run's own.
    within : segments to look within instead of those of the last time, ``FILE[:LABEL]``; ``"all"`` lifts them
        (:meth:`KLIPCore.runs.search.Search.changed`).
    report : whether to write the HTML report and the DICOM results again, for which the study is read; without,
        old ones are removed.
    progress : called as work goes on.
    reopen : how the study is read; measured projections have a way of their own
        (:func:`KLIPCore.detection.detect_measured.reopen_scan`).

    Raises
    ------
    TraceError : no run there, or its trace cannot answer.
    """
    folder = RunFolder(out)
    folder.run()  # nothing is made where there is no run
    with folder.locked():
        run, tell = folder.run(), progress or (lambda stage, fraction, detail: None)
        framing: Framing = folder.read_framing()
        box = roi if roi is not None else _box(run.get("roi"))
        search = Search.kept(folder.path, framing.grid, box).changed(within, framing.grid)
        if report:
            tell("read", 0.0, "reading the study")
            framing = reopen(run, framing, study)
        settings = config or Config.from_dict(run["config"]).regions
        result = finish(folder, framing, settings, ModelCard.from_dict(run["prior"]), tell, search)
        tell("done", 1.0, f"{len(result.report.regions)} regions")
        return result


def finish(
    folder: RunFolder, framing: Framing, settings: RegionConfig, card: ModelCard, tell: Progress, search: Search
) -> Detection:
    """Make map, regions and output files from the trace in ``folder``.

    With the study's images (a :class:`FramedStudy`) the report is written, too.

    Raises
    ------
    ConfigError : nothing was examined of what is to be looked within.
    """
    run = folder.run()
    layer = settings.chosen.layer
    trace = folder.trace(run["slices"], run["fingerprint"], layers_read(layer))
    tell("map", SAMPLING_SHARE[1], "adding up nats")
    maker = maker_of(run, trace, framing, search)
    volumes = maker.volumes(settings, lambda kl_map: write_map(folder, kl_map))
    search.save(folder.path)
    made = report_of(run, trace, volumes, search.named(regions_of(volumes, settings)), settings, search=search)
    made = _with_organs(replace(made, unusual_slices=maker.unusual_slices(settings)), volumes, search)
    tell("export", 0.95, "writing results")
    for name in ("report.html", *DICOM_FILES):  # of other regions: they must not stay
        folder.file(name).unlink(missing_ok=True)
    if isinstance(framing, FramedStudy):
        reconstruction = reconstruction_volume(trace, framing, card)
        write_image(
            reconstruction,
            folder.file("reconstruction.nrrd"),
            description="posterior mean, HU, clipped to the prior's window",
        )
        made = write_report(folder, made, volumes.cells, volumes, framing, reconstruction, card)
    write_result(folder, made, volumes.cells, framing.grid)
    return Detection(made, volumes.cells, volumes, framing, folder)


def _with_organs(made: Report, volumes: MapVolumes, search: Search) -> Report:
    """A report with what is to be said by organ. Organs that a network found in a study that does not belong under the
    prior are not named: it knows healthy abdomens.
    """
    organs = search.organs
    if organs is None:
        return made
    if organs.origin == FOUND and made.fit is not None and not made.fit.belongs:
        return replace(made, regions=tuple(replace(region, organ=None) for region in made.regions))
    voxel_ml = volumes.kl_map.grid.voxel_volume_mm3 / 1000
    return replace(made, organs=tuple(organ_rows(organs, made.regions, volumes.kl_map.array, voxel_ml)))


def maker_of(run: dict[str, Any], trace: KLTrace, framing: Framing, search: Search) -> MapMaker:
    """Return what makes maps of a run's trace, told where to look.

    Raises
    ------
    ConfigError : nothing was examined of what is to be looked within.
    """
    maker = MapMaker(trace, framing, search.box_mask(framing), reference_of(run), window_of(run))
    maker.look_within(search.within(framing), search.rate or 1.0)
    if search.labels is not None:
        _ = maker.sought  # refuse before a file is written
    return maker


def report_of(
    run: dict[str, Any],
    trace: KLTrace,
    volumes: MapVolumes,
    regions: Sequence[Region],
    settings: RegionConfig,
    warnings: Sequence[str] = (),
    search: Search | None = None,
) -> Report:
    """Return what there is to say of a map.

    Parameters
    ----------
    run : the run's record.
    trace : its slices.
    volumes : the map.
    regions : of it, those that are to be named.
    settings : of the map.
    warnings : sentences beyond those that the run itself noted.
    search : where was looked; everywhere when None.
    """
    framing, kl_map = volumes.landing.framing, volumes.cells
    voxel = framing.grid.voxel_volume_mm3
    healthy = by_health(volumes, settings)
    fit, unjudged = judge_study(run, trace, framing)
    left_out = sorted(set(run["slices"]) - set(trace.indices))
    incomplete = _left_out(left_out, len(run["slices"])) if left_out else ""
    where = search or Search()
    notes = [where.sentence(), incomplete, kl_map.rests_on, approximation_of(run) if healthy else "", unjudged]
    return Report(
        regions=tuple(regions),
        settings=replace(Config.from_dict(run["config"]), regions=settings).to_dict(),
        provenance=provenance(run, trace, kl_map) | where.record(),
        significant_mm3=float(volumes.significant.sum() * voxel),
        tested_mm3=float(volumes.tested.sum() * voxel),
        slices=framing.lps_grid.shape[0],
        false_discovery_rate=None if healthy else settings.rate,
        false_regions=settings.false_regions if healthy else None,
        fit=fit,
        units=(kl_map.score.unit, kl_map.score.total_unit),
        warnings=(*run["warnings"], *(note for note in notes if note), *warnings),
    )


def _left_out(indices: list[int], n: int) -> str:
    """The sentence about slices that the map does not show."""
    named = ", ".join(str(k) for k in indices[:8]) + (", …" if len(indices) > 8 else "")
    return (
        f"{len(indices)} of {n} slices are not in the map: not sampled yet, or their traces are damaged ({named}). "
        "Run klip detect again to complete it."
    )


def read_finished(out: Path) -> Detection:
    """Return a finished run, made again from its trace with its last settings; nothing is written.

    Raises
    ------
    TraceError : no finished run there.
    """
    folder = RunFolder(out)
    run = folder.run()
    framing = folder.read_framing()
    settings = Config.from_dict(folder.result()["settings"]).regions
    layer = settings.chosen.layer
    trace = folder.trace(run["slices"], run["fingerprint"], layers_read(layer))
    search = Search.kept(folder.path, framing.grid, _box(run.get("roi")))
    maker = maker_of(run, trace, framing, search)
    volumes = maker.volumes(settings)
    made = report_of(run, trace, volumes, search.named(regions_of(volumes, settings)), settings, search=search)
    return Detection(
        _with_organs(replace(made, unusual_slices=maker.unusual_slices(settings)), volumes, search),
        volumes.cells,
        volumes,
        framing,
        folder,
    )


def layers_read(layer: str) -> tuple[str, ...]:
    """Return the layers of a trace that a score of this layer reads."""
    return ("pushes", "path") if layer == "pushes" else (layer, f"twin-{layer}")


def by_health(volumes: MapVolumes, settings: RegionConfig) -> bool:
    """Return whether a reference of health decided what is reported."""
    return volumes.cells.clusters.expected is not None and settings.fdr is None


def regions_of(volumes: MapVolumes, settings: RegionConfig) -> list[Region]:
    """Return one region a reported cluster."""
    clusters = volumes.cells.clusters
    found = find_regions(
        volumes.kl_map,
        None,
        clusters.p,
        volumes.density,
        known=KnownRegions(volumes.labels, volumes.within, q_values=clusters.q),
        limits=RegionLimits(
            settings.min_volume_mm3, settings.max_regions, "total" if clusters.expected is None else "rarity"
        ),
    )
    if clusters.expected is None or clusters.broad is None:
        return found
    numbers = [int(volumes.labels[region.box][region.mask][0]) - 1 for region in found]
    return [
        replace(region, expected=float(clusters.expected[n]), broad=bool(clusters.broad[n]))
        for region, n in zip(found, numbers, strict=True)
    ]


def reconstruction_volume(trace: KLTrace, framed: Framing, card: ModelCard) -> Volume:
    """Return the posterior mean in HU on the study's grid; air (the window's lower end) where nothing was sampled."""
    lps = framed.lps_grid
    out = np.zeros(lps.shape, np.float32)
    for s in trace.slices:
        out[s.index] = framed.frame_of(s.index).push(s.reconstruction[None], lps.shape[1:])[0]
    return framed.to_study(card.window.invert(np.clip(out, 0, 1)), "HU")


def volume_hash(volume: Volume) -> str:
    """Return hash of a volume's numbers and places: two studies with the same hash are the same."""
    digest = hashlib.blake2b(np.ascontiguousarray(volume.array).data, digest_size=16)
    digest.update(np.ascontiguousarray(volume.grid.affine).data)
    return digest.hexdigest()


def provenance(run: dict[str, Any], trace: KLTrace, kl_map: KLMap) -> dict[str, Any]:
    """Return what is needed to do it again, and what it cost."""
    infos = [s.info for s in trace.slices]
    psnr = [i["psnr_db"] for i in infos if "psnr_db" in i]  # nobody knows the truth of what a scanner measured
    return {
        "software": f"KLIPCore {__version__}",
        "python": platform.python_version(),
        "torch": _installed("torch"),
        **bill_of_materials(),
        "precision": precision_told(run),
        "prior": run["prior"]["name"],
        "prior_sha256": run["prior"]["sha256"],
        "prior_anatomy": run["prior"]["anatomy"],
        "measurement": run.get("measurement", SIMULATED),
        "simulated": run.get("simulated", "measurement" not in run),  # older runs note a scanner's only
        "score": kl_map.score.name,
        "score_meaning": kl_map.score.explanation,
        "sigma_window": list(kl_map.score.window),
        "block_mm": kl_map.block_mm,
        "block_depth_mm": kl_map.depth_mm,
        "null": kl_map.null,
        **({"reference_sha256": reference_hash(run)} if kl_map.null == "reference" else {}),
        "fingerprint": run["fingerprint"],
        "slices_sampled": len(trace.slices),
        "seconds_sampling": round(sum(i.get("seconds", 0.0) for i in infos), 1),
        "network_evaluations_per_slice": round(float(np.mean([i.get("network_evaluations", 0) for i in infos])), 1),
    } | ({"psnr_db_median": round(float(np.median(psnr)), 2)} if psnr else {})


def precision_told(run: dict[str, Any]) -> str:
    """Return in which precision a run's network computed, and why in that one."""
    noted = run.get("precision")
    told = [noted.get(name) for name in ("precision", "place", "reason")] if isinstance(noted, dict) else [None] * 3
    precision, place, reason = [part if isinstance(part, str) else "" for part in told]
    where = f"{precision} on {place}" if precision and place else precision
    # Runs of earlier versions did not choose.
    return ": ".join(part for part in (where, reason) if part) or "as the network was trained"


def _installed(package: str) -> str:
    """A package's version; Slicer's own process, which may write a report, has no torch."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not in the process that wrote this"


def _box(values: Any) -> Box | None:
    return (
        None
        if values is None
        else ((values[0][0], values[0][1]), (values[1][0], values[1][1]), (values[2][0], values[2][1]))
    )
