"""ASTRA's CPU projector on our geometry: somebody else's Joseph projector, for comparison of speed.

ASTRA Toolbox (van Aarle et al., Opt. Express 24, 25129, 2016) is the projector most people use. It is no
dependency: where ``pip install astra-toolbox`` was not done, the comparison is left out. Its two-dimensional
CPU code takes one image at a time on one thread, so a batch is a loop.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

INTERPOLATION = "linear"
"""Joseph's method in ASTRA's words, and the fastest of its CPU kernels."""


class AstraProjector:
    """A and Aᵀ of a parallel beam; lengths in mm, axes as in :mod:`KLIPCore.volume.geometry`.

    Raises
    ------
    ImportError : ASTRA is not installed, or cannot be loaded on this computer.
    """

    def __init__(self, geometry: ParallelBeam, image: ImageGrid2D) -> None:
        self._astra: Any = importlib.import_module(
            "astra"
        )  # optional, and under the GPL: only ever called, never required
        h, w = image.shape
        self.pixel_mm = image.pixel_mm
        volume = self._astra.create_vol_geom(h, w)
        rays = self._astra.create_proj_geom(
            "parallel", geometry.pitch_mm / image.pixel_mm, geometry.n_detectors, -np.asarray(geometry.angles_rad)
        )  # its rows run upwards
        self._projector = self._astra.create_projector(INTERPOLATION, rays, volume)

    def forward(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (B, H, W) → (B, n_views, n_detectors)."""
        return self.pixel_mm * np.stack([self._call(self._astra.create_sino, image) for image in x])

    def transpose(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (B, n_views, n_detectors) → (B, H, W)."""
        return self.pixel_mm * np.stack([self._call(self._astra.create_backprojection, data) for data in y])

    def close(self) -> None:
        """Give its memory back."""
        self._astra.projector.delete(self._projector)

    def _call(self, function: Any, array: NDArray[np.float32]) -> NDArray[np.float32]:
        identifier, made = function(np.ascontiguousarray(array), self._projector)
        self._astra.data2d.delete(identifier)
        return made


def astra_projector(geometry: ParallelBeam, image: ImageGrid2D) -> AstraProjector | None:
    """Return ASTRA's projector; None where it is not installed."""
    try:
        return AstraProjector(geometry, image)
    except ImportError:
        return None
