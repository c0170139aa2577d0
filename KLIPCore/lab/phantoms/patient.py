"""A synthetic patient drawn from a diffusion prior: a CT volume that belongs to nobody.

A prior that was trained mostly on patches knows tissue better than whole bodies: left alone from pure noise it
draws good liver in odd places. So the draw starts from a plan (:mod:`KLIPCore.lab.phantoms.abdomen`), even
grey organs in their places, drowned in noise of a middle level σ; from there the prior's probability flow
leads down to a clean image,

    dx/dσ = (x − D(x, σ)) / σ            Karras et al. 2022, equation 1 with σ(t) = t

integrated by Euler's method (the same as DDIM; Song et al. 2021). This is SDEdit (Meng et al. 2022): what is coarser
than σ stays as planned, what is finer is the prior's own. The flow is deterministic, so neighbouring slices
resemble each other exactly as far as their noise does: the noise here is a Gaussian process along z, white
within each slice.

What this is good for: showing that everything works, with the truth known. What it is not: evidence about
patients. The prior finds its own draws more ordinary than any real scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.abdomen import AIR_HU, WIDTH_MM, Abdomen
from KLIPCore.priors.prior import Prior, denoiser
from KLIPCore.sampling.schedule import karras
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Source, Volume

SIGMA_START = 0.35
"""Noise level at which the prior takes over from the plan. By eye: 0.2 leaves organs flat, above 0.6 they
lose their shapes.
"""

SIGMA_END = 0.01
N_STEPS = 12
"""Network evaluations a slice, less one. Twice as many change the picture by less than the scanner noise
that is added.
"""

CORRELATION_MM = 12.0
"""Length along z over which the noise of two slices stays alike (standard deviation of the Gaussian
correlation): neighbours 5 mm apart are all but the same (0.92), the ends of an organ are not. Much longer, and
every accident of the draw runs through the whole patient, as no tissue does."""

NOISE_HU = 8.0
"""Standard deviation of the scanner noise that is added: the prior's draws are cleaner than any scan."""

NOISE_BLUR = 0.6
"""Its correlation in pixels: reconstructed noise is not white."""

TOGETHER = 4
"""Slices that go through the network at once."""


def patient_grid(card: ModelCard, n_slices: int, spacing_mm: float) -> Grid:
    """Return the prior's own square as axial slices around the origin.

    The pixel size makes the body as wide as the prior expects.
    """
    if n_slices < 1 or not spacing_mm > 0:
        raise ConfigError(
            f"{n_slices} slices {spacing_mm:g} mm apart are not a volume.",
            "Ask for at least one slice and a positive spacing.",
        )
    pixel = WIDTH_MM / (card.body_fraction * card.size)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = spacing_mm, pixel, pixel, 1.0
    affine[:3, 3] = -pixel * (card.size - 1) / 2, -pixel * (card.size - 1) / 2, -spacing_mm * (n_slices - 1) / 2
    return Grid((n_slices, card.size, card.size), affine)


