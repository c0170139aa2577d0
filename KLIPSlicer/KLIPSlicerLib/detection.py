"""One press of Detect: from the chosen volume through a run of `klip` to results in the scene. No widgets here.

    input node → study source → `klip detect` (runner) → finished slices → scene results

The study source is prepared between events, a few milliseconds at a time (study_source); only then is `klip` started.
Results appear with the first slices that make a map and grow while later ones are computed. The run's folder is named
after the run's own fingerprint, so the same study with the same settings is continued, whether it was cancelled a
minute or a week ago, and whichever slices were chosen then.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from . import parameters as choices
from .failures import sentenceOf
from .outputs import Outputs, checkOutputs
from .process_leader import REMOTE
from .runner import Callbacks, Interpreter, Runner
from .sequences import sequenceSentence
from .server_controls import remoteSettings
from .study_source import StudySource, boxOfRoi, sourceOf
from .turns import Task, Turns

if TYPE_CHECKING:
    from KLIPCore.config import Config

    from .parameters import KLIPSlicerParameterNode
    from .scene_results import SceneResults
    from .steps import Steps

SHARE_OF_TIME = 0.2
"""Part of the time that showing partial results may take of Slicer's."""

AT_ONCE_SECONDS = 0.02
"""Work of one turn before the run; a step more may be added to it."""


def _nothing(*_args: Any) -> None:
    """What is called where nobody listens."""


@dataclass
class Listener:
    """Who is told what. One of onFinished, onCancelled and onFailed ends a detection.

    onNote tells what the user should know about the study, onLog what goes into a log.
    """

    onProgress: Callable[[str, float, str, float | None], None] = _nothing
    onResults: Callable[[SceneResults], None] = _nothing
    onFinished: Callable[[SceneResults], None] = _nothing
    onCancelled: Callable[[SceneResults | None], None] = _nothing
    onFailed: Callable[[str], None] = _nothing
    onNote: Callable[[str], None] = _nothing
    onLog: Callable[[str], None] = _nothing


@dataclass(frozen=True)
class Order:
    """What was asked for when Detect was pressed; later changes of the controls do not matter.

    node : what is examined.
    config : the configuration; ``cardSha256`` of its prior.
    selection : options of `klip detect` that choose slices and a box.
    folder : below which run folders are kept.
    server : options that name a server; none where this computer does the work.
    """

    node: Any
    config: Config
    cardSha256: str
    selection: list[str]
    interpreter: Interpreter
    environment: dict[str, str] | None
    folder: Path
    server: tuple[str, ...] = ()


