"""The module's own test, its logic without a panel, its entry in the Sample Data module. Real `klip` where
it is run.
"""

from __future__ import annotations

import sys
import textwrap
import types
from pathlib import Path
from typing import Any

import headless
import panel_at_work
import pytest
from KLIPSlicerLib import sample_study
from KLIPSlicerLib.runner import Interpreter
from panel_at_work import klip_processes, slicer


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """KLIPSlicer.py, told to use this test's Python."""
    import qt

    import KLIPSlicer

    headless.clear()
    qt.QSettings().clear()
    qt.QSettings().setValue("KLIPSlicer/OtherPython", sys.executable)
    qt.QSettings().setValue("KLIPSlicer/ResultsFolder", str(tmp_path))
    yield KLIPSlicer
    headless.clear()


@pytest.mark.slow
def test_the_modules_own_test_passes(module: Any) -> None:
    """What “Reload and Test” runs in Slicer: simulated abdomen, detection through the logic, slider, segments."""
    module.KLIPSlicerTest().runTest()
    assert klip_processes() == []


def test_the_logic_says_what_is_wrong(module: Any) -> None:
    node = slicer.util.addVolumeFromArray(panel_at_work.small_study().array.astype("int16"), name="CT")
    with pytest.raises(RuntimeError, match="took longer"):
        module.KLIPSlicerLogic().detect(node, otherPython=sys.executable, timeoutSeconds=0.3, preset="quick")
    assert klip_processes() == []


def test_the_module_describes_itself(module: Any) -> None:
    parent = types.SimpleNamespace(path=str(Path(module.__file__)))
    made = module.KLIPSlicer(parent)
    assert made.moduleName == "KLIPSlicer"
    assert parent.categories == ["Quantification"]
    assert "Not a medical device" in parent.helpText
    assert "arXiv 2605.31596" in parent.acknowledgementText
    assert not parent.icon.isNull()


