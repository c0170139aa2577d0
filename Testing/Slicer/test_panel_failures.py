"""Every way to fail, through the panel: pip, network, disk, process, and what nobody foresaw. Each ends in a sentence,
nothing is left running, the button can be pressed again, and no traceback reaches the Python console (conftest.py).
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import panel_at_work
import pytest
from heartbeat import listening
from inputs import node_of
from KLIPSlicerLib import dependencies, detection, exports
from KLIPSlicerLib.scene_results import SceneResults
from made_run import MadeRun
from panel_at_work import klip_processes, slicer
from PySide6 import QtWidgets
from standins import person
from test_panel_dependencies import Slicers, extension

FULL = Path("/dev/full")
"""A device on which nothing has room."""


@pytest.fixture
def ready(widget: Any, made: MadeRun) -> Any:
    """The panel with a study that is no DICOM, so it goes through a temporary file."""
    node = node_of(made.study)
    person.wait(lambda: widget.ui.inputSelector.currentNode() is node and widget.ui.detectButton.enabled, 5, "ready")
    panel_at_work.fast_choices(widget)
    return widget


@pytest.fixture
def slicers(monkeypatch: pytest.MonkeyPatch, ready: Any) -> Slicers:
    """Slicer's own Python, which lacks PyTorch and MONAI."""
    import qt

    qt.QSettings().remove("KLIPSlicer/OtherPython")
    ready.ui.pythonPathEdit.currentPath = ""
    return Slicers(monkeypatch)


def ended(widget: Any) -> str:
    """What the panel says, once it is as it was before Detect was pressed."""
    ui = widget.ui
    person.wait(lambda: not widget.panel.detection.running and ui.detectButton.text == "Detect OOD", 60, "an end")
    assert (ui.detectButton.text, ui.detectButton.enabled) == ("Detect OOD", True)
    assert klip_processes() == []
    left = {path.name for path in widget.panel.computer.outputFolder().rglob("*") if path.is_file()}
    assert left <= {"server-settings.json"}  # the one file, written anew each time
    said = str(ui.statusLabel.text)
    assert "Traceback" not in said
    assert said in ui.logText.plainText
    return said


# ---- pip and the network


