"""The report: the same numbers in every form, and none that JSON cannot hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import OutputError
from KLIPCore.export.report import DISCLAIMER, RegionRow, Report, expected_text, json_ready, number, p_text
from KLIPCore.maps.regions import RegionLimits, find_regions
from KLIPCore.maps.typicality import StudyFit
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

SHAPE = (5, 20, 20)
GRID = Grid.from_itk(SHAPE, (2.0, 2.0, 5.0), (-20, -20, 100), np.eye(3))


def example() -> Report:
    array = np.zeros(SHAPE, np.float32)
    array[1:3, 2:8, 2:8], array[4, 12:15, 12:15] = 7.5, 3.25
    p = np.where(array > 0, 2.1e-5, 0.5)
    limits = RegionLimits(minimum_volume_mm3=200)
    regions = find_regions(Volume(array, GRID, unit="nats"), array > 0, p, array / 2000, limits=limits)
    settings_ = {"blocks": {"edge_mm": 12.0}, "window": Window(-125, 275), "path": Path("study")}
    provenance = {
        "prior": {"name": "abdomen", "sha256": "ab" * 32},
        "seed": np.int64(7),
        "curve": np.array([1.0, np.nan]),
        "flag": np.bool_(True),
    }
    significant = float((array > 0).sum() * GRID.voxel_volume_mm3)
    return Report(
        tuple(regions), settings_, provenance, significant + 40.0, 40000.0, 5, 0.05, warnings=("The study is short.",)
    )


def test_rows_and_dict_and_text_agree() -> None:
    report = example()
    rows, fields = report.rows(), report.to_dict()["regions"]
    assert [row.name for row in rows] == [f["name"] for f in fields] == ["OOD 1"]
    row = rows[0]
    assert row.slices == "1–2"
    assert row.volume_mm3 == fields[0]["volume_mm3"] == pytest.approx(72 * 20)
    assert row.centroid == "-11.0, -11.0, 107.5"
    assert row.extent == "12 × 12 × 10"
    assert {"Peak [nats]", "Total [nats]"} < set(row.cells())
    assert report.to_dict()["units"] == {"peak": "nats", "total": "nats"}
    assert tuple(row.cells())[-2:] == ("p", "q")
    summary, table = report.text_table().split("\n\n")
    assert summary == report.summary()
    table = table.splitlines()
    assert len(table) == 3
    assert len({len(line) for line in table}) == 1
    assert all(text in table[2] for text in row.cells().values())


def test_what_is_not_nats_is_not_called_nats() -> None:
    report = replace(example(), units=("surprise", "surprise"))
    assert "nats" not in report.text_table()
    assert "with a surprise of" in report.summary()
    assert {"Peak [surprise]", "Total [surprise]"} < set(report.rows()[0].cells())
    assert report.to_dict()["units"]["peak"] == "surprise"


def test_a_reference_of_health_speaks_of_healthy_studies() -> None:
    regions = tuple(replace(region, expected=0.04) for region in example().regions)
    report = replace(example(), regions=regions, false_regions=1.0, false_discovery_rate=None)
    assert tuple(report.rows()[0].cells())[-1] == "In health"
    assert report.rows()[0].cells()["In health"] == "1 in 25 studies"
    assert report.to_dict()["regions"][0]["broad"] is False
    rough = replace(report, regions=tuple(replace(region, broad=True) for region in regions))
    assert rough.rows()[0].cells()["In health"] == "1 in 25 studies (broad)"
    assert rough.to_dict()["regions"][0]["broad"] is True
    assert "4 of 100 healthy studies" in report.verdict()
    assert "4 of 100 healthy studies" in report.summary()
    assert "false-discovery" not in report.summary()
    assert report.to_dict()["verdict"] == report.verdict()
    assert [expected_text(e) for e in (3.14, 0.2, 0.1, 0.0004)] == [
        "3.1 per study",
        "0.2 per study",
        "1 in 10 studies",
        "fewer than 1 in 1000 studies",
    ]


def test_a_study_that_does_not_belong_is_the_first_thing_said() -> None:
    fit = StudyFit(0.003, ("left and right look exchanged",), {"left-right": 4.0}, 15)
    report = replace(example(), fit=fit)
    assert report.summary().startswith("This study does not belong under the prior: left and right look exchanged")
    assert report.findings() in report.summary()
    assert report.to_dict()["study_fit"]["belongs"] is False
    fine = replace(report, fit=StudyFit(0.5, (), {}, 15))
    assert fine.summary() == fine.findings()


def test_one_slice_is_not_a_range() -> None:
    array = np.zeros(SHAPE, np.float32)
    array[4, 12:15, 12:15] = 1
    (region,) = find_regions(Volume(array, GRID, unit="nats"), array > 0, 1 - array, array)
    assert RegionRow.of(region).slices == "4"


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    path = example().write_json(tmp_path / "report.json")
    read = json.loads(
        path.read_text(encoding="utf-8"), parse_constant=pytest.fail
    )  # NaN or Infinity would be a constant
    assert read["provenance"]["curve"] == [1.0, None]
    assert read["provenance"]["seed"] == 7
    assert read["provenance"]["flag"] is True
    assert read["settings"]["window"] == {"lo_hu": -125, "hi_hu": 275}
    assert read["settings"]["path"] == "study"
    assert read["disclaimer"] == DISCLAIMER
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_an_unwritable_folder_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"report\.json"):
        example().write_json(tmp_path / "missing" / "report.json")
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OutputError):
        example().write_json(tmp_path / "report.json")
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_the_summary_says_what_matters() -> None:
    report = example()
    assert report.summary().startswith("1 region stands out")
    assert "slices 1 to 2" in report.summary()
    assert "5\u00a0%" in report.summary()
    assert report.omitted_mm3 == pytest.approx(9 * 20 + 40)  # the small one and 40 mm³ elsewhere
    assert "0.22 mL" in report.summary()
    nothing = Report(())
    assert nothing.summary() == nothing.text_table() == "No region stands out from what the prior expects."
    assert nothing.omitted_mm3 is None


@given(st.floats(1e-4, 1e7))
@settings(max_examples=60, deadline=None)
def test_numbers_keep_three_digits(value: float) -> None:
    assert float(number(value)) == pytest.approx(value, rel=0.006)
    assert len(number(value)) <= 9


def test_numbers_as_people_write_them() -> None:
    assert [number(v) for v in (0.01234, 4.556, 78.93, 1234.4, 0, 9.999)] == [
        "0.0123",
        "4.56",
        "78.9",
        "1230",
        "0",
        "10.0",
    ]
    assert number(float("nan")) == "–"
    assert [p_text(v) for v in (0.5, 0.0321, 0.00321, 2.14e-5, 0)] == ["0.500", "0.032", "0.0032", "2.1e-05", "0"]
    assert p_text(float("inf")) == "–"


def test_unknown_things_become_text() -> None:
    assert json_ready(
        {
            "a": {
                1,
            },
            2: (1.5, np.float32(2.5)),
        }
    ) == {"a": [1], "2": [1.5, 2.5]}
    assert json_ready(complex(1, 2)) == "(1+2j)"
