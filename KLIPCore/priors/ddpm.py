"""A denoising diffusion probabilistic model behind the same door as everything else.

DDPM (Ho et al. 2020) adds noise in a thousand numbered steps and shrinks the image as it goes,

    u_t = √ᾱ_t u + √(1 − ᾱ_t) ε ,        ᾱ_t = Π (1 − β_i) ,

and its network guesses ε, or the velocity v = √ᾱ ε − √(1 − ᾱ) u (Salimans and Ho 2022), from u_t and the number t. The
rest of this library only adds noise, x_σ = x + σ z. Both are the same process in other clothes: divide by √ᾱ
and the noise level is σ_u = √(1/ᾱ − 1), multiply by 1/√(1 + σ_u²) and one is back. So a denoiser of x_σ is

    u' = (scale·x_σ + shift) / √(1 + σ_u²) ,  t = t(σ_u) ,  û = network's guess of u ,  D(x_σ, σ) = (û − shift) / scale

where u = scale·x + shift is the intensity that the network was trained on and σ_u = scale·σ. At the schedule's
own noise levels this is exactly DDPM's formula; between them t is interpolated in ln σ, and the network takes
fractions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from KLIPCore.errors import PriorError
from KLIPCore.priors.unet import UNetConfig, fold, folded_unet

if TYPE_CHECKING:
    from monai.networks.schedulers import DDPMScheduler

PREDICTIONS = ("epsilon", "v_prediction")
"""What the network may guess, in the words of MONAI's scheduler."""


@dataclass(frozen=True)
class DDPMConfig(UNetConfig):
    """Shape of the network, its schedule and its intensities.

    Attributes
    ----------
    prediction : ``epsilon`` or ``v_prediction``.
    schedule, n_steps, beta_start, beta_end : MONAI's noise schedule; the defaults are those of Ho et al. 2020.
    scale, shift : the network's intensity u = scale·x + shift. The factor 2 gives windowed CT about unit variance,
        which a variance-preserving process supposes.
    """

    positions: bool = False
    prediction: str = "v_prediction"
    schedule: str = "linear_beta"
    n_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    scale: float = 2.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prediction not in PREDICTIONS:
            raise PriorError(
                f"A DDPM that predicts '{self.prediction}' is not known.", f"Use one of: {', '.join(PREDICTIONS)}."
            )


def scheduler_of(schedule: str, n_steps: int, beta_start: float, beta_end: float, prediction: str) -> DDPMScheduler:
    """Return MONAI's DDPM scheduler, without clipping: a score map must see what is really there."""
    from monai.networks.schedulers import DDPMScheduler  # heavy: only when a network is really built

    ends: dict[str, Any] = {} if schedule == "cosine" else {"beta_start": beta_start, "beta_end": beta_end}
    return DDPMScheduler(
        num_train_timesteps=n_steps, schedule=schedule, prediction_type=prediction, clip_sample=False, **ends
    )


class VPSchedule(nn.Module):
    """The numbered noise levels of a DDPM, read as noise standard deviations.

    Parameters
    ----------
    alphas_cumprod : (T,) ᾱ_t, falling.

    Attributes
    ----------
    alphas_cumprod : (T,) float64, moves with the module and is not saved with the weights.
    sigmas : (T,) σ_u of every step, rising, float64.
    """

    alphas_cumprod: Tensor
    sigmas: Tensor

    def __init__(self, alphas_cumprod: Tensor) -> None:
        super().__init__()
        self.register_buffer("alphas_cumprod", alphas_cumprod.double(), persistent=False)
        self.register_buffer("sigmas", (1 / self.alphas_cumprod - 1).sqrt(), persistent=False)

    def time(self, sigma: Tensor) -> Tensor:
        """Return the (B,) step numbers, with fractions, of noise levels σ_u (B,): linear in ln σ, held at the ends."""
        levels, wanted = self.sigmas.log(), sigma.to(self.sigmas).clamp_min(1e-12).log()
        upper = torch.searchsorted(levels, wanted).clamp(1, len(levels) - 1)
        lower = upper - 1
        part = (wanted - levels[lower]) / (levels[upper] - levels[lower])
        return (lower + part.clamp(0, 1)).to(sigma)


class VPDenoiser(nn.Module, ABC):
    """Any network trained on numbered steps, as a denoiser D(x; σ, position); a subclass says what it predicts.

    Parameters
    ----------
    scheduler : MONAI's DDPM scheduler, whose ᾱ and ``prediction_type`` are taken.
    scale, shift : the network's intensity u = scale·x + shift.
    """

    def __init__(self, scheduler: DDPMScheduler, scale: float, shift: float) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.scale, self.shift = scale, shift
        self.vp = VPSchedule(scheduler.alphas_cumprod)

    @abstractmethod
    def predict(self, noised: Tensor, time: Tensor, position: Tensor) -> Tensor:
        """Return the network's guess (ε or v) from u_t (B, C, H, W), step numbers (B,) and positions (B, 2, H, W)."""

    def forward(self, x: Tensor, sigma: Tensor, position: Tensor) -> Tensor:
        """Return denoised images (B, C, H, W) from noisy ones.

        Noise levels are (B,) in intensity units, positions (B, 2, H, W).
        """
        sigma_u = self.scale * sigma
        root = torch.rsqrt(1 + sigma_u**2).view(-1, 1, 1, 1)  # √ᾱ
        noised = (self.scale * x + self.shift) * root
        guess = self.predict(noised, self.vp.time(sigma_u), position)
        other = root * sigma_u.view(-1, 1, 1, 1)  # √(1 − ᾱ)
        clean = (
            (noised - other * guess) / root
            if self.scheduler.prediction_type == "epsilon"
            else root * noised - other * guess
        )
        return (clean - self.shift) / self.scale


class DDPMUNet(VPDenoiser):
    """The house's own network trained as a DDPM.

    Parameters
    ----------
    config : shape of the network and its schedule.
    """

    mixed_precision = True

    def __init__(self, config: DDPMConfig | None = None) -> None:
        c = config or DDPMConfig()
        super().__init__(scheduler_of(c.schedule, c.n_steps, c.beta_start, c.beta_end, c.prediction), c.scale, c.shift)
        self.config = c
        self.net = folded_unet(self.config)

    @property
    def multiple(self) -> int:
        """Image sides must be divisible by this number of pixels."""
        return self.config.multiple

    def predict(self, noised: Tensor, time: Tensor, position: Tensor) -> Tensor:
        """See :meth:`VPDenoiser.predict`."""
        raw = self.net(fold(noised, position, self.config), time)
        return F.pixel_shuffle(raw.float(), self.config.unshuffle)
