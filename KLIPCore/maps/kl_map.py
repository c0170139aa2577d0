"""The KL map: from a trace to nats, p-values and significance on the study's own voxels.

Everything here is arithmetic on the trace and takes a fraction of a second: this is what the sliders call. All
cell arrays are (n_slices, h, w) over the frame's base cells, of the slices that were sampled;
:meth:`KLMap.volumes` carries them to the study's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.maps.clusters import Clusters
from KLIPCore.maps.resample import Landing, LandingSlice
from KLIPCore.scores import Score
from KLIPCore.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class KLMap:
    """Nats of blocks, and how unusual they are.

    Attributes
    ----------
    indices : slices, counted from the feet.
    nats : (n, h, w) float32 of the block centred at each cell, in the score's unit: nats only where that says so
        (:data:`KLIPCore.scores.Unit`).
    cells : (n, h, w) float32 nats of each cell itself: every nat once.
    tested : (n, h, w) bool, cells inside the body and the region of interest in which regions are looked for.
    p : (n, h, w) p-values of single blocks; 1 where not tested.
    clusters : touching unusual blocks, with their significance.
    forming_p : blocks below this p-value form clusters.
    score : what was measured.
    block_mm, depth_mm : the block's edges; depth is one slice's spacing at least.
    null : name of the null.
    width : robust standard deviation of the transformed nats under the study null; None for the twin null.
    rests_on : a sentence on what the verdict rests on, where that is not what its score promises; else empty.
    outline_p : (n, h, w) by which regions are drawn where that is not ``p``: broad ones are not made of single blocks.
    """

    indices: tuple[int, ...]
    nats: NDArray[np.float32]
    cells: NDArray[np.float32]
    tested: NDArray[np.bool_]
    p: NDArray[np.float64]
    clusters: Clusters
    forming_p: float
    score: Score
    block_mm: float
    depth_mm: float
    null: str
    width: float | None
    rests_on: str = ""
    outline_p: NDArray[np.float64] | None = None

    def reported(self, config: RegionConfig) -> NDArray[np.bool_]:
        """Return (n_clusters,) which clusters are reported.

        By what a healthy study would show where a reference says so and no rate was given, by their
        false-discovery rate otherwise.
        """
        if self.clusters.expected is not None and config.fdr is None:
            return self.clusters.expected <= config.false_regions
        return self.clusters.q <= config.rate

    @property
    def image_nats(self) -> NDArray[np.float64]:
        """(n,) nats of each whole slice: the sum over its tested body."""
        return np.where(self.tested, self.cells, 0.0).sum((1, 2), dtype=np.float64)

    def volumes(self, landing: Landing, config: RegionConfig, kl_map: Volume | None = None) -> MapVolumes:
        """Return the map on the study's own grid; slices that were not sampled are 0.

        Parameters
        ----------
        landing : of the map's slices on their study.
        config : which clusters are reported.
        kl_map : what :func:`on_study` made of the nats, where it is there already.
        """
        reported = np.concatenate([[False], self.reported(config)])[self.clusters.labels]
        near = _dilated(
            np.where(reported, self.clusters.labels, 0)
        )  # interpolation may still exceed the threshold there
        near[(self.clusters.labels > 0) & ~reported] = 0  # not into a neighbour that is not reported
        drawn_by, threshold = self.p if self.outline_p is None else self.outline_p, -np.log10(self.forming_p)
        labels, labels_lps = landing.blank(np.int32)
        lows, highs = [], []
        parts = landing.around(near > 0)
        for part in parts:
            log_p = -np.log10(np.maximum(drawn_by[part.n], 1e-300))
            unusual = part.body & part.nearest(self.tested[part.n]) & (part.smooth(log_p) >= threshold)
            labels_lps[part.place] = np.where(unusual, part.nearest(near[part.n]), 0)
            k, rows, columns = part.place
            lows.append((k, rows.start, columns.start))
            highs.append((k + 1, rows.stop, columns.stop))
        box = (
            tuple(slice(int(a), int(b)) for a, b in zip(np.min(lows, 0), np.max(highs, 0), strict=True))
            if lows
            else (slice(0, 0),) * 3
        )
        within = landing.framing.orientation.restore_box((box[0], box[1], box[2]), labels_lps.shape)
        return MapVolumes(
            kl_map or on_study(self.nats, landing, unit=self.score.unit), labels, within, parts, self, landing
        )


def _dilated(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n, h, w) labels, each slice grown by one cell to all sides; the larger number wins. Looks only where
    there are any.
    """
    out = np.zeros_like(labels)
    some = ndi.find_objects((labels > 0).astype(np.int8))
    if some:
        n, h, w = some[0]
        box = (n, slice(max(h.start - 1, 0), h.stop + 1), slice(max(w.start - 1, 0), w.stop + 1))
        out[box] = ndi.grey_dilation(labels[box], size=(1, 3, 3))
    return out


def on_study(
    nats: NDArray[np.floating], landing: Landing, into: NDArray[np.float32] | None = None, unit: str = "nats"
) -> Volume:
    """Return the (n, h, w) block nats at every voxel of the study, linearly interpolated.

    0 outside the body and in slices not sampled.

    Parameters
    ----------
    nats : of the landing's slices.
    landing : from cells to voxels.
    into : the array of an earlier map of this very landing, which is written over: zeros need not be made again.
    unit : what the numbers are in.

    Raises
    ------
    TraceError : nats are not finite.
    """
    array, lps = landing.blank(np.float32) if into is None else (into, landing.framing.orientation.view(into))
    cells = np.maximum(nats, 0.0)  # a block without surprise may come out slightly negative
    for part in landing.slices:
        np.copyto(lps[part.place], part.smooth(cells[part.n]), where=part.body)
    if not np.isfinite(cells).all():  # a hundred times fewer than voxels
        raise TraceError("The trace holds nats that are not finite.", "Run the detection again.")
    return Volume.known_finite(array, landing.framing.grid, unit)


@dataclass(frozen=True, eq=False)
class MapVolumes:
    """A KL map on the study's grid; every array is (D, H, W) in the study's own order.

    Attributes
    ----------
    kl_map : nats of the block centred at each voxel; 0 outside the body and in slices not sampled.
    labels : int32, number of the reported cluster at each voxel, 0 outside.
    within : box outside of which there are no labels.
    parts : the slices' parts that hold the cells of reported clusters and those that touch them.
    cells : the map over base cells that it was made from.
    landing : how it was carried here.
    """

    kl_map: Volume
    labels: NDArray[np.int32]
    within: tuple[slice, slice, slice]
    parts: tuple[LandingSlice, ...]
    cells: KLMap
    landing: Landing

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Voxels of reported clusters."""
        return self.labels > 0

    @cached_property
    def tested(self) -> NDArray[np.bool_]:
        """Voxels at which a test was made."""
        array, lps = self.landing.blank(bool)
        for part in self.landing.slices:
            lps[part.place] = part.nearest(self.cells.tested[part.n]) & part.body
        return array

    @cached_property
    def density(self) -> NDArray[np.float32]:
        """Nats per mm³, each nat once; 0 outside :attr:`within`, where no region needs it."""
        spacing = self.landing.framing.lps_grid.spacing[0]
        per_mm3 = np.float32(1.0 / (self.landing.cell_mm**2 * spacing))
        array, lps = self.landing.blank(np.float32)
        for part in self.parts:
            lps[part.place] = part.nearest(self.cells.cells[part.n]) * per_mm3
        return array
