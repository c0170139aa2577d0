"""The score `unexpected` and the reference of health: laws on drawn data, promises that can be counted, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from KLIPCore.config import Config, RegionConfig
from KLIPCore.errors import OutputError, TraceError
from KLIPCore.maps.block_laws import JOINT_KINDS, QUANTILES, BlockLaws, rarity
from KLIPCore.maps.reference import BLOCKS_MM, Reference
from KLIPCore.maps.typicality import Typicality
from KLIPCore.maps.unexpected import (
    ABDOMEN,
    KINDS,
    LEVELS,
    N_BLOCK_CLASSES,
    N_PIXEL_CLASSES,
    NODES,
    SIGNS,
    TISSUES,
    Evidence,
    block_statistics,
    cell_nats,
    centred_pushes,
    mean_pushes,
    own_pushes,
    pixel_classes,
    soft_share,
)
from KLIPCore.maps.unusual_slices import SliceLaws
from KLIPCore.maps.verdict import FORMING, JOINT_FORMING, judge, regions_of_sign
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.priors.gaussian import GaussianPrior
from KLIPCore.runs.health import schedule_of
from KLIPCore.volume.units import Window

ZOO = Path(__file__).resolve().parents[3] / "KLIPCore" / "priors" / "zoo"
RNG = np.random.default_rng


def evidence(n: int = 6, seed: int = 0, size: int = 64) -> Evidence:
    """A body of noise pushes around a mean that its class decides."""
    rng = RNG(seed)
    expectation = np.full((n, size, size), 0.5, np.float32)
    expectation[:, :, size // 2 :] = 0.7
    noise = rng.normal(0, 0.01, (n, len(LEVELS), size, size))
    pushes = noise + 0.05 * (expectation[:, None] - 0.6)
    body = np.ones((n, size, size), bool)
    weight = np.ones((n, size // 2, size // 2), np.float32)
    return Evidence(pushes.astype(np.float32), expectation, expectation.copy(), body, weight, np.arange(n), 1.5, 5.0)


def cut(study: Evidence, part: slice) -> Evidence:
    """Some slices of a study."""
    fields = ("pushes", "expectation", "images", "body", "weight", "places")
    return replace(study, **{name: getattr(study, name)[part] for name in fields})


def laws(block_mm: float = 12.0, strongest: float = 20.0) -> BlockLaws:
    """Laws of ln S for S = exp of a standard normal."""
    from scipy.special import ndtri

    quantiles = np.tile(ndtri(np.array(QUANTILES)), (len(KINDS), N_BLOCK_CLASSES, 1)).astype(np.float32)
    strengths = {kind: np.linspace(strongest, 8, 200).astype(np.float32) for kind in KINDS}
    return BlockLaws(block_mm, quantiles, strengths, dict.fromkeys(KINDS, 1.0))


def reference(*made: BlockLaws) -> Reference:
    """A reference with these laws."""
    settings = Config().to_dict()["measurement"]
    drawn = RNG(3).random((3, 40, 64, 64)).astype(np.float32)
    typical = Typicality.fit([(images, np.ones(images.shape, bool)) for images in drawn])
    slices = SliceLaws.fit([{kind: np.linspace(4, 12, 400) for kind in KINDS}])
    return Reference(
        mean_pushes([evidence()]), made or (laws(),), 100.0, settings, {"n_samples": 2}, "ab", {}, typical, slices
    )


def test_the_class_mean_is_found_and_taken_out() -> None:
    study = evidence()
    table = mean_pushes([study])
    assert table.shape == (len(NODES), N_PIXEL_CLASSES)
    left = pixel_classes(study.expectation)[0, 5, 5]
    assert table[0, left] == pytest.approx(-0.005, abs=1e-3)
    centred = block_statistics(cell_nats(study, table, "soft"), study, 12.0)
    plain = block_statistics(cell_nats(study, np.zeros_like(table), "soft"), study, 12.0)
    assert centred["soft", "darker"].sum() < 0.5 * plain["soft", "darker"].sum()


@pytest.mark.parametrize("spacing_mm", [1.0, 2.5, 5.0, 8.0])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_noise_is_as_large_in_a_slice_alone_and_at_the_ends_as_inside(n: int, spacing_mm: float) -> None:
    table = np.zeros((len(NODES), N_PIXEL_CLASSES), np.float32)
    inside = replace(evidence(60, 1), spacing_mm=spacing_mm)
    inside.pushes[:] = RNG(2).normal(0, 0.01, inside.pushes.shape)
    own = centred_pushes(inside, table, "all")[25:35].std()
    part = cut(inside, slice(0, n))
    found = centred_pushes(part, table, "all")
    for place in {0, n // 2, n - 1}:
        assert found[place].std() == pytest.approx(own, rel=0.12)


def test_neighbours_within_the_study_are_pooled_as_a_gaussian() -> None:
    study, table = evidence(40), np.zeros((len(NODES), N_PIXEL_CLASSES), np.float32)
    whole, part = centred_pushes(study, table, "all"), centred_pushes(cut(study, slice(5, 35)), table, "all")
    np.testing.assert_allclose(part[5:25], whole[10:30], atol=1e-6)


def test_rarity_is_exponential_where_the_law_holds() -> None:
    drawn = np.exp(RNG(1).normal(size=(40, 64, 64)))
    rare = rarity(drawn, np.zeros(drawn.shape, np.intp), laws().quantiles[0])
    for u in (1.0, 2.0, 3.0, 4.0):
        assert (rare > u).mean() == pytest.approx(np.exp(-u), rel=0.1)


def test_fat_and_gas_do_not_count_as_soft_tissue() -> None:
    study = evidence()
    study.pushes[:, :, 20:30, 10:20] -= np.float32(0.3)
    study.images[:, 20:30, 10:20] = 0.1
    table = np.zeros((len(NODES), N_PIXEL_CLASSES), np.float32)
    soft, everything = (cell_nats(study, table, tissue)[tissue, "darker"][:, 12, 7].max() for tissue in TISSUES)
    assert everything > 100 * soft
    np.testing.assert_allclose(soft_share(np.array([0.0, 0.25, 0.325, 0.4, 1.0])), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_soft_tissue_is_soft_under_every_window() -> None:
    hu = np.array([-100.0, -25.0, 5.0, 35.0, 200.0])
    for window in (ABDOMEN, Window(-160.0, 240.0), Window(-1000.0, 1000.0)):
        np.testing.assert_allclose(soft_share(window.apply(hu), window), [0, 0, 0.5, 1, 1], atol=1e-4)
    assert all(load_prior(name).card.window == ABDOMEN for name in (DEFAULT_PRIOR, "abdomen-ct-256-small"))


def test_disease_everywhere_still_stands_out_from_health() -> None:
    study, made = evidence(), reference()
    study.pushes[:, :, :, 12:] -= np.float32(2.0)  # four fifths of the body
    tested = np.ones(study.weight.shape, bool)
    fields = made.surprise(cell_nats(study, made.mean_push, "soft"), study, 12.0)
    found = judge(made, fields, study, tested, RegionConfig())[1]
    assert found.expected is not None
    assert found.expected.min() < 0.1
    assert (found.labels == 1 + found.expected.argmin()).mean() > 0.7


def test_without_a_reference_the_study_centres_itself() -> None:
    study = evidence()
    study.pushes[2, :, 10:14, 10:14] += 0.5  # a lesion does not move a median
    np.testing.assert_allclose(own_pushes(study)[:, 16 * 4], mean_pushes([evidence()])[:, 16 * 4], atol=1e-3)


def test_expected_regions_are_those_that_were_counted() -> None:
    made, kind = reference(), ("soft", "darker")
    assert made.expected(np.array([8.0]), kind, 100.0, 12.0) == pytest.approx(200)
    assert made.expected(np.array([8.0]), kind, 10.0, 12.0) == pytest.approx(20)
    levels = made.expected(np.linspace(8, 40, 300), kind, 100.0, 12.0)
    assert (np.diff(levels) <= 1e-9).all()
    assert 0 < levels[-1] < 0.01
    wide = replace(laws(), widening={**dict.fromkeys(KINDS, 1.0), kind: 3.0})
    assert reference(wide).expected(np.array([15.0]), kind, 1.0, 12.0) == pytest.approx(
        3 * made.expected(np.array([15.0]), kind, 1.0, 12.0)
    )


def test_between_two_block_sizes_laws_are_interpolated() -> None:
    made, kind, strength = reference(laws(10.0), laws(40.0, 30.0)), ("all", "brighter"), np.array([15.0])
    low, high = (made.expected(strength, kind, 1.0, size) for size in (10.0, 40.0))
    assert low < high
    assert made.expected(strength, kind, 1.0, 20.0) == pytest.approx(np.sqrt(low * high))  # half-way in ln size
    assert made.expected(strength, kind, 1.0, 5.0) == low
    assert made.expected(strength, kind, 1.0, 80.0) == high


@pytest.mark.parametrize("sign", list(SIGNS))
def test_a_planted_push_becomes_a_region_of_its_sign(sign: str) -> None:
    study = evidence()
    rows, columns = np.ogrid[:64, :64]
    disc = (rows - 30) ** 2 + (columns - 20) ** 2 < 36
    study.pushes[2:4][:, :, disc] += np.float32(2.0 * SIGNS[sign])
    tested = np.ones(study.weight.shape, bool)
    made = reference()
    fields = made.surprise(cell_nats(study, made.mean_push, "soft"), study, 12.0)
    surprise, found = judge(made, fields, study, tested, RegionConfig())
    assert found.expected is not None
    best = int(np.argmin(found.expected))
    place = np.argwhere(found.labels == best + 1)
    assert np.abs(place.mean(0) - [2.5, 15, 10]).max() < 2
    assert found.expected[best] < 1
    assert surprise.max() > FORMING
    other = next(name for name in SIGNS if name != sign)
    _, without = judge(made, fields, study, tested, RegionConfig(sign=other))
    assert without.expected is not None
    assert not (without.expected < 1).any()
    _, kept = judge(made, fields, study, tested, RegionConfig(sign=sign))
    assert kept.expected is not None
    assert kept.expected.min() == pytest.approx(found.expected[best] / 2)  # one sign instead of two is looked at


def test_a_gap_between_slices_stays_a_gap() -> None:
    field, tested = np.full((2, 4, 4), 7, np.float32), np.ones((2, 4, 4), bool)
    assert len(regions_of_sign(field, tested, np.array([3, 4]))[1]) == 1
    assert len(regions_of_sign(field, tested, np.array([3, 5]))[1]) == 2


def test_a_reference_is_read_back(tmp_path: Path) -> None:
    made = reference(laws(), laws(24.0, 30.0))
    digest = made.save(tmp_path / "x.reference.npz")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        made.save(tmp_path / "file" / "x.reference.npz")
    back = Reference.load(tmp_path / "x.reference.npz")
    assert len(digest) == 64
    assert back.settings == made.settings
    for law, again in zip(made.laws, back.laws, strict=True):
        np.testing.assert_allclose(again.quantiles, law.quantiles, atol=2e-3)
        assert again.widening == law.widening
        for kind in KINDS:
            np.testing.assert_array_equal(again.strengths[kind], law.strengths[kind])
    np.testing.assert_allclose(back.typicality.slices, made.typicality.slices, atol=1 / 500)
    assert back.typicality.mean == pytest.approx(made.typicality.mean)
    (tmp_path / "x.reference.npz").write_bytes(b"no archive")
    with pytest.raises(TraceError, match="damaged"):
        Reference.load(tmp_path / "x.reference.npz")


def test_what_it_was_not_made_for_is_said() -> None:
    made, settings = reference(), Config().to_dict()["measurement"]
    assert made.refusal("ab", settings) is None
    assert "other weights" in str(made.refusal("cd", settings))
    assert "n_views 60" in str(made.refusal("ab", settings | {"n_views": 24}))
    assert made.approximation({"n_samples": 2}) is None
    assert "samples 2 (here 8)" in str(made.approximation({"n_samples": 8}))


@pytest.mark.parametrize("prior", [DEFAULT_PRIOR, "abdomen-ct-256-small"])
def test_the_shipped_reference_belongs_to_the_shipped_weights(prior: str) -> None:
    path = ZOO / f"{prior}.reference.npz"
    assert path.stat().st_size <= 300_000
    made = Reference.load(path)
    assert made.refusal(load_prior(prior).card.sha256, Config().to_dict()["measurement"]) is None
    assert made.approximation(schedule_of(Config.from_preset("quick").to_dict())) is None
    default = schedule_of(Config.from_preset("default").to_dict())
    assert made.approximation(default) is None
    assert "steps 6 (here 5)" in str(made.approximation(default | {"n_steps": 5}))
    assert "large nodes 2 (here 0)" in str(made.approximation(default | {"n_large": 0}))
    assert "steps 6 (here 13)" in str(made.approximation(default | {"n_steps": 13}))
    assert "samples 2" in str(made.approximation(schedule_of(Config.from_preset("full").to_dict())))
    assert tuple(law.block_mm for law in made.laws) == BLOCKS_MM
    assert len(made.patients["train"]) == 11
    assert not set(made.patients["train"]) & set(made.patients["unseen"])
    assert all((np.diff(law.quantiles, axis=-1) >= 0).all() for law in made.laws)
    assert set(made.averages) == {"focal", "broad"}
    for own in made.averages.values():
        assert (np.diff(own.quantiles, axis=-1) >= 0).all()
        assert all((np.diff(strengths) <= 0).all() for strengths in own.strengths.values())
    assert min(made.averages["broad"].widening.values()) >= 1
    for law in made.laws:
        assert set(law.strengths) == {*KINDS, *JOINT_KINDS}
        assert min(law.widening.values()) >= 1
        assert min(float(law.strengths[kind].min()) for kind in JOINT_KINDS) >= JOINT_FORMING


def test_the_push_of_health_under_a_gaussian_prior_is_what_the_method_derives() -> None:
    """One noise: none where as much is expected. A pair: (σ²/s²) (D̄ − μ), at every temperature."""
    mu, spread, sigma = 0.5, 0.1, 0.24
    rng = RNG(5)
    healthy = rng.normal(mu, spread, 400_000)
    prior = GaussianPrior(torch.full((1, 1, 1), mu), torch.full((1, 1), spread**2))

    def denoised(x: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(x)[:, None, None, None]
        return prior.denoise(images, torch.full((len(x),), sigma, dtype=torch.float64)).numpy().ravel()

    noise = sigma * rng.normal(size=healthy.shape)
    once = denoised(healthy + noise)
    bins = np.digitize(once, mu + np.array([-0.03, -0.01, 0.01, 0.03]))
    for place in range(5):
        inside = bins == place
        assert abs((healthy - once)[inside].mean()) < 5 * spread / np.sqrt(inside.sum())
    for temperature in (0.25, 1.0):
        pair = (denoised(healthy + temperature * noise) + denoised(healthy - temperature * noise)) / 2
        np.testing.assert_allclose(healthy - pair, sigma**2 / spread**2 * (pair - mu), atol=1e-9)
