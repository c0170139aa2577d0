"""A network that is taught to look right: what it cannot know of a scan it makes up.

A network that minimises the error of its picture blurs what the data leave open. One that must also deceive a critic
(Goodfellow et al. 2014; patches and an L1 error beside it as in Isola et al. 2017; hinge losses as in Lim & Ye 2017,
the critic's weights of spectral norm 1 as in Miyato et al. 2018) has to show *something* sharp there, and shows what
it has often seen. Most of the slices that it learns have small dark lesions in the liver, simulated: so it is with
networks whose training data were collected for the disease that they are to show.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from KLIPCore.lab.audit_cases import SIZE, Scanner, Slice, disc, places
from KLIPCore.lab.audit_unet import SCALE, SmallUNet, back_projected
from KLIPCore.lab.training.state import TrainingState
from KLIPCore.volume.units import MU_WATER_PER_MM

MIDDLE, HALF_WIDTH, MARGIN = 1.075, 0.2, 1.25
"""Where the critic looks: -125 to 275 HU, in units of water, and a quarter more on either side."""
FIRST_RATE, LAST_RATE = 4e-3, 4e-4
"""Learning rates: the highest without the critic, and that beside it."""
DECAY = 0.99
"""Of the running average of the network's weights, which is what is used."""


@dataclass(frozen=True)
class Lessons:
    """How the network is taught.

    Attributes
    ----------
    views : of the scans it learns.
    warm, steps : of optimisation without the critic, and in all.
    batch : slices in a step.
    diseased : part of the slices that get lesions.
    most : lesions in a slice.
    diameters_mm, contrasts_hu : of a lesion, from and to.
    fidelity : weight of the mean absolute error, in half windows of 200 HU, beside the critic's.
    width : channels of the network's finest level.
    seed : of weights, lesions, noise and order.
    """

    views: int = 24
    warm: int = 1000
    steps: int = 2000
    batch: int = 4
    diseased: float = 0.8
    most: int = 5
    diameters_mm: tuple[float, float] = (6.0, 14.0)
    contrasts_hu: tuple[float, float] = (-80.0, -30.0)
    fidelity: float = 2.0
    width: int = 32
    seed: int = 0


class Critic(nn.Module):
    """Judges patches of 34 pixels: is this back-projection's picture a patient's?"""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        channels = (2, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for n, (a, b) in enumerate(itertools.pairwise(channels)):
            layers += [spectral_norm(nn.Conv2d(a, b, 4, 2 if n < 2 else 1, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels[-1], 1, 4, 1, 1)))

    def forward(self, given: Tensor, image: Tensor) -> Tensor:
        """Return a mark for every patch: high where the image (B, 1, H, W) may be a patient's."""
        seen = (torch.cat([given, image], 1) - MIDDLE) / HALF_WIDTH
        return self.layers(seen.clamp(-MARGIN, MARGIN))


class Opponents(nn.Module):
    """The network and its critic."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = SmallUNet(width, fold=2)
        self.critic = Critic()


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


def _begin(lessons: Lessons) -> tuple[TrainingState, Opponents, SmallUNet]:
    torch.manual_seed(lessons.seed)
    both = Opponents(lessons.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(both.parameters(), 1e-3, betas=(0.5, 0.99), weight_decay=0.0)
    average = copy.deepcopy(both.network)
    return TrainingState(both, average, optimiser, torch.Generator().manual_seed(lessons.seed)), both, average


def _rate(warmed: float) -> float:
    """Learning rate: up and down while the network warms up, then even."""
    return LAST_RATE if warmed >= 1 else LAST_RATE + (FIRST_RATE - LAST_RATE) * math.sin(math.pi * warmed) ** 2


@torch.autocast("cpu", torch.bfloat16)  # halves the time
def _step(state: TrainingState, both: Opponents, given: Tensor, true: Tensor, lessons: Lessons) -> dict[str, float]:
    """One step of the critic and one of the network; the critic rests while the network warms up."""
    network, critic = both.network, both.critic
    deceives, loss = state.step >= lessons.warm, torch.zeros(())
    for group in state.optimiser.param_groups:
        group["lr"] = _rate(state.step / lessons.warm)
    shown = network(given)
    if deceives:
        state.optimiser.zero_grad()
        loss = (1 - critic(given, true)).relu().mean() + (1 + critic(given, shown.detach())).relu().mean()
        loss.backward()
        state.optimiser.step()
    state.optimiser.zero_grad()
    error = (shown - true).abs().mean() / HALF_WIDTH
    total = lessons.fidelity * error
    critic.requires_grad_(False)
    if deceives:
        total = total - critic(given, shown).mean()
    total.backward()
    state.optimiser.step()
    critic.requires_grad_(True)
    with torch.no_grad():
        decay = min(DECAY, state.step / (state.step + 10))
        for kept, new in zip(state.average.parameters(), network.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)
    return {"error_hu": 200 * error.item(), "critic": loss.item()}


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
    state, both, average = _begin(lessons)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").is_file():
            state.restore(folder)
    begun = time.monotonic() - state.seconds
    while state.step < lessons.steps:
        facts = _step(state, both, *_lesson(slices, scanner, lessons, state.step), lessons)
        state.step += 1
        if state.step % 100 == 0 or state.step == lessons.steps:
            state.seconds = time.monotonic() - begun
            state.history.append({"step": state.step, **facts})
            tell(f"step {state.step}, {state.seconds:.0f} s: " + ", ".join(f"{k} {v:.3g}" for k, v in facts.items()))
            if folder is not None:
                state.save(folder)
    return average.eval()