class Detection:
    """Runs one detection at a time.

    Attributes
    ----------
    results : what the last one, or the present one so far, has put into the scene.
    runFolder : where its files are.
    turns : work on results, one task after the other; others who work on them take their turns here, too.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener or Listener()
        self.results: SceneResults | None = None
        self.runFolder: Path | None = None
        self._source: StudySource | None = None
        self._steps: Generator[float, None, StudySource] | None = None
        self._order: Order | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._prepare)
        self.turns = Turns()
        self._ending = False  # the process is over, its last results are being read
        self._parameters: KLIPSlicerParameterNode | None = None
        self._outputs = Outputs()
        self._runner = Runner(
            Callbacks(
                onProgress=lambda *told: self.listener.onProgress(*told),
                onSlice=self._onSlice,
                onFinished=self._onFinished,
                onCancelled=self._onCancelled,
                onFailed=self._onFailed,
                onLog=lambda line: self.listener.onLog(line),
            )
        )

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._steps is not None or self._runner.running or self._ending

    def start(
        self,
        parameters: KLIPSlicerParameterNode,
        interpreter: Interpreter,
        environment: dict[str, str] | None,
        folder: Path,
        server: tuple[str, ...] = (),
        outputs: Outputs | None = None,
    ) -> None:
        """Start.

        :param interpreter: a Python in which everything is there (KLIPSlicerLib.dependencies).
        :param environment: its environment variables; Slicer's own when None.
        :param folder: below which run folders are kept.
        :param server: options that name a server, when it does the work (KLIPSlicerLib.server_controls).
        :param outputs: nodes that results go into; those that the parameters name when None.
        :raises KlipError: the volume or the settings cannot be used; the sentence is for the user.
        """
        from .cards import knownPriors
        from .nodes import gridOfNode

        if self.running:
            raise RuntimeError("A detection is in progress.")
        node = parameters.inputVolume
        config = choices.configOf(parameters)
        card = knownPriors(parameters.weightsFolder).get(config.prior)
        box = boxOfRoi(parameters.roi, node) if parameters.roi is not None else None
        selection = choices.selectionArguments(parameters, box)
        sha256 = card.sha256 if card else ""
        gridOfNode(node)  # refuses what is empty
        if outputs is None:
            checkOutputs(parameters)
        self._outputs = Outputs.chosenIn(parameters) if outputs is None else outputs
        self._order = Order(node, config, sha256, selection, interpreter, environment, folder, server)
        self.results, self.runFolder = None, None
        self._parameters, self._input = parameters, node.GetID()
        self._nextPartial = 0.0
        self._steps = sourceOf(node, folder / "input")
        item = sequenceSentence(node)
        if item:
            self.listener.onLog(item)
        self._timer.start()

    def _prepare(self) -> None:
        """Some more of what comes before the run; a few milliseconds."""
        until = time.monotonic() + AT_ONCE_SECONDS
        try:
            while self._steps is not None:
                try:
                    part = next(self._steps)
                except StopIteration as end:
                    self._stopPreparing()
                    self._run(end.value)
                    return
                if time.monotonic() > until:
                    self.listener.onProgress("compare", 0.0, f"{100 * part:.0f} %", None)
                    return
        except Exception as error:
            self._stopPreparing()
            sentence = sentenceOf(error)
            self.listener.onLog(sentence)
            self._onFailed(sentence)

    def _stopPreparing(self) -> None:
        self._timer.stop()
        if self._steps is not None:
            self._steps.close()  # removes what is half written
        self._steps = None

    def _run(self, source: StudySource) -> None:
        """Start `klip` on the study."""
        order, self._order = self._order, None
        assert order is not None
        self._source = source
        self.runFolder = order.folder / order.config.fingerprint(order.cardSha256, source.digest)
        if source.note:
            self.listener.onNote(source.note)
        where = ["-o", str(self.runFolder), "--overwrite"]
        if order.server:
            settings = remoteSettings(order.config, order.folder)
            arguments = [REMOTE, *source.arguments, *where, *settings, *order.server, *order.selection]
        else:
            arguments = ["detect", *source.arguments, *where, *choices.argumentsOf(order.config), *order.selection]
        self._runner.start(order.interpreter, arguments, order.environment)

    def cancel(self) -> None:
        """Stop; finished slices are kept on disk and stay in the scene."""
        if self._steps is not None:
            self._stopPreparing()
            self._onCancelled()
            return
        self._runner.cancel()  # what is only being read any more comes to its end

    def cancelAndWait(self) -> None:
        """Stop and return when all processes are gone."""
        if self._steps is not None:
            self.cancel()
        self._runner.cancelAndWait()
        self.turns.clear()
        if self._ending:
            self._ending = False
            self.listener.onCancelled(self.results if self.results is not None and self.results.whole else None)

    # -- while it runs

    def _onSlice(self, _done: int) -> None:
        """Show what is finished, but no more often than :data:`SHARE_OF_TIME` allows."""
        started = time.monotonic()
        if self.turns.working or started < self._nextPartial:
            return

        def later(*_any: Any) -> None:
            now = time.monotonic()
            self._nextPartial = now + (now - started) * (1 / SHARE_OF_TIME - 1)

        def failed(error: Exception) -> None:
            later()
            if not _isKlipError(error):  # else too few blocks for a map yet, or a file still being written
                logging.error("KLIPSlicer: finished slices could not be shown", exc_info=error)

        self.turns.add(Task("read", self._reading, later, failed))

    def _reading(self) -> Steps[None]:
        """Bring what is finished into the scene."""
        from .scene_results import FOLDER, SceneResults

        scene = slicer.mrmlScene
        node = scene.GetNodeByID(self._input)
        if node is None:
            self.cancel()
            return
        if self.results is not None and not self.results.whole:  # somebody has deleted a part of it
            self.results.remove()
            self.results = None
        if self.results is None:
            chosen = self._outputs.inScene(scene)
            for old in SceneResults.allInScene(scene):
                if old.GetAttribute(FOLDER) == str(self.runFolder):  # the run that is continued
                    SceneResults(old).remove(list(chosen.values()))
            results = yield from SceneResults.creating(node, self.runFolder, chosen)
            wanted = choices.regionConfigOf(self._parameters)
            if wanted != results.settings:
                yield from results.showing(wanted)
            results.setOpacity(self._parameters.opacity)
            self.results = results
        elif not (yield from self.results.addingPartial()):
            return
        self.listener.onResults(self.results)

    # -- how it ends

    def _end(self, steps: Callable[[], Steps[None]], said: Callable[[], None]) -> None:
        """Do the last of the work, then say how it ended."""
        self._ending = True

        def ended(*_any: Any) -> None:
            self._ending = False
            said()

        def failed(error: Exception) -> None:
            self._ending = False
            self.listener.onFailed(sentenceOf(error))

        self.turns.add(Task("end", steps, ended, failed))

    def _onFinished(self) -> None:
        self._cleanUp()
        self._end(self._reading, self._sayFinished)

    def _sayFinished(self) -> None:
        if self.results is None:
            self.listener.onFailed(_("The examined volume is no longer in the scene."))
            return
        self.listener.onFinished(self.results)

    def _onCancelled(self) -> None:
        started = self._source is not None
        self._cleanUp()
        if not started:
            self.listener.onCancelled(self.results)
            return
        self._end(self._readingTheRest, lambda: self.listener.onCancelled(self.results))

    def _readingTheRest(self) -> Steps[None]:
        """Bring what was finished before Cancel into the scene; there may be nothing."""
        try:
            yield from self._reading()
        except Exception as error:
            if not _isKlipError(error):
                raise
        if self.results is not None:
            yield from self.results.finishing()

    def _onFailed(self, sentence: str) -> None:
        self._cleanUp()
        self.listener.onFailed(sentence)

    def _cleanUp(self) -> None:
        """Remove what only the process needed."""
        self._order = None
        if self._source is not None:
            self._source.remove()
            self._source = None
        if self.runFolder is not None:
            with contextlib.suppress(OSError):  # Windows does not remove what is still open
                for part in [*self.runFolder.glob("*.part"), *self.runFolder.glob("trace/*.part")]:
                    part.unlink(missing_ok=True)


def _isKlipError(error: Exception) -> bool:
    from KLIPCore.errors import KlipError

    return isinstance(error, KlipError)