def coherent_noise(
    n_slices: int, spacing_mm: float, correlation_mm: float, shape: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return (n_slices, *shape) standard normal noise, white in each slice.

    The correlation between slices is exp(−Δz² / 2L²).
    """
    z = np.arange(n_slices) * spacing_mm
    values, vectors = np.linalg.eigh(np.exp(-0.5 * ((z[:, None] - z) / correlation_mm) ** 2))
    root = torch.from_numpy(vectors * np.sqrt(np.maximum(values, 0.0))).float()
    return torch.einsum("kj,jhw->khw", root, torch.randn(n_slices, *shape, generator=generator))


def probability_flow(
    prior: Prior, x: Tensor, sigmas: Iterable[float], after: Callable[[], None] = lambda: None
) -> Tensor:
    """Return clean images from noisy ones (B, H, W), by Euler steps of the prior's probability flow.

    Parameters
    ----------
    prior : the denoiser.
    x : images plus noise of standard deviation ``sigmas[0]``.
    sigmas : falling noise levels; at the last one the image is denoised.
    after : called after each evaluation of the network.
    """
    levels = [float(s) for s in sigmas]
    denoise = denoiser(prior)
    for sigma, lower in zip(levels, [*levels[1:], 0.0], strict=True):
        clean = denoise(x, sigma)
        x = clean + (lower / sigma) * (x - clean)
        after()
    return x


@dataclass(frozen=True)
class Drawing:
    """How a patient is drawn.

    Attributes
    ----------
    sigma_start, n_steps : where the flow starts (intensity units), and its number of steps.
    correlation_mm : how far slices resemble each other.
    noise_hu : standard deviation of the scanner noise added at the end.
    """

    sigma_start: float = SIGMA_START
    n_steps: int = N_STEPS
    correlation_mm: float = CORRELATION_MM
    noise_hu: float = NOISE_HU


USUAL = Drawing()
"""How a patient is drawn unless told otherwise."""


def draw_patient(
    prior: Prior,
    n_slices: int = 14,
    seed: int = 0,
    *,
    spacing_mm: float = 5.0,
    plan: Abdomen | None = None,
    drawing: Drawing = USUAL,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> Volume:
    """Draw one synthetic patient.

    Parameters
    ----------
    prior : what draws.
    n_slices, spacing_mm : axial slices around the level of the kidneys, and their distance.
    seed : equal seeds and equal priors give equal patients, bit for bit on the same machine.
    plan : the coarse anatomy; ``Abdomen.random(seed)`` when None.
    drawing : noise levels, steps and scanner noise.
    device : where the prior runs.
    progress : called with the fraction done.

    Returns
    -------
    (n_slices, size, size) HU within the prior's window, -1000 outside the body; its description says that it
    is synthetic.

    Raises
    ------
    ConfigError : a setting is out of its range.
    """
    card, sigma_start = prior.card, drawing.sigma_start
    _check(drawing, card)
    grid = patient_grid(card, n_slices, spacing_mm)
    plan_hu = (plan or Abdomen.random(seed)).hu(grid)
    generator = torch.Generator().manual_seed(seed)
    noise = coherent_noise(n_slices, spacing_mm, drawing.correlation_mm, grid.shape[1:], generator)
    start = torch.from_numpy(card.window.apply(plan_hu)) + sigma_start * noise
    sigmas = karras(sigma_start, SIGMA_END, drawing.n_steps, rho=4.0)
    done = 0
    drawn = []
    for batch in start.split(TOGETHER):

        def count(n: int = len(batch)) -> None:
            nonlocal done
            done += n
            if progress is not None:
                progress(done / (n_slices * len(sigmas)))

        drawn.append(probability_flow(prior, batch.to(device), sigmas, count).cpu())
    intensity = torch.cat(drawn).clamp(0, 1).numpy()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x9A]))
    return Volume(
        _to_hu(intensity, plan_hu, card, drawing.noise_hu, rng), grid, Source(description="synthetic patient")
    )


def _check(drawing: Drawing, card: ModelCard) -> None:
    """Refuse settings that are out of their range.

    Raises
    ------
    ConfigError : one of them is.
    """
    if not (
        SIGMA_END < drawing.sigma_start <= card.sigma_max
        and drawing.n_steps >= 1
        and drawing.correlation_mm > 0
        and drawing.noise_hu >= 0
    ):
        raise ConfigError(
            "A patient cannot be drawn with these settings.",
            f"Start between σ {SIGMA_END:g} and {card.sigma_max:g}, in one step or more.",
        )


def _to_hu(
    intensity: NDArray[np.float32],
    plan_hu: NDArray[np.float32],
    card: ModelCard,
    noise_hu: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Drawn intensities as a scanner would have stored them: HU with noise, and air around the planned body."""
    planned = ndi.binary_dilation(
        plan_hu > 0.5 * AIR_HU, np.ones((1, 3, 3), bool), iterations=2
    )  # what the prior dreamt outside is not the patient
    body = body_masks(np.where(planned, intensity, 0.0))
    noise = ndi.gaussian_filter(rng.standard_normal(intensity.shape), (0, NOISE_BLUR, NOISE_BLUR), mode="wrap")
    hu = card.window.invert(intensity) + noise_hu * noise / noise.std()
    return np.where(body, hu, AIR_HU).astype(np.float32)
