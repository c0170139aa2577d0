"""Random changes of labelled slices: place, size, contrast phase, noise.

The labels say where organs lie, so each can be given another contrast phase: its HU are moved by a random amount
within the range that phases span (unenhanced to arterial). Left and right are kept; the liver has a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from KLIPCore.lab.organs.data import LabelledStudy
from KLIPCore.organs.network import OFFSETS_MM

WINDOW_HU = 400.0

Uniform = Callable[[float, float], float]

PHASE_HU = {1: 70.0, 2: 10.0, 3: 50.0, 4: 50.0, 5: 25.0, 6: 25.0, 7: 35.0, 8: 25.0}
"""Standard deviation by which an organ's HU are moved, by label: what contrast phases do to it."""


def draw_batch(studies: list[LabelledStudy], n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw random stacks and their labels.

    Parameters
    ----------
    studies : list of LabelledStudy
        Patients, each as likely as another.
    n : int
        How many stacks.
    generator : torch.Generator
        Source of all randomness here.

    Returns
    -------
    Tensor, (n, 5, S, S), intensity in [0, 1]; Tensor, (n, S, S) int64, classes of the middle slice.
    """

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    images, labels = [], []
    for _ in range(n):
        study = studies[int(uniform(0, len(studies)))]
        marked = torch.nonzero(study.labels.flatten(1).any(1)).flatten()
        anywhere = uniform(0, 1) < 0.25
        index = int(uniform(0, len(study.slices))) if anywhere else int(marked[int(uniform(0, len(marked)))])
        step = study.slice_mm * uniform(0.8, 1.25)
        wanted = torch.tensor([index + round(o / step) for o in OFFSETS_MM]).clamp(0, len(study.slices) - 1)
        image, label = study.slices[wanted].float() / 255, study.labels[wanted].float()
        image, label = _place(image, label, uniform)
        image = _phase(image, label, generator, uniform)
        images.append(_scanner(image, generator, uniform))
        labels.append(label[len(OFFSETS_MM) // 2])
    return torch.stack(images), torch.stack(labels).long()


def _place(image: Tensor, label: Tensor, uniform: Uniform) -> tuple[Tensor, Tensor]:
    """Turn, scale, shear and shift a stack and its labels."""
    angle, size = math.radians(uniform(-10, 10)), uniform(0.8, 1.2)
    wide, shear = size * uniform(0.92, 1.08), uniform(-0.06, 0.06)
    cos, sin = math.cos(angle), math.sin(angle)
    theta = torch.tensor(
        [[cos * wide, -sin * size + shear, uniform(-0.12, 0.12)], [sin * wide, cos * size, uniform(-0.12, 0.12)]]
    )
    grid = F.affine_grid(theta[None], [1, 1, *image.shape[-2:]], align_corners=False)
    if uniform(0, 1) < 0.5:
        coarse = torch.tensor([uniform(-0.03, 0.03) for _ in range(2 * 25)]).view(1, 2, 5, 5)
        fine = F.interpolate(coarse, size=image.shape[-2:], mode="bicubic", align_corners=True)
        grid = grid + fine.permute(0, 2, 3, 1)
    moved = F.grid_sample(image[None], grid, align_corners=False)[0]
    return moved, F.grid_sample(label[None], grid, mode="nearest", align_corners=False)[0]


def _phase(image: Tensor, label: Tensor, generator: torch.Generator, uniform: Uniform) -> Tensor:
    """Move the HU of whole organs, with soft edges."""
    if uniform(0, 1) < 0.3:
        return image
    change = torch.zeros_like(image)
    for value, spread in PHASE_HU.items():
        amount = float(torch.randn((), generator=generator)) * spread / WINDOW_HU
        change += amount * (label == value)
    return image + F.avg_pool2d(change, 3, stride=1, padding=1)


def _scanner(image: Tensor, generator: torch.Generator, uniform: Uniform) -> Tensor:
    """Change brightness, contrast, sharpness, noise and the upper end of the window."""
    image = (image - 0.4) * uniform(0.85, 1.15) + 0.4 + uniform(-0.04, 0.04)
    if uniform(0, 1) < 0.3:
        image = F.avg_pool2d(image, 3, stride=1, padding=1)
    if uniform(0, 1) < 0.5:
        image = image + uniform(0, 0.08) * torch.randn(image.shape, generator=generator)
    return image.clamp(0.0, uniform(0.85, 1.0))
