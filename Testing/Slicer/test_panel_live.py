"""Sliders and table, with real events, on results of known nats. No sampling here: the runs are made (made_run.py)."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import Any

import numpy as np
import panel_at_work
import pytest
from KLIPSlicerLib.display import sliceCompositesShowing
from KLIPSlicerLib.scene_results import SceneResults
from panel_at_work import slicer
from PySide6 import QtGui, QtWidgets
from standins import person

from KLIPCore.scores import SCORES


def test_sliders_change_map_regions_and_table_at_once(
    widget: Any, results: SceneResults, capsys: pytest.CaptureFixture[str]
) -> None:
    ui = widget.ui
    assert ui.regionTable.rowCount == 2
    total = ui.regionTable.item(0, 2).text()
    before = slicer.util.arrayFromVolume(results.mapNode).max()
    person.drag(ui.blockSizeSlider, 0.5)
    wanted = widget._parameterNode.blockSize
    assert 18 < wanted < 26
    person.wait(lambda: results.settings.block_mm == pytest.approx(wanted), 1, "the map follows")
    assert slicer.util.arrayFromVolume(results.mapNode).max() > before
    assert ui.regionTable.item(0, 2).text() != total
    times = []
    for block in (10.0, 14.0, 18.0):
        widget._parameterNode.blockSize = block
        started = time.process_time()  # other programs on the computer do not lengthen it
        person.wait(lambda b=block: results.settings.block_mm == b, 20, "the map follows")
        times.append(time.process_time() - started)
    with capsys.disabled():
        print(
            f"\n[panel] live update of {len(results.live.trace.slices)} slices: "
            f"{1000 * min(times):.0f} ms of the processor"
        )
    assert min(times) < 0.2


def test_false_discoveries_and_window_act_live(widget: Any, results: SceneResults) -> None:
    ui = widget.ui
    person.drag(ui.fdrSlider, 1.0)
    person.wait(lambda: results.settings.fdr == pytest.approx(0.9), 1, "the rate follows")
    assert "90 %" in ui.summaryLabel.text
    person.choose(ui.windowComboBox, "Coarse")
    person.wait(lambda: results.settings.window == (0.16, 0.32), 1, "the window follows")
    assert (ui.windowRangeWidget.minimumValue, ui.windowRangeWidget.maximumValue) == (0.16, 0.32)
    ui.windowRangeWidget.setValues(0.1, 0.32)
    assert widget._parameterNode.windowName == "custom"
    assert ui.windowComboBox.currentText == "Custom"
    person.wait(lambda: results.settings.window == (0.1, 0.32), 1, "the numbers follow")
    person.choose(ui.windowComboBox, "Recommended")
    person.wait(lambda: results.settings.window is None, 1, "back to the score's own")


def test_tissue_acts_live(widget: Any, results: SceneResults) -> None:
    """And is asked of health, as sign and false regions are."""
    ui = widget.ui
    person.choose(ui.scoreComboBox, "unexpected")
    person.wait(lambda: results.settings.score == "unexpected", 5, "the score follows")
    assert ui.tissueComboBox.visible
    counted = results.live.update(results.settings).kl_map.array.copy()
    person.choose(ui.tissueComboBox, "all")
    person.wait(lambda: results.settings.tissue == "all", 5, "the tissue follows")
    assert not np.array_equal(slicer.util.arrayFromVolume(results.mapNode), counted)
    assert results.view.rests_on  # of all tissues rates of health are widened
    assert results.view.rests_on in ui.summaryLabel.text
    person.choose(ui.tissueComboBox, "soft")
    person.wait(lambda: results.settings.tissue == "soft", 5, "and back")


def test_a_score_brings_its_own_rate_unless_the_rate_was_moved_by_hand(widget: Any) -> None:
    parameters = widget._parameterNode
    parameters.fdr = SCORES[parameters.score].fdr
    own = {parameters.score: parameters.fdr}
    for score in ("darker", "surprise", parameters.score):
        person.choose(widget.ui.scoreComboBox, score)
        assert (parameters.score, parameters.fdr) == (score, pytest.approx(SCORES[score].fdr))
        own[score] = parameters.fdr
    assert len(set(own.values())) > 1, "scores that all have one rate would make this test empty"
    parameters.fdr = 0.33
    person.choose(widget.ui.scoreComboBox, "darker")
    assert parameters.fdr == pytest.approx(0.33)


def test_what_the_trace_cannot_answer_is_said_and_nothing_changes(widget: Any, results: SceneResults) -> None:
    before = slicer.util.arrayFromVolume(results.mapNode).copy()
    person.choose(widget.ui.scoreComboBox, "nats")
    person.wait(lambda: widget.ui.statusLabel.visible, 1, "a sentence")
    assert "renoised" in widget.ui.statusLabel.text
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(results.mapNode), before)


def test_opacity_and_threshold_change_the_picture_only(widget: Any, results: SceneResults) -> None:
    ui, view = widget.ui, panel_at_work.view("Axial")
    results.showInSliceViews()
    view.fit()
    results.jumpTo(0)
    regions = [r.total_nats for r in results.regions]
    shown = view.pixels()
    person.drag(ui.opacitySlider, 0.0)
    assert [c.GetForegroundOpacity() for c in sliceCompositesShowing(results.mapNode)] == [0.0]
    bare = view.pixels()
    assert (shown != bare).any()
    person.drag(ui.opacitySlider, 1.0)
    assert ui.thresholdSlider.value == pytest.approx(results.threshold, abs=0.1)
    full = view.pixels()
    ui.thresholdSlider.value = ui.thresholdSlider.maximum
    assert results.threshold == pytest.approx(ui.thresholdSlider.maximum)
    assert (view.pixels() != full).any()
    assert [r.total_nats for r in results.regions] == regions


def test_headings_sort_by_number(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable
    nats = [r.total_nats for r in results.regions]
    assert widget.panel.found.table.order == [0, 1]
    assert table.item(0, 0).text() == "OOD 1"
    person.click_header(table, 2)
    assert widget.panel.found.table.order == sorted((0, 1), key=lambda i: -nats[i])
    person.click_header(table, 2)
    assert widget.panel.found.table.order == sorted((0, 1), key=lambda i: nats[i])
    person.click_header(table, 7)
    assert [results.regions[i].slices for i in widget.panel.found.table.order] == sorted(
        r.slices for r in results.regions
    )
    assert table.item(0, 0).text() == results.regions[widget.panel.found.table.order[0]].name


def test_a_click_jumps_to_the_region_of_that_row_however_sorted(widget: Any, results: SceneResults) -> None:
    view = panel_at_work.view("Axial")
    table = widget.ui.regionTable
    for column in (1, 1, 3):
        person.click_header(table, column)
        for row in (0, 1):
            view.node.SetSliceOffset(900.0)
            person.click_cell(table, row, 2)
            region = results.regions[widget.panel.found.table.order[row]]
            assert panel_at_work.place("Axial") == pytest.approx(region.peak_lps_mm[2], abs=1e-3)


def test_a_hidden_region_stays_hidden_while_sliders_move(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable
    weak = widget.panel.found.table.order[1]
    name = results.regions[weak].name
    person.click_checkbox(table, 1)
    assert [results.isRegionVisible(i) for i in (0, 1)] == [i != weak for i in (0, 1)]
    widget._parameterNode.blockSize = 14.0
    person.wait(lambda: results.settings.block_mm == 14.0, 1, "the slider acts")
    unchecked = [
        row
        for row in range(table.rowCount)
        if table.item(row, 0).checkState() == person.QtCore.Qt.CheckState.Unchecked
    ]
    assert [table.item(row, 0).text() for row in unchecked] == [name]


def cell_fits(table: Any, row: int, column: int) -> bool:
    """Whether a cell shows its whole text."""
    item = QtWidgets.QTableWidget.item(table, row, column)
    option = QtWidgets.QStyleOptionViewItem()
    option.initFrom(table)
    delegate = QtWidgets.QTableWidget.itemDelegate(table)
    needed = delegate.sizeHint(option, QtWidgets.QTableWidget.indexFromItem(table, item)).width()
    return QtWidgets.QTableWidget.columnWidth(table, column) >= needed


def test_names_of_organs_are_whole(widget: Any, results: SceneResults) -> None:
    """In a panel as wide as Slicer's, with texts of 100 and of 200 %, whichever columns the score has."""
    table = widget.ui.regionTable
    size = QtGui.QFont(table.font).pointSizeF()
    organs = ("Right kidney", "Inferior vena cava", None)
    for scale, organ, expected in itertools.product((1, 2), organs, (0.04, None)):
        font = QtGui.QFont(table.font)
        font.setPointSizeF(scale * size)
        table.font = font
        QtWidgets.QWidget.resize(widget.parent, 470 * scale, 1500)
        named = [replace(region, organ=organ, expected=expected) for region in results.regions]
        widget.panel.found.table.show(named, lambda i: True, {})
        person.events(0.05)
        shown = [n for n in range(table.columnCount) if not table.isColumnHidden(n)]
        assert table.item(0, 1).text() == (organ or "unknown")
        assert [(row, n) for row in (0, 1) for n in shown if not cell_fits(table, row, n)] == []
        if organ != "Inferior vena cava":
            assert QtWidgets.QTableWidget.horizontalScrollBar(table).maximum() == 0  # nor is anything out of sight


