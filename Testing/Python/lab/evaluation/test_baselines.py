"""Each baseline where its answer is known: an exact Gaussian prior, a point prior, or an image made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.detection.reconstruct import reconstruct
from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.baselines import classical, diffusion
from KLIPCore.lab.evaluation.baselines.published import published_score
from KLIPCore.lab.evaluation.baselines.registry import BASELINES, baseline
from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.lab.published.schedule import Lengths, localization_window, sample_recipe
from KLIPCore.maps.trace import Layer, SliceTrace
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

SIZE, MEAN, STD = 32, 0.5, 0.1
"""The prior N(mean, std²) of every pixel, independently: D(x, σ) = mean + (x − mean) std² / (std² + σ²)."""


def gaussian_prior(x: Tensor, sigma: float) -> Tensor:
    return MEAN + (x - MEAN) * STD**2 / (STD**2 + sigma**2)


def view(
    image: NDArray[np.floating],
    denoise=gaussian_prior,
    organ: NDArray[np.bool_] | None = None,
    measurement: Measurement | None = None,
) -> SliceView:
    energy = np.random.default_rng(0).uniform(size=(3, 6, SIZE // 4, SIZE // 4)).astype(np.float32)
    path = Layer("path", np.array([0.01, 0.1, 0.2, 0.4]), energy, energy / 2, 2)
    body = np.ones(image.shape, bool)
    return SliceView(
        SliceTrace(0, {"path": path}, image.astype(np.float32), {}),
        denoise,
        body,
        body if organ is None else organ,
        1.5,
        7,
        measurement,
    )


@pytest.fixture
def image() -> NDArray[np.float32]:
    return (MEAN + 0.2 * np.random.default_rng(1).standard_normal((SIZE, SIZE))).astype(np.float32)


def test_denoising_residual_of_a_gaussian(image: NDArray[np.float32]) -> None:
    expected = sum(((image - MEAN) * s / (STD**2 + s**2)) ** 2 for s in diffusion.RESIDUAL_SIGMAS)
    assert diffusion.denoising_residual(view(image))[0] == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_the_low_passed_residual_is_the_residual_of_what_passes(image: NDArray[np.float32]) -> None:
    """D is linear here and commutes with the Gaussian: a wave comes out as its residual times the squared response."""
    wavelength = 16.0
    wave = (0.2 * np.cos(2 * np.pi * np.arange(SIZE) / wavelength))[None, :] * np.ones((SIZE, 1))
    made = view(MEAN + wave)
    response = np.exp(-2 * np.pi**2 * 2.5**2 / wavelength**2)
    pixelwise, low_passed = diffusion.denoising_residual(made)
    np.testing.assert_allclose(low_passed, response**2 * pixelwise, rtol=1e-3, atol=1e-7)
    pixelwise, low_passed = diffusion.denoising_residual(view(image))  # white: nearly all of it is too fine
    assert low_passed.mean() < 0.05 * pixelwise.mean()


def flat(image: NDArray[np.floating], informs: NDArray[np.floating] | float = 1.0) -> SliceView:
    """A view of it whose scan informs alike everywhere, or as told in (h, w)."""
    n = image.shape[0] // 4
    energy = np.ones((3, 6, n, n), np.float32) * np.asarray(informs, np.float32)
    path = Layer("path", np.array([0.01, 0.1, 0.2, 0.4]), energy, energy / 2, 2)
    return replace(view(image), trace=SliceTrace(0, {"path": path}, image.astype(np.float32), {}))


def test_the_control_has_sign_gate_and_weights_but_no_prior() -> None:
    """A dark disc of soft tissue is found, a bright one and one of fat are not; where the scan informs more, it
    counts less; nobody asks the denoiser, and an even image holds nothing.
    """

    def disc(depth: float, ground: float = 0.6, informs: NDArray[np.floating] | float = 1.0) -> NDArray[np.float32]:
        rows, columns = np.mgrid[:64, :64]
        image = ground + depth * ((rows - 32) ** 2 + (columns - 32) ** 2 <= 36)
        made = flat(image, informs)

        def nobody(x: Tensor, sigma: float) -> Tensor:
            raise AssertionError("the control asks no prior")

        return classical.without_prior(replace(made, denoise=nobody))

    dark = disc(-0.15)
    assert dark.shape == (16, 16)
    assert dark[7:9, 7:9].mean() > 20 * dark[:, :3].mean()
    bright, fat = disc(0.15), disc(-0.15, 0.2)
    assert bright[7:9, 7:9].max() < 0.01 * dark[7:9, 7:9].min()
    assert fat.max() < 1e-6
    assert disc(0.0).max() < 1e-8
    assert dark[8, 8] == pytest.approx(4 * disc(-0.075)[8, 8], rel=0.02)  # a square, where all is soft tissue
    left = np.where(np.arange(16)[None, :] < 8, 3.0, 1.0) * np.ones((16, 1))
    uneven = disc(-0.15, informs=left)
    assert uneven[8, 6] < 0.7 * uneven[8, 9] * dark[8, 6] / dark[8, 9]


def test_likelihood_of_a_gaussian(image: NDArray[np.float32]) -> None:
    """Over all σ, differences between pixels are those of (x − mean)² / 2 std²: the exact negative log density."""
    mean = np.full((SIZE, SIZE), MEAN)  # the same noise: what does not depend on the image cancels

    def elbo(of: NDArray[np.floating], **window: float) -> NDArray[np.float32]:
        return diffusion.elbo(view(of), **window)[0]

    nats = elbo(image, sigma_lo=1e-3, sigma_hi=30.0, n_nodes=60) - elbo(mean, sigma_lo=1e-3, sigma_hi=30.0, n_nodes=60)
    assert nats == pytest.approx((image - MEAN) ** 2 / (2 * STD**2), rel=0.01, abs=1e-2)
    lo, hi = diffusion.SIGMA_LO, diffusion.SIGMA_HI  # the default window: ∫ dγ / (1 + std² γ)² between its ends
    share = 1 / (1 + STD**2 / hi**2) - 1 / (1 + STD**2 / lo**2)
    window = elbo(mean + 0.3).mean() - elbo(mean).mean()
    assert window == pytest.approx(share * 0.3**2 / (2 * STD**2), rel=0.02)


def test_path_of_a_gaussian(image: NDArray[np.float32]) -> None:
    """Along dx/dσ = ε, ε = (x₀ − mean) σ / (std √(std² + σ²)) for x₀ at σ = 0; many small steps follow it."""
    sigma = np.geomspace(diffusion.SIGMA_LO, diffusion.SIGMA_HI, 4000)
    factor = sigma / np.sqrt(STD**2 + sigma**2) / np.sqrt(STD**2 + sigma[0] ** 2)
    expected = (np.diff(factor) ** 2).sum() / np.log(sigma[1] / sigma[0]) * (image - MEAN) ** 2
    assert diffusion.diffpath(view(image), n_steps=2000)[0] == pytest.approx(expected, rel=0.02, abs=1e-6)


def test_a_prior_that_knows_one_image_returns_it(image: NDArray[np.float32]) -> None:
    known, _ = diffusion.anoddpm(view(image, lambda x, sigma: torch.full_like(x, MEAN)))
    assert known == pytest.approx((image - MEAN) ** 2, abs=1e-6)
    unsure, _ = diffusion.anoddpm(view(image))
    assert 0 < unsure.mean() < ((image - MEAN) ** 2).mean()  # a prior that leaves room moves it part of the way


def test_plain_kl_is_all_of_the_trace(image: NDArray[np.float32]) -> None:
    made = view(image)
    assert diffusion.plain_kl(made).sum() == pytest.approx(float(made.trace.layers["path"].energy.sum()), rel=1e-5)


def test_residuals_of_reconstructions() -> None:
    grid = ImageGrid2D((SIZE, SIZE), 1.5)
    A = Projector(ParallelBeam.sparse(40, grid), grid)
    truth = torch.zeros(SIZE, SIZE)
    truth[8:24, 8:24] = 0.5
    y = A(truth)
    measurement = Measurement(y, A, noise=GaussianNoise(0.01), simulated=True)
    least_squares = reconstruct(y.numpy(), A.geometry, grid, "cg", projector=A)
    same = view(least_squares, measurement=measurement)
    assert classical.reconstruction_residual(same)[0].max() < 1e-10
    moved = least_squares.copy()
    moved[10, 10] += 0.3
    found, _ = classical.reconstruction_residual(view(moved, measurement=measurement))
    assert found[10, 10] == pytest.approx(0.09, rel=1e-3)
    assert np.delete(found.ravel(), 10 * SIZE + 10).max() < 1e-10
    flat_pieces, _ = classical.classical_residual(same)
    assert flat_pieces == pytest.approx((same.fbp - same.classical("tv")) ** 2)
    assert flat_pieces.mean() < 0.02


@pytest.mark.parametrize("recipe", ["ve-projection", "ddpm"])
def test_published_recipes_are_scored_as_published(recipe: str) -> None:
    """Short chains: the map is the recipe's own score, pixel by pixel, of the very record that it leaves."""
    grid = ImageGrid2D((SIZE, SIZE), 1.5)
    A = Projector(ParallelBeam.sparse(12, grid), grid)
    scan = Measurement(A(torch.full((SIZE, SIZE), MEAN)), A, noise=GaussianNoise(0.05), simulated=True)
    short = Lengths(ve_steps=8, ddpm_steps=10, samples=2)
    found = published_score(view(np.full((SIZE, SIZE), MEAN), measurement=scan), recipe, short)
    artifact, sigmas = sample_recipe(recipe, gaussian_prior, scan, short, sigma_max=5.0, width_mm=48.0)
    first, end = localization_window(recipe, sigmas)
    expected = np.square(artifact.normalized_updates[first:end]).mean((0, 1))[0]
    assert found == pytest.approx(expected, rel=1e-4)
    assert found.max() > 0
    assert BASELINES[f"published-{recipe}"].needs_scan


