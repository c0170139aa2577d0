"""The score `unexpected` and the reference of health: laws on drawn data, promises that can be counted, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from KLIPCore.config import Config
from KLIPCore.errors import TraceError
from KLIPCore.maps.reference import (
    FORMING,
    LAWS,
    QUANTILES,
    Reference,
    judge,
    rarity,
    regions_of_sign,
)
from KLIPCore.maps.unexpected import (
    N_BLOCK_CLASSES,
    N_PIXEL_CLASSES,
    NODES,
    SIGNS,
    Evidence,
    block_statistics,
    mean_pushes,
    pixel_classes,
)
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior

ZOO = Path(__file__).resolve().parents[3] / "KLIPCore" / "priors" / "zoo"
RNG = np.random.default_rng


def evidence(n: int = 6, seed: int = 0, size: int = 64) -> Evidence:
    """A body of noise pushes around a mean that its class decides."""
    rng = RNG(seed)
    expectation = np.full((n, size, size), 0.5, np.float32)
    expectation[:, :, size // 2 :] = 0.7
    noise = rng.normal(0, 0.01, (n, len(NODES), size, size))
    pushes = noise + 0.05 * (expectation[:, None] - 0.6)
    body = np.ones((n, size, size), bool)
    weight = np.ones((n, size // 2, size // 2), np.float32)
    return Evidence(pushes.astype(np.float32), expectation, body, weight, np.arange(n), 1.5, 5.0)


def reference(block_mm: float = 12.0) -> Reference:
    """A reference whose laws are those of ln S for S = exp of a standard normal."""
    from scipy.special import ndtri

    laws = np.tile(ndtri(np.array(QUANTILES)), (len(LAWS), N_BLOCK_CLASSES, 1)).astype(np.float32)
    strengths = {sign: np.linspace(20, 8, 200).astype(np.float32) for sign in SIGNS}
    mean_push = mean_pushes([evidence()])
    settings = Config().to_dict()["measurement"]
    return Reference(mean_push, laws, strengths, 100.0, dict.fromkeys(SIGNS, 1.0), block_mm, settings, "ab", {})


def test_the_class_mean_is_found_and_taken_out() -> None:
    study = evidence()
    table = mean_pushes([study])
    assert table.shape == (len(NODES), N_PIXEL_CLASSES)
    left = pixel_classes(study.expectation)[0, 5, 5]
    assert table[0, left] == pytest.approx(-0.005, abs=1e-3)
    centred = block_statistics(study, table, 12.0)
    plain = block_statistics(study, np.zeros_like(table), 12.0)
    assert centred["darker", "small"].sum() < 0.5 * plain["darker", "small"].sum()


def test_rarity_is_exponential_where_the_law_holds() -> None:
    drawn = np.exp(RNG(1).normal(size=(40, 64, 64)))
    rare = rarity(drawn, np.zeros(drawn.shape, np.intp), reference().quantiles[0], np.ones(drawn.shape, bool))
    for u in (1.0, 2.0, 3.0, 4.0):
        assert (rare > u).mean() == pytest.approx(np.exp(-u), rel=0.1)


def test_a_studys_own_level_is_taken_out() -> None:
    drawn = np.exp(RNG(2).normal(size=(8, 32, 32)))
    law, everywhere = reference().quantiles[0], np.ones(drawn.shape, bool)
    classes = np.zeros(drawn.shape, np.intp)
    np.testing.assert_allclose(
        rarity(drawn, classes, law, everywhere), rarity(7 * drawn, classes, law, everywhere), atol=0.01
    )


def test_expected_regions_are_those_that_were_counted() -> None:
    made = reference()
    assert made.expected(np.array([8.0]), "darker", 100.0) == pytest.approx(2 * 200)  # both signs are looked at
    assert made.expected(np.array([8.0]), "darker", 10.0) == pytest.approx(2 * 20)
    levels = made.expected(np.linspace(8, 40, 300), "brighter", 100.0)
    assert (np.diff(levels) <= 1e-9).all()
    assert 0 < levels[-1] < 0.01
    wide = replace(made, widening={"darker": 3.0, "brighter": 1.0})
    assert wide.expected(np.array([15.0]), "darker", 1.0) == pytest.approx(
        3 * made.expected(np.array([15.0]), "darker", 1.0)
    )


@pytest.mark.parametrize("sign", list(SIGNS))
def test_a_planted_push_becomes_a_region_of_its_sign(sign: str) -> None:
    study = evidence()
    rows, columns = np.ogrid[:64, :64]
    disc = (rows - 30) ** 2 + (columns - 20) ** 2 < 36
    study.pushes[2:4][:, :, disc] += np.float32(0.15 * SIGNS[sign])
    tested = np.ones(study.weight.shape, bool)
    surprise, found = judge(reference(), study, tested, "both")
    assert found.expected is not None
    best = int(np.argmin(found.expected))
    place = np.argwhere(found.labels == best + 1)
    assert np.abs(place.mean(0) - [2.5, 15, 10]).max() < 2
    assert found.expected[best] < 1
    assert surprise.max() > FORMING
    other = next(name for name in SIGNS if name != sign)
    _, without = judge(reference(), study, tested, other)
    assert without.expected is not None
    assert not (without.expected < 1).any()
    _, kept = judge(reference(), study, tested, sign)
    assert kept.expected is not None
    assert kept.expected.min() == pytest.approx(found.expected[best])  # a filter changes no strength


def test_a_gap_between_slices_stays_a_gap() -> None:
    field, tested = np.full((2, 4, 4), FORMING + 1, np.float32), np.ones((2, 4, 4), bool)
    assert len(regions_of_sign(field, tested, np.array([3, 4]))[1]) == 1
    assert len(regions_of_sign(field, tested, np.array([3, 5]))[1]) == 2


def test_a_reference_is_read_back(tmp_path: Path) -> None:
    made = reference()
    digest = made.save(tmp_path / "x.reference.npz")
    back = Reference.load(tmp_path / "x.reference.npz")
    assert len(digest) == 64
    assert back.settings == made.settings
    np.testing.assert_allclose(back.quantiles, made.quantiles, atol=2e-3)
    (tmp_path / "x.reference.npz").write_bytes(b"no archive")
    with pytest.raises(TraceError, match="damaged"):
        Reference.load(tmp_path / "x.reference.npz")


def test_what_it_was_not_made_for_is_refused() -> None:
    made, settings = reference(), Config().to_dict()["measurement"]
    made.check("ab", settings, 12.0)
    with pytest.raises(TraceError, match="other weights"):
        made.check("cd", settings, 12.0)
    with pytest.raises(TraceError, match="n_views 60"):
        made.check("ab", settings | {"n_views": 24}, 12.0)
    with pytest.raises(TraceError, match="blocks of 12 mm"):
        made.check("ab", settings, 20.0)


def test_the_shipped_reference_belongs_to_the_shipped_weights() -> None:
    path = ZOO / f"{DEFAULT_PRIOR}.reference.npz"
    assert path.stat().st_size <= 300_000
    made = Reference.load(path)
    made.check(load_prior().card.sha256, Config().to_dict()["measurement"], Config().regions.block_mm)
    assert len(made.patients["train"]) == 11
    assert not set(made.patients["train"]) & set(made.patients["unseen"])
    assert all((np.diff(law, axis=-1) >= 0).all() for law in made.quantiles)
