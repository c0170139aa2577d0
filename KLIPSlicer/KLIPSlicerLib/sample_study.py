"""The synthetic study in Slicer's Sample Data module: a patient who does not exist, with lesions of known place.

Nothing is downloaded. `klip demo` draws the patient from the shipped prior and writes a DICOM series; as soon as that
is whole, the command is stopped, because examining the study is what the user wants to press the button for. The
series stays in the results folder, so it is drawn once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from .dependencies import Choices, Dependencies
from .paths import resourcePath
from .runner import Callbacks, Interpreter, Runner

CATEGORY = "KLIP"
SAMPLE_NAME = "KLIPSynthetic"


def registerSyntheticStudy() -> None:
    """Offer the study; called when Slicer has started."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.11 and later
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("KLIP: out-of-distribution detection"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris="",  # one data set without an address: None is refused by Slicer, also where nothing is downloaded
        fileNames="",
        nodeNames=SAMPLE_NAME,
        thumbnailFileName=str(resourcePath("Icons/SyntheticStudy.png")),
        customDownloader=loadSyntheticStudy,
    )


def loadSyntheticStudy(_source: Any = None) -> list[Any]:
    """Draw the study if need be, and load it; the Sample Data module calls this.

    Returns
    -------
    the volume nodes that were loaded; none when the user cancelled.
    """
    settings = qt.QSettings()
    dependencies = Dependencies(
        Choices(settings.value("KLIPSlicer/OtherPython") or "", settings.value("KLIPSlicer/WheelFolder") or "")
    )
    root = settings.value("KLIPSlicer/ResultsFolder") or str(Path(slicer.app.temporaryPath) / "KLIPSlicer")
    with slicer.util.tryWithErrorDisplay(_("The synthetic study could not be made.")):
        folder = Path(root) / "synthetic study"
        ct = folder / "synthetic" / "ct"
        if not ct.is_dir():
            dialog = slicer.util.createProgressDialog(labelText=_("Drawing a synthetic patient"), maximum=100)
            try:
                drawn = drawStudy(
                    folder, dependencies.ensure(), dependencies.environment(), lambda part: _tell(dialog, part)
                )
            finally:
                dialog.close()
            if not drawn:
                return []
        return loadDicomFolder(ct)
    return []


def drawStudy(
    folder: Path, interpreter: Interpreter, environment: dict[str, str] | None, tell: Callable[[float], bool]
) -> bool:
    """Run `klip demo` until its study is written.

    :param tell: called with the part done; its answer says whether the user wants to stop.
    :returns: whether the study is there.
    :raises RuntimeError: it failed; the message says what to do.
    """
    ct = folder / "synthetic" / "ct"
    state: dict[str, Any] = {"part": 0.0, "whole": False, "ended": False, "failure": ""}
    runner = Runner()

    def onProgress(stage: str, fraction: float, _detail: str, _seconds: float | None) -> None:
        state["part"] = fraction
        if stage != "draw":  # the study is whole, the rest is the examination
            state["whole"] = True
            runner.cancel()

    def onEnd(sentence: str = "") -> None:
        state["ended"], state["failure"] = True, sentence

    runner.callbacks = Callbacks(onProgress=onProgress, onFinished=onEnd, onCancelled=onEnd, onFailed=onEnd)
    runner.start(interpreter, ["demo", "-o", str(folder)], environment)
    while not state["ended"]:
        slicer.app.processEvents()
        time.sleep(0.02)
        if tell(state["part"]):
            runner.cancel()
    if not state["whole"]:  # some of its slices may be there
        shutil.rmtree(folder / "synthetic", ignore_errors=True)
    if state["failure"]:
        raise RuntimeError(state["failure"])
    return state["whole"] and ct.is_dir()


def loadDicomFolder(folder: Path) -> list[Any]:
    """Import a series into Slicer's DICOM database and load it, so that exports can refer to it."""
    from DICOMLib import DICOMUtils

    from .dicom_origin import seriesOf

    first = next(path for path in sorted(folder.iterdir()) if path.is_file())
    DICOMUtils.importDicom(str(folder))
    return [slicer.mrmlScene.GetNodeByID(identifier) for identifier in DICOMUtils.loadSeriesByUID([seriesOf(first)])]


def _tell(dialog: Any, part: float) -> bool:
    """Show how far it is; whether the user pressed Cancel."""
    dialog.value = round(100 * part / 0.4)  # drawing is the first 40 % of the demo
    return bool(dialog.wasCanceled)
