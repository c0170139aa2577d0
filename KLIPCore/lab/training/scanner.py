"""Another scanner: kernel, noise, and a field of view that is narrower than the patient.

A dozen patients show a few scanners. A kernel is a mixture of the image and its blurred self, sharper or softer; noise
has the grain of a kernel of its own; a narrow field of view is a circle outside which a reader puts air. (The couch
is cut off before a prior sees anything, in training as in use: :mod:`KLIPCore.volume.body`.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from KLIPCore.kl.signed import gaussian_blur

KERNEL = (-0.4, 0.8)
"""Part of the blurred image in the new one; negative sharpens."""

NOISE = 0.03
"""Largest standard deviation of added noise, intensity: 12 HU in a window of 400."""

GRAIN_PX = (0.4, 1.2)
"""Standard deviation of the Gaussian that gives noise its grain, in pixels."""

FIELD = (0.36, 0.47)
"""Radius of the field of view as a part of the frame's side; half a body of median width is 0.44."""


def other_scanner(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return an image (H, W) as of another kernel and dose; air stays air.

    Parameters
    ----------
    image : intensity in [0, 1].
    generator : source of all randomness here.
    """
    kernel, dose, grain = torch.rand(3, generator=generator).tolist()
    part = KERNEL[0] + (KERNEL[1] - KERNEL[0]) * kernel
    noise = gaussian_blur(
        torch.randn(image.shape, generator=generator), GRAIN_PX[0] + (GRAIN_PX[1] - GRAIN_PX[0]) * grain
    )
    noise = noise * (NOISE * dose / noise.std().clamp(min=1e-6))
    made = image + part * (gaussian_blur(image, 1.0) - image) + noise
    return torch.where(image > 0, made.clamp(0.0, 1.0), image)


def narrow_field(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return a whole slice (S, S) of which nothing outside a circle was reconstructed.

    Parameters
    ----------
    image : intensity in [0, 1].
    generator : source of all randomness here.
    """
    side = image.shape[-1]
    size, down, right = torch.rand(3, generator=generator).tolist()
    radius = (FIELD[0] + (FIELD[1] - FIELD[0]) * size) * side
    rows, columns = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    away = torch.hypot(rows - 0.06 * side * (down - 0.5), columns - 0.06 * side * (right - 0.5))
    return torch.where(away <= radius, image, 0.0)
