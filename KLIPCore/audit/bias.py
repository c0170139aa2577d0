"""How wrong an image is as a whole: smooth errors and fine ones, whose sizes the residual tells by its known law.

A reconstruction may be wrong everywhere a little: a level that is off, cupping that was not corrected, contrasts that
total variation shrinks, a network's texture. Such an error says nothing of a lesion; but a test that takes the image
to be right elsewhere finds data beside it that contradict what is shown. So the image's error has two parts,

    e = u + b ,     u ~ N(0, φ² C)  (over millimetres) ,     b ~ N(0, τ² D S D)  (over centimetres, in the body) ,

with C and S of known shape and D the body: b may end at the skin. φ is 1 at least, the error that every image is
allowed; τ may be 0. With B = V^−½ A the whitened residual z = V^−½ (y − A m) of an image m has the law

    z ~ N(0, 1 + φ² B C Bᵀ + τ² B D S D Bᵀ) .

What structures are asked about is projected out first, z ← (1 − H_s) z, so that an invented lesion counts as no
error of the rest. H projects onto the scans of the smoothest biases, B D F with F the Fourier modes of wavelengths of
four lengths and more. Then two quadratic forms, of coarse residuals and of fine ones,

    q_c = ‖H z‖² ,     q_f = ‖G Bᵀ (1 − H) z‖²

(G filters as C^½ does and undoes the back-projection's 1/|f|), are on average linear in the two unknowns,

    E q = E₁ q + (φ² − 1) E_C q + τ² E_S q ,

with E₁ over the law where nothing is wrong, E_C and E_S over draws of u and b alone. Where neither exceeds what
draws without a bias show (:data:`UNUSUAL` standard deviations of log q), φ = 1 and τ = 0: nothing changes.
Otherwise the two equations are solved with φ² ≥ 1 and τ² ≥ 0. Letting τ² → ∞ would project the whole of b out of
the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from KLIPCore.audit.whitened import Whitened, whitened
from KLIPCore.physics.measurement import Measurement
from KLIPCore.priors.stationary import StationaryGaussianPrior

UNUSUAL = 3.0
"""Standard deviations by which log q exceeds what an image without a bias shows before anything is changed."""
DRAWS = 32
"""Draws of each law that expectations are taken from."""
WAVELENGTHS = 4.0
"""Shortest wavelength of the smoothest biases, in lengths."""


@dataclass(frozen=True, eq=False)
class ImageError:
    """The covariance of an image's error: that of its fine part, and τ² D S D.

    Attributes
    ----------
    fine : its spectrum is φ² C; its mean plays no part.
    coarse : its spectrum is S, of unit variance; None where the image has no bias.
    body : (H, W) D, 1 where the image may be biased.
    std : τ, in the image's unit.
    """

    fine: StationaryGaussianPrior
    coarse: StationaryGaussianPrior | None = None
    body: Tensor | None = None
    std: float = 0.0

    @property
    def fine_std(self) -> float:
        """Standard deviation of the fine part, in the image's unit."""
        return math.sqrt(float(self.fine.spectrum.mean()))

    def covariance(self, x: Tensor) -> Tensor:
        """Return the covariance times images x (..., H, W), in double precision."""
        out = self.fine.filtered(x.double(), self.fine.spectrum)
        if self.coarse is not None and self.body is not None and self.std > 0:
            body = self.body.double()
            out = out + self.std**2 * body * self.coarse.filtered(body * x.double(), self.coarse.spectrum)
        return out


