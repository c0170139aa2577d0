"""Tables: numbers in, text out, prose untouched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from KLIPCore.errors import ConfigError
from KLIPCore.lab.bench.measure import Bound, Ceilings, Timing, Work
from KLIPCore.lab.bench.table import (
    NOT_MEASURED,
    Bench,
    Section,
    cell,
    duration,
    figures,
    replace_measured,
    with_network_bounds,
)

REPOSITORY = Path(__file__).resolve().parents[4]
MACHINE = {
    "cpu": "abacus",
    "cores": 2,
    "threads": 2,
    "memory_gib": 1.0,
    "device": "cpu",
    "software": "KLIPCore 0",
    "python": "3",
    "libraries": {"torch": "2"},
    "prior": "p",
    "prior_sha256": "0123456789abcdef",
    "busy": 0.5,
}
CEILINGS = {"1 thread": Ceilings({"fp32": 1e9, "bf16": 2e9}, {1 << 20: 1e9, 1 << 24: 1e9, 3 << 27: 1e9}, 1e-6, 1)}
SECTION = Section(
    "network",
    ("batch", "seconds", "spread", "share"),
    ({"name": "a", "batch": 2, **figures(Timing(0.0123, 0.1, 5), Bound("memory", 0.25))},),
    ("Note.",),
)


def test_a_section_as_markdown() -> None:
    assert SECTION.markdown().splitlines() == [
        "| what | batch | time | spread | of that bound |",
        "| --- | --- | --- | --- | --- |",
        "| a | 2 | 12 ms | 10 % | 25 % |",
        "",
        "Note.",
    ]


def test_a_plot_stands_below() -> None:
    text = Section(
        "curve", ("batch",), ({"name": "a", "batch": 1},), ("Note.",), picture=("x.png", "what it shows")
    ).markdown("images/")
    assert text.endswith("Note.\n\n![what it shows](images/x.png)")


def test_what_is_missing_is_said() -> None:
    rows = ({"name": "a", "seconds": 1.0}, {"name": "b", **figures(None)}, {"name": "c", "seconds": None})
    text = Section("network", ("seconds", "share"), rows).markdown()
    assert "not measured" in text
    assert "| c | – |" in text
    assert "bound" not in text  # a column that no row fills is left out


def test_a_row_with_evaluations_says_how_far_the_network_is_from_its_ceiling() -> None:
    here = Ceilings({"bf16": 1e12, "fp32": 1e11}, {2**20: 1e11}, 1e-6, 2)
    rows = (
        {"name": "a", "evaluations": 20, "seconds": 1.6},
        {"name": "b", "seconds": 2.0},
        {"name": "c", "evaluations": 3, "seconds": NOT_MEASURED},
    )
    made = with_network_bounds(
        Section("s", ("evaluations", "seconds", "spread"), rows), here, Work(4e10, 1e6, 300, "bf16")
    )
    assert made.columns == ("evaluations", "seconds", "bound", "share", "spread")
    assert (made.rows[0]["bound"], made.rows[0]["share"]) == ("arithmetic", pytest.approx(0.5))
    assert not {"bound", "share"} & (made.rows[1].keys() | made.rows[2].keys())
    launched = with_network_bounds(Section("s", ("seconds",), rows[:1]), here, Work(1.0, 1.0, 30000, "bf16"))
    assert (launched.rows[0]["bound"], launched.rows[0]["share"]) == ("launch", pytest.approx(0.6 / 1.6))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-5, "20 µs"), (0.00123, "1.2 ms"), (0.0123, "12 ms"), (0.5, "0.50 s"), (12.3, "12 s"), (400, "400 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_cells_have_units() -> None:
    assert cell("astra_ratio", 12.4) == "12×"
    assert cell("all_seconds", [0.5, 1.0]) == "0.50 s, 1.00 s"
    assert cell("body_auroc", 0.95) == "0.950"
    assert cell("peak_gib", 1.4142) == "1.41 GiB"


def test_the_prose_stays() -> None:
    text = "Before\n<!-- measured: begin network -->\nold\n<!-- measured: end network -->\nafter."
    new = replace_measured(text, "network", r"new \1")
    assert new == "Before\n<!-- measured: begin network -->\nnew \\1\n<!-- measured: end network -->\nafter."
    assert replace_measured(new, "network", r"new \1") == new
    with pytest.raises(ConfigError, match="no place"):
        replace_measured(text, "curve", "x")


def test_a_bench_is_kept_as_numbers_and_as_text(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    marks = "".join(
        f"<!-- measured: begin {name} -->\n<!-- measured: end {name} -->\n" for name in ("machine", "network")
    )
    document.write_text("Prose.\n" + marks, encoding="utf-8")
    bench = Bench(MACHINE, CEILINGS, [SECTION])
    bench.save(tmp_path)
    bench.write_into(document)
    stored = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert stored["sections"]["network"]["rows"][0]["seconds"] == 0.0123
    assert stored["machine"]["prior_sha256"] == "0123456789abcdef"
    written = document.read_text(encoding="utf-8")
    assert written.startswith("Prose.\n")
    assert "| a | 2 | 12 ms |" in written
    assert "0123456789ab" in written
    with pytest.raises(ConfigError, match="There is no"):
        bench.write_into(tmp_path / "nowhere.md")


def test_the_document_has_a_place_for_every_table() -> None:
    text = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    folder = REPOSITORY / "KLIPCore" / "lab" / "bench"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    names = set(re.findall(r'\bSection\(\s*"(\w+)"', sources))
    assert {"projector", "schedules"} <= names
    for name in {"machine", *names}:
        replace_measured(text, name, "x")