def test_a_very_long_name_is_cut_and_its_tooltip_is_not(widget: Any, results: SceneResults) -> None:
    table, name = widget.ui.regionTable, "Anterior and posterior wall of the left ventricle, edited by hand"
    widget.panel.found.table.show([replace(results.regions[0], organ=name)], lambda i: True, {})
    person.events(0.05)
    assert not cell_fits(table, 0, 1)
    assert QtWidgets.QTableWidget.columnWidth(table, 1) < QtWidgets.QTableWidget.width(table) / 2
    assert name in table.item(0, 1).toolTip()


def test_the_heading_that_is_sorted_by_is_marked(widget: Any, results: SceneResults) -> None:
    table = widget.ui.regionTable

    def headings() -> list[str]:
        return [table.horizontalHeaderItem(n).text() for n in range(table.columnCount)]

    assert [text for text in headings() if text.endswith(("▾", "▴"))] == ["Region ▴"]
    person.click_header(table, 2)
    assert [text for text in headings() if text.endswith(("▾", "▴"))] == ["Total ▾"]
    person.click_header(table, 2)
    assert [text for text in headings() if text.endswith(("▾", "▴"))] == ["Total ▴"]
    person.click_header(table, 3)
    assert [text for text in headings() if text.endswith(("▾", "▴"))] == ["Peak ▾"]