def test_feature_distance_is_mahalanobis() -> None:
    """Distances of Gaussian features are χ² (untrimmed), whatever their covariance; one odd pixel is the
    most distant.
    """
    rng = np.random.default_rng(0)
    mixed = np.einsum("fg,ghw->fhw", rng.normal(size=(5, 5)), rng.normal(size=(5, 60, 60)))
    body = np.ones((60, 60), bool)
    distance = classical.mahalanobis(mixed, body, trim=0.0)
    assert distance.mean() == pytest.approx(5.0, rel=0.01)
    assert distance.var() == pytest.approx(10.0, rel=0.2)
    image = 0.5 + 0.02 * rng.standard_normal((SIZE, SIZE))
    image[14:18, 14:18] += 0.4
    found = classical.feature_distance(view(image))
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 11 <= row <= 20
    assert 11 <= column <= 20


@pytest.mark.parametrize("radius_mm", [5.0, 8.0])
def test_a_disc_answers_at_its_own_radius(radius_mm: float) -> None:
    """The Laplacian at a disc's middle is largest at s = r/√2, where it is 2 · contrast / e."""
    pixel = 0.25
    axis = (np.arange(400) - 199.5) * pixel
    disc = -0.4 * (np.hypot(*np.meshgrid(axis, axis)) <= radius_mm)
    middle = classical.blob_responses(disc, pixel)[:, 200, 200]
    assert classical.RADII_MM[int(middle.argmax())] == radius_mm
    assert middle.max() == pytest.approx(0.4 * 2 / np.e, rel=0.02)


