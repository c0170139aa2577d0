"""What the published recipes have in common: copies of one measurement, noise from the CPU's generators, a
record, and the artifact it becomes.

Noise is drawn on the CPU whatever the device, so that a seed means the same chain everywhere.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.physics.measurement import Measurement


class Chain:
    """The set-up and the record of one image's samples.

    Parameters
    ----------
    measurement : data without batch dimension.
    n : B, samples or runs.

    Attributes
    ----------
    measurement : the data B times over.
    image_shape : (H, W).
    """

    def __init__(self, measurement: Measurement, n: int) -> None:
        y = measurement.y
        self.n, self.image_shape = n, tuple(measurement.A.domain_shape)
        self.measurement = Measurement(
            y.expand(n, *y.shape), measurement.A, noise=measurement.noise, simulated=measurement.simulated
        )
        self._updates: list[NDArray[np.float32]] = []
        self._g: list[float] = []

    def noise(self, generator: torch.Generator, shape: tuple[int, ...] | None = None) -> Tensor:
        """Return standard normal noise of the data's kind and place: (B, H, W), or another shape."""
        y = self.measurement.y
        return torch.randn(shape or (self.n, *self.image_shape), generator=generator, dtype=y.dtype).to(y.device)

    def seeded_noise(self, first_seed: int) -> Tensor:
        """Return the (B, H, W) standard normal noise, sample b's from the seed ``first_seed`` + b."""
        return torch.stack(
            [self.noise(torch.Generator().manual_seed(first_seed + b), self.image_shape) for b in range(self.n)]
        )

    def record(self, update: Tensor, g: float) -> None:
        """Keep an update (B, H, W), or its mean over runs (1, H, W), divided by g."""
        self._updates.append((update / g).float().cpu().numpy())
        self._g.append(g)

    def artifact(self, images: Tensor) -> Artifact:
        """Return the record, with the mean of ``images`` (B, H, W), clipped to 0..1, as the reconstruction."""
        reconstruction = images.mean(0).clamp(0, 1).float().cpu().numpy()
        return Artifact(np.stack(self._updates)[:, :, None], np.array(self._g, np.float32), reconstruction)
