"""Updating packages with a restart: real pip says what is newer; what it would do is recorded, nothing is changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import panel_at_work
import pytest
from KLIPSlicerLib import dependencies, updates
from KLIPSlicerLib.dependencies import Choices, Dependencies, DependencyError, requirementClass
from KLIPSlicerLib.updates import Change, Updates, parts, reasonAgainstKlipCore
from KLIPSlicerLib.version import KLIPCORE
from panel_at_work import slicer
from standins import person
from test_panel_dependencies import Slicers, wheel

import KLIPCore


@pytest.fixture
def slicers(monkeypatch: pytest.MonkeyPatch) -> Slicers:
    found = Slicers(monkeypatch)
    found.lacks = set()
    return found


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with einops 99 and numpy 99; requirements are einops and PyTorch."""
    folder = tmp_path / "wheels"
    wheel(folder, "einops", "99.0")
    wheel(folder, "numpy", "99.0")
    Requirement = requirementClass()
    monkeypatch.setattr(updates, "requirements", lambda: [Requirement("torch>=2.6"), Requirement("einops>=0.8")])
    return folder


@pytest.fixture
def opened(tmp_path: Path, slicers: Slicers) -> Iterator[Any]:
    """The panel with Slicer's own Python chosen."""
    import qt

    with panel_at_work.opened_panel(tmp_path) as widget:
        qt.QSettings().remove("KLIPSlicer/OtherPython")
        widget.ui.pythonPathEdit.currentPath = ""
        widget.ui.computerButton.collapsed = False
        yield widget
    slicer.app.restarts = 0


def said(widget: Any) -> str:
    """What stands beside the buttons."""
    return str(widget.ui.environmentLabel.text)


def test_the_module_names_the_klipcore_it_came_with() -> None:
    assert KLIPCore.__version__ == KLIPCORE


def test_pip_says_what_is_newer_and_nothing_is_changed(slicers: Slicers, wheels: Path) -> None:
    before = version("einops")
    found = Updates(Dependencies(Choices(wheelFolder=str(wheels)))).find()
    assert found == [Change("einops", before, "99.0")]
    assert version("einops") == before
    assert slicers.calls == []


def test_nothing_is_found_where_nothing_is_newer(slicers: Slicers, wheels: Path) -> None:
    for path in wheels.iterdir():
        path.unlink()
    wheel(wheels, "einops", "0.8.0")
    assert Updates(Dependencies(Choices(wheelFolder=str(wheels)))).find() == []


def test_an_update_that_wants_another_numpy_is_refused_by_pip(slicers: Slicers, wheels: Path) -> None:
    wheel(wheels, "einops", "100.0", "numpy>=99")
    found = Updates(Dependencies(Choices(wheelFolder=str(wheels)))).find()
    assert found == [Change("einops", version("einops"), "99.0")]  # the newest that leaves numpy alone


def test_a_pip_that_would_exchange_slicers_packages_is_not_trusted(
    slicers: Slicers, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = '{"install": [{"metadata": {"name": "SimpleITK", "version": "99"}}]}'
    monkeypatch.setattr(updates, "outputOf", lambda *_: report)
    with pytest.raises(DependencyError, match="pip would exchange SimpleITK, which must stay"):
        Updates(Dependencies(Choices())).find()


@pytest.mark.parametrize("report", ["", "[]", '{"install": [{}]}', "{}"])
def test_a_pip_that_reports_otherwise_ends_in_a_sentence(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch, report: str
) -> None:
    monkeypatch.setattr(updates, "outputOf", lambda *_: report)
    with pytest.raises(DependencyError, match="did not say what is newer"):
        Updates(Dependencies(Choices())).find()


@pytest.mark.parametrize(
    "error", [OSError("gone"), subprocess.CalledProcessError(1, "pip"), subprocess.TimeoutExpired("pip", 300)]
)
def test_a_failing_pip_ends_in_a_sentence(slicers: Slicers, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any) -> str:
        raise error

    monkeypatch.setattr(updates, "outputOf", fail)
    with pytest.raises(DependencyError, match="Check the internet connection or its proxy"):
        Updates(Dependencies(Choices())).find()


def test_from_the_button_to_the_restart(
    opened: Any, slicers: Slicers, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, *_: not asked.append(text))
    opened.ui.wheelsPathEdit.currentPath = str(wheels)
    person.click(opened.ui.updateButton)
    person.wait(lambda: opened.ui.updateButton.enabled, 60, said(opened))
    (_asked, question), (way, arguments) = slicers.calls
    assert f"einops {version('einops')} → 99.0" in question
    assert "Slicer's own packages and PyTorch are not changed" in question
    assert way == "pip"
    assert arguments[-1] == "einops==99.0"
    assert arguments[:3] == ["--no-index", "--find-links", str(wheels)]
    assert f"torch=={version('torch')}" in slicers.constraints[-1]
    assert len(asked) == 1
    assert "What is not saved in the scene is lost" in asked[0]
    assert slicer.app.restarts == 1
    assert "Updated: einops" in said(opened)


def test_from_the_index_slicers_own_way_is_taken(slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer.packaging, "pip_check", lambda *_: False)
    Updates(Dependencies(Choices())).install([Change("einops", "0.8.0", "99.0")])
    assert slicers.calls == [("pip", ["einops==99.0"])]  # no second question


@pytest.mark.parametrize("declined", ["update", "restart"])
def test_no_means_no(
    opened: Any, slicers: Slicers, wheels: Path, monkeypatch: pytest.MonkeyPatch, declined: str
) -> None:
    slicers.confirmed = declined != "update"
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_: False)
    opened.ui.wheelsPathEdit.currentPath = str(wheels)
    person.click(opened.ui.updateButton)
    assert [kind for kind, _ in slicers.calls] == (["asked"] if declined == "update" else ["asked", "pip"])
    assert slicer.app.restarts == 0
    assert ("Nothing was changed" if declined == "update" else "Restart Slicer before") in said(opened)


