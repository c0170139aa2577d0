"""Patients drawn from priors: the flow against its closed form, coherence along z, and what a scanner would store."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.abdomen import AIR_HU, WIDTH_MM, Abdomen
from KLIPCore.lab.phantoms.patient import Drawing, coherent_noise, draw_patient, patient_grid, probability_flow
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.gaussian import GaussianPrior, exact_card
from KLIPCore.sampling.schedule import karras
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


class Pale:
    """The prior N(plan, s²) of white images around a plan: exact, and the size of a small patient."""

    def __init__(self, mean: Tensor, std: float = 0.03) -> None:
        self.mean, self.variance = mean, std**2

    @property
    def card(self) -> ModelCard:
        return replace(exact_card("pale", self.mean.shape[-1]), window=Window(-125.0, 275.0), sigma_max=5.0)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        s = sigma.view(-1, 1, 1, 1).square()
        return (self.variance * x + s * self.mean) / (self.variance + s)


@pytest.fixture(scope="module")
def pale() -> Pale:
    """A prior around the plan of seed 0 at 64² pixels."""
    card = replace(exact_card("pale", 64), window=Window(-125.0, 275.0))
    return Pale(torch.from_numpy(card.window.apply(Abdomen.random(0).hu(patient_grid(card, 1, 5.0))[0])))


def test_flow_meets_its_closed_form_and_converges() -> None:
    """For N(μ, C) the flow from σ scales each eigenvector by √(λ / (λ + σ²)); Euler's error halves with the step."""
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(16, 16, generator=generator, dtype=torch.float64) / 8
    mean = torch.rand(1, 4, 4, generator=generator, dtype=torch.float64)
    prior = GaussianPrior(mean, root @ root.T + 0.01 * torch.eye(16, dtype=torch.float64))
    sigma = 0.5
    x = mean + (torch.randn(200, 4, 4, generator=generator, dtype=torch.float64)) * sigma
    z = (x - mean).flatten(1) @ prior.basis
    exact = mean + ((prior.variances / (prior.variances + sigma**2)).sqrt() * z @ prior.basis.T).reshape(x.shape)
    errors = []
    for n in (8, 16, 32, 64):
        found = probability_flow(prior, x, karras(sigma, 0.002, n, rho=4.0))
        errors.append(float((found - exact).norm() / (exact - mean).norm()))
    assert errors[-1] < 0.03
    assert all(0.35 < fine / coarse < 0.65 for coarse, fine in itertools.pairwise(errors))


def test_noise_is_normal_in_a_slice_and_coherent_along_z() -> None:
    noise = coherent_noise(9, 5.0, 12.0, (200, 200), torch.Generator().manual_seed(1))
    assert noise.shape == (9, 200, 200)
    np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=0.03)
    np.testing.assert_allclose(noise.square().mean((1, 2)), 1, atol=0.04)
    for apart in (1, 2, 4):
        expected = np.exp(-0.5 * (5.0 * apart / 12.0) ** 2)
        np.testing.assert_allclose((noise[apart:] * noise[:-apart]).mean((1, 2)), expected, atol=0.03)
    np.testing.assert_allclose((noise[:, 1:] * noise[:, :-1]).mean((1, 2)), 0, atol=0.03)


def test_grid_suits_the_prior_s_frame() -> None:
    card = replace(exact_card("any", 128), body_fraction=0.8)
    grid = patient_grid(card, 6, 4.0)
    assert grid.shape == (6, 128, 128)
    np.testing.assert_allclose(grid.spacing, (4.0, WIDTH_MM / (0.8 * 128), WIDTH_MM / (0.8 * 128)))
    np.testing.assert_allclose(grid.to_world((2.5, 63.5, 63.5)), 0, atol=1e-9)
    assert grid.lps_axes() == ((0, 1, 2), (False, False, False))
    with pytest.raises(ConfigError):
        patient_grid(card, 0, 4.0)


def test_a_patient_is_repeatable_in_air_and_in_the_window(pale: Pale) -> None:
    done: list[float] = []
    patient = draw_patient(pale, 6, 0, drawing=Drawing(n_steps=6), progress=done.append)
    again = draw_patient(pale, 6, 0, drawing=Drawing(n_steps=6))
    np.testing.assert_array_equal(patient.array, again.array)
    assert (
        patient.array != draw_patient(pale, 6, 1, plan=Abdomen.random(0), drawing=Drawing(n_steps=6)).array
    ).mean() > 0.1
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1.0)
    assert "synthetic" in patient.source.description
    plan = Abdomen.random(0).hu(patient.grid)
    planned = plan > AIR_HU / 2
    air = patient.array == AIR_HU
    assert air[plan == AIR_HU].mean() > 0.95
    assert not air[planned].mean() > 0.1
    body = patient.array[~air]
    assert body.min() > -125 - 60
    assert body.max() < 275 + 60


def test_scanner_noise_has_its_size(pale: Pale) -> None:
    quiet = draw_patient(pale, 3, 0, drawing=Drawing(n_steps=4, noise_hu=0.0))
    noisy = draw_patient(pale, 3, 0, drawing=Drawing(n_steps=4, noise_hu=12.0))
    both = (quiet.array > AIR_HU) & (noisy.array > AIR_HU)
    difference = (noisy.array - quiet.array)[both]
    assert difference.std() == pytest.approx(12.0, rel=0.05)
    assert difference.mean() == pytest.approx(0.0, abs=1.5)
    assert np.array_equal(quiet.array > AIR_HU, noisy.array > AIR_HU)


def test_settings_out_of_range_are_refused(pale: Pale) -> None:
    for wrong in (
        {"sigma_start": 0.0},
        {"sigma_start": 50.0},
        {"n_steps": 0},
        {"correlation_mm": 0.0},
        {"noise_hu": -1.0},
    ):
        with pytest.raises(ConfigError):
            draw_patient(pale, 2, 0, drawing=Drawing(**wrong))


def test_the_shipped_prior_draws_a_coherent_body() -> None:
    """Few steps, three slices: the frame fits, organs stay in place, slices resemble each other the more the
    nearer they are.
    """
    prior = load_prior()
    patient = draw_patient(prior, 3, 0, drawing=Drawing(n_steps=3, noise_hu=0.0))
    grid = patient.grid
    body = body_masks(prior.card.window.apply(patient.array))
    frame = Frame.of_body(
        body, (float(grid.spacing[1]), float(grid.spacing[2])), prior.card.size, prior.card.body_fraction
    )
    assert frame.pixel_mm == pytest.approx(grid.spacing[1], rel=0.03)
    plan = Abdomen.random(0)
    for organ, lo, hi in (("liver", 60, 170), ("vertebra", 200, 280), ("belly fat", -125, -40)):
        assert lo < np.median(patient.array[plan.mask(organ, grid)]) < hi, organ
    liver = plan.mask("liver", grid).all(0)
    detail = [patient.array[k][liver] - np.median(patient.array[k][liver]) for k in range(3)]
    near, far = np.corrcoef(detail[0], detail[1])[0, 1], np.corrcoef(detail[0], detail[2])[0, 1]
    assert near > 0.5
    assert near > far
