"""What a finished run of one whole scan is worth against its mask."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig
from KLIPCore.errors import KlipError, TraceError
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.volumes.blocks import BlockFigures, block_figures
from KLIPCore.lab.evaluation.volumes.config import Scan, VolumesConfig
from KLIPCore.lab.evaluation.volumes.lesions import Lesions, PointFigures, Touch, point_figures, touches
from KLIPCore.lab.evaluation.volumes.metrics import VoxelFigures, voxel_figures
from KLIPCore.lab.evaluation.volumes.reading import read_mask
from KLIPCore.maps.kl_map import KLMap, on_study
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import reference_of, window_of
from KLIPCore.runs.rerun import layers_read, regions_of
from KLIPCore.volume.framed_study import Framing

FALSE_REGIONS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Acceptable false regions at which regions that a reference of health judges are counted."""

P_LEVELS = (0.05, 0.01, 0.001)
"""Levels at which the blocks of healthy studies are counted."""

RATES = (0.05, 0.1, 0.2, 0.5, 0.7)
"""False-discovery rates at which regions of the other scores are counted."""

MOST_FALSE_REGIONS, HIGHEST_RATE, MOST_REGIONS = 10.0, 0.95, 500
"""How far the free-response curve goes, and how many regions of a scan it is made of."""

DEFAULT = "default"
"""The setting at which a run reports what it reports."""


@dataclass(frozen=True)
class ScanFigures:
    """One scan under one score.

    Attributes
    ----------
    scan, patient, healthy : which scan it is.
    score : name in :data:`KLIPCore.scores.SCORES`.
    ranked_by : ``"false regions"`` where a reference of health judged, else ``"false-discovery rate"``.
    voxels : how the map ranks the body's voxels.
    lesions, large : lesions, and those of more than the diameter asked for.
    diameters_mm : of all lesions, in their numbers' order.
    points : what is reported at each setting, the default first.
    regions : every region up to the loosest setting of the curve.
    run : provenance of the run.
    notes : sentences about what makes the figures less trustworthy.
    seconds : that scoring took.
    slices_auroc : how the slices with lesions rank among the scan's slices; NaN where all or none have some.
    below : share of the tested blocks with a p-value below each of :data:`P_LEVELS`.
    blocks : how the map's blocks rank in the slices with lesions.
    """

    scan: str
    patient: str
    healthy: bool
    score: str
    ranked_by: str
    voxels: VoxelFigures
    lesions: int
    large: int
    diameters_mm: tuple[float, ...]
    points: tuple[PointFigures, ...]
    regions: tuple[Touch, ...]
    run: dict[str, Any]
    notes: tuple[str, ...]
    seconds: float
    slices_auroc: float
    below: tuple[float, ...]
    blocks: BlockFigures

    @property
    def default(self) -> PointFigures:
        """What is reported at the default."""
        return self.points[0]


