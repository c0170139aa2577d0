"""A scan that looks the same after every turn: A Aᵀ in closed form, so that a proximal step needs no more than
A and Aᵀ once.

Guidance has to undo  I + r² Aᵀ W A  at every noise level. In data space the same correction is

    x̂ − x̂₀ = r² Aᵀ z ,      (σ_y² I + r² A Aᵀ) z = y − A x̂₀ ,

and A Aᵀ is the nicer matrix: (A Aᵀ)[(θ, s), (θ′, s′)] says how much two *rays* have in common. In a disc of
pixels that depends on the two distances from the centre and on the angle *between* the rays, not on where the
scanner stands; only the square's corners and the pixels' grid spoil it. So, with evenly spread views, A D Aᵀ
(D: pixels of the disc) is nearly the same after every turn by one view. A matrix that is exactly so falls
apart under the Fourier transform over views: one small symmetric matrix per angular frequency (per-view
filters that know of their neighbours). Diagonalised once,

    (I + c A D Aᵀ)⁻¹ ≈ Tᵀ V (1 + c Λ)⁻¹ Vᵀ T

for every noise level c = r²/σ_y², every sample and every slice. The scan itself gives Λ and V: its own A D Aᵀ,
averaged over turns, which is the nearest such matrix in the Frobenius norm (T. Chan, "An optimal circulant
preconditioner", SIAM J. Sci. Stat. Comput. 9, 766, 1988). What the averaging loses, conjugate gradients bring
back in a few iterations (:func:`KLIPCore.physics.solve.proximal_step`).

The averaging holds for the disc and not for the square: rays through the corners are short in one view and
absent in the next. So the corners keep the prior's estimate. Of a scanner they are outside the field of view,
and of a framed patient they are air.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.physics.linear import LinearOperator
from KLIPCore.volume.geometry import Geometry, ImageGrid2D, ParallelBeam

N_REFERENCES = 4
"""Views that A D Aᵀ is averaged over: those of one orbit are alike, and the rest differ by the grid alone."""

EVEN_TOLERANCE = 1e-9
"""Largest unevenness of the views, in radians, that counts as none."""


class RotationAverage(LinearOperator):
    """A D Aᵀ of an evenly spread parallel scan, averaged over its turns.

    An operator on (n_views, n_detectors) data, and its inverses.

    Attributes
    ----------
    support : (H, W) 1 inside the largest disc of the image, 0 in the corners: D.
    angular : (n_harmonics, 2, n_views) orthonormal cosines and sines over views, of even frequencies for the
        first half, odd for the second.
    eigenvalues : (n_harmonics, n_half) of every frequency's matrix, ≥ 0.
    eigenvectors : (n_harmonics, n_half, n_half), in columns.
    """

    def __init__(
        self, support: Tensor, angular: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, shape: tuple[int, int]
    ) -> None:
        self.support, self.angular, self.eigenvalues, self.eigenvectors = support, angular, eigenvalues, eigenvectors
        self.domain_shape = self.range_shape = shape

    @classmethod
    def of(
        cls,
        geometry: Geometry,
        image: ImageGrid2D,
        views: Sequence[sp.csr_array],
        references: NDArray[np.int64],
        dtype: torch.dtype = torch.float32,
    ) -> RotationAverage:
        """Average a scan's A D Aᵀ.

        Parameters
        ----------
        geometry, image : a scan that :func:`turns_onto_itself`.
        views : A of every view, (n_detectors, H·W).
        references : views to average over, a few of which are taken; views that are mirror images of these add
            nothing.
        dtype : of the result; it is computed in float64.
        """
        support = disc(image)
        values, vectors = torch.linalg.eigh(torch.from_numpy(_harmonics(_averaged(views, references, support))))
        angular = torch.from_numpy(_angular(geometry.n_views))
        return cls(
            torch.from_numpy(support).to(dtype),
            angular.to(dtype),
            values.clamp_min(0).to(dtype),
            vectors.to(dtype),
            geometry.shape,
        )

    def solve(self, y: Tensor, c: Tensor | float) -> Tensor:
        """Return the (I + c A D Aᵀ)⁻¹ y of the averaged matrix.

        Parameters
        ----------
        y : (..., n_views, n_detectors).
        c : ≥ 0, a number or anything that broadcasts to ``(..., 1, 1)``: one for each of y.
        """
        lead = y.shape[:-2]
        share = torch.as_tensor(c, dtype=self.angular.dtype, device=y.device)
        each = share.expand(*lead, 1, 1).reshape(1, -1, 1, 1)
        return self._spectral(
            y.reshape(-1, *self.domain_shape), 1 / (1 + each * self.eigenvalues[:, None, None, :])
        ).reshape(y.shape)

    def _spectral(self, y: Tensor, factor: Tensor) -> Tensor:
        """Multiply by ``factor`` (n_harmonics, B or 1, 1, n_half) in the basis of eigenvectors; y is (B,
        n_views, n_detectors).
        """
        n, half = self.eigenvalues.shape
        flat = y.to(self.angular.dtype)
        turned = flat.flip(2)
        even, odd = (flat + turned)[..., :half], (flat - turned)[..., :half]
        n_even = self.domain_shape[0] // 2 + 1
        f = torch.cat([_over_views(self.angular[:n_even], even), _over_views(self.angular[n_even:], odd)]).mul_(
            math.sqrt(0.5)
        )
        middle = flat.shape[2] % 2  # a middle bin is its own mirror image
        if middle:
            f[..., -1] *= math.sqrt(0.5)
        b = len(y)
        modes = torch.bmm(f.reshape(n, b * 2, half), self.eigenvectors).reshape(n, b, 2, half) * factor
        f = torch.bmm(modes.reshape(n, b * 2, half), self.eigenvectors.transpose(1, 2)).reshape(n, b, 2, half)
        if middle:
            f[..., -1] *= math.sqrt(0.5)
        f = f.mul_(math.sqrt(0.5))
        even, odd = (
            _from_frequencies(self.angular[:n_even], f[:n_even]),
            _from_frequencies(self.angular[n_even:], f[n_even:]),
        )
        made = torch.empty_like(flat)
        made[..., :half] = even + odd
        made[..., flat.shape[2] - half :] = (even - odd).flip(2)
        if middle:
            made[..., half - 1] = 2 * even[..., -1]
        return made.to(y.dtype)

    def _apply(self, x: Tensor) -> Tensor:
        return self._spectral(x, self.eigenvalues[:, None, None, :])

    def _apply_transpose(self, y: Tensor) -> Tensor:
        return self._apply(y)


def turns_onto_itself(geometry: Geometry, image: ImageGrid2D) -> bool:
    """Return whether a turn by one view carries the scan onto itself.

    Parallel views, evenly over half a turn, detector and square image centred.
    """
    if (
        not isinstance(geometry, ParallelBeam)
        or geometry.offset_mm != 0
        or image.shape[0] != image.shape[1]
        or geometry.n_views < 2
    ):
        return False
    angles = np.asarray(geometry.angles_rad)
    return bool(np.abs(angles - angles[0] - math.pi * np.arange(len(angles)) / len(angles)).max() < EVEN_TOLERANCE)


def disc(image: ImageGrid2D) -> NDArray[np.float64]:
    """Return the (H, W) 1 for pixels whose centre lies in the largest disc of the image, else 0."""
    return (np.hypot(image.x_mm[None, :], image.y_mm[:, None]) <= 0.5 * min(image.shape) * image.pixel_mm).astype(
        float
    )


def _averaged(
    views: Sequence[sp.csr_array], references: NDArray[np.int64], support: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n_views, n_detectors, n_half): what rays s and s′ whose views are d steps apart have in common,
    averaged over views; s′ on half the detector.
    """
    inside = sp.diags_array(support.ravel())
    n_views, n_bins = len(views), views[0].shape[0]
    half = (n_bins + 1) // 2
    few = references[np.unique(np.linspace(0, len(references) - 1, N_REFERENCES).round().astype(int))]
    kernel = np.zeros((n_views, n_bins, half))
    for v in few:
        own = (views[v][:half] @ inside).T.tocsr()
        for d in range(n_views):
            common = (views[(v + d) % n_views] @ own).toarray()
            kernel[d] += (common if v + d < n_views else common[::-1]) / len(
                few
            )  # half a turn on, the detector runs backwards
    return kernel