def image_error(
    measurement: Measurement,
    image: Tensor,
    fine: StationaryGaussianPrior,
    body: NDArray[np.bool_],
    length: float,
    *,
    structures: Sequence[Tensor] = (),
    generator: torch.Generator | None = None,
) -> ImageError:
    """Estimate the error of an image from its residual.

    Parameters
    ----------
    measurement : one sinogram with operator and weights.
    image : (H, W) m, in the operator's unit.
    fine : C, the error that every image is allowed.
    body : (H, W) where a bias may lie.
    length : over how many pixels a bias is alike.
    structures : (H, W) what is asked about, as the image shows it; no evidence of an error of the rest.
    generator : CPU generator of the draws; seed 0 when None.

    Returns
    -------
    The covariance of the image's error; ``ImageError(fine)`` where the residual shows no other.
    """
    generator = generator or torch.Generator().manual_seed(0)
    B, inside = whitened(measurement), torch.from_numpy(body).to(image)
    coarse = StationaryGaussianPrior.matern(torch.zeros(image.shape, dtype=torch.float64), 1.0, length, 2.5)
    with torch.no_grad():
        z = measurement.weights.sqrt() * (measurement.y - measurement.A(image))
        forms = _forms(B, fine, inside, length, structures)
        noise = torch.randn((DRAWS, *z.shape), generator=generator, dtype=torch.float64).to(z)
        noise = noise * (measurement.weights > 0)
        u = B((fine.sample(DRAWS, generator)[:, 0] - fine.mean).to(z))
        b = B(inside * (coarse.sample(DRAWS, generator)[:, 0] - coarse.mean).to(z))
        usual = forms(noise + u)
        q, log = forms(z[None])[0], np.log(usual)
        if not (np.log(q) > log.mean(0) + UNUSUAL * log.std(0, ddof=1)).any():
            return ImageError(fine)
        excess, spread = q - usual.mean(0), usual.std(0, ddof=1)
        per_unit = np.stack([forms(u).mean(0), forms(b).mean(0)], axis=1)
    (more, variance), _ = nnls(per_unit / spread[:, None], np.maximum(excess, 0.0) / spread)
    wider = StationaryGaussianPrior(fine.mean, fine.spectrum * (1.0 + more))
    return ImageError(wider, coarse, inside, math.sqrt(variance))


def _forms(
    B: Whitened,
    fine: StationaryGaussianPrior,
    body: Tensor,
    length: float,
    structures: Sequence[Tensor],
) -> Callable[[Tensor], NDArray[np.float64]]:
    """The two quadratic forms (n, 2), coarse and fine, of whitened residuals (n, *range_shape)."""
    height, width = body.shape
    fy, fx = torch.fft.fftfreq(height).double()[:, None], torch.fft.fftfreq(width).double()[None, :]
    # back-projection weights frequencies by 1/|f|; |f| undoes that, or a mode or two would make all of the sum
    ramp = (fy**2 + fx**2).sqrt().clamp_min(0.5 / max(height, width)).to(body.device)
    gain = ramp * fine.spectrum.sqrt()
    modes = _modes(height, width, 1.0 / (WAVELENGTHS * length)).to(body)
    span = _orthonormal(B(body * modes))
    asked = _orthonormal(B(torch.stack(list(structures)))) if structures else None

    def forms(z: Tensor) -> NDArray[np.float64]:
        flat = z.flatten(1).double()
        if asked is not None:
            flat = flat - flat @ asked @ asked.T
        along = flat @ span
        fine_part = fine.filtered(B.T((flat - along @ span.T).reshape(z.shape).to(z)).double(), gain)
        both = (along.square().sum(1), fine_part.square().flatten(1).sum(1))
        return torch.stack(both, dim=1).cpu().numpy()

    return forms


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis of the span of images or sinograms (k, ...): (n, k) columns."""
    return torch.linalg.qr(columns.flatten(1).double().T)[0]


def _modes(height: int, width: int, highest: float) -> Tensor:
    """(k, height, width) real Fourier modes up to a frequency in cycles a pixel; the first ones at least."""
    rows, columns = torch.arange(height).double()[:, None], torch.arange(width).double()[None, :]
    m, n = max(1, math.floor(highest * height)), max(1, math.floor(highest * width))
    found = [torch.ones(height, width, dtype=torch.float64)]
    for k in range(m + 1):
        for j in range(-n if k else 1, n + 1):
            if max(k, abs(j)) > 1 and math.hypot(k / height, j / width) > highest:
                continue
            phase = 2 * math.pi * (k * rows / height + j * columns / width)
            found += [torch.cos(phase), torch.sin(phase)]
    return torch.stack(found)
