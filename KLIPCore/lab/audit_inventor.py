"""A reconstruction that invents: a small U-Net on sparse-view back-projections, and a diffusion prior behind it.

A network that minimises the error of its picture blurs what the data leave open, and invents little. So its picture is
made sharp: noise is added, and the shipped prior's probability flow takes it away again (Meng et al., *SDEdit*, ICLR
2022), as generative post-processing does. The prior has never seen the data; what the noise covered it draws anew, as
healthy anatomy that looks right. The U-Net learns slices of which most have small dark lesions in the liver,
simulated: so it is with networks whose training data were collected for the disease that they are to show.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from KLIPCore.lab.audit_cases import SIZE, Scanner, Slice, disc, finer, places
from KLIPCore.lab.audit_unet import SCALE, SmallUNet, back_projected, reconstruct
from KLIPCore.lab.phantoms.patient import probability_flow
from KLIPCore.lab.training.state import TrainingState
from KLIPCore.priors.prior import Prior
from KLIPCore.sampling.schedule import karras
from KLIPCore.volume.units import MU_WATER_PER_MM, mu_to_hu

HIGHEST_RATE, LAST_RATE, SETTLED = 4e-3, 4e-4, 1000
"""Learning rates: up to the highest and down again in so many steps, then even."""
DECAY = 0.99
"""Of the running average of the network's weights, which is what is used."""
SIGMA_END = 0.01
"""Noise level, in intensity, at which the prior's flow ends in a denoised image."""


@dataclass(frozen=True)
class Lessons:
    """How the network is taught.

    Attributes
    ----------
    views : of the scans it learns.
    steps, batch : of optimisation, and slices in each.
    diseased : part of the slices that get lesions.
    most : lesions in a slice.
    diameters_mm, contrasts_hu : of a lesion, from and to.
    width : channels of the network's finest level.
    seed : of weights, lesions, noise and order.
    """

    views: int = 24
    steps: int = 1200
    batch: int = 4
    diseased: float = 0.8
    most: int = 5
    diameters_mm: tuple[float, float] = (6.0, 14.0)
    contrasts_hu: tuple[float, float] = (-80.0, -30.0)
    width: int = 32
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Inventor:
    """The network, and the prior that makes its picture sharp.

    Attributes
    ----------
    network : what reconstructs.
    prior : what draws anew; None: the network's picture as it is.
    sigma : noise that is added, in the prior's intensity.
    n_steps : of the flow.
    """

    network: SmallUNet
    prior: Prior | None
    sigma: float = 0.3
    n_steps: int = 10

    def __call__(self, own: Slice, scanner: Scanner, seed: int) -> Tensor:
        """Return (SIZE, SIZE) what it makes of a scan, in 1/mm; equal seeds give equal pictures."""
        image = reconstruct(self.network, own, scanner, seed)
        if self.prior is None:
            return image
        window = self.prior.card.window
        shown = torch.from_numpy(window.apply(mu_to_hu(finer(image).numpy())))
        noise = torch.randn(shown.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            flow = karras(self.sigma, SIGMA_END, self.n_steps, rho=4.0)
            drawn = probability_flow(self.prior, (shown + self.sigma * noise)[None], flow)[0].clamp(0, 1)
        # beyond the prior's window the network's picture stays
        change = (drawn - shown) * (window.hi_hu - window.lo_hu) / 1000 * MU_WATER_PER_MM
        return image + torch.nn.functional.avg_pool2d(change[None, None], 2)[0, 0]


def with_lesions(slice_: Slice, lessons: Lessons, rng: np.random.Generator) -> Slice:
    """Return a slice with some lesions in its liver."""
    sizes = rng.uniform(*lessons.diameters_mm, lessons.most)
    mu = slice_.mu
    for spot in places(slice_, int(rng.integers(1, lessons.most + 1)), rng, tuple(sizes)):
        mu = mu + rng.uniform(*lessons.contrasts_hu) / 1000 * MU_WATER_PER_MM * disc(spot, SIZE)
    return replace(slice_, mu=mu)


def _lesson(slices: Sequence[Slice], scanner: Scanner, lessons: Lessons, step: int) -> tuple[Tensor, Tensor]:
    """Back-projections and truths (B, 1, SIZE, SIZE) of a step, in units of water."""
    rng = np.random.default_rng([lessons.seed, step])
    given, true = [], []
    for own in (slices[k] for k in rng.integers(len(slices), size=lessons.batch)):
        own = with_lesions(own, lessons, rng) if rng.random() < lessons.diseased else own
        flips = [1] if rng.random() < 0.5 else []
        shift = rng.integers(-5, 6, size=2).tolist()
        moved = replace(own, mu=torch.roll(own.mu.flip(flips), shift, (0, 1)))
        given.append(back_projected(moved, scanner, int(rng.integers(2**31))))
        true.append(moved.mu)
    return torch.stack(given)[:, None] / SCALE, torch.stack(true)[:, None] / SCALE


def _rate(step: int) -> float:
    return LAST_RATE if step >= SETTLED else max(HIGHEST_RATE * math.sin(math.pi * step / SETTLED) ** 2, LAST_RATE)


@torch.autocast("cpu", torch.bfloat16)  # halves the time
def _error(network: torch.nn.Module, given: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error, in water."""
    return (network(given) - true).abs().mean()


def learn(
    slices: Sequence[Slice],
    scanner: Scanner,
    lessons: Lessons,
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> SmallUNet:
    """Teach the network, or go on where an earlier call was stopped.

    Parameters
    ----------
    slices : truth, all on the scanner's pixels.
    scanner : what measures them.
    lessons : how.
    folder : checkpoints are kept here, each 100 steps; None: nowhere.
    tell : gets a line at each checkpoint.
    """
    torch.manual_seed(lessons.seed)
    network = SmallUNet(lessons.width, fold=2).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), betas=(0.5, 0.99), weight_decay=0.0)
    state = TrainingState(network, average, optimiser, torch.Generator().manual_seed(lessons.seed))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").is_file():
            state.restore(folder)
    begun = time.monotonic() - state.seconds
    while state.step < lessons.steps:
        for group in optimiser.param_groups:
            group["lr"] = _rate(state.step)
        error = _error(network, *_lesson(slices, scanner, lessons, state.step))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        decay = min(DECAY, state.step / (state.step + 10))
        with torch.no_grad():
            for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        state.step += 1
        if state.step % 100 == 0 or state.step == lessons.steps:
            state.seconds = time.monotonic() - begun
            state.history.append({"step": state.step, "error_hu": 1000 * error.item()})
            tell(f"step {state.step}, {state.seconds:.0f} s: mean absolute error {1000 * error.item():.1f} HU")
            if folder is not None:
                state.save(folder)
    return average.eval()
