"""Whether a study suits a prior, found a few slices at a time while Slicer stays responsive.

The sentences are the library's own (KLIPCore.volume.framed_study.suitability, KLIPCore.io.study.check_ct):
what the panel says before a run is what the report says after it. Finding the body takes about 20 ms a slice of
512 × 512, so it is done between events; the answer for a volume and a prior is kept until either changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from slicer.i18n import tr as _

from .turns import Task, Turns

if TYPE_CHECKING:
    from KLIPCore.volume.model_card import ModelCard
    from KLIPCore.volume.volume import Volume


def unexpected(error: Exception) -> str:
    """What to say of an error that nobody foresaw."""
    return _(
        "The volume could not be looked through ({error}). The application log (Help menu) has the details; "
        "Slicer's own Python packages may have been exchanged."
    ).format(error=type(error).__name__)


class SuitabilityCheck:
    """Checks one volume against one card at a time; the last question wins."""

    def __init__(self, onAnswer: Callable[[list[str], str], None]) -> None:
        """:param onAnswer: called with (warnings, error); the error says why the volume is refused, or is empty."""
        self._onAnswer = onAnswer
        self._turns = Turns()
        self._known: dict[tuple, tuple[list[str], str]] = {}

    @property
    def working(self) -> bool:
        """Whether a question is not answered yet."""
        return self._turns.working

    def ask(self, key: tuple, volume: Callable[[], Generator[Any, None, Volume]], card: ModelCard) -> None:
        """Ask about a volume.

        :param key: what the answer depends on, e.g. the node's ID and modification times and the prior's name.
        :param volume: makes the volume, in HU, in short steps; may raise KlipError.
        """
        self.stop()
        if key in self._known:
            self._onAnswer(*self._known[key])
            return
        self._key = key
        self._turns.add(Task("check", lambda: checkInSteps(volume, card), self._answer, self._failed))

    def stop(self) -> None:
        """Forget the question."""
        self._turns.clear()

    def _failed(self, error: Exception) -> None:
        from KLIPCore.errors import KlipError

        if isinstance(error, KlipError):
            self._answer([], str(error))
            return
        logging.error("KLIPSlicer: the volume could not be checked", exc_info=error)
        self._answer([], unexpected(error))

    def _answer(self, warnings: list[str], error: str = "") -> None:
        self._known[self._key] = (warnings, error)
        self._onAnswer(warnings, error)


def checkInSteps(
    source: Callable[[], Generator[Any, None, Volume]], card: ModelCard
) -> Generator[None, None, list[str]]:
    """Check a volume against a card; each step takes milliseconds.

    Returns
    -------
    the warnings.

    Raises
    ------
    KlipError : the volume is refused.
    """
    from KLIPCore.io.judgement import checking
    from KLIPCore.volume.body import body_mask
    from KLIPCore.volume.frame import Frame, body_box
    from KLIPCore.volume.framed_study import SeenSlice, unsuited_slices
    from KLIPCore.volume.volume import Orientation

    volume = yield from source()
    warnings = yield from checking(volume)
    turn = Orientation(*volume.grid.lps_axes())
    slices, grid = turn.view(volume.array), volume.grid.oriented(turn.order, turn.flips)
    masks, boxes, seen = [], [], []
    for image in slices:
        masks.append(body_mask(card.window.apply(image)))
        yield
        boxes.append(body_box(masks[-1]))
        seen.append(SeenSlice.of(image, masks[-1], card.window))
        yield
    spacing = (float(grid.spacing[1]), float(grid.spacing[2]))
    frame = Frame.of_boxes(np.array(boxes), spacing, card.size, card.body_fraction)
    cut = 0.0
    for k, mask in enumerate(masks):
        cut = max(cut, frame.truncated_on(k, mask))
        yield
    return [*warnings, *unsuited_slices(grid, frame, card, seen, cut).values()]
