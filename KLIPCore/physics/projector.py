"""X-ray projection: line integrals of an image along every ray, and the exact transpose.

Joseph's method (IEEE Trans. Med. Imaging 1, 192, 1982): follow a ray through the image row by row (or column
by column, whichever it crosses more steeply), interpolate linearly between the two pixels on either side, and
multiply the sum by the path length per row. The kernel is a triangle two pixels wide, which is just a box
pixel averaged over a bin one pixel wide; k rays averaged over a bin of k pixels are again just that, so wide
bins take as many rays as pixels fit into them.

Units: lengths in mm, so that a density per mm (attenuation) gives a pure number. An image of ones gives the
chord in mm.

The weights are kept as two sparse matrices, for A and for Aᵀ, of one weight per view *orbit*
(:mod:`KLIPCore.physics.symmetry`). Where they would exceed ``memory_limit_bytes`` they are computed again for
each product, a few views at a time: slower, the same numbers, and the transpose stays exact because both
directions use the same weights.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.rotation import RotationAverage, turns_onto_itself
from KLIPCore.physics.rows import MAX_ENTRIES, RowMatrix, Rows
from KLIPCore.physics.symmetry import ViewOrbits
from KLIPCore.volume.geometry import Geometry, ImageGrid2D, ParallelBeam, arc_text

DEFAULT_MEMORY_LIMIT_BYTES = 2 * 1024**3


class Projector(LinearOperator):
    """Line integrals of (H, W) images: (n_views, n_detectors), and their transpose (back-projection).

    Attributes
    ----------
    geometry, image : the rays and the pixels.
    dtype : precision of weights and arithmetic.
    rays_per_bin : rays averaged over each detector bin.
    estimated_bytes : memory the stored matrices take (an upper estimate, known before they are built).
    stored : whether the matrices are kept.
    """

    def __init__(
        self,
        geometry: Geometry,
        image: ImageGrid2D,
        *,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        rays_per_bin: int | None = None,
        dtype: torch.dtype = torch.float32,
        symmetric: bool = True,
    ) -> None:
        """Find the scan's symmetries and, if they fit, build the matrices.

        Parameters
        ----------
        geometry, image : the rays and the pixels.
        memory_limit_bytes : matrices above this size are computed on the fly.
        rays_per_bin : rays averaged over each bin; None: as many as pixels fit across a bin.
        dtype : torch.float32 or torch.float64.
        symmetric : whether views related by symmetry share weights (False is for tests).

        Raises
        ------
        ConfigError : another dtype, or less than one ray per bin.
        """
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(
                f"Projections are computed in float32 or float64, not {dtype}.", "Choose one of the two."
            )
        if rays_per_bin is None:
            rays_per_bin = max(1, round(geometry.pitch_at_isocentre_mm / image.pixel_mm))
        if rays_per_bin < 1:
            raise ConfigError("A detector bin needs at least one ray.", "Leave rays_per_bin to the default.")
        self.geometry, self.image, self.dtype, self.rays_per_bin = geometry, image, dtype, rays_per_bin
        self.domain_shape, self.range_shape = image.shape, geometry.shape
        n = geometry.n_views
        self.orbits = ViewOrbits.find(geometry, image.shape[0] == image.shape[1]) if symmetric else ViewOrbits.none(n)
        self.estimated_bytes = self._estimate_bytes()
        self.stored = self.estimated_bytes <= min(memory_limit_bytes, 16 * MAX_ENTRIES)
        self._slot, self._reverse = torch.from_numpy(self.orbits.slot), torch.from_numpy(self.orbits.reverse)
        shape = (len(self.orbits.base) * geometry.n_detectors, math.prod(image.shape))
        self._matrix = RowMatrix(self._rows, shape, 2 * rays_per_bin * max(image.shape), dtype, self.stored)

    def __repr__(self) -> str:
        kind = "" if isinstance(self.geometry, ParallelBeam) else "fan-beam "
        return f"Projector({self.geometry.n_views} {kind}{arc_text(self.geometry.angles_rad)}, {self.image})"

    def _estimate_bytes(self) -> int:
        geometry, image = self.geometry, self.image
        lines = max(image.shape)
        # entries on one row of the image: every ray touches two pixels, and wide bins all pixels under them
        per_bin = 2.0 + (
            self.rays_per_bin - 1
        ) / self.rays_per_bin * geometry.pitch_at_isocentre_mm / image.pixel_mm * math.sqrt(2)
        rays = min(geometry.n_detectors, math.ceil(lines * image.pixel_mm / geometry.pitch_at_isocentre_mm) + 2)
        entries = len(self.orbits.base) * rays * lines * per_bin
        value = 4 if self.dtype == torch.float32 else 8
        return int(2 * (entries * (4 + value) + 4 * math.prod(image.shape)))

    def _rows(self, device: torch.device, at_once: int) -> Rows:
        """The base views' rays: pixel indices (R, N, 2K) and weights in mm, 0 outside the image."""
        base = self.geometry.views(self.orbits.base)
        k = self.rays_per_bin
        lines = [base.lines((j + 0.5) / k - 0.5) for j in range(k)]
        phi = torch.from_numpy(np.stack([p.ravel() for p, _ in lines], axis=-1)).to(device)  # (rays, K)
        s = torch.from_numpy(np.stack([d.ravel() for _, d in lines], axis=-1)).to(device)
        for start in range(0, len(phi), at_once):
            piece = slice(start, min(start + at_once, len(phi)))
            index, weight = _joseph(phi[piece], s[piece], self.image)
            yield piece, index, weight / k

    def view_matrices(self) -> list[sp.csr_array]:
        """Return every view's weights by itself, (n_detectors, H·W), in mm: the kept ones, turned.

        Raises
        ------
        ConfigError : they are not kept.
        """
        pixels = np.arange(math.prod(self.image.shape)).reshape(*self.image.shape, 1)
        places = [t.apply(torch.from_numpy(pixels)).numpy().ravel() for t in self.orbits.turns]
        kept, n = self._matrix.to_scipy(), self.range_shape[1]
        made = []
        for slot, reverse in zip(self.orbits.slot, self.orbits.reverse, strict=True):
            base, turn = divmod(int(slot), len(places))
            rows = kept[base * n : (base + 1) * n]
            view = sp.csr_array((rows.data, places[turn][rows.indices], rows.indptr), shape=rows.shape)
            made.append(view[::-1] if reverse else view)
        return made

    def preconditioned(self) -> Projector:
        """Return the same projector, with its rotation average where it has one (:mod:`KLIPCore.physics.rotation`).

        Proximal steps become cheaper.
        """
        made = copy.copy(self)
        if self.stored and turns_onto_itself(self.geometry, self.image):
            made.closed_form = RotationAverage.of(
                self.geometry, self.image, self.view_matrices(), self.orbits.base, self.dtype
            )
        return made

    def _apply(self, x: Tensor) -> Tensor:
        b, n_bins = len(x), self.range_shape[1]
        y = self._matrix.forward(self.orbits.images(x.to(self.dtype).permute(1, 2, 0).contiguous()))
        per_base = (
            y.reshape(len(self.orbits.base), n_bins, len(self.orbits.turns), b).transpose(1, 2).reshape(-1, n_bins, b)
        )
        views = per_base[self._slot]
        views = torch.where(self._reverse[:, None, None], views.flip(1), views)
        return views.permute(2, 0, 1).contiguous().to(x.dtype)

    def normal(self, x: Tensor, w: Tensor) -> Tensor:
        """Return Aᵀ (w · A x), w a number: the views between need no order, only those that the scan has.

        Not recorded by autograd then.
        """
        if w.numel() != 1 or (torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)):
            return super().normal(x, w)
        images = x.reshape(-1, *self.domain_shape).to(self.dtype).permute(1, 2, 0).contiguous()
        y = self._matrix.forward(self.orbits.images(images)).mul_(w.to(self.dtype).reshape(()))
        slots = y.view(len(self.orbits.base), self.range_shape[1], len(self.orbits.turns), -1)
        for base, turn in self.orbits.unused:
            slots[base, :, turn] = 0
        z = self.orbits.fold(self._matrix.transpose(y), (self.domain_shape[0], self.domain_shape[1]))
        return z.permute(2, 0, 1).contiguous().to(x.dtype).reshape(x.shape)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        b, n_bins = len(y), self.range_shape[1]
        views = y.to(self.dtype).permute(1, 2, 0)
        views = torch.where(self._reverse[:, None, None], views.flip(1), views)
        n_base, n_turns = len(self.orbits.base), len(self.orbits.turns)
        per_base = views.new_zeros(n_base * n_turns, n_bins, b)
        per_base[self._slot] = views  # every view has its own slot
        z = self._matrix.transpose(
            per_base.reshape(n_base, n_turns, n_bins, b).transpose(1, 2).reshape(n_base * n_bins, n_turns * b)
        )
        return (
            self.orbits.fold(z, (self.domain_shape[0], self.domain_shape[1])).permute(2, 0, 1).contiguous().to(y.dtype)
        )