def test_with_none_of_our_packages_it_is_asked_agreed_and_examined(ready: Any, slicers: Slicers) -> None:
    """What is missing is read first; then a question, pip, and the run that was asked for."""
    ready.ui.computerButton.collapsed = False
    person.events(0.05)
    person.click(ready.ui.checkButton)
    assert "torch, monai will be asked for when you press Detect OOD" in ready.ui.environmentLabel.text
    assert slicers.calls == []
    person.click(ready.ui.detectButton)
    assert [kind for kind, _what in slicers.calls] == ["asked", "pip"]
    person.wait(klip_processes, 60, ready.ui.statusLabel.text)  # to its end: test_panel_story.py
    assert f"{sys.executable} -m KLIPCore.cli detect" in ready.ui.logText.plainText
    person.click(ready.ui.detectButton)
    person.wait(lambda: not ready.panel.detection.running and not klip_processes(), 10, "it is gone")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (subprocess.CalledProcessError(1, "pip"), "Check the internet connection or its proxy"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "Check the internet connection or its proxy"),
        (ValueError("pip has changed"), "The packages could not be installed"),
        (RuntimeError("User declined package installation"), "Nothing was installed"),
    ],
    ids=["pip", "network", "unforeseen", "declined"],
)
def test_an_installation_that_fails(
    ready: Any, slicers: Slicers, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(slicer.packaging, "pip_install", fail)
    person.click(ready.ui.detectButton)
    assert sentence in ended(ready)


def test_a_pytorch_extension_that_fails(ready: Any, slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("Failed to get computation backend.")

    extension(slicers, monkeypatch, fail)
    person.click(ready.ui.detectButton)
    assert "The packages could not be installed" in ended(ready)


def test_packages_that_are_still_missing_after_pip(
    ready: Any, slicers: Slicers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda *_, **__: None)
    person.click(ready.ui.detectButton)
    assert "torch, monai is still missing" in ended(ready)


def test_a_server_that_does_not_answer(ready: Any) -> None:
    with socket.socket() as taken:  # bound and not listening: whoever calls is refused
        taken.bind(("127.0.0.1", 0))
        controls = ready.panel.server
        controls.placeSelector.setCurrentIndex(1)
        controls.addressEdit.setText(f"http://127.0.0.1:{taken.getsockname()[1]}")
        ready.ui.computerButton.collapsed = False
        person.events(0.05)
        with listening() as heart:
            person.click(controls.testButton)
            person.wait(lambda: "has not answered" in controls.label.text, 60, "what the test says")
        assert heart.beats > 20  # Slicer stays usable meanwhile
        assert controls.testButton.enabled
        person.click(ready.ui.detectButton)
        assert "has not answered" in ended(ready)


# ---- the disk


@pytest.fixture
def full(ready: Any) -> Iterator[Path]:
    """Where the study will be written there is no room."""
    if not FULL.is_char_device():
        pytest.skip("needs /dev/full")
    part = (
        ready.panel.computer.outputFolder() / "input" / f"input-{ready._parameterNode.inputVolume.GetID()}.nrrd.part"
    )
    part.parent.mkdir(parents=True)
    part.symlink_to(FULL)
    yield part
    part.unlink(missing_ok=True)


def test_a_full_disk(ready: Any, full: Path) -> None:
    person.click(ready.ui.detectButton)
    said = ended(ready)
    assert os.strerror(errno.ENOSPC) in said
    assert "with space left" in said


def test_a_results_folder_that_is_none(ready: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ready.ui.outputPathEdit.currentPath = str(tmp_path / "file")
    person.click(ready.ui.detectButton)
    assert "cannot be written" in ended(ready)


def test_a_disk_that_is_full_when_the_settings_for_a_server_are_written(
    ready: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the study is ready, and before there is a process."""

    def fail(*_: Any) -> list[str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(detection, "remoteSettings", fail)
    ready.panel.server.placeSelector.setCurrentIndex(1)
    ready.panel.server.addressEdit.setText("http://127.0.0.1:9")
    person.click(ready.ui.detectButton)
    assert "Look whether the disk is full" in ended(ready)


# ---- the process, and what nobody foresaw


def test_a_process_that_cannot_be_started(ready: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from KLIPSlicerLib.dependencies import Dependencies
    from KLIPSlicerLib.runner import Interpreter

    monkeypatch.setattr(Dependencies, "ensure", lambda self: Interpreter(str(tmp_path / "gone")))
    person.click(ready.ui.detectButton)
    assert "cannot be started" in ended(ready)


def test_what_nobody_foresaw_before_the_run(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from KLIPSlicerLib.dependencies import Dependencies

    def fail(_self: Any) -> None:
        raise AttributeError("module 'slicer' has no attribute 'x'")

    with monkeypatch.context() as broken:
        broken.setattr(Dependencies, "ensure", fail)
        person.click(ready.ui.detectButton)
        assert "nobody foresaw (AttributeError)" in ended(ready)
    person.click(ready.ui.detectButton)  # and it is no end for good
    person.wait(klip_processes, 60, ready.ui.statusLabel.text)
    person.click(ready.ui.detectButton)
    person.wait(lambda: not klip_processes() and not ready.panel.detection.running, 10, "it is gone")


@pytest.mark.parametrize("button", ["checkButton", "updateButton"])
def test_what_nobody_foresaw_of_the_packages(
    ready: Any, slicers: Slicers, monkeypatch: pytest.MonkeyPatch, button: str
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a version that is none")

    monkeypatch.setattr(dependencies, "ownVersions", fail)
    ready.ui.computerButton.collapsed = False
    person.events(0.05)
    person.click(getattr(ready.ui, button))
    assert "nobody foresaw (ValueError)" in ready.ui.environmentLabel.text
    assert getattr(ready.ui, button).enabled
    assert QtWidgets.QApplication.overrideCursor() is None


def test_an_export_that_fails_as_nobody_foresaw(
    widget: Any, results: SceneResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("another writer's words")

    monkeypatch.setitem(exports._WRITERS, "nifti", fail)
    person.answer_file_dialog(str(tmp_path / "x.nii.gz"))
    person.choose_from_menu(widget.ui.exportButton, "export nifti")
    person.wait(lambda: "nobody foresaw (ValueError)" in widget.ui.statusLabel.text, 5, "a sentence")
    assert QtWidgets.QApplication.overrideCursor() is None
