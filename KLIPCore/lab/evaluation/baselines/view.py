"""What every baseline is given: one slice, the same scan, prior, reconstruction and seed as the scores it is
compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.detection.reconstruct import reconstruct
from KLIPCore.kl.signed import SCALES_PX, gaussian_blur
from KLIPCore.lab.evaluation.baselines.features import Health
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.physics.fbp import fbp
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.prior import Denoiser

LOW_PASS_PX = SCALES_PX[0]
"""Standard deviation of the Gaussian that the scores ``darker`` and ``hypodense`` lay over their pushes."""


def energies(residuals: Tensor) -> NDArray[np.float32]:
    """Return Σ r² and Σ (G r)² of some signed residuals, G the low-pass of the scores they are compared with.

    Squared pixel by pixel, texture and edges win: a method with that low-pass and one without it are compared by
    the low-pass before all else. So every method that squares a residual is measured both ways.

    Parameters
    ----------
    residuals : (N, H, W), added up over N.

    Returns
    -------
    (2, H, W) float32.
    """
    both = torch.stack([residuals, gaussian_blur(residuals, LOW_PASS_PX)])
    return np.asarray(both.square().sum(1).numpy(), np.float32)


@dataclass(frozen=True, eq=False)
class SliceView:
    """One slice to be scored.

    Attributes
    ----------
    trace : of the slice; its ``reconstruction`` is the posterior mean (H, W), windowed intensity.
    denoise : the prior.
    body, organ : (H, W) bool masks.
    pixel_mm : edge of a pixel.
    seed : of the baseline's own noise.
    measurement : the simulated scan; None where a baseline needs none.
    health : what healthy slices look like to the prior's network; None where a baseline needs none.
    soft : intensity up to which nothing is soft tissue, and from which all is, as for the score ``hypodense``; the
        default is −60 and 0 HU in a window of −160 to 240.
    sigma_max : largest noise that the prior knows.
    """

    trace: SliceTrace
    denoise: Denoiser
    body: NDArray[np.bool_]
    organ: NDArray[np.bool_]
    pixel_mm: float
    seed: int = 0
    measurement: Measurement | None = None
    health: Health | None = None
    soft: tuple[float, float] = (0.25, 0.4)
    sigma_max: float = 5.0

    @property
    def image(self) -> Tensor:
        """(H, W) posterior mean."""
        return torch.from_numpy(self.trace.reconstruction)

    def noise(self, n: int) -> Tensor:
        """Return the (n, H, W) standard normal noise, the same at every call."""
        return torch.randn(n, *self.image.shape, generator=torch.Generator().manual_seed(self.seed))

    def scan(self) -> tuple[Measurement, Projector]:
        """Return the simulated scan and its operator."""
        assert self.measurement is not None, "this baseline needs the measurement"
        assert isinstance(self.measurement.A, Projector)
        return self.measurement, self.measurement.A

    @cached_property
    def fbp(self) -> NDArray[np.float32]:
        """(H, W) filtered back-projection."""
        measurement, A = self.scan()
        return np.asarray(fbp(measurement.y.cpu(), A.geometry, A.image, "hann").numpy(), np.float32)

    def classical(self, method: str, tv_weight: float | None = None) -> NDArray[np.float32]:
        """Return the (H, W) reconstruction by ``cg`` or ``tv``.

        See :func:`KLIPCore.detection.reconstruct.reconstruct`.
        """
        measurement, A = self.scan()
        return reconstruct(measurement.y.cpu().numpy(), A.geometry, A.image, method, tv_weight=tv_weight, projector=A)