def _joseph(phi: Tensor, s: Tensor, image: ImageGrid2D) -> tuple[Tensor, Tensor]:
    """Joseph weights of rays.

    Parameters
    ----------
    phi, s : (R, K) float64 normal angles and signed distances (mm); K rays share a row of the result.
    image : the pixels.

    Returns
    -------
    index : (R, N, 2K) int64 flat pixel indices, N the larger side of the image; 0 where the ray misses.
    weight : (R, N, 2K) float64 mm; 0 where the ray misses.
    """
    (h, w), pixel = image.shape, image.pixel_mm
    cos, sin = torch.cos(phi), torch.sin(phi)
    steep = cos.abs() >= sin.abs()  # the normal is nearer to x: the ray runs along y and is followed row by row
    across_cos, along_sin = torch.where(steep, cos, sin), torch.where(steep, sin, cos)
    n_across, n_along = torch.where(steep, w, h), torch.where(steep, h, w)
    stride_across, stride_along = torch.where(steep, 1, w), torch.where(steep, w, 1)
    line = torch.arange(max(h, w), device=phi.device)[None, :, None]  # (1, N, 1) row (or column) number
    along = (line - (n_along[:, None, :] - 1) / 2) * pixel
    position = ((s[:, None, :] - along * along_sin[:, None, :]) / across_cos[:, None, :]) / pixel + (
        n_across[:, None, :] - 1
    ) / 2
    lower = torch.floor(position)
    fraction = position - lower
    length = pixel / across_cos.abs()[:, None, :]
    inside = line < n_along[:, None, :]
    lower_index = lower.to(torch.int64)
    indices, weights = [], []
    for neighbour, part in ((lower_index, 1 - fraction), (lower_index + 1, fraction)):
        valid = inside & (neighbour >= 0) & (neighbour < n_across[:, None, :])
        flat = neighbour * stride_across[:, None, :] + line * stride_along[:, None, :]
        indices.append(torch.where(valid, flat, 0))
        weights.append(torch.where(valid, part * length, 0.0))
    return torch.cat(indices, dim=-1), torch.cat(weights, dim=-1)
