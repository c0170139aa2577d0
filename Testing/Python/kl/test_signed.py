"""One-sided surprise: shares of a sum that is exactly known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.kl.signed import SCALES_PX, SignedSum, gaussian_blur
from KLIPCore.maps.information import per_information
from KLIPCore.maps.trace import Layer

EDGES = np.array([0.1, 0.2, 0.4])


def _sums(push: torch.Tensor, sigma: float = 0.15, size: int = 32) -> tuple[Layer, Layer]:
    layers = []
    for name, sign in (("darker", -1), ("brighter", 1)):
        total = SignedSum(name, sign, EDGES, size, 4)
        total.add(sigma, push)
        layers.append(total.layer())
    return layers[0], layers[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_the_two_signs_share_the_low_passed_nats(seed: int, n: int) -> None:
    push = torch.randn(n, 32, 32, generator=torch.Generator().manual_seed(seed))
    darker, brighter = _sums(push)
    for j, scale in enumerate(SCALES_PX):
        blurred = gaussian_blur(push, scale)
        assert darker.mean[0, j].sum() + brighter.mean[0, j].sum() == pytest.approx(
            float(blurred.mean(0).square().sum()), rel=1e-4, abs=1e-6
        )
        assert darker.energy[0, j].sum() + brighter.energy[0, j].sum() == pytest.approx(
            float(blurred.square().sum()) / n, rel=1e-4, abs=1e-6
        )
        assert blurred.square().sum() <= push.square().sum()
    assert not darker.mean[1].any()  # σ = 0.15 belongs to the first bin


def test_the_blur_is_a_gaussian() -> None:
    image = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    expected = ndi.gaussian_filter(image, 2.5, mode="wrap", truncate=8)
    assert gaussian_blur(torch.from_numpy(image), 2.5).numpy() == pytest.approx(expected, abs=2e-4)


def test_a_dark_spot_is_dark_and_a_bright_one_bright() -> None:
    push = torch.zeros(2, 32, 32)
    push[:, 6:10, 6:10] = -1.0
    push[:, 22:26, 22:26] = 1.0
    darker, brighter = _sums(push)
    assert np.unravel_index(darker.mean[0, 0].argmax(), (8, 8)) in ((1, 1), (2, 2), (1, 2), (2, 1))
    assert np.unravel_index(brighter.mean[0, 0].argmax(), (8, 8)) in ((5, 5), (6, 6), (5, 6), (6, 5))
    assert darker.mean[0, 0, 5:7, 5:7].max() < 1e-3 * darker.mean[0, 0].max()


def test_noise_that_cancels_leaves_no_mean() -> None:
    z = torch.randn(1, 32, 32)
    darker, _ = _sums(torch.cat([z, -z]))
    assert darker.mean.max() < 1e-10
    assert darker.energy.max() > 1e-3


def test_the_weight_is_mean_information_over_local_information() -> None:
    energy = np.ones((2, 6, 16, 16), np.float32)
    even = Layer("path", EDGES, energy, energy, 1)
    assert per_information(even, 4) == pytest.approx(np.ones((16, 16)))
    energy = energy.copy()
    energy[:, :2, :, 8:] = 3.0
    energy[:, 2:] = np.random.default_rng(0).uniform(size=energy[:, 2:].shape)  # coarse bands do not count
    weight = per_information(Layer("path", EDGES, energy, energy, 1), 4)
    assert weight[:, 0] == pytest.approx(2.0, rel=0.01)
    assert weight[:, -1] == pytest.approx(2.0 / 3.0, rel=0.01)
    seen = np.ones((16, 16), bool)
    seen[10:, 12:] = False  # a corner that data do not correct: it weighs nothing, and nobody near it weighs more
    energy[:, :, 10:, 12:] = 1e-4
    corner = per_information(Layer("path", EDGES, energy, energy, 1), 4, seen)
    assert not corner[~seen].any()
    assert corner[9, -1] == pytest.approx(corner[0, -1], rel=1e-3)
    assert per_information(even, 4, np.ones((16, 16), bool)) == pytest.approx(per_information(even, 4))
    nothing = np.zeros_like(energy)
    assert per_information(Layer("path", EDGES, nothing, nothing, 1), 4) == pytest.approx(1.0)


def test_a_weight_multiplies_and_a_wrong_sign_is_refused() -> None:
    push = -torch.ones(1, 32, 32)
    total = SignedSum("darker", -1, EDGES, 32, 4)
    total.add(0.3, push)
    weight = np.full((8, 8), 0.5, np.float32)
    assert total.layer(weight).mean[1] == pytest.approx(0.5 * total.layer().mean[1])
    assert total.layer().mean[1] == pytest.approx(16.0)
    with pytest.raises(ConfigError):
        SignedSum("darker", 0, EDGES, 32, 4)
