"""Whether a study belongs under a prior: drawn bodies, of which one is turned, one is dark and one another thing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from KLIPCore.maps.typicality import LEAST_SLICES, REASONS, Typicality, body_box_slices, inner_body, quantities

Images = tuple[NDArray[np.float32], NDArray[np.bool_]]
SIZE, N = 64, 40


def drawn(seed: int, *, organ: float = 0.65, lungs: float = 0.1) -> Images:
    """Bodies with a bright organ on one side, a spine at the back, lungs in the upper slices, and some variation."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + 0.5
    images = np.zeros((N, SIZE, SIZE), np.float32)
    height, width = 18 + 2 * rng.random(), 27 + 3 * rng.random()
    body = np.tile((y / height) ** 2 + (x / width) ** 2 < 1, (N, 1, 1))
    for k in range(N):
        image = np.where(body[k], 0.4 + 0.02 * rng.normal(), 0.0)
        image[(y + 2) ** 2 + (x + 10 + rng.normal()) ** 2 < 60 + 10 * rng.random()] = organ + 0.02 * rng.normal()
        image[(y - 12) ** 2 + x**2 < 12] = 0.95
        if k >= (1 - lungs - 0.04 * rng.random()) * N:
            image[(y + 2) ** 2 + (np.abs(x) - 10) ** 2 < 64] = 0.0
        images[k] = image + 0.005 * rng.normal(size=image.shape)
    return np.clip(images, 0, 1), body


@pytest.fixture(scope="module")
def typical() -> Typicality:
    return Typicality.fit([drawn(seed) for seed in range(10)], [drawn(seed) for seed in (20, 21)])


def reasons(typical: Typicality, study: Images) -> tuple[str, ...]:
    fit = typical.judge(*study, 5.0)
    assert fit is not None
    assert fit.belongs == (fit.p >= 0.05)
    return fit.reasons


def test_the_healthy_belong(typical: Typicality) -> None:
    kept = [reasons(typical, drawn(seed)) for seed in range(100, 110)]
    assert sum(bool(found) for found in kept) <= 1


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        (drawn(50, organ=0.44), "contrast"),
        (drawn(51, lungs=0.8), "air"),
        (tuple(np.flip(part, 2) for part in drawn(52)), "left-right"),
        (tuple(np.flip(part, 1) for part in drawn(53)), "front-back"),
        (tuple(np.swapaxes(part, 1, 2) for part in drawn(54)), "anatomy"),
    ],
    ids=["unenhanced", "chest", "mirrored", "prone", "another body"],
)
def test_what_does_not_belong_is_called_so_and_why(typical: Typicality, study: Images, reason: str) -> None:
    images, body = (np.ascontiguousarray(part) for part in study)
    assert REASONS[reason] in reasons(typical, (images, body))


def test_too_little_is_not_judged(typical: Typicality) -> None:
    images, body = drawn(60)
    assert typical.judge(images[: LEAST_SLICES - 1], body[: LEAST_SLICES - 1], 5.0) is None
    assert typical.judge(images, body, 0.5) is None
    assert typical.judge(images, np.zeros_like(body), 5.0) is None


def test_a_reflected_study_has_the_opposite_side(typical: Typicality) -> None:
    images, body = drawn(70)
    here = quantities(images, body, typical.slices)
    there = quantities(images[:, :, ::-1].copy(), body[:, :, ::-1].copy(), typical.slices)
    assert there["left-right"] == pytest.approx(-here["left-right"], abs=1e-6)


def test_a_box_is_averaged_exactly() -> None:
    body = np.zeros((1, 64, 64), bool)
    body[0, 8:40, 16:64] = True
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))[None]
    cells = body_box_slices(ramp, body)[0]
    np.testing.assert_allclose(cells[3], ramp[0, 0, 16:64].reshape(16, 3).mean(1), atol=1e-6)
    assert inner_body(body[0]).sum() == pytest.approx(0.49 * np.pi / 4 * 32 * 48, rel=0.03)


def test_stored_laws_come_back(typical: Typicality) -> None:
    back = Typicality.from_arrays(typical.to_arrays())
    study = drawn(80)
    a, b = typical.judge(*study, 5.0), back.judge(*study, 5.0)
    assert a is not None
    assert b is not None
    assert b.z == pytest.approx(a.z, abs=0.3)
    with pytest.raises(ValueError, match="another shape"):
        Typicality.from_arrays(typical.to_arrays() | {"typical_laws": np.zeros((2, 2), np.float32)})
