"""The published recipes, each against its equations written out again on a problem where every denoiser is a formula.

Pixels are independent, N(0.4, 0.03²) or wider, and measured one by one, so that the denoiser is a number times
an offset, the inverse of A is A, and gradients are written down.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.published.ddpm import NOISE_SEED_OFFSET, DDPMSettings, epsilon_from_denoiser, sample_ddpm
from KLIPCore.lab.published.padis import PadisSettings, norm_gradient, sample_padis
from KLIPCore.lab.published.recipe import RECIPES
from KLIPCore.lab.published.score import score_map
from KLIPCore.lab.published.ve_projection import VEProjectionSettings, diffusion_coefficient, sample_ve_projection
from KLIPCore.physics.mask import Identity, Mask
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.sampling.ddpm import linear_alpha_bar
from KLIPCore.sampling.guidance import Guided
from KLIPCore.sampling.reverse import reverse_transitions

MEAN, VARIANCE, SIDE = 0.4, 0.03**2, 4


def gain(sigma: float) -> float:
    return VARIANCE / (VARIANCE + sigma**2)


def denoise(x: Tensor, sigma: float) -> Tensor:
    return MEAN + gain(sigma) * (x - MEAN)


def scan(seed: int = 0, size: int = SIDE) -> Measurement:
    y = MEAN + 0.1 * torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Measurement(y, Identity((size, size)), noise=GaussianNoise(0.01), simulated=True)


def test_ve_projection_step_by_step() -> None:
    m, n, n_steps, top, bottom, r, share = scan(), 3, 12, 5.0, 0.02, 0.2, 0.7
    found = sample_ve_projection(
        denoise,
        m,
        torch.Generator().manual_seed(7),
        VEProjectionSettings(
            n_samples=n, n_steps=n_steps, sigma_max=top, sigma_min=bottom, corrector_snr=r, share=share, record_every=5
        ),
    )
    generator = torch.Generator().manual_seed(7)

    def z() -> Tensor:
        return torch.randn(n, SIDE, SIDE, generator=generator, dtype=torch.float64)

    ratio = (bottom / top) ** (1 / (n_steps - 1))
    x, recorded = top * z(), []
    for i in range(n_steps):
        sigma = top * ratio**i
        moved = (1 - share) * x + share * (m.y + sigma * z())
        if i in (0, 5, 10):
            recorded.append((moved - x) / (sigma * math.sqrt(2 * math.log(top / bottom))))
        noise = z()
        s = (denoise(moved, sigma) - moved) / sigma**2
        sizes = [sum(v.reshape(-1).norm() for v in t) / n for t in (noise, s)]
        step = 2 * float(r * sizes[0] / sizes[1]) ** 2
        x = moved + step * s + math.sqrt(2 * step) * noise
        x = (1 - share) * x + share * (m.y + sigma * z())
        lower = sigma * ratio if i < n_steps - 1 else 0.0
        x = x + (1 - lower**2 / sigma**2) * (denoise(x, sigma) - x) + math.sqrt(sigma**2 - lower**2) * z()
    np.testing.assert_allclose(found.normalized_updates[:, :, 0], torch.stack(recorded).numpy(), rtol=1e-5, atol=1e-6)
    assert found.normalized_updates.shape == (3, n, 1, SIDE, SIDE)
    np.testing.assert_allclose(
        found.g_values, [diffusion_coefficient(top * ratio**i, top, bottom) for i in (0, 5, 10)], rtol=1e-6
    )
    np.testing.assert_allclose(found.reconstruction, m.y.clamp(0, 1).numpy(), atol=1e-6)  # projected with λ = 1


def test_ve_projection_moves_only_what_is_measured() -> None:
    """The recorded update lies in the range of Aᵀ, and where nothing is measured it is 0."""
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    seen[:2] = True
    m = Measurement(torch.full((8,), 0.5, dtype=torch.float64), Mask(seen), noise=GaussianNoise(0.01), simulated=True)
    found = sample_ve_projection(
        denoise, m, torch.Generator().manual_seed(0), VEProjectionSettings(n_samples=2, n_steps=6, record_every=2)
    )
    assert found.n_steps == 3
    assert not found.normalized_updates[..., 2:, :].any()
    assert found.normalized_updates[..., :2, :].all()


def test_what_is_recorded_is_mostly_noise() -> None:
    """The slip of the published record: with data that agree with the prior and no surprise at all, the
    score is that of two noises, 2 λ² σ²/g² a pixel.
    """
    size = 24
    m = Measurement(
        torch.full((size, size), MEAN, dtype=torch.float64),
        Identity((size, size)),
        noise=GaussianNoise(0.01),
        simulated=True,
    )
    found = sample_ve_projection(
        denoise,
        m,
        torch.Generator().manual_seed(0),
        VEProjectionSettings(n_samples=4, n_steps=60, sigma_max=10.0, share=1.0),
    )
    per_pixel = score_map(found, size, (2, 6))[0, 0] / size**2
    assert per_pixel == pytest.approx(2 / (2 * math.log(1000)), rel=0.1)


def test_padis_step_by_step() -> None:
    m, n, n_levels, zeta, unit = scan(), 2, 4, 0.3, 1.7
    found = sample_padis(
        denoise,
        m,
        torch.Generator().manual_seed(3),
        PadisSettings(n_runs=n, n_levels=n_levels, n_inner=3, zeta=zeta, unit=unit, first_seed=5),
    )
    generator = torch.Generator().manual_seed(3)
    x = 10.0 * torch.stack(
        [
            torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(5 + b), dtype=torch.float64)
            for b in range(n)
        ]
    )
    seventh = np.linspace(10.0 ** (1 / 7), 0.003 ** (1 / 7), n_levels)
    for i, sigma in enumerate(float(v) for v in seventh**7):
        total = torch.zeros_like(x)
        for _ in range(3):
            d = denoise(x, sigma)
            push = torch.stack([zeta * unit * gain(sigma) * (m.y - d[b]) / (m.y - d[b]).norm() for b in range(n)])
            total += push
            x = x + push + 0.25 * (d - x)
            if i < n_levels - 1:
                x = x + math.sqrt(0.5) * sigma * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        np.testing.assert_allclose(
            found.normalized_updates[i, 0, 0], total.mean(0).numpy() / math.sqrt(sigma), rtol=1e-5, atol=1e-7
        )
        assert found.g_values[i] == pytest.approx(math.sqrt(sigma), rel=1e-6)
    assert found.normalized_updates.shape == (n_levels, 1, 1, SIDE, SIDE)
    np.testing.assert_allclose(found.reconstruction, x.clamp(0, 1).mean(0).numpy(), rtol=1e-5, atol=1e-7)


def test_padis_on_padded_images() -> None:
    """The misfit is read inside the padding, the record is the image's size, and the gradient is autograd's own."""
    m, pad = scan(), 3
    x = torch.randn(2, SIDE + 2 * pad, SIDE + 2 * pad, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, gradient = norm_gradient(denoise, m_of(m, 2), x, 0.1, pad)
    assert not gradient[:, :pad].any()
    assert gradient[:, pad:-pad, pad:-pad].all()
    found = sample_padis(
        denoise, m, torch.Generator().manual_seed(0), PadisSettings(n_runs=1, n_levels=2, n_inner=1, pad=pad)
    )
    assert found.normalized_updates.shape == (2, 1, 1, SIDE, SIDE)
    assert found.reconstruction is not None
    assert found.reconstruction.shape == (SIDE, SIDE)


def m_of(m: Measurement, n: int) -> Measurement:
    return Measurement(m.y.expand(n, *m.y.shape), m.A, noise=m.noise, simulated=m.simulated)


def test_ddpm_without_guidance_is_ddpm_with_one_noise() -> None:
    """ζ = 0: the chain of KLIPCore.sampling.ddpm, fed the same noise at every step, in other coordinates."""
    m, alpha_bar = scan(), linear_alpha_bar()
    found = sample_ddpm(epsilon_from_denoiser(denoise, alpha_bar), m, DDPMSettings(n_samples=1, n_steps=100, zeta=0.0))
    assert not found.normalized_updates.any()
    same = torch.randn(
        1, SIDE, SIDE, generator=torch.Generator().manual_seed(44 + NOISE_SEED_OFFSET), dtype=torch.float64
    )
    start = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(44), dtype=torch.float64)[None]
    sigmas = [math.sqrt((1 - alpha_bar[t]) / alpha_bar[t]) / 2 for t in range(990, -1, -10)]
    x = 0.5 * (start / math.sqrt(alpha_bar[990]) + 1)
    for step in reverse_transitions(
        lambda x, s: Guided(denoise(x, s), torch.zeros_like(x)), sigmas, x, lambda: same, data_std=0.0
    ):
        x = step.x_next
    np.testing.assert_allclose(
        found.reconstruction, denoise(x, sigmas[-1])[0].clamp(0, 1).numpy(), rtol=1e-5, atol=1e-6
    )


def test_ddpm_records_its_push() -> None:
    """First recorded update against the formula, for two samples whose misfits are averaged; g is √β of the
    long schedule.
    """
    m, alpha_bar, zeta, std, unit = scan(), linear_alpha_bar(), 0.4, 0.8, 1.3
    found = sample_ddpm(
        epsilon_from_denoiser(denoise, alpha_bar),
        m,
        DDPMSettings(n_samples=2, n_steps=50, zeta=zeta, data_std=std, unit=unit),
    )
    start = torch.stack(
        [
            torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(44 + b), dtype=torch.float64)
            for b in range(2)
        ]
    )
    a = alpha_bar[980]
    clean = 2 * denoise((start / math.sqrt(a) + 1) / 2, math.sqrt((1 - a) / a) / 2) - 1
    residual = unit * ((2 * m.y - 1) - clean)
    size = 0.5 * float(residual[0].norm() + residual[1].norm())
    beta = np.linspace(1e-4, 0.02, 1000)[980]
    expected = zeta / size * unit * residual / (std**2 * math.sqrt(a)) / math.sqrt(beta)
    np.testing.assert_allclose(found.normalized_updates[0, :, 0], expected.numpy(), rtol=1e-5)
    np.testing.assert_allclose(found.g_values, np.sqrt(np.linspace(1e-4, 0.02, 1000)[980::-20]), rtol=1e-6)


@pytest.mark.parametrize("name", ["ve-projection", "padis", "ddpm"])
def test_a_surprising_pixel_scores_highest(name: str) -> None:
    """One pixel fifty prior standard deviations off: in the recipe's window it scores above all its neighbours."""
    y = torch.full((8, 8), MEAN, dtype=torch.float64)
    y[2, 5] += 1.5
    m = Measurement(y, Identity((8, 8)), noise=GaussianNoise(0.01), simulated=True)
    recipe, generator = RECIPES[name], torch.Generator().manual_seed(0)
    if name == "ve-projection":
        found = sample_ve_projection(
            denoise, m, generator, VEProjectionSettings(n_samples=8, n_steps=200, record_every=2)
        )
    elif name == "padis":
        found = sample_padis(denoise, m, generator, PadisSettings(n_levels=40, n_inner=4))
    else:
        found = sample_ddpm(epsilon_from_denoiser(denoise, linear_alpha_bar()), m)
    scores = score_map(found, 1, recipe.window("localization", found.n_steps))
    assert np.unravel_index(scores.argmax(), scores.shape) == (2, 5)