def _harmonics(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_harmonics, n_half, n_half) matrix of every angular frequency, in the order of :func:`_angular`.

    Data even in s have even frequencies, odd ones odd; so each matrix acts on half a detector. In a mirror
    steps forward are steps back: cosines suffice.
    """
    n_views, n_bins, half = kernel.shape
    single = np.ones(half)  # a middle bin is its own mirror image
    single[-1] = math.sqrt(0.5) if n_bins % 2 else 1.0
    angle = math.pi * np.arange(n_views) / n_views
    made = []
    for odd in (0, 1):
        folded = (kernel[:, :half] + (1 - 2 * odd) * kernel[:, ::-1][:, :half]) * (single[:, None] * single)
        made.append(np.einsum("nd,dst->nst", np.cos(_frequencies(n_views, odd)[:, None] * angle), folded))
    return np.concatenate([0.5 * (m + m.transpose(0, 2, 1)) for m in made])


def _frequencies(n_views: int, odd: int) -> NDArray[np.int64]:
    """Angular frequencies over half a turn: the even or the odd ones, up to n_views."""
    return np.arange(odd, n_views + 1, 2)


def _angular(n_views: int) -> NDArray[np.float64]:
    """(n_harmonics, 2, n_views) cosines and sines of norm 1, zeros where a sine vanishes; even frequencies first."""
    angle = math.pi * np.arange(n_views) / n_views
    frequencies = np.concatenate([_frequencies(n_views, 0), _frequencies(n_views, 1)])[:, None, None]
    waves = np.concatenate([np.cos(frequencies * angle), np.sin(frequencies * angle)], axis=1)
    norm = np.linalg.norm(waves, axis=2, keepdims=True)
    return np.where(norm > 1e-6, waves / np.maximum(norm, 1e-6), 0.0)


def _over_views(angular: Tensor, y: Tensor) -> Tensor:
    """(n, 2, V), (B, V, S) → (n, B, 2, S)."""
    n, _, v = angular.shape
    return (angular.reshape(n * 2, v) @ y).reshape(len(y), n, 2, -1).transpose(0, 1)


def _from_frequencies(angular: Tensor, f: Tensor) -> Tensor:
    """The transpose of :func:`_over_views`."""
    n, _, v = angular.shape
    return angular.reshape(n * 2, v).T @ f.transpose(0, 1).reshape(f.shape[1], n * 2, -1)
