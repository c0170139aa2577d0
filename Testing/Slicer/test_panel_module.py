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
    qt.QSettings.values.clear()
    qt.QSettings().setValue("KLIPSlicer/OtherPython", sys.executable)
    qt.QSettings().setValue("KLIPSlicer/ResultsFolder", str(tmp_path))
    yield KLIPSlicer
    headless.clear()


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
def offered(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the module registers with Slicer's Sample Data module, whose two functions are recorded."""
    seen: dict[str, Any] = {}

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataCategory(category: str, title: str) -> None:  # noqa: N802
            seen["title"] = title

        @staticmethod
        def registerCustomSampleDataSource(**given: Any) -> None:  # noqa: N802
            seen.update(given)

    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=SampleDataLogic))
    module.registerSampleData()
    return seen


def test_the_synthetic_study_is_offered_and_nothing_is_downloaded(offered: dict[str, Any]) -> None:
    assert offered["category"] == "KLIP"
    assert offered["sampleName"] == "KLIPSynthetic"
    assert Path(offered["thumbnailFileName"]).is_file()
    assert "uris" not in offered
    assert offered["customDownloader"] is sample_study.loadSyntheticStudy


def drawing(folder: Path) -> Path:
    """In place of KLIPCore: a `klip demo` that draws quickly and would then examine for minutes."""
    (folder / "KLIPCore").mkdir()
    (folder / "KLIPCore" / "__init__.py").write_text("")
    (folder / "KLIPCore" / "cli.py").write_text(
        textwrap.dedent(
            """
            import json, pathlib, sys, time
            out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
            def say(stage, part):
                print(json.dumps({"stage": stage, "fraction": part, "eta_s": None, "detail": ""}), flush=True)
            say("draw", 0.1); time.sleep(0.2); say("draw", 0.3)
            (out / "synthetic" / "ct").mkdir(parents=True)
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
    monkeypatch.setattr("KLIPSlicerLib.runner.klipCoreFolder", lambda: drawing(tmp_path))
    assert not sample_study.drawStudy(tmp_path / "out", Interpreter(sys.executable), None, lambda part: part > 0)
    assert klip_processes() == []


def test_drawing_that_fails_says_so(module: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be started"):
        sample_study.drawStudy(tmp_path / "out", Interpreter(str(tmp_path / "no python")), None, lambda part: False)
