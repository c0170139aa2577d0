"""The page: self-contained, complete, escaped, well formed."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from export.test_overlay import SHAPE, scene
from PIL import Image

from KLIPCore.errors import OutputError
from KLIPCore.export.html import (
    ReportInputs,
    ReportPictures,
    flat_table,
    legend_gradient,
    render_html,
    report_pictures,
    write_html,
)
from KLIPCore.export.report import DISCLAIMER, Report

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects elements and checks that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute))]


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    example = scene()
    report = Report(
        example.regions,
        settings={"views": 60, "blocks": {"edge_mm": [12.0, 12.0], "overlap": True}, "note": "<b>x & y</b>"},
        provenance={
            "prior": {"name": "abdomen", "sha256": "0123abcd" * 8},
            "seed": 5,
            "sigmas": list(range(20)),
            "commit": None,
        },
        significant_mm3=1000.0,
        tested_mm3=12000.0,
        slices=SHAPE[0],
        false_discovery_rate=0.05,
        warnings=("Trained on <contrast> CT.",),
    )
    pictures = report_pictures(example, np.arange(5.0), reconstruction_title="Posterior mean")
    return ReportInputs(
        report, pictures, example.low, example.high, "CT, 5 slices", "12 × 12 mm", "60 views simulated", "abdominal CT"
    )


def test_nothing_is_fetched_and_nothing_runs(inputs: ReportInputs) -> None:
    text = render_html(inputs)
    page = Page(text)
    assert all(value.startswith("data:image/") for value in page.values("src"))
    assert all(value.startswith("#") for value in page.values("href"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "form"}
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_it_says_everything(inputs: ReportInputs) -> None:
    page = Page(render_html(inputs))
    assert DISCLAIMER in page.text
    assert page.text.count(DISCLAIMER) == 2
    assert inputs.report.summary().replace("\u00a0", " ") in page.text.replace("\u00a0", " ")
    row = inputs.report.rows()[0]
    for shown in (
        row.name,
        row.slices,
        row.centroid,
        "1,000",
        "1.00",
        "10.0",
        "12 × 12 mm",
        "60 views simulated",
        "abdominal CT",
        "0123abcd" * 8,
    ):
        assert shown in page.text, shown
    assert row.colour in render_html(inputs)
    assert "12 values" not in page.text
    assert "(20 values)" in page.text


def test_broad_regions_are_told_apart(inputs: ReportInputs) -> None:
    by_health = replace(
        inputs.report, false_regions=1.0, regions=tuple(replace(r, expected=0.04) for r in inputs.report.regions)
    )
    assert "(broad)" not in (text := Page(render_html(replace(inputs, report=by_health))).text)
    assert "their outlines are rough" not in text
    rough = replace(by_health, regions=tuple(replace(r, broad=True) for r in by_health.regions))
    text = Page(render_html(replace(inputs, report=rough))).text
    assert "1 in 25 studies (broad)" in text
    assert "their outlines are rough" in text


def test_links_and_pictures_hold(inputs: ReportInputs) -> None:
    page = Page(render_html(inputs))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href")} <= set(ids)
    assert "#slice-1" in page.values("href")  # OOD 1 peaks on slice 1
    sources = page.values("src")
    assert len(sources) == len(page.values("alt")) == 3
    for source, width in zip(sources, page.values("width"), strict=True):
        image = Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))
        assert image.size[0] == int(width)


def test_foreign_text_is_escaped(inputs: ReportInputs) -> None:
    text = render_html(replace(inputs, study='<script>alert("x")</script>', title="A & B"))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;b&gt;x &amp; y&lt;/b&gt;" in text
    assert "Trained on &lt;contrast&gt; CT." in text
    assert "<title>A &amp; B</title>" in text


def test_no_regions_no_pictures_no_settings_is_still_a_page() -> None:
    page = Page(render_html(ReportInputs(Report(()), ReportPictures(), 1.0, 2.0)))
    assert "No region stands out" in page.text
    assert "no proof of health" in page.text
    assert page.values("src") == []
    assert "provenance" not in page.values("id")


def test_pictures_of_a_study_without_regions() -> None:
    example = scene(box=np.s_[0:0, 0:1, 0:1])
    pictures = report_pictures(example, np.zeros(5))
    assert len(pictures.slices) == 1
    assert "no region" in pictures.slices[0].title
    assert pictures.jumps == {}


def test_tables_are_flat_and_short() -> None:
    rows = flat_table(
        {"a": {"b": 1.23456789, "c": [1, 2]}, "d": False, "e": float("nan"), "f": list(range(9)), "p": Path("x")}
    )
    assert rows == [
        ("a.b", "1.23457"),
        ("a.c", "1, 2"),
        ("d", "no"),
        ("e", "–"),
        ("f", "0, 1, 2, 3, 4, 5, 6, 7, … (9 values)"),
        ("p", "x"),
    ]
    assert legend_gradient(1, 5).startswith("#6b6b6b, ")  # transparent over tissue grey
    assert len(legend_gradient(1, 5).split(", ")) == 12


def test_written_whole(inputs: ReportInputs, tmp_path: Path) -> None:
    path = write_html(inputs, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == render_html(inputs)
    with pytest.raises(OutputError):
        write_html(inputs, path / "report.html")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