@pytest.fixture
def offered(module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the module registers with Slicer's Sample Data module (its stand-in has the real signatures, or
    is the real one).
    """
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    module.registerSampleData()
    [source] = slicer.modules.sampleDataSources["KLIP"]
    return source


def test_the_synthetic_study_is_offered_and_nothing_is_downloaded(offered: Any) -> None:
    assert offered.sampleName == "KLIPSynthetic"
    assert Path(offered.thumbnailFileName).is_file()
    assert offered.uris == [""]  # none, as Slicer writes it
    assert offered.nodeNames == ["KLIPSynthetic"]
    assert offered.customDownloader is sample_study.loadSyntheticStudy
    assert slicer.modules.sampleDataSourceCategories["KLIP"]["title"]


def test_on_a_dashboard_without_torch_the_modules_own_test_installs_nothing(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    from KLIPSlicerLib import dependencies

    qt.QSettings().remove("KLIPSlicer/OtherPython")
    own = dependencies.ownVersions
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: sys.executable)
    monkeypatch.setattr(dependencies, "ownVersions", lambda names: {**own(names), "torch": None})
    said: list[str] = []
    monkeypatch.setattr(module.KLIPSlicerTest, "delayDisplay", lambda self, text, *_: said.append(text))
    module.KLIPSlicerTest().runTest()
    assert said[-1].startswith("Skipped: torch not installed")


# ---- which Slicer


def test_an_older_slicer_gets_a_sentence_in_place_of_the_panel(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6 import QtCore, QtWidgets

    monkeypatch.setattr(slicer.app, "minorVersion", 10)
    before = {name for name in sys.modules if name.startswith("KLIPSlicerLib")}
    widget = module.KLIPSlicerWidget()
    label = QtCore.QObject.findChild(widget.parent, QtWidgets.QLabel, "reasonLabel")
    assert QtWidgets.QLabel.text(label).startswith("KLIP needs 3D Slicer 5.12 or newer, and this is 5.10.")
    assert {name for name in sys.modules if name.startswith("KLIPSlicerLib")} - before <= {"KLIPSlicerLib.version"}
    widget.enter()
    widget.exit()
    slicer.mrmlScene.Clear(0)
    widget.cleanup()
    widget.parent.deleteLater()


@pytest.mark.parametrize(
    ("version", "works"), [((5, 10), False), ((4, 99), False), ((5, 12), True), ((5, 13), True), ((6, 0), True)]
)
def test_slicer_5_12_is_the_oldest(version: tuple[int, int], works: bool) -> None:
    from KLIPSlicerLib.version import reasonAgainstSlicer

    assert (reasonAgainstSlicer(*version) == "") == works


# ---- opened again and again, reloaded, unloaded


def observers_made(node: Any, what: Any) -> int:
    """How many observers a call adds to a node: VTK numbers them."""
    first = node.AddObserver("ModifiedEvent", lambda *_: None)
    node.RemoveObserver(first)
    what()
    last = node.AddObserver("ModifiedEvent", lambda *_: None)
    node.RemoveObserver(last)
    return int(last - first - 1)


def test_opening_the_module_again_leaves_nothing_behind(module: Any, tmp_path: Path) -> None:
    with panel_at_work.opened_panel(tmp_path) as widget:
        parameters, node = widget._parameterNode, widget._parameterNode.parameterNode
        assert observers_made(node, lambda: [(widget.exit(), widget.enter()) for _ in range(50)]) == 0
        assert widget._parameterNode is parameters
        assert len(widget.Observations) == 5
        assert (
            observers_made(node, lambda: [slicer.mrmlScene.Clear(0) for _ in range(20)]) <= 20
        )  # ours, taken off and put on again
        assert len(widget.Observations) == 5
        widget.ui.viewsSpinBox.value = 33
        assert widget._parameterNode.views == 33  # still connected


def test_the_application_does_not_call_a_panel_that_is_gone(module: Any, tmp_path: Path) -> None:
    before = list(slicer.app.connected)
    for _ in range(3):
        with panel_at_work.opened_panel(tmp_path):
            assert len(slicer.app.connected) == len(before) + 1
    assert slicer.app.connected == before


def test_reload_reads_the_parts_anew_too(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Slicer's own reloadScriptedModule does not do."""
    import importlib

    reloaded: list[str] = []
    kept = {name: part for name, part in sys.modules.items() if name.split(".")[0] in ("KLIPSlicerLib", "KLIPCore")}
    with panel_at_work.opened_panel(tmp_path) as widget:
        old, library = sys.modules["KLIPSlicerLib.panel"], sys.modules["KLIPCore.errors"]
        monkeypatch.setattr(slicer.util, "reloadScriptedModule", lambda name: reloaded.append(name))
        try:
            widget.onReload()
            assert reloaded == ["KLIPSlicer"]
            assert importlib.import_module("KLIPSlicerLib.panel") is not old
            assert importlib.import_module("KLIPCore.errors") is not library
            widget.cleanup()  # the old widget's, after the new file was read
        finally:
            for name in [name for name in sys.modules if name.split(".")[0] in ("KLIPSlicerLib", "KLIPCore")]:
                del sys.modules[name]
            sys.modules.update(kept)
            widget.panel = None


def drawing(folder: Path, seconds: float = 0.2) -> Path:
    """In place of KLIPCore: a `klip demo` that draws for so long and would then examine for minutes."""
    (folder / "KLIPCore").mkdir()
    (folder / "KLIPCore" / "__init__.py").write_text("")
    (folder / "KLIPCore" / "cli.py").write_text(
        textwrap.dedent(
            f"""
            import json, pathlib, sys, time
            out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
            def say(stage, part):
                print(json.dumps(dict(stage=stage, fraction=part, eta_s=None, detail="")), flush=True)
            (out / "synthetic" / "ct").mkdir(parents=True)
            say("draw", 0.1); time.sleep({seconds}); say("draw", 0.3)
            say("read", 0.4); time.sleep(600)
            """
        )
    )
    return folder


def test_drawing_stops_when_the_study_is_whole(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: drawing(tmp_path))
    told: list[float] = []
    assert sample_study.drawStudy(
        tmp_path / "out", Interpreter(sys.executable), None, lambda part: told.append(part) and False
    )
    assert max(told) == 0.4
    assert klip_processes() == []


def test_drawing_can_be_cancelled(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is there, and not all of its slices."""
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: drawing(tmp_path, 600))
    assert not sample_study.drawStudy(tmp_path / "out", Interpreter(sys.executable), None, lambda part: part > 0)
    assert not (tmp_path / "out" / "synthetic").exists()  # the next time it is drawn anew
    assert klip_processes() == []


def test_drawing_that_fails_says_so(module: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be started"):
        sample_study.drawStudy(tmp_path / "out", Interpreter(str(tmp_path / "no python")), None, lambda part: False)
