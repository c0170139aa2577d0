"""Charts over verdicts: quiet where nothing changes, loud where something does, and in the right week."""

from __future__ import annotations

import datetime
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from KLIPCore.cli.application import app
from KLIPCore.errors import InputError
from KLIPCore.runs.drift import drift_chart, drift_text, read_verdicts
from KLIPCore.runs.drift_page import drift_page


def archive(weeks: int, shift: float = 0.0, since: int = 10**6, seed: int = 0) -> list[dict[str, Any]]:
    """Five studies a week of a scanner, whose contrast shifts by so many standard deviations since a week."""
    rng, first = np.random.default_rng(seed), datetime.date(2026, 1, 5)
    return [
        {
            "scanner": "CT 1",
            "date": (first + datetime.timedelta(weeks=week, days=day)).isoformat(),
            "z": {"contrast": rng.normal() + shift * (week >= since), "anatomy": rng.normal()},
            "physical": {"noise_hu": 12 + rng.normal(), "air_hu": None},
        }
        for week in range(weeks)
        for day in range(5)
    ]


def test_charts_have_their_weeks_and_formulas() -> None:
    points = drift_chart(archive(10))
    assert {point.quantity for point in points} == {"contrast", "anatomy", "noise_hu"}  # air is unknown
    own = [point for point in points if point.quantity == "contrast"]
    assert [point.week for point in own] == [f"2026-W{n:02d}" for n in range(6, 12)]  # 20 studies are four weeks
    assert all(point.n == 5 for point in own)
    up = down = 0.0
    for point in own:
        assert point.u == pytest.approx((point.mean - point.usual) / (point.spread * np.sqrt(1 / 5 + 1 / 20)))
        up, down = max(0, up + point.u - 0.5), max(0, down - point.u - 0.5)
        assert (point.up, point.down) == pytest.approx((up, down))


def test_few_false_alarms_at_once() -> None:
    points = [point for seed in range(40) for point in drift_chart(archive(14, seed=seed))]
    assert np.mean(["3 sigma" in point.alarm for point in points]) < 0.02


def test_a_large_shift_alarms_in_its_week_and_a_small_one_in_time() -> None:
    large = [p for p in drift_chart(archive(12, 3.0, since=8)) if p.quantity == "contrast" and p.alarm]
    assert large[0].week == "2026-W10"
    assert "3 sigma" in large[0].alarm
    small = [p for p in drift_chart(archive(30, 0.9, since=8)) if p.quantity == "contrast" and "CUSUM" in p.alarm]
    assert small
    assert small[0].week < "2026-W20"
    assert small[0].up > small[0].down


def test_too_few_studies_make_no_chart() -> None:
    assert drift_chart(archive(4)) == []
    assert drift_text([]).startswith("Too little to chart")
    assert drift_text([]).endswith("0 alarms among 0 weekly means.")


def test_the_command_and_its_exit_code(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text("\n".join(json.dumps(verdict) for verdict in archive(12, 4.0, since=11)))
    done = CliRunner().invoke(app, ["drift", str(file)])
    assert done.exit_code == 20
    assert "CT 1  2026-W13  contrast" in done.stdout
    answer = CliRunner().invoke(app, ["drift", str(file), "--format", "json"])
    assert any(point["alarm"] for point in json.loads(answer.stdout))


def test_bad_input_is_named(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text('{"scanner": "A"}\nnonsense\n')
    with pytest.raises(InputError, match="Line 2"):
        read_verdicts(file)
    with pytest.raises(InputError, match="no scanner, date"):
        drift_chart([{"scanner": "A", "date": "yesterday", "z": {}, "physical": {}}])
    with pytest.raises(InputError, match="cannot be read"):
        read_verdicts(tmp_path / "nothing")


def test_the_table_of_an_archive_is_read_too(tmp_path: Path) -> None:
    table = tmp_path / "verdicts.csv"
    table.write_text(
        "study,status,noise_hu,air,scanner,date\na,done,12.5,0.5,CT1,2026-02-03\nb,failed,,,CT1,2026-02-03\n"
        "c,done,11,,,2026-02-03\n",
        encoding="utf-8-sig",
    )
    (found,) = read_verdicts(table)
    assert found == {"scanner": "CT1", "date": "2026-02-03", "z": {"air": 0.5, "noise_hu": 12.5}, "physical": {}}
    drift_chart([found])
    table.write_text("study,noise_hu\na,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="scanner and a date"):
        read_verdicts(table)


def test_the_page_draws_every_chart_and_fetches_nothing(tmp_path: Path) -> None:
    """One picture a quantity, one dot a week, alarms in their week; a scanner's name cannot become a tag."""
    verdicts = [{**verdict, "scanner": "<b>CT</b>"} for verdict in archive(12, 4.0, since=11)]
    file, page = tmp_path / "verdicts.jsonl", tmp_path / "drift.html"
    file.write_text("\n".join(json.dumps(verdict) for verdict in verdicts))
    assert CliRunner().invoke(app, ["drift", str(file), "--page", str(page)]).exit_code == 20
    text = page.read_text(encoding="utf-8")
    points = drift_chart(verdicts)
    assert text.count("<svg ") == len({point.quantity for point in points})
    assert text.count("<circle") == len(points)
    assert text.count('class="dot alarm"') == sum(bool(point.alarm) for point in points) > 0
    assert "&lt;b&gt;CT" in text
    assert "<b>CT" not in text
    assert not re.search(r"( src=|href|url\()", text)
    ElementTree.fromstring(re.findall(r"<svg .*?</svg>", text, re.DOTALL)[0])
    assert "nothing to chart" in drift_page([])