def test_an_installation_that_fails_is_told_and_nothing_restarts(
    opened: Any, slicers: Slicers, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.packaging, "pip_install", fail)
    opened.ui.wheelsPathEdit.currentPath = str(wheels)
    person.click(opened.ui.updateButton)
    assert "could not be installed" in said(opened)
    assert slicer.app.restarts == 0
    assert opened.ui.updateButton.enabled


def test_a_restart_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(slicer.util, "restart", fail)
    assert "Close it and start it again" in updates.offerRestart(lambda *_: True)


def test_an_update_waits_for_the_detection(opened: Any, slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened.panel.computer.update, "busy", lambda: True)
    person.click(opened.ui.updateButton)
    assert "A detection is running" in said(opened)
    assert slicers.calls == []


def test_another_python_is_never_changed(opened: Any, slicers: Slicers) -> None:
    opened.ui.pythonPathEdit.currentPath = sys.executable
    person.click(opened.ui.updateButton)
    assert f'"{sys.executable}" -m pip install --upgrade' in said(opened)
    assert "torch" not in said(opened)
    assert slicers.calls == []


@pytest.mark.parametrize("mode", ["testing", "missing", "no folder"])
def test_why_there_is_no_update(slicers: Slicers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str) -> None:
    if mode == "testing":
        monkeypatch.setattr(slicer.app, "testing", True)
    if mode == "missing":
        slicers.lacks = {"torch"}
    choices = Choices(wheelFolder=str(tmp_path / "gone")) if mode == "no folder" else Choices()
    sentence = {"testing": "In testing mode", "missing": "torch will be asked for", "no folder": "There is no folder"}
    with pytest.raises(DependencyError, match=sentence[mode]):
        Updates(Dependencies(choices)).find()
    assert slicers.calls == []


# ---- an old KLIPCore that hides the module's own


@pytest.mark.parametrize(("old", "refused"), [("0.0.9", True), ("0.1.0", False), ("0.10", False), ("1.0rc1", False)])
def test_only_an_older_klipcore_is_refused(old: str, refused: bool) -> None:
    assert bool(reasonAgainstKlipCore(old)) == refused
    assert parts("0.10.2.dev1") == (0, 10, 2)


def test_an_old_klipcore_is_taken_out_and_slicer_restarts(
    slicers: Slicers, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import KLIPSlicer

    taken: list[str] = []
    monkeypatch.setattr(KLIPCore, "__version__", "0.0.9")
    monkeypatch.setattr(slicer.packaging, "pip_uninstall", lambda name, **_: taken.append(name))
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_: True)
    before = slicer.app.restarts
    widget = KLIPSlicer.KLIPSlicerWidget()
    try:
        assert widget.panel is None
        assert "KLIPCore 0.0.9 is installed in Slicer's Python" in widget.old.label.text
        person.click(widget.old.button)
        assert taken == ["klipcore"]
        assert slicer.app.restarts == before + 1
    finally:
        widget.cleanup()
        widget.parent.close()
        slicer.app.restarts = before


@pytest.mark.parametrize("case", ["declined", "none came with it", "pip fails", "testing"])
def test_an_old_klipcore_that_cannot_be_taken_out_is_told(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.packaging, "pip_uninstall", fail)
    slicers.confirmed = case != "declined"
    if case == "none came with it":
        monkeypatch.setattr(updates, "PLACES", ())
    monkeypatch.setattr(slicer.app, "testing", case == "testing")
    with pytest.raises(DependencyError):
        updates.removeOldKlipCore()


def test_pytorch_is_nothing_that_pip_is_asked_about() -> None:
    assert "torch" not in {r.name for r in updates._asked()}
    assert {r.name for r in updates._asked()} == {r.name for r in dependencies.requirements()} - {"torch"}
