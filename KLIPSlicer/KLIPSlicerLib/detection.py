"""One press of Detect: from the chosen volume through a run of `klip` to results in the scene. No widgets here.

    input node → study source → `klip detect` (runner) → finished slices → scene results

Results appear with the first slices that make a map and grow while later ones are computed. The run's folder is named
after the run's own fingerprint, so the same study with the same settings is continued, whether it was cancelled a
minute or a week ago, and whichever slices were chosen then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from . import parameters as choices
from .runner import Callbacks, Interpreter, Runner
from .study_source import StudySource, boxOfRoi

if TYPE_CHECKING:
    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults

SHARE_OF_TIME = 0.2
"""Part of the time that showing partial results may take of Slicer's."""


def _nothing(*_args: Any) -> None:
    """What is called where nobody listens."""


@dataclass
class Listener:
    """Who is told what. One of onFinished, onCancelled and onFailed ends a detection."""

    onProgress: Callable[[str, float, str, float | None], None] = _nothing
    onResults: Callable[[SceneResults], None] = _nothing
    onFinished: Callable[[SceneResults], None] = _nothing
    onCancelled: Callable[[SceneResults | None], None] = _nothing
    onFailed: Callable[[str], None] = _nothing


class Detection:
    """Runs one detection at a time.

    Attributes
    ----------
    results : what the last one, or the present one so far, has put into the scene.
    runFolder : where its files are.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener or Listener()
        self.results: SceneResults | None = None
        self.runFolder: Path | None = None
        self._source: StudySource | None = None
        self._parameters: KLIPSlicerParameterNode | None = None
        self._runner = Runner(
            Callbacks(
                onProgress=lambda *told: self.listener.onProgress(*told),
                onSlice=self._onSlice,
                onFinished=self._onFinished,
                onCancelled=self._onCancelled,
                onFailed=self._onFailed,
            )
        )

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._runner.running

    def start(
        self,
        parameters: KLIPSlicerParameterNode,
        interpreter: Interpreter,
        environment: dict[str, str] | None,
        folder: Path,
    ) -> None:
        """Start.

        :param interpreter: a Python in which everything is there (KLIPSlicerLib.dependencies).
        :param environment: its environment variables; Slicer's own when None.
        :param folder: below which run folders are kept.
        :raises KlipError: the volume or the settings cannot be used; the sentence is for the user.
        """
        from KLIPCore.runs.rerun import volume_hash

        from .cards import knownPriors

        node = parameters.inputVolume
        config = choices.configOf(parameters)
        card = knownPriors(parameters.weightsFolder).get(config.prior)
        source = StudySource.of(node, folder / "input")
        fingerprint = config.fingerprint(card.sha256 if card else "", volume_hash(source.volume))
        arguments = [
            "detect",
            *source.arguments,
            "-o",
            str(folder / fingerprint),
            "--overwrite",
            *choices.argumentsOf(config),
        ]
        box = boxOfRoi(parameters.roi, node) if parameters.roi is not None else None
        arguments += choices.selectionArguments(parameters, box)
        self.results, self.runFolder = None, folder / fingerprint
        self._source, self._parameters, self._input = source, parameters, node.GetID()
        self._nextPartial = 0.0
        self._runner.start(interpreter, arguments, environment)

    def cancel(self) -> None:
        """Stop; finished slices are kept on disk and stay in the scene."""
        self._runner.cancel()

    def cancelAndWait(self) -> None:
        """Stop and return when all processes are gone."""
        self._runner.cancelAndWait()

    # -- while it runs

    def _onSlice(self, _done: int) -> None:
        """Show what is finished, but no more often than :data:`SHARE_OF_TIME` allows."""
        if time.monotonic() < self._nextPartial:
            return
        started = time.monotonic()
        try:
            self._readNew()
        except (
            Exception
        ) as error:  # too few blocks for a map yet, or a file still being written: there will be another slice
            if not _isKlipError(error):
                raise
        took = time.monotonic() - started
        self._nextPartial = time.monotonic() + took * (1 / SHARE_OF_TIME - 1)

    def _readNew(self) -> None:
        from .scene_results import FOLDER, SceneResults

        node = slicer.mrmlScene.GetNodeByID(self._input)
        if node is None:
            self.cancel()
            return
        if self.results is None:
            for old in SceneResults.allInScene(slicer.mrmlScene):
                if old.GetAttribute(FOLDER) == str(self.runFolder):  # the run that is continued
                    SceneResults(old).remove()
            self.results = SceneResults.create(node, self.runFolder)
            wanted = choices.regionConfigOf(self._parameters)
            if wanted != self.results.settings:
                self.results.show(wanted)
            self.results.setOpacity(self._parameters.opacity)
        elif not self.results.addPartial():
            return
        self.listener.onResults(self.results)

    # -- how it ends

    def _onFinished(self) -> None:
        self._cleanUp()
        try:
            self._readNew()
        except Exception as error:
            if not _isKlipError(error):
                raise
            self.listener.onFailed(str(error))
            return
        if self.results is None:
            self.listener.onFailed(_("The examined volume is no longer in the scene."))
            return
        self.listener.onFinished(self.results)

    def _onCancelled(self) -> None:
        self._cleanUp()
        try:
            self._readNew()
        except Exception as error:  # nothing was finished
            if not _isKlipError(error):
                raise
        if self.results is not None:
            self.results.finish()
        self.listener.onCancelled(self.results)

    def _onFailed(self, sentence: str) -> None:
        self._cleanUp()
        self.listener.onFailed(sentence)

    def _cleanUp(self) -> None:
        """Remove what only the process needed."""
        if self._source is not None:
            self._source.remove()
            self._source = None
        if self.runFolder is not None:
            for part in [*self.runFolder.glob("*.part"), *self.runFolder.glob("trace/*.part")]:
                part.unlink(missing_ok=True)


def _isKlipError(error: Exception) -> bool:
    from KLIPCore.errors import KlipError

    return isinstance(error, KlipError)