def test_windows_in_noise_levels() -> None:
    """As measured on the published schedules: docs/method.md tells them so."""
    assert RECIPES["ve-projection"].sigma_window("localization") == pytest.approx((0.0453, 0.272), rel=0.01)
    assert RECIPES["ve-projection"].sigma_window("detection") == pytest.approx((3.2, 4.66), rel=0.01)
    assert RECIPES["padis"].sigma_window("localization") == pytest.approx((0.0222, 0.151), rel=0.01)
    for recipe in RECIPES.values():
        assert len(recipe.sigmas()) == recipe.n_recorded
        assert bool((np.diff(recipe.sigmas()) < 0).all())
        module, function = recipe.backend.rsplit(".", 1)
        assert callable(getattr(__import__(module, fromlist=[function]), function))
    assert RECIPES["padis"].window("localization", 20) == (13, 17)
    assert RECIPES["padis"].window("localization", 2) == (1, 2)
    with pytest.raises(ConfigError, match="no window for detection"):
        RECIPES["padis"].window("detection")


def test_refusals() -> None:
    m, generator = scan(), torch.Generator()
    for bad in (
        {"n_steps": 1},
        {"sigma_min": 200.0},
        {"share": 0.0},
        {"n_samples": 0},
        {"record_every": 0},
        {"corrector_snr": 0.0},
    ):
        with pytest.raises(ConfigError, match="impossible"):
            sample_ve_projection(denoise, m, generator, VEProjectionSettings(**bad))
    for bad in ({"n_runs": 0}, {"n_levels": 1}, {"step": 2.0}, {"zeta": -1.0}, {"pad": -1}, {"n_inner": 0}):
        with pytest.raises(ConfigError, match="impossible"):
            sample_padis(denoise, m, generator, PadisSettings(**bad))
    for bad in ({"n_steps": 1001}, {"n_samples": 0}, {"zeta": -1.0}, {"data_std": 0.0}):
        with pytest.raises(ConfigError, match="cannot be made"):
            sample_ddpm(epsilon_from_denoiser(denoise, linear_alpha_bar()), m, DDPMSettings(**bad))
