"""Baselines of the denoiser's Jacobian, where it is known: Gaussian priors in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from KLIPCore.lab.evaluation.baselines import curvature
from KLIPCore.lab.evaluation.baselines.registry import baseline
from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.prior import Denoiser

SIZE, MEAN = 32, 0.5


def waves() -> Tensor:
    """Return (3, SIZE, SIZE) orthonormal images."""
    axis = 2 * np.pi * np.arange(SIZE) / SIZE
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    made = np.stack([np.cos(rows), np.sin(2 * columns), np.cos(3 * rows + columns)])
    return torch.from_numpy((made / np.sqrt(np.square(made).sum((1, 2), keepdims=True))).astype(np.float32))


VARIANCES = torch.tensor([4.0, 1.0, 0.25])
REST = 1e-3
"""The prior: N(MEAN, C), C with these variances along the waves and this one along everything else."""


def known_covariance(x: Tensor, sigma: float) -> Tensor:
    """Return the exact denoiser of that prior."""
    off = x - MEAN
    along = torch.einsum("khw,...hw->...k", waves(), off)
    gain, rest = VARIANCES / (VARIANCES + sigma**2), REST / (REST + sigma**2)
    return MEAN + rest * off + torch.einsum("...k,khw->...hw", (gain - rest) * along, waves())


def white(std: float) -> Denoiser:
    """Return the exact denoiser of N(MEAN, std²) in every pixel."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return MEAN + (x - MEAN) * std**2 / (std**2 + sigma**2)

    return denoise


def view(image: Tensor, denoise: Denoiser) -> SliceView:
    body = np.ones((SIZE, SIZE), bool)
    return SliceView(SliceTrace(0, {}, image.numpy(), {}), denoise, body, body, 1.5, 7)


def test_eigenvalues_of_a_known_posterior_covariance() -> None:
    """Cov[x₀ | x_σ] of a Gaussian has the eigenvalues c σ² / (c + σ²); the iteration finds the largest."""
    sigma = 0.4
    start = torch.randn(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    values, vectors = curvature.leading_eigen(known_covariance, torch.zeros(SIZE, SIZE), sigma, start, 12)
    expected = VARIANCES * sigma**2 / (VARIANCES + sigma**2)
    assert (values * sigma**2).numpy() == pytest.approx(expected.numpy(), rel=1e-3)
    overlap = torch.einsum("khw,jhw->kj", vectors, waves()).abs()
    assert overlap.diagonal().numpy() == pytest.approx(np.ones(3), abs=2e-3)
    few, _ = curvature.leading_eigen(known_covariance, torch.zeros(SIZE, SIZE), sigma, start, curvature.N_ITERATIONS)
    assert few.sum() == pytest.approx(float(values.sum()), rel=0.05)  # the budget of a slice is nearly enough here


def test_eigenscore_is_a_map_of_the_eigenvalues() -> None:
    """The map adds up to the sum of the eigenvalues; a prior that is unsure in one place points at that place."""
    image = torch.full((SIZE, SIZE), MEAN)
    expected = sum(float((VARIANCES / (VARIANCES + sigma**2)).sum()) for sigma in curvature.LEVELS)
    found = curvature.eigenscore(view(image, known_covariance)).sum()
    assert 0.8 * expected < found < 1.001 * expected  # Ritz values come from below
    spread = torch.full((SIZE, SIZE), 0.01)
    spread[8:12, 20:24] = 1.0

    def unsure(x: Tensor, sigma: float) -> Tensor:
        return MEAN + (x - MEAN) * spread**2 / (spread**2 + sigma**2)

    found = curvature.eigenscore(view(image, unsure))
    assert found[8:12, 20:24].sum() > 0.95 * found.sum()
    asked = baseline("eigenscore")
    cells = asked.cells(view(image, unsure), 4)
    assert asked.read(cells.sum((-2, -1), keepdims=True))[0, 0] == pytest.approx(float(found.sum()), rel=1e-5)


@pytest.mark.parametrize("std", [0.05, 0.3])
def test_the_trace_of_a_known_jacobian(std: float) -> None:
    """tr(−σ² ∇s) = n σ² / (std² + σ²) exactly, whatever the probe's signs, in every block."""
    image = torch.full((SIZE, SIZE), MEAN)
    terms = curvature.scoped_terms(view(image, white(std)))
    for k, sigma in enumerate(curvature.LEVELS):
        assert terms[2 * k + 1] == pytest.approx(np.full((SIZE, SIZE), sigma**2 / (std**2 + sigma**2)), rel=1e-3)


def test_hutchinson_finds_the_trace_of_a_matrix_that_is_not_diagonal() -> None:
    """The waves' denoiser: tr ∇D = Σ gains along them and along the rest."""
    image = torch.full((SIZE, SIZE), MEAN)
    terms = curvature.scoped_terms(view(image, known_covariance))
    for k, sigma in enumerate(curvature.LEVELS):
        gains = float((VARIANCES / (VARIANCES + sigma**2)).sum()) + (SIZE**2 - 3) * REST / (REST + sigma**2)
        assert SIZE**2 - terms[2 * k + 1].sum() == pytest.approx(gains, abs=4.0)  # two probes; of 1024


def test_scoped_is_one_where_the_image_is_usual() -> None:
    """T = σ²‖s‖² / n · (std² + σ²)/σ² is 1 on draws of the prior; (spread² + σ²)/(std² + σ²) on others."""
    std, generator = 0.1, torch.Generator().manual_seed(1)
    noise = torch.randn(SIZE, SIZE, generator=generator)
    asked = baseline("scoped")

    def whole(image: Tensor) -> float:
        cells = asked.cells(view(image, white(std)), 4)
        return float(asked.read(cells.sum((-2, -1), keepdims=True))[0, 0])

    assert whole(MEAN + std * noise) < np.log(1.15) ** 2
    for spread in (0.3, 0.0):  # too rough, and too ordinary
        ratios = [(spread**2 + sigma**2) / (std**2 + sigma**2) for sigma in curvature.LEVELS]
        assert whole(MEAN + spread * noise) == pytest.approx(max(np.log(r) ** 2 for r in ratios), rel=0.2)


def test_blocks_of_scoped_have_their_own_ratio() -> None:
    """A square that the prior does not know stands out, and its surroundings do not."""
    image = MEAN + 0.1 * torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    image[8:16, 8:16] += 0.5
    asked = baseline("scoped")
    cells = asked.cells(view(image, white(0.1)), 8)
    found = asked.read(cells)
    assert found.argmax() == 1 * 4 + 1
    assert found[1, 1] > 10 * np.delete(found.ravel(), 5).max()
