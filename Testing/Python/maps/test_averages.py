"""What averages see: means known in closed form, laws, and how regions of several statistics come together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage as ndi
from scipy.special import erf
from test_reference import RNG, cut, evidence, reference

from KLIPCore.config import RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.lab.averages import HealthyMeans, fit_average
from KLIPCore.maps.averages import (
    AVERAGES,
    BROAD,
    FOCAL,
    Average,
    AverageLaws,
    largest_rarity,
    means_of,
    not_looked_for,
    quantiles_of,
)
from KLIPCore.maps.block_laws import JOINT_KINDS
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.unexpected import SIGNS, Evidence, cell_nats
from KLIPCore.maps.verdict import BROAD_PART, JOINT_FORMING, REST, Candidate, drawn, judge

PUSH = 0.05
"""Intensity by which a planted ball is pushed at each noise level."""


def patient(n: int = 24, seed: int = 0, noise: float = 0.0, size: int = 64, spacing_mm: float = 3.0) -> Evidence:
    """A body of one class, 2 mm half-size pixels, pushes of white noise and, smaller, of anatomy."""
    made = evidence(n, seed, size)
    pushes = RNG(seed).normal(0, 1, made.pushes.shape)
    anatomy = ndi.gaussian_filter(RNG(seed + 1000).normal(0, 1, (n, size, size)), (10 / spacing_mm, 5, 5), mode="wrap")
    pushes = noise * (pushes + 0.3 * (anatomy / anatomy.std())[:, None])
    expectation = np.full(made.expectation.shape, 0.5, np.float32)
    return replace(
        made,
        pushes=pushes.astype(np.float32),
        expectation=expectation,
        images=expectation.copy(),
        pixel_mm=1.0,
        spacing_mm=spacing_mm,
    )


def with_ball(study: Evidence, radius_mm: float, push: float) -> Evidence:
    """A ball in the middle that is pushed by so much at every noise level."""
    n, _, size, _ = study.pushes.shape
    z, y, x = np.indices((n, size, size)).astype(float)
    away = np.hypot(np.hypot(y - (size - 1) / 2, x - (size - 1) / 2) * 2.0, (z - n // 2) * study.spacing_mm)
    return replace(study, pushes=study.pushes + np.where(away < radius_mm, np.float32(push), np.float32(0))[:, None])


def laws_of(*studies: Evidence, average: Average = BROAD) -> AverageLaws:
    """Laws of some healthy studies."""
    return fit_average([healthy(own, average) for own in studies], [], 3)


def healthy(study: Evidence, average: Average = BROAD) -> HealthyMeans:
    made = HealthyMeans.of(average, study, np.ones(study.weight.shape, bool))
    assert made is not None
    return made


def joining(strongest: float = 14.0) -> Reference:
    """A reference whose healthy regions of the sum of both are as strong as that at most."""
    strengths = {kind: np.linspace(strongest, JOINT_FORMING, 200).astype(np.float32) for kind in JOINT_KINDS}
    made = reference()
    laws = [
        replace(law, strengths=law.strengths | strengths, widening=law.widening | dict.fromkeys(JOINT_KINDS, 1.0))
        for law in made.laws
    ]
    return replace(made, laws=tuple(laws))


def asked(
    study: Evidence, average: Average, law: AverageLaws
) -> tuple[Reference, dict[tuple[str, str], np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """A reference with one average's laws, and what it says of a study's blocks and of that average."""
    made = replace(joining(), averages={average.name: law}, mean_push=np.zeros_like(reference().mean_push))
    means = means_of(average, study)
    assert means is not None
    fields = made.surprise(cell_nats(study, made.mean_push, "soft"), study, 12.0)
    return made, fields, {average.name: {name: law.surprise(*means, name) for name in SIGNS}}


@pytest.mark.parametrize("average", AVERAGES, ids=lambda own: own.name)
@pytest.mark.parametrize("radius_mm", [8.0, 15.0, 22.0])
def test_the_mean_push_of_a_ball_is_its_part_of_the_gaussian(radius_mm: float, average: Average) -> None:
    """P(|X| < R) of a normal in three dimensions, for each scale."""
    study = patient()
    found = means_of(average, replace(with_ball(study, radius_mm, -PUSH), weight=np.ones_like(study.weight)))
    assert found is not None
    for place, scale in enumerate(average.scales_mm):
        wide = np.hypot(scale, 2.0 * study.cell_mm / np.sqrt(12) / 2)  # a cell is an average, too
        at = radius_mm / wide
        part = erf(at / np.sqrt(2)) - np.sqrt(2 / np.pi) * at * np.exp(-(at**2) / 2)
        assert -found[0][place].min() == pytest.approx(len(average.levels) * PUSH * part, rel=0.08)


def test_slices_that_were_left_out_hardly_matter() -> None:
    whole = with_ball(patient(), 18.0, -PUSH)
    every, second = means_of(BROAD, whole), means_of(BROAD, cut(whole, slice(0, None, 2)))
    assert every is not None
    assert second is not None
    np.testing.assert_allclose(second[0], every[0][:, ::2], atol=0.15 * PUSH)


def test_beside_fat_a_mean_is_that_of_soft_tissue() -> None:
    """Half of the picture is fat, whose pushes count for nothing, and at the rim as little is averaged."""
    study = patient(16)
    study.images[:, :, 32:] = 0.1
    lesion = replace(study, pushes=study.pushes.copy())
    lesion.pushes[4:9, :, 24:40, :] -= np.float32(PUSH)  # from rim to rim, fat included
    found = means_of(BROAD, lesion)
    assert found is not None
    means, asked = found
    assert not asked[:, :, 16:].any()
    assert means[0, 6, 16, 15] == pytest.approx(means[0, 6, 16, 8], rel=0.1)
    assert means[0, 6, 16, 8] < -0.5 * len(BROAD.levels) * PUSH * 0.5


def test_what_a_study_pushes_everywhere_is_no_deviation() -> None:
    one, other = (means_of(BROAD, replace(own, pushes=own.pushes + np.float32(level))) for own, level in
                  ((patient(seed=1, noise=0.01), 0.0), (patient(seed=1, noise=0.01), 0.2)))  # fmt: skip
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one[0], other[0], atol=1e-6)


def test_too_little_is_not_asked() -> None:
    assert means_of(BROAD, replace(patient(), has_large=False)) is None
    fat = patient()
    fat.images[:] = 0.1
    assert means_of(BROAD, fat) is None
    whole = patient(24)
    assert means_of(BROAD, cut(whole, slice(0, 12))) is None  # 36 mm
    assert means_of(BROAD, cut(whole, slice(0, 15))) is not None
    assert means_of(BROAD, replace(cut(whole, slice(0, 3)), places=np.array([0, 30, 60]))) is None
    law = laws_of(*(patient(noise=0.02) for _ in range(3)))
    assert "centimetres or over several centimetres is not looked for: the prior's" in not_looked_for({}, {})
    told = not_looked_for({"broad": law}, {})
    assert "one to two centimetres is not looked for: the prior's reference of health has no laws of it." in told
    assert "several centimetres is not looked for: too little was recorded" in told
    assert "examined, or its slices are more than 6 mm apart." in not_looked_for({"focal": law}, {"broad": 1})
    assert not not_looked_for({"broad": law, "focal": law}, {"broad": 1, "focal": 1})


def test_slices_far_apart_are_asked_for_what_is_broad_alone() -> None:
    apart = cut(patient(24), slice(0, None, 3))  # 9 mm
    assert means_of(BROAD, apart) is not None
    assert means_of(FOCAL, apart) is None
    assert means_of(FOCAL, replace(patient(), has_large=False)) is not None  # no large level is asked


def test_a_focal_mean_is_weighed_by_the_root_of_information() -> None:
    """As blocks are, whose squares are weighed by all of it."""
    study = patient(noise=0.02)
    plain, weighed = (
        means_of(FOCAL, replace(study, weight=np.full_like(study.weight, weight))) for weight in (1.0, 2.25)
    )
    assert plain is not None
    assert weighed is not None
    np.testing.assert_allclose(weighed[0], 1.5 * plain[0], rtol=1e-5)


def test_rarity_is_exponential_in_the_studies_of_the_law() -> None:
    studies = [means_of(BROAD, patient(seed=seed, noise=0.02)) for seed in range(3)]
    known = [own for own in studies if own is not None]
    law = quantiles_of(known)
    for number, sign in enumerate(SIGNS):
        one = largest_rarity(known[0][0][:1], known[0][1], sign, law[number, :1])[known[0][1]]
        for u in (1.0, 2.0, 3.0):
            assert (one > u).mean() == pytest.approx(np.exp(-u), rel=0.5)
        every = largest_rarity(*known[0], sign, law[number])[known[0][1]]
        assert (every >= one).all()


def test_healthy_studies_show_as_many_regions_as_expected() -> None:
    train = [patient(seed=seed, noise=0.02) for seed in range(6)]
    law = laws_of(*train)
    shown = 0
    for seed in range(20, 32):
        own = healthy(patient(seed=seed, noise=0.02))
        strengths = own.strengths(law.quantiles)["darker"]
        shown += int((law.expected(strengths, "darker", own.litres) <= 2.0).sum())
    assert shown / 12 == pytest.approx(2.0, abs=0.9)


def test_louder_patients_outside_training_widen_a_rate_and_quiet_ones_do_not() -> None:
    train = [healthy(patient(seed=seed, noise=0.02)) for seed in range(3)]
    calm, loud = (fit_average(train, [healthy(patient(seed=9, noise=noise))], 3) for noise in (0.005, 0.03))
    assert set(calm.widening.values()) == {1.0}
    assert min(loud.widening.values()) > 1


@pytest.mark.parametrize("sign", list(SIGNS))
def test_a_broad_faint_push_is_one_region_of_its_sign(sign: str) -> None:
    law = laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3)))
    study = with_ball(patient(seed=7, noise=0.02), 22.0, 0.03 * SIGNS[sign])
    made, fields, averages = asked(study, BROAD, law)
    tested = np.ones(study.weight.shape, bool)
    blocks = judge(made, fields, study, tested, RegionConfig())[1]
    assert blocks.expected is not None
    assert not (blocks.expected < 1).any()
    surprise, found = judge(made, fields, study, tested, RegionConfig(), averages=averages)
    assert found.expected is not None
    assert found.broad is not None
    assert blocks.broad is not None
    best = int(found.expected.argmin())
    assert found.expected[best] < 0.1
    assert found.broad[best]
    assert not blocks.broad.any()
    middle = np.setdiff1d(found.labels[10:15, 13:19, 13:19], [0])
    assert list(middle) == [best + 1]  # told once
    place = np.argwhere(found.labels == best + 1)
    assert np.abs(place.mean(0) - [12, 15.5, 15.5]).max() < 1.5
    assert surprise[found.labels == best + 1].min() >= 0.5 * found.mass[best]
    only = judge(made, fields, study, tested, RegionConfig(sign=sign), averages=averages)[1]
    assert only.expected is not None
    assert only.expected.min() == pytest.approx(found.expected[best] / 2)
    expected = law.expected(np.array([found.mass[best]]), sign, 1.0)[0] * 2 / BROAD_PART
    litres = tested.sum() * study.cell_mm**2 * study.spacing_mm / 1e6
    assert found.expected[best] == pytest.approx(expected * litres)


def test_a_place_is_told_once() -> None:
    cells = np.arange(20)
    blocks, broad = Candidate("darker", cells[:6], 9.0, 1.5), Candidate("darker", cells[:12], 8.0, 0.1, "broad")
    bright, apart = Candidate("brighter", cells[4:8], 9.0, 1.7), Candidate("darker", cells[11:20], 7.0, 2.0)
    labels, kept = drawn([blocks, broad, bright, apart], (20,))
    assert [own.expected for own in kept] == [
        0.1,
        2.0,
    ]  # the other is within the first, the bright one has no cell left
    np.testing.assert_array_equal(labels, np.repeat([1, 2], [12, 8]))
    labels, kept = drawn([replace(blocks, expected=0.9), broad], (20,))
    assert [own.expected for own in kept] == [0.1]  # drawn as sharply as blocks, and as rare as the broad one
    assert kept[0].statistic == "blocks"
    np.testing.assert_array_equal(labels > 0, cells < 6)
    labels, kept = drawn([replace(blocks, expected=0.9, cells=cells[:2]), broad], (20,))
    assert [own.expected for own in kept] == [0.9, 0.1]  # at the rim of something large
    np.testing.assert_array_equal(labels, np.repeat([1, 2, 0], [2, 10, 8]))


@pytest.mark.parametrize("sign", list(SIGNS))
def test_what_is_a_little_rare_by_both_is_rare(sign: str) -> None:
    """A ball of 14 mm of which blocks see too little under these laws: surprises are added, and the sum is counted."""
    law = laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3)), average=FOCAL)
    study = with_ball(patient(seed=7, noise=0.02), 7.0, 0.05 * SIGNS[sign])
    made, fields, averages = asked(study, FOCAL, law)
    tested = np.ones(study.weight.shape, bool)
    blocks, both = (judge(made, fields, study, tested, RegionConfig(), averages=own) for own in ({}, averages))
    found = both[1]
    assert blocks[1].expected is not None
    assert found.expected is not None
    assert found.broad is not None
    assert not (blocks[1].expected < 1).any()
    assert not found.broad.any()
    best = int(found.expected.argmin())
    assert found.expected[best] < 1
    place = np.argwhere(found.labels == best + 1)
    assert np.abs(place.mean(0) - [12, 15.5, 15.5]).max() < 1.5
    summed = fields["soft", sign] + averages["focal"][sign]
    assert found.mass[best] == pytest.approx(summed.max())
    litres = tested.sum() * study.cell_mm**2 * study.spacing_mm / 1e6
    expected = made.expected(np.array([found.mass[best]]), ("joint", sign), litres, 12.0)[0] * 2
    assert found.expected[best] == pytest.approx(expected)
    np.testing.assert_array_equal(both[0][found.labels == 0], blocks[0][found.labels == 0])
    assert (both[0] >= blocks[0]).all()


def test_beside_the_broad_average_others_keep_their_part() -> None:
    study, law = patient(seed=7, noise=0.02), laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3)))
    made = replace(joining(), averages={own.name: law for own in AVERAGES})
    tested, nothing = np.ones(study.weight.shape, bool), np.zeros(study.weight.shape, np.float32)
    field = nothing.copy()
    field[12, 16, 16] = 11.0
    fields = {("soft", "darker"): field, ("soft", "brighter"): nothing}
    averages = {own.name: dict.fromkeys(SIGNS, nothing) for own in AVERAGES}
    alone, with_broad, focal, all_three = (
        judge(made, fields, study, tested, RegionConfig(), averages=own)[1].expected
        for own in ({}, {"broad": averages["broad"]}, {"focal": averages["focal"]}, averages)
    )
    assert alone is not None
    assert focal is not None
    np.testing.assert_allclose(with_broad, alone / REST)
    np.testing.assert_allclose(all_three, focal / REST)
    litres = tested.sum() * study.cell_mm**2 * study.spacing_mm / 1e6
    np.testing.assert_allclose(focal, 2 * made.expected(np.array([11.0]), ("joint", "darker"), litres, 12.0))


def test_a_reference_keeps_its_laws_of_averages(tmp_path: Path) -> None:
    healthy_studies = [patient(seed=seed, noise=0.02) for seed in range(3)]
    broad = replace(laws_of(*healthy_studies), widening={"darker": 1.0, "brighter": 2.5})
    focal = replace(laws_of(*healthy_studies, average=FOCAL), strengths={}, widening={})
    made = replace(joining(), averages={"focal": focal, "broad": broad})
    made.save(tmp_path / "x.reference.npz")
    back = Reference.load(tmp_path / "x.reference.npz")
    assert set(back.averages) == {"focal", "broad"}
    for name, law in made.averages.items():
        np.testing.assert_allclose(back.averages[name].quantiles, law.quantiles)
        assert back.averages[name].widening == law.widening
        assert back.averages[name].litres == pytest.approx(law.litres)
        assert set(back.averages[name].strengths) == set(law.strengths)
    for sign in SIGNS:
        np.testing.assert_array_equal(back.averages["broad"].strengths[sign], broad.strengths[sign])
    for kind in JOINT_KINDS:
        np.testing.assert_array_equal(back.laws[0].strengths[kind], made.laws[0].strengths[kind])
        assert back.laws[0].widening[kind] == 1.0
    reference().save(tmp_path / "without.reference.npz")
    assert Reference.load(tmp_path / "without.reference.npz").averages == {}


def test_a_reference_without_the_laws_of_one_sign_is_damaged(tmp_path: Path) -> None:
    broad = laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3)))
    one = {"darker": broad.strengths["darker"]}
    made = replace(reference(), averages={"broad": replace(broad, strengths=one)})
    made.save(tmp_path / "x.reference.npz")
    with pytest.raises(TraceError, match="damaged"):
        Reference.load(tmp_path / "x.reference.npz")


def test_a_widened_rate_is_told_where_it_is_asked() -> None:
    law = laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3)))
    made = replace(reference(), averages={"broad": replace(law, widening={"darker": 1.0, "brighter": 2.5})})
    told = made.widened("soft", list(SIGNS), 12.0, ["broad"])
    assert "2.5 times as many broad regions that are brighter than expected" in told
    assert made.widened("soft", ["darker"], 12.0, ["broad"]) == ""
    assert made.widened("soft", list(SIGNS), 12.0) == ""
    assert "rates of darker widened by 1.00, brighter widened by 2.50" in made.text()


def test_a_widened_rate_of_the_sum_is_that_of_blocks() -> None:
    made = joining()
    law = replace(made.laws[0], widening=made.laws[0].widening | {("joint", "brighter"): 3.0})
    focal = replace(laws_of(*(patient(seed=seed, noise=0.02) for seed in range(3))), strengths={}, widening={})
    made = replace(made, laws=(law,), averages={"focal": focal})
    assert "3.0 times as many regions that are brighter" in made.widened("soft", list(SIGNS), 12.0, ["focal"])
    assert made.widened("soft", list(SIGNS), 12.0, []) == ""
