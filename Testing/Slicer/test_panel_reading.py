"""The reader at work: keyboard in the table, readings that stay with their place, are saved and exported;
the log. Real events.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import headless
import panel_at_work
import pytest
from KLIPSlicerLib.exports import exportRegions
from KLIPSlicerLib.readings import ATTRIBUTE
from KLIPSlicerLib.scene_results import SceneResults
from panel_at_work import slicer
from PySide6 import QtCore, QtWidgets
from standins import person

from KLIPCore.export.report import VERDICTS, Reading

Key = QtCore.Qt.Key


def current(widget: Any) -> int:
    """The current row of the table."""
    return QtWidgets.QTableWidget.currentRow(widget.ui.regionTable)


def test_arrows_walk_enter_jumps_space_hides(widget: Any, results: SceneResults) -> None:
    view, table = panel_at_work.view("Axial"), widget.ui.regionTable
    order = widget.panel.found.table.order
    person.press(table, Key.Key_Up)  # a table without a current row takes the first one
    for row in (0, 1):
        if row:
            person.press(table, Key.Key_Down)
        assert current(widget) == row
        view.node.SetSliceOffset(900.0)
        person.press(table, Key.Key_Return)
        assert panel_at_work.place("Axial") == pytest.approx(results.regions[order[row]].peak_lps_mm[2], abs=1e-3)
    view.node.SetSliceOffset(900.0)
    person.press(table, Key.Key_Space)
    assert [results.isRegionVisible(order[row]) for row in (0, 1)] == [True, False]
    assert table.item(1, 0).checkState() == QtCore.Qt.CheckState.Unchecked
    assert panel_at_work.place("Axial") == 900.0
    person.press(table, Key.Key_Up)
    person.press(table, Key.Key_Space)
    assert not widget.panel.found._export.reasonAgainst("report")
    assert widget.panel.found._export.reasonAgainst("seg.nrrd") == "No region is checked."
    person.press(table, Key.Key_Space)
    assert results.isRegionVisible(order[0])
    assert current(widget) == 0


def test_space_in_any_column_and_never_twice(widget: Any, results: SceneResults) -> None:
    """The table would toggle the checkbox of the first column by itself."""
    table = widget.ui.regionTable
    for column in (0, 3):
        QtWidgets.QTableWidget.setCurrentCell(table, 0, column)
        for wanted in (False, True):
            person.press(table, Key.Key_Space)
            assert results.isRegionVisible(widget.panel.found.table.order[0]) is wanted


def test_the_current_row_follows_its_region(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable
    person.click_cell(table, 1, 2)
    chosen = widget.panel.found.table.current
    person.click_header(table, 0)  # the other way round
    assert current(widget) == 0
    assert widget.panel.found.table.current == chosen
    person.press(table, Key.Key_Tab)
    assert widget.panel.found.table.current == chosen  # Tab leaves the table


def test_digits_and_controls_say_what_a_region_is(widget: Any, results: SceneResults) -> None:
    ui, table = widget.ui, widget.ui.regionTable
    assert not ui.readingComboBox.enabled
    assert not ui.noteLineEdit.enabled
    person.click_cell(table, 0, 2)
    first = widget.panel.found.table.current
    assert ui.readingComboBox.enabled
    person.press(table, Key.Key_2)
    assert results.readingOf(first) == Reading("normal variant", "")
    assert ui.readingComboBox.currentText == "normal variant"
    assert table.item(0, 0).text() == f"{results.regions[first].name} ≈"
    assert table.item(0, 0).toolTip().endswith("\nnormal variant")
    person.type_text(ui.noteLineEdit, 'riedel\'s lobe, <b> & "quoted"')
    assert results.readingOf(first) == Reading("normal variant", 'riedel\'s lobe, <b> & "quoted"')
    person.choose(ui.readingComboBox, "artefact")
    assert results.readingOf(first).verdict == "artefact"
    person.click_cell(table, 1, 2)
    assert (ui.readingComboBox.currentText, ui.noteLineEdit.text) == ("not read", "")
    assert results.readingOf(widget.panel.found.table.current) is None
    person.click_cell(table, 0, 2)
    assert ui.noteLineEdit.text == 'riedel\'s lobe, <b> & "quoted"'
    person.type_text(ui.noteLineEdit, "")
    person.press(table, Key.Key_0)
    assert results.readingOf(first) is None
    assert results.traceNode.GetAttribute(ATTRIBUTE) is None


def test_a_reading_stays_with_its_place(results: SceneResults) -> None:
    results.setReading(0, Reading("real", "seen"))
    place = results.regions[0].peak_lps_mm
    for block in (8.0, 20.0, 12.0):
        results.show(replace(results.settings, block_mm=block))
        said = {region.name: results.readingOf(i) for i, region in enumerate(results.regions) if results.readingOf(i)}
        assert list(said.values()) == [Reading("real", "seen")]
    assert results.regions[0].peak_lps_mm == pytest.approx(place)
    results.show(replace(results.settings, fdr=1e-9, block_mm=6.0))
    results.show(replace(results.settings, fdr=0.05, block_mm=12.0))
    assert results.readingOf(0) == Reading("real", "seen")


def test_readings_are_saved_with_the_scene(results: SceneResults, tmp_path: Path) -> None:
    note = 'größer als 2019? <5 mm & "no" \\ %20'
    results.setReading(1, Reading("unsure", note))
    columns = [results.tableNode.GetColumnName(n) for n in range(results.tableNode.GetNumberOfColumns())]
    assert results.tableNode.GetCellText(1, columns.index("Reading")) == "unsure"
    assert results.tableNode.GetCellText(1, columns.index("Note")) == note
    scene = headless.start()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    headless.clear()
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    restored = SceneResults.restore(SceneResults.allInScene(scene)[0])
    assert [restored.readingOf(i) for i in (0, 1)] == [None, Reading("unsure", note)]


def test_readings_are_exported(results: SceneResults, tmp_path: Path) -> None:
    results.setReading(0, Reading("real", "<script>alert(1)</script>"))
    written = json.loads(exportRegions(results, "json", tmp_path / "x.json").read_text(encoding="utf-8"))
    assert written["regions"][0]["reading"] == {"verdict": "real", "note": "<script>alert(1)</script>"}
    assert "reading" not in written["regions"][1]
    page = exportRegions(results, "report", tmp_path / "x.html").read_text(encoding="utf-8")
    assert "real: &lt;script&gt;" in page
    assert "<script>alert" not in page
    results.setReading(0, None)
    page = exportRegions(results, "report", tmp_path / "y.html").read_text(encoding="utf-8")
    assert "<th>Reading</th>" not in page
    results.setRegionVisible(0, False)
    results.setRegionVisible(1, False)
    assert json.loads(exportRegions(results, "json", tmp_path / "z.json").read_text(encoding="utf-8"))["regions"] == []


def test_what_another_hand_wrote_is_passed_over(results: SceneResults) -> None:
    for text in (
        "[",
        "{}",
        "[1]",
        '[{"peak_lps_mm": [1, 2, 3]}]',
        '[{"peak_lps_mm": ["a", 2, 3], "verdict": "real", "note": ""}]',
    ):
        results.traceNode.SetAttribute(ATTRIBUTE, text)
        assert results.readingOf(0) is None
    place = list(results.regions[0].peak_lps_mm)
    results.traceNode.SetAttribute(ATTRIBUTE, json.dumps([{"peak_lps_mm": place, "verdict": "certain", "note": "n"}]))
    assert results.readingOf(0) == Reading("", "n")


def test_the_panel_offers_what_the_library_knows() -> None:
    from KLIPSlicerLib.reading_controls import verdictNames

    assert tuple(verdictNames()) == VERDICTS


# ---- the log


def test_the_log_tells_what_was_run_and_how_it_ended(widget: Any, made: Any, tmp_path: Path) -> None:
    from inputs import node_of

    node_of(made.study)
    person.wait(lambda: widget.ui.detectButton.enabled, 5, "ready")
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = -c ]; then exec '
        + sys.executable
        + ' "$@"; fi\necho odd line >&2; echo plain line; exit 7\n'
    )
    program.chmod(0o755)
    widget.ui.pythonPathEdit.currentPath = str(program)
    person.click(widget.ui.detectButton)
    person.wait(lambda: "ended with code 7" in widget.ui.statusLabel.text, 20, widget.ui.statusLabel.text)
    text = widget.ui.logText.plainText
    for line in (str(program), "odd line", "plain line", "ended with code 7"):
        assert line in text
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in text.splitlines())
    widget.ui.logButton.collapsed = False
    person.click(widget.ui.copyLogButton)
    assert slicer.app.clipboard().text() == text
    person.click(widget.ui.clearLogButton)
    assert widget.ui.logText.plainText == ""