@dataclass(frozen=True, eq=False)
class Examined:
    """A finished run of a whole scan, and its truth.

    Attributes
    ----------
    scan : the scan.
    folder, run, framing : of the run.
    lesions : in the slices that were examined.
    inside : (D, H, W) bool on the study's grid: the body in those slices.
    organ : (D, H, W) bool, the organ in which blocks are ranked apart; None where none is known.
    notes : sentences.
    """

    scan: Scan
    folder: RunFolder
    run: dict[str, Any]
    framing: Framing
    lesions: Lesions
    inside: NDArray[np.bool_]
    organ: NDArray[np.bool_] | None
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls, scan: Scan, folder: RunFolder, values: tuple[int, ...], organ_values: tuple[int, ...] = ()
    ) -> Examined:
        """Read a run and the mask that belongs to it.

        Parameters
        ----------
        scan : the scan.
        folder : of its run.
        values : labels that are lesion; every label above 0 when empty.
        organ_values : labels of the organ; none is known when empty, or in a healthy study.

        Raises
        ------
        TraceError : the run is missing, unfinished, or of a part of the body.
        InputError : the mask cannot be used, see :func:`KLIPCore.lab.evaluation.volumes.reading.read_mask`.
        """
        run, framing = folder.run(), folder.read_framing()
        if run.get("roi") is not None:
            raise TraceError(
                f"{scan.name}: its run examined a box, not the whole volume.", "Run klip detect without --roi."
            )
        done = folder.finished(run["slices"], run["fingerprint"], ())
        if len(done) < len(run["slices"]):
            raise TraceError(
                f"{scan.name}: {len(run['slices']) - len(done)} of {len(run['slices'])} slices are not sampled yet.",
                "Run klip detect to its end first.",
            )
        mask, notes = read_mask(scan, framing.grid, values)
        body = framing.body & np.isin(np.arange(len(framing.body)), run["slices"])[:, None, None]
        slices = framing.orientation.apply(mask).any((1, 2))
        unseen = sorted(set(np.flatnonzero(slices).tolist()) - set(run["slices"]))
        if unseen:
            notes.append(f"{len(unseen)} slices with lesions were not examined; their lesions are not counted.")
            looked_at = np.zeros(framing.body.shape, bool)
            looked_at[run["slices"]] = True
            mask = mask & framing.orientation.restore(looked_at)
        inside = framing.orientation.restore(body)
        outside = np.count_nonzero(mask & ~inside)
        if outside:
            notes.append(f"{outside} lesion voxels lie outside the body that was found; no voxel figure counts them.")
        organ = read_mask(scan, framing.grid, organ_values)[0] if organ_values and not scan.healthy else None
        return cls(scan, folder, run, framing, Lesions.of(mask, framing.grid), inside, organ, tuple(notes))

    def figures(self, score: str, config: VolumesConfig) -> ScanFigures:
        """Measure one score.

        Raises
        ------
        TraceError : the trace lacks what the score reads, or there is no reference of health that holds.
        """
        started = time.monotonic()
        settings = settings_for(score, config.run.regions)
        trace = self.folder.trace(self.run["slices"], self.run["fingerprint"], layers_read(settings.chosen.layer))
        maker = MapMaker(trace, self.framing, None, reference_of(self.run), window_of(self.run))
        cells = maker.make(settings)
        carried = on_study(cells.nats, maker.landing)
        health = cells.clusters.expected is not None and settings.fdr is None

        def reported(at: RegionConfig) -> list[Touch]:
            return touches(regions_of(cells.volumes(maker.landing, at, carried), at), self.lesions)

        loosest = (
            replace(settings, false_regions=MOST_FALSE_REGIONS, max_regions=MOST_REGIONS)
            if health
            else replace(settings, fdr=HIGHEST_RATE, max_regions=MOST_REGIONS)
        )
        points = [
            point_figures(name, reported(at), self.lesions, config.lesion_mm) for name, at in ladder(settings, health)
        ]
        return ScanFigures(
            self.scan.name,
            self.scan.patient,
            self.scan.healthy,
            score,
            "false regions" if health else "false-discovery rate",
            voxel_figures(carried.array, self.lesions.numbers, self.inside),
            len(self.lesions.diameter_mm),
            len(self.lesions.large(config.lesion_mm)),
            tuple(self.lesions.diameter_mm.tolist()),
            tuple(points),
            tuple(reported(loosest)),
            self.provenance(),
            self.notes,
            round(time.monotonic() - started, 2),
            self.slices_auroc(cells, maker.unusual_slices(settings)),
            tuple(float(np.mean(cells.p[cells.tested] < level)) for level in P_LEVELS),
            block_figures(cells, self.framing, self.lesions.numbers > 0, self.organ),
        )

    def slices_auroc(self, cells: KLMap, shares: dict[int, float] | None) -> float:
        """Return how slices with lesions rank among the slices examined.

        By the share of healthy slices that are as unusual, or where nothing tells it, by the largest tested
        block.
        """
        if shares is None:
            rank = np.where(cells.tested, cells.nats, -np.inf).max((1, 2))
        else:
            rank = -np.array([shares[index] for index in cells.indices])
        every = np.any(self.framing.orientation.apply(self.lesions.numbers > 0), axis=(1, 2))
        slices = np.asarray(every)[list(cells.indices)]
        return auroc(rank, slices) if slices.any() and not slices.all() else float("nan")

    def provenance(self) -> dict[str, Any]:
        """Return what the run was made with; no folder of somebody's machine."""
        settings = self.run["config"]
        return {
            "software": f"KLIPCore {self.run.get('version', '')}".strip(),
            "fingerprint": self.run["fingerprint"],
            "prior": self.run["prior"]["name"],
            "prior_sha256": self.run["prior"]["sha256"],
            "preset": settings.get("preset", ""),
            "seed": settings["sampling"]["seed"],
            "n_views": settings["measurement"]["n_views"],
            "slices": len(self.run["slices"]),
            "warnings": list(self.run["warnings"]),
        }


def settings_for(score: str, regions: RegionConfig) -> RegionConfig:
    """Return the settings of map and regions for a score; a window holds for the score that it was given with."""
    return regions if score == regions.score else replace(regions, score=score, window=None)


def ladder(settings: RegionConfig, health: bool) -> list[tuple[str, RegionConfig]]:
    """Return the settings at which regions are counted, by name; the default first.

    Parameters
    ----------
    settings : the default.
    health : a reference of health judges.
    """
    if health:
        steps = [
            (f"≤ {n:g} false region{'s' if n > 1 else ''}", replace(settings, false_regions=n)) for n in FALSE_REGIONS
        ]
    else:
        steps = [(f"FDR {rate:g}", replace(settings, fdr=rate)) for rate in RATES]
    return [(DEFAULT, settings), *steps]


def score_scan(
    scan: Scan, folder: RunFolder, config: VolumesConfig
) -> tuple[list[ScanFigures], list[tuple[str, KlipError]]]:
    """Measure every score of one scan.

    Returns
    -------
    figures : of the scores that could be measured.
    failed : the others, and why.

    Raises
    ------
    KlipError : nothing can be measured, see :meth:`Examined.read`.
    """
    examined = Examined.read(scan, folder, config.values_of(scan), config.organ_values)
    figures: list[ScanFigures] = []
    failed: list[tuple[str, KlipError]] = []
    for score in config.scores:
        try:
            figures.append(examined.figures(score, config))
        except KlipError as error:
            failed.append((score, error))
    return figures, failed


def settings_of(figures: Sequence[ScanFigures]) -> list[str]:
    """Return names of the settings at which regions were counted, in order."""
    return list(dict.fromkeys(point.setting for own in figures for point in own.points))
