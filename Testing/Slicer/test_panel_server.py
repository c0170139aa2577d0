"""The panel with a server: chosen, tested, worked with, cancelled. A real `klip serve` on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel_at_work
import patience
import pytest
from standins import person

pytest.importorskip("fastapi", reason="klip serve needs the extra server")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Path]]:
    """Address, state and token file of a server that wants a token."""
    folder = tmp_path_factory.mktemp("server")
    words = ["serve", "--port", "0", "--folder", str(folder / "state"), "--token-file", str(folder / "token")]
    process = subprocess.Popen(
        [sys.executable, "-m", "KLIPCore.cli", *words, "--device", "cpu", "--min-free", "0"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "klip serves at" in line, line
    yield line.split()[-1], folder / "state", folder / "token"
    process.terminate()
    process.communicate(timeout=20)


def test_a_server_is_named_only_where_it_is_chosen(widget: Any) -> None:
    controls = widget.panel.server
    assert not controls.chosen
    assert controls.arguments() == ()
    assert not controls.addressEdit.enabled
    assert not controls.testButton.enabled
    controls.placeSelector.setCurrentIndex(1)
    assert controls.chosen
    assert controls.addressEdit.enabled


@pytest.mark.slow
def test_detect_on_a_server_and_cancel_there(widget: Any, served: tuple[str, Path, Path], tmp_path: Path) -> None:
    address, state, token = served
    controls, ui = widget.panel.server, widget.ui
    node = panel_at_work.load_study(panel_at_work.dicom_study(tmp_path / "ct"))
    person.wait(lambda: ui.inputSelector.currentNode() is node and ui.detectButton.enabled, 5, "the volume is chosen")
    panel_at_work.fast_choices(widget)
    widget._parameterNode.firstSlice, widget._parameterNode.lastSlice = 1, 2
    ui.computerButton.collapsed = False
    controls.placeSelector.setCurrentIndex(1)
    person.events(0.05)

    controls.addressEdit.setText("gpu")
    person.click(ui.detectButton)
    assert "no address of a server" in ui.statusLabel.text
    controls.addressEdit.setText(address)
    person.click(controls.testButton)
    person.wait(lambda: "wants a token" in controls.label.text, 20, controls.label.text)
    controls.tokenPathEdit.currentPath = str(token)
    person.click(controls.testButton)
    person.wait(lambda: "they fit" in controls.label.text, 20, controls.label.text)

    person.click(ui.detectButton)
    patience.wait_for_panel(widget, lambda: widget.panel.results is not None, "first results")
    patience.wait_for_panel(widget, lambda: not widget.panel.detection.running, "the run has ended")
    assert "stand" in ui.statusLabel.text
    assert (widget.panel.detection.runFolder / "report.html").is_file()
    assert token.read_text().strip() not in str(ui.logText.plainText)
    assert len(list((state / "jobs").iterdir())) == 1

    widget._parameterNode.seed = 7
    widget._parameterNode.samples, widget._parameterNode.steps = 8, 200
    person.click(ui.detectButton)
    person.wait(lambda: len(list((state / "jobs").iterdir())) == 2, 60, "the server has the second job")
    soon = max(10.0, 10 * patience.unit()[1])  # longer on a busy machine
    pressed = time.monotonic()
    person.click(ui.detectButton)
    person.wait(lambda: not widget.panel.detection.running, soon, "the client has stopped")
    jobs = state / "jobs"
    person.wait(lambda: len([p for p in jobs.iterdir() if p.name[0] != "."]) == 1, soon, "it is gone there")
    assert time.monotonic() - pressed < soon
