"""The KL map: from a trace to nats, p-values and significance on the study's own voxels.

Everything here is arithmetic on the trace and takes a fraction of a second: this is what the sliders call. All cell arrays
are (n_slices, h, w) over the frame's base cells, of the slices that were sampled; :meth:`KLMap.volumes` carries them
to the study's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import RegionConfig, Score
from KLIPCore.errors import TraceError
from KLIPCore.framing import Framing
from KLIPCore.kl.blocks import block_nats
from KLIPCore.kl.clusters import Clusters, find_clusters
from KLIPCore.kl.null import LogNormalNull, twin_p_values
from KLIPCore.kl.trace import KLTrace
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.volume import Volume

MIN_BODY = 0.5
"""A cell is tested when at least this part of it is body."""


@dataclass(frozen=True, eq=False)
class KLMap:
    """Nats of blocks, and how unusual they are.

    Attributes
    ----------
    indices : slices, counted from the feet.
    nats : (n, h, w) float32 nats of the block centred at each cell.
    cells : (n, h, w) float32 nats of each cell itself: every nat once.
    tested : (n, h, w) bool, cells inside the body and the region of interest.
    p : (n, h, w) p-values of single blocks; 1 where not tested.
    clusters : touching unusual blocks, with their significance.
    forming_p : blocks below this p-value form clusters.
    score : what was measured.
    block_mm, depth_mm : the block's edges; depth is one slice's spacing at least.
    null : name of the null.
    width : robust standard deviation of log nats under the study null; None for the twin null.
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

    @property
    def image_nats(self) -> NDArray[np.float64]:
        """(n,) nats of each whole slice: the sum over its tested body."""
        return np.where(self.tested, self.cells, 0.0).sum((1, 2), dtype=np.float64)

    def volumes(self, study: Framing, fdr: float) -> MapVolumes:
        """The map on the study's own grid; slices that were not sampled are 0 (p = 1)."""
        lps = study.lps_grid
        frame = study.frame
        per_mm3 = 1.0 / ((frame.pixel_mm * frame.size / self.nats.shape[-1]) ** 2 * lps.spacing[0])
        log_p = (-np.log10(np.maximum(self.p, 1e-300))).astype(np.float32)
        reported = self.clusters.spread(self.clusters.q) <= fdr
        near = ndi.grey_dilation(np.where(reported, self.clusters.labels, 0), size=(1, 3, 3))  # interpolation may still exceed the threshold there
        nats, density = np.zeros(lps.shape, np.float32), np.zeros(lps.shape, np.float32)
        labels, tested = np.zeros(lps.shape, np.int32), np.zeros(lps.shape, bool)
        for n, k in enumerate(self.indices):
            own, shape = study.frame_of(k), lps.shape[1:]

            def to_slice(cells: NDArray, order: int, own: Frame = own, shape: tuple[int, int] = shape) -> NDArray[np.float32]:
                return own.push(cells[None], shape, order=order)[0]

            body = study.body[k]
            nats[k] = np.maximum(to_slice(self.nats[n], 1), 0.0) * body
            density[k] = to_slice(self.cells[n], 0) * per_mm3
            tested[k] = (to_slice(self.tested[n], 0) > 0.5) & body
            if near[n].any():
                unusual = tested[k] & (to_slice(log_p[n], 1) >= -np.log10(self.forming_p))
                labels[k] = np.where(unusual, to_slice(near[n], 0), 0)
        back = study.orientation.restore
        labels = back(labels)
        return MapVolumes(
            kl_map=study.to_study(nats, "nats"),
            density=back(density),
            p=np.concatenate([[1.0], self.clusters.p]).astype(np.float32)[labels],
            q=np.concatenate([[1.0], self.clusters.q]).astype(np.float32)[labels],
            tested=back(tested),
            labels=labels,
        )


@dataclass(frozen=True, eq=False)
class MapVolumes:
    """A KL map on the study's grid; every array is (D, H, W) in the study's own order.

    Attributes
    ----------
    kl_map : nats of the block centred at each voxel; 0 outside the body and in slices not sampled.
    density : nats per mm³, each nat once.
    p, q : p-value and false-discovery rate of the reported cluster at each voxel, 1 outside.
    tested : bool.
    labels : int32, number of the reported cluster at each voxel, 0 outside.
    """

    kl_map: Volume
    density: NDArray[np.float32]
    p: NDArray[np.float32]
    q: NDArray[np.float32]
    tested: NDArray[np.bool_]
    labels: NDArray[np.int32]

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Voxels of reported clusters."""
        return self.labels > 0


def make_map(trace: KLTrace, study: Framing, config: RegionConfig, roi: NDArray[np.bool_] | None = None) -> KLMap:
    """Blocks, null, p- and q-values from a trace.

    Parameters
    ----------
    trace : the sampled slices.
    study : their study.
    config : score, block size and null.
    roi : (D, H, W) bool on the LPS grid; only blocks centred in it are tested.

    Raises
    ------
    TraceError : the trace is empty, lacks the score's layer, or is too small for a null.
    """
    if not trace.slices:
        raise TraceError("No slice has been sampled yet.", "Run detect first.")
    score = config.chosen
    cells = trace.nats(score.layer, score.part, score.window, score.bands)
    n_cells = cells.shape[-1]
    cell_mm = study.frame.pixel_mm * study.frame.size / n_cells
    spacing = float(study.lps_grid.spacing[0])
    depth = max(1.0, config.depth_mm / spacing)

    def blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
        dense = np.zeros((trace.indices[-1] - trace.indices[0] + 1, n_cells, n_cells), np.float32)
        places = np.array(trace.indices) - trace.indices[0]  # a gap between sampled slices stays a gap
        dense[places] = values
        return block_nats(dense, config.block_mm / cell_mm, depth)[places]

    nats = blocks(cells)
    step = study.frame.size // n_cells
    tested = np.zeros(nats.shape, bool)
    for n, k in enumerate(trace.indices):
        body = study.mask(k) if roi is None else study.mask(k) * study.frame_of(k).pull(roi[k : k + 1].astype(np.float32), order=0)[0]
        tested[n] = body.reshape(n_cells, step, n_cells, step).mean((1, 3)) >= MIN_BODY
    p = np.ones(nats.shape)
    width = None
    if config.null == "twin":
        twin = blocks(trace.nats(f"twin-{score.layer}", score.part, score.window, score.bands))
        p[tested] = twin_p_values(nats[tested], twin[tested])
    else:
        null = LogNormalNull.fit(nats[tested])
        p[tested] = null.p_values(nats[tested])
        width = null.width
    clusters = find_clusters(p, tested, config.forming_p, np.array(trace.indices))
    return KLMap(
        tuple(trace.indices), nats, cells, tested, p, clusters, config.forming_p, score, max(config.block_mm, cell_mm), depth * spacing, config.null, width
    )
