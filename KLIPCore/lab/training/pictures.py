"""Pictures of a training run: what the prior makes of noise, and how the loss fell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from KLIPCore.lab.phantoms.patient import probability_flow
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.sampling.schedule import karras

SIGMAS = (0.1, 0.3, 1.0)
"""Noise levels of the denoised slices in the grid."""


def tiled(images: Tensor, columns: int) -> NDArray[np.uint8]:
    """Return the (rows·H, columns·W) picture of (N, H, W) intensities, row by row.

    A single-pixel line between them.
    """
    height, width = images.shape[-2:]
    rows = -(-len(images) // columns)
    out = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), 64, np.uint8)
    for index, image in enumerate(images.clamp(0, 1).mul(255).round().byte().cpu().numpy()):
        r, c = divmod(index, columns)
        out[r * (height + 1) : r * (height + 1) + height, c * (width + 1) : c * (width + 1) + width] = image
    return out


@torch.inference_mode()
def denoised_grid(prior: UNetPrior, clean: Tensor) -> NDArray[np.uint8]:
    """Return one row a slice: the slice, then noisy and denoised at each of :data:`SIGMAS`.

    Parameters
    ----------
    prior : the denoiser.
    clean : (N, 1, H, W) slices it has not seen.
    """
    generator = torch.Generator().manual_seed(0)
    cells = []
    for image in clean:
        cells.append(image[0])
        for sigma in SIGMAS:
            noisy = image + sigma * torch.randn(image.shape, generator=generator).to(image.device)
            cells += [noisy[0], prior.denoise(noisy[None], torch.tensor([sigma], device=image.device))[0, 0]]
    return tiled(torch.stack(cells), 1 + 2 * len(SIGMAS))


@torch.inference_mode()
def drawn_grid(prior: UNetPrior, n: int = 4, n_steps: int = 18, seed: int = 0) -> NDArray[np.uint8]:
    """Return ``n`` slices drawn from pure noise by the prior's probability flow, side by side."""
    size, generator = prior.card.size, torch.Generator().manual_seed(seed)
    sigmas = karras(min(5.0, prior.card.sigma_max), 0.01, n_steps)
    noise = torch.randn(n, size, size, generator=generator).to(prior.device)
    return tiled(probability_flow(prior, float(sigmas[0]) * noise, [float(s) for s in sigmas]), n)


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a PNG, whole or not at all."""
    part = path.with_suffix(".part")
    Image.fromarray(picture).save(part, format="PNG")
    part.replace(path)


def save_curve(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the training loss, and the validation error per noise level in units of that level, over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [entry["step"] for entry in history]
    left.plot(steps, [entry["loss"] for entry in history], ".-")
    left.set(xlabel="step", ylabel="training loss")
    known = [entry for entry in history if entry.get("rmse")]
    for sigma in known[-1]["rmse"] if known else ():
        right.plot(
            [entry["step"] for entry in known],
            [entry["rmse"][sigma] / float(sigma) for entry in known],
            ".-",
            label=f"σ {sigma}",
        )
    right.plot(steps, [entry["validation"] for entry in history], "k--", label="mean")
    right.set(xlabel="step", ylabel="validation error / σ")
    right.legend(fontsize=7)
    part = path.with_suffix(".part")
    figure.savefig(part, format="png", dpi=110)
    part.replace(path)
