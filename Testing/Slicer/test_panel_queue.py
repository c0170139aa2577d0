"""Several volumes in a row, with real clicks and the real klip: order, progress, and each cancelled by itself."""

from __future__ import annotations

from typing import Any

import panel_at_work
import pytest
from inputs import node_of
from KLIPSlicerLib.scene_results import SceneResults
from made_run import made_study
from panel_at_work import klip_processes, slicer
from PySide6 import QtCore
from standins import person


def rows(widget: Any) -> list[str]:
    """What the list shows."""
    shown = widget.ui.queueList
    return [shown.item(n).text() for n in range(shown.count)]


@pytest.mark.slow
def test_volumes_are_examined_in_turn_and_each_can_be_cancelled(widget: Any) -> None:
    ui, queue = widget.ui, widget.panel.queue
    ui.queueButton.collapsed = False
    panel_at_work.fast_choices(widget)
    assert not ui.queueRunButton.enabled
    nodes = [node_of(made_study(), name) for name in ("First", "Second", "Third")]
    person.events(0.1)
    for node in nodes:
        ui.inputSelector.setCurrentNode(node)
        person.click(ui.queueAddButton)
    assert rows(widget) == ["First: waiting", "Second: waiting", "Third: waiting"]
    ui.queueList.currentRow = 1
    person.click(ui.queueRemoveButton)
    assert rows(widget) == ["First: waiting", "Third: waiting"]
    person.click(ui.queueRunButton)
    for n, node in enumerate((nodes[0], nodes[2])):
        person.wait(
            lambda node=node: queue.running is not None and queue.running.identifier == node.GetID(), 60, "begun"
        )
        assert widget._parameterNode.inputVolume is node
        person.wait(klip_processes, 60, ui.statusLabel.text)
        person.wait(lambda n=n: "%" in rows(widget)[n], 60, "progress is told")
        ui.queueList.currentRow = n
        person.click(ui.queueRemoveButton if n else ui.detectButton)
        person.wait(lambda n=n: "Stopped" in rows(widget)[n], 10, "it is cancelled")
    person.wait(lambda: not widget.panel.detection.running and not klip_processes(), 10, "nothing runs")
    person.events(0.3)
    assert queue.running is None
    assert not ui.queueRunButton.enabled


def test_what_cannot_be_examined_does_not_hold_the_others(widget: Any) -> None:
    queue = widget.panel.queue
    widget.ui.queueButton.collapsed = False
    gone, empty = node_of(made_study(), "Gone"), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    person.events(0.1)
    for node in (gone, empty):
        widget.ui.inputSelector.setCurrentNode(node)
        person.click(widget.ui.queueAddButton)
    slicer.mrmlScene.RemoveNode(gone)
    person.events(0.1)
    person.click(widget.ui.queueRunButton)
    person.wait(
        lambda: all(entry.state not in ("waiting", "running") for entry in queue.entries), 20, "all have ended"
    )
    assert rows(widget) == ["Gone: no longer in the scene", "Empty: refused"]
    assert "empty" in widget.ui.statusLabel.text


def test_the_next_volume_begins_when_one_has_ended_well_or_badly(
    widget: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that end at once, in place of klip's."""
    ui, detection = widget.ui, widget.panel.detection
    nodes = [node_of(made.study, name) for name in ("First", "Second", "Third")]
    begun: list[str] = []

    def start(parameters: Any, *_: Any) -> None:
        node = parameters.inputVolume
        begun.append(node.GetName())
        if node is nodes[1]:
            QtCore.QTimer.singleShot(0, lambda: detection.listener.onFailed("It failed."))
        else:
            found = SceneResults.create(node, made.folder)
            QtCore.QTimer.singleShot(0, lambda: detection.listener.onFinished(found))

    monkeypatch.setattr(detection, "start", start)
    ui.queueButton.collapsed = False
    person.events(0.1)
    for node in nodes:
        ui.inputSelector.setCurrentNode(node)
        person.click(ui.queueAddButton)
    person.click(ui.queueRunButton)
    person.wait(lambda: len(begun) == 3 and widget.panel.queue.running is None, 30, "all have ended")
    assert begun == ["First", "Second", "Third"]
    first, second, third = rows(widget)
    assert "stand" in first
    assert second == "Second: It failed."
    assert "stand" in third
    assert len(SceneResults.allInScene(slicer.mrmlScene)) == 2  # each has nodes of its own
