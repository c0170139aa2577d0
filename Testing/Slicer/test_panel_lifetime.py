"""Fifty starts and cancels leave nothing behind: no node, no observer, no process, no thread, no file, no pipe."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import panel_at_work
import psutil
import pytest
from busy import longest
from panel_at_work import klip_processes, slicer
from standins import person

TIMES = 50


def nodes() -> list[str]:
    """Identifiers of all nodes of the scene."""
    scene = slicer.mrmlScene
    return sorted(scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes()))


def observers(objects: list[Any]) -> int:
    """Observers of some objects for any event: tags are given in order, so a new one tells how many there were."""
    count = 0
    for each in objects:
        tag = each.AddObserver("ModifiedEvent", lambda *_: None)
        each.RemoveObserver(tag)
        count += int(tag)
    return count


def start_and_cancel(widget: Any, with_process: bool) -> None:
    """Press Detect, at once or when `klip` runs press Cancel; all is over within two seconds, on a quiet machine."""
    person.wait(lambda: widget.ui.detectButton.enabled, 10, widget.ui.detectButton.toolTip)
    person.click(widget.ui.detectButton)
    person.wait(lambda: widget.panel.detection.running, 10, widget.ui.statusLabel.text)
    if with_process:
        person.wait(klip_processes, 10, widget.ui.statusLabel.text)
    assert widget.panel.detection.running
    pressed = time.monotonic()
    person.click(widget.ui.detectButton)
    person.wait(lambda: not widget.panel.detection.running and not klip_processes(), 10, "it is gone")
    assert time.monotonic() - pressed < longest(2.5)


@pytest.mark.slow
def test_fifty_starts_and_cancels_leave_nothing(widget: Any, tmp_path: Path) -> None:
    node = panel_at_work.load_study(panel_at_work.dicom_study(tmp_path / "ct"))
    slicer.util.arrayFromVolume(node)[0, 0, 0] += 1  # so that a temporary file is written each time
    slicer.util.arrayFromVolumeModified(node)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node, 5, "the volume is chosen")
    panel_at_work.fast_choices(widget)
    for with_process in (False, True):  # what is made once is made now
        start_and_cancel(widget, with_process)
    observed = [slicer.mrmlScene, node, widget._parameterNode.parameterNode]
    before, watched = nodes(), observers(observed)
    temporary = [path for path in Path(slicer.app.temporaryPath).rglob("*") if path.is_file()]
    threads = threading.active_count()
    opened = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0
    for n in range(TIMES):
        start_and_cancel(widget, n % 3 == 0)
    assert nodes() == before
    assert observers(observed) == watched + len(observed)  # those of counting itself
    assert klip_processes() == []
    results = widget.panel.computer.outputFolder()
    assert [path for path in results.rglob("*") if path.is_file()] == []
    assert [path for path in Path(slicer.app.temporaryPath).rglob("*") if path.is_file()] == temporary
    assert threading.active_count() <= threads
    assert not opened or psutil.Process().num_fds() <= opened  # nor an open file or pipe
    assert widget.panel.results is None
