"""Implants: where they lie, that their masks are exact, and what an evaluation makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from labelled import FAST, write_labelled
from small_study import SPACING_MM

from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError
from KLIPCore.lab.evaluation.cases import LabelledStudy
from KLIPCore.lab.evaluation.config import Case, EvaluationConfig
from KLIPCore.lab.evaluation.implants import Implant
from KLIPCore.lab.evaluation.localization import evaluate
from KLIPCore.priors.checkpoint import load_prior

TUMOUR = Implant("tumour", "tumour", (8.0, 14.0), (-60.0,), shape={"edge_mm": 0.0})
STAR = Implant("star", "star", (15.0,), (100.0,), "body", seed=3)
METAL = Implant("metal", "metal", (12.0,), (3000.0,), "body", shape={"radius_mm": 4.0})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_labelled(folder, lesion=False)
    return folder


def donor(data: Path, *implants: Implant, n: int = 3) -> LabelledStudy:
    config = EvaluationConfig(
        "implants", (Case("one", "A", "ct.nrrd", "label.nrrd"),), max_slices=n, implants=implants
    )
    return LabelledStudy.read(config, config.cases[0], data, load_prior())


@pytest.mark.parametrize("implant", [TUMOUR, STAR, METAL], ids=lambda i: i.name)
def test_one_in_each_slice_inside_its_region_and_nowhere_else(data: Path, implant: Implant) -> None:
    healthy = donor(data, implant)
    made = healthy.implanted(implant)
    assert made.lesion_slices == healthy.clean_slices
    assert healthy.lesion_slices == made.clean_slices == []
    changed = np.abs(made.framed.lps.array - healthy.framed.lps.array) > 1e-3
    assert (changed <= made.lesion).all()  # sharp edges: nothing outside the mask is touched
    chosen = made.lesion[made.lesion_slices]
    assert (chosen.any((1, 2))).all()
    assert (chosen <= (healthy.organ if implant.where == "organ" else healthy.framed.body)[made.lesion_slices]).all()
    assert changed[made.lesion_slices].sum() > 0.95 * chosen.sum()
    assert (made.framed.lps.array[made.lesion] - healthy.framed.lps.array[made.lesion]).mean() * np.sign(
        implant.hu[0]
    ) > 0
    areas = chosen.sum((1, 2)) * SPACING_MM[1] * SPACING_MM[2]
    r = np.array(implant.radii_mm)
    expected = {"tumour": np.pi * r**2, "star": 5 * 0.45 * r**2 * np.sin(np.pi / 5), "metal": 2 * r * 8.0}[
        implant.kind
    ]
    assert (np.abs(areas[:, None] / expected - 1).min(1) < 0.4).all()  # pixels of 2.5 mm, semi-axes of ± 15 %


def test_the_same_seed_gives_the_same_places_and_another_one_others(data: Path) -> None:
    first, again = (donor(data, TUMOUR).implanted(TUMOUR) for _ in range(2))
    assert np.array_equal(first.framed.lps.array, again.framed.lps.array)
    other = donor(data, TUMOUR).implanted(replace(TUMOUR, seed=5))
    assert not np.array_equal(first.lesion, other.lesion)


def test_sizes_and_contrasts_take_turns() -> None:
    turns = Implant("t", "tumour", (3.0, 5.0), (-20.0, -40.0))._turns()
    first, second = ([next(turns) for _ in range(4)] for _ in range(2))
    assert set(first) == set(second) == {(3.0, -20.0), (3.0, -40.0), (5.0, -20.0), (5.0, -40.0)}


def test_what_does_not_fit_is_refused(data: Path) -> None:
    with pytest.raises(EmptyInputError, match="no slice has room"):
        donor(data, Implant("huge", "tumour", (200.0,), (-50.0,)))
    with pytest.raises(ConfigError, match="cannot be used"):
        Implant("t", "tumour", (5.0,), (-50.0,), shape={"colour": 1})
    with pytest.raises(ConfigError, match="radii above 0"):
        Implant("t", "tumour", (), (-50.0,))
    with pytest.raises(ConfigError, match="cannot be used"):
        Implant("m", "metal", (5.0,), (3000.0,))  # how thick?
    with pytest.raises(ConfigError, match="same name"):
        EvaluationConfig("x", (), implants=(TUMOUR, TUMOUR))


def test_a_case_in_other_units_is_the_same_case(data: Path) -> None:
    """HU = slope · stored + intercept, a voxel size that the file does not know, and some of the slices."""
    plain = donor(data, TUMOUR, n=0)
    case = Case(
        "one",
        "A",
        "ct.nrrd",
        "label.nrrd",
        slope=2.0,
        intercept=5.0,
        spacing_mm=(4.0, 2.0, 2.0),
        slices=(1, 5),
        organ_values=(1,),
    )
    other = LabelledStudy.read(plain.config, case, data, load_prior())
    assert np.allclose(other.framed.lps.array, 2 * plain.framed.lps.array[1:5] + 5, atol=1e-2)
    assert other.framed.lps.grid.spacing == pytest.approx((4.0, 2.0, 2.0))
    for broken in (replace(case, spacing_mm=(0.0, 1.0, 1.0)), replace(case, slices=(3, 99))):
        with pytest.raises(GeometryError):
            LabelledStudy.read(plain.config, broken, data, load_prior())


def test_an_evaluation_with_implants(data: Path, tmp_path: Path) -> None:
    fields = {
        "title": "Implants",
        "preset": "quick",
        "run": FAST,
        "max_slices": 1,
        "scores": ["darker"],
        "cases": [{"name": "one", "patient": "A", "image": "ct.nrrd", "label": "label.nrrd"}],
        "implants": [
            {"name": "tumour", "kind": "tumour", "radii_mm": [14.0], "hu": [-50]},
            {"name": "star", "kind": "star", "radii_mm": [15.0], "hu": [100], "where": "body"},
        ],
    }
    (tmp_path / "eval_small.yaml").write_text(yaml.safe_dump(fields))
    table = evaluate(EvaluationConfig.load(tmp_path / "eval_small.yaml"), data, tmp_path / "out")
    rows = {s["patient"]: s for s in table["summary"]}
    assert list(rows) == ["tumour, A", "tumour, all", "star, A", "star, all"]
    assert all((s["n_slices"], s["n_clean"]) == (1, 1) for s in rows.values())  # the slice with, and the same without
    assert rows["tumour, all"]["organ"][0] > 0.9
    assert rows["star, all"]["body"][0] < rows["tumour, all"]["body"][0]  # a bright star is not darker than expected
    assert rows["tumour, all"]["image_auroc"][0] == 1.0
    assert {row["group"] for row in table["rows"]} == {"tumour", "star"}
    assert sorted(p.name for p in (tmp_path / "out" / "cases").iterdir()) == ["one", "one-star", "one-tumour"]
    assert table["name"] == "eval_small"