def test_threshold_sees_dark_spots_of_the_organ_only() -> None:
    image = np.full((SIZE, SIZE), 0.6)
    organ = np.zeros(image.shape, bool)
    organ[:, :20] = True
    image[~organ] = 0.1
    image[10:16, 6:12] = 0.4
    image[22:28, 6:12] = 0.9
    found = classical.hu_threshold(view(image, organ=organ))
    assert found[13, 9] > 0.01
    assert found[25, 9] == 0
    assert found[:, 20:].max() == 0
    assert found[4, 19] == pytest.approx(0, abs=1e-9)  # the darker neighbour organ does not leak in
    assert classical.hu_threshold(view(image, organ=np.zeros(image.shape, bool))).max() == 0


def scores(name: str, of: SliceView) -> NDArray[np.floating]:
    """A baseline's score of each base cell by itself."""
    asked = baseline(name)
    return asked.read(asked.cells(of, 4))


@pytest.mark.parametrize("name", [n for n, b in BASELINES.items() if not (b.needs_scan or b.needs_health)])
def test_scores_are_maps_and_repeatable(name: str, image: NDArray[np.float32]) -> None:
    first, again = (scores(name, view(image)) for _ in range(2))
    assert first.shape == (SIZE // 4, SIZE // 4)
    assert np.isfinite(first).all()
    assert (first >= 0).all()
    assert np.array_equal(first, again)


def test_every_squared_residual_is_measured_with_and_without_the_low_pass() -> None:
    """Each of them is computed once, for both."""
    pairs = [n for n in BASELINES if f"{n}-low-pass" in BASELINES] + ["denoising-residual"]
    squares = {"reconstruction-residual", "denoising-residual", "anoddpm", "pddpm", "elbo", "diffpath"}
    assert set(pairs) == squares | {"classical-residual"}
    for name in pairs:
        other = "one-shot-low-pass" if name == "denoising-residual" else f"{name}-low-pass"
        assert BASELINES[other].kept == BASELINES[name].kept == name


def test_unknown_names_are_explained() -> None:
    with pytest.raises(ConfigError, match="oracle"):
        baseline("oracle")
