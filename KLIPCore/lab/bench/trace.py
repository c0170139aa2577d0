"""A live map of a large study without sampling: the trace is drawn, everything after it is real.

What a map costs depends on the number of cells and voxels and, a little, on how many blocks are unusual; not
on where the nats came from. Nats are log-normal, as those of healthy blocks are, and larger in a few balls, so
that there are clusters and regions to find.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from KLIPCore.kl.bands import DEFAULT_CUTOFFS
from KLIPCore.maps.trace import KLTrace, Layer, SliceTrace
from KLIPCore.maps.unexpected import ABDOMEN
from KLIPCore.runs.live import LiveMap
from KLIPCore.scores import SCORES
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Orientation

FRAME, CELLS = 256, 64
WIDTH_MM, SPACING_MM = 340.0, 2.5
EDGES = (0.08, 0.16, 0.32)


def made_live_map(n_slices: int = 100, size: int = 512, seed: int = 0) -> LiveMap:
    """Return a study of (n_slices, size, size) voxels with an elliptical body in 400 mm, and its trace.

    The trace has the layer of the score ``hypodense``.
    """
    voxel = 400.0 / size
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = SPACING_MM, voxel, voxel, 1.0
    grid = Grid((n_slices, size, size), affine)
    orientation = Orientation(*grid.lps_axes())
    axis = (np.arange(size) - (size - 1) / 2) * voxel
    inside = (axis[:, None] / 120.0) ** 2 + (axis[None, :] / (WIDTH_MM / 2)) ** 2 <= 1
    body = np.repeat(inside[None], n_slices, 0)
    framing = Framing(grid, orientation, body, Frame.of_body(body, (voxel, voxel), FRAME, 0.875))
    layer = SCORES["hypodense"].layer
    rng = np.random.default_rng(seed)
    k, row, column = np.mgrid[0:n_slices, 0:CELLS, 0:CELLS].astype(np.float32)
    factor = np.ones(k.shape, np.float32)
    for _ in range(4):
        centre = rng.uniform((0.2 * n_slices, 24, 20), (0.8 * n_slices, 40, 44))
        factor[((k - centre[0]) * 0.5) ** 2 + (row - centre[1]) ** 2 + (column - centre[2]) ** 2 <= 9] = 30.0
    slices = []
    blank = np.zeros((FRAME, FRAME), np.float32)
    for index in range(n_slices):
        nats = (
            np.exp(rng.normal(-4.0, 0.5, (len(EDGES) - 1, len(DEFAULT_CUTOFFS) + 1, CELLS, CELLS))).astype(np.float32)
            * factor[index]
        )
        slices.append(SliceTrace(index, {layer: Layer(layer, np.array(EDGES), nats, 0.8 * nats, 2)}, blank, {}))
    return LiveMap({"roi": None, "prior": {"window": asdict(ABDOMEN)}}, framing, KLTrace(tuple(slices)))
