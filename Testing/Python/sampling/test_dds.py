"""DDS is the general reverse chain with a proximal step: the published recursion, bit for bit."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.benchmarks import inpainting
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import proximal_step
from KLIPCore.priors.prior import denoiser
from KLIPCore.sampling.dds import dds_transitions
from KLIPCore.sampling.guidance import METHODS, guidance_by, no_guidance, prior_variance
from KLIPCore.sampling.reverse import reverse_transitions, seeded_noise
from KLIPCore.sampling.schedule import geometric
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((16, 16), 1.5)
PLAIN = Projector(ParallelBeam.sparse(12, IMAGE), IMAGE)
LEVELS = [float(s) for s in geometric(0.7, 0.02, 6)]


def smooth(x: Tensor, sigma: float) -> Tensor:
    """A denoiser that is not linear: some blur, squashed, and as much of it as there is noise."""
    blurred = torch.nn.functional.avg_pool2d(x[:, None], 3, 1, 1)[:, 0].tanh()
    return x + sigma / (0.2 + sigma) * (blurred - x)


@pytest.mark.parametrize("A", [PLAIN, PLAIN.preconditioned()], ids=["plain", "closed form"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dds_is_its_published_recursion_bit_for_bit(A: Projector, dtype: torch.dtype) -> None:
    y = A(torch.linspace(0, 1, 256, dtype=dtype).reshape(16, 16))
    measurement = Measurement(y, A, noise=GaussianNoise(0.1), simulated=True)
    made = list(
        dds_transitions(
            smooth,
            measurement,
            LEVELS,
            y.new_zeros(3, 16, 16),
            seeded_noise((3, 16, 16), torch.Generator().manual_seed(1), dtype),
            prior_std=0.3,
        )
    )
    noise = seeded_noise((3, 16, 16), torch.Generator().manual_seed(1), dtype)
    x = y.new_zeros(3, 16, 16)
    for step, (sigma, lower) in zip(made, pairwise(LEVELS), strict=True):
        estimate = smooth(x, sigma)
        corrected = proximal_step(measurement, estimate, prior_variance(sigma, 0.3), 8)
        share = (sigma**2 - lower**2) / sigma**2
        variance = lower**2 * share
        assert torch.equal(step.prior_mean, x + share * (estimate - x))
        assert torch.equal(step.guided_mean, x + share * (corrected - x))
        x = x + share * (corrected - x) + math.sqrt(variance) * noise()
        assert step.variance == variance
        assert torch.equal(step.x_next, x)
        assert torch.equal(step.denoised, corrected)


def test_the_prior_alone_is_not_pushed() -> None:
    noise = seeded_noise((2, 16, 16), torch.Generator().manual_seed(1))
    for step in reverse_transitions(no_guidance(smooth), LEVELS, torch.zeros(2, 16, 16), noise):
        assert torch.count_nonzero(step.shift) == 0


@pytest.mark.parametrize("name", METHODS)
def test_guidance_has_a_name(name: str) -> None:
    b = inpainting(size=4, unseen_rows=1)
    x = b.prior.sample(2, torch.Generator().manual_seed(0))[:, 0]
    guided = guidance_by(name, denoiser(b.prior), b.measurement, 0.2, 20)(x, 0.3)
    torch.testing.assert_close(guided.denoised.detach(), denoiser(b.prior)(x, 0.3))
    torch.testing.assert_close(guided.posterior_mean(0.3), guided.denoised + 0.09 * guided.score)
    assert float(guided.score.abs().max()) > 0.1


def test_an_unknown_guidance_is_refused() -> None:
    b = inpainting(size=4, unseen_rows=1)
    with pytest.raises(ConfigError, match="no guidance method 'magic'") as caught:
        guidance_by("magic", denoiser(b.prior), b.measurement, 0.2)
    assert "dds" in caught.value.remedy


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,)])
def test_one_adapter_for_any_leading_dimensions(lead: tuple[int, ...]) -> None:
    b = inpainting(size=4, unseen_rows=1)
    x = torch.randn(*lead, 4, 4)
    clean = denoiser(b.prior)(x, 0.3)
    assert clean.shape == x.shape
    assert clean.dtype == x.dtype
    one_by_one = [b.prior.denoise(image[None, None], 0.3)[0, 0] for image in x.reshape(-1, 4, 4)]
    for a, e in zip(clean.reshape(-1, 4, 4), one_by_one, strict=True):
        torch.testing.assert_close(a, e)
