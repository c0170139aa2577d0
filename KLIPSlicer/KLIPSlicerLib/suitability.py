"""Whether a study suits a prior, found a few slices at a time while Slicer stays responsive.

The sentences are the library's own (KLIPCore.volume.framed_study.suitability, KLIPCore.io.study.check_ct):
what the panel says before a run is what the report says after it. Finding the body takes about 20 ms a slice of
512 × 512, so it is done between events; the answer for a volume and a prior is kept until either changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import qt
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from KLIPCore.volume.model_card import ModelCard
    from KLIPCore.volume.volume import Volume

AT_ONCE_SECONDS = 0.03
"""Work of one turn; below what a user notices."""


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
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._work)
        self._known: dict[tuple, tuple[list[str], str]] = {}
        self.working = False

    def ask(self, key: tuple, volume: Callable[[], Volume], card: ModelCard) -> None:
        """Ask about a volume.

        :param key: what the answer depends on, e.g. the node's ID and modification times and the prior's name.
        :param volume: makes the volume, in HU; may raise KlipError.
        """
        self.stop()
        if key in self._known:
            self._onAnswer(*self._known[key])
            return
        self._key, self._card, self._source = key, card, volume
        self._lps, self._body, self._warnings = None, [], []
        self.working = True
        self._timer.start()

    def stop(self) -> None:
        """Forget the question."""
        self._timer.stop()
        self.working = False

    def _work(self) -> None:
        from KLIPCore.errors import KlipError

        try:
            if self._lps is None:
                self._begin()
            until = time.monotonic() + AT_ONCE_SECONDS
            while len(self._body) < len(self._lps.array) and time.monotonic() < until:
                self._nextSlice()
            if len(self._body) == len(self._lps.array):
                self._finish()
        except KlipError as error:
            self._answer([], str(error))
        except Exception as error:  # whatever it is, the timer must not ask again and again
            logging.exception("KLIPSlicer: the volume could not be checked")
            self._answer([], unexpected(error))

    def _begin(self) -> None:
        from KLIPCore.io.study import check_ct

        volume = self._source()
        self._warnings = check_ct(volume)
        self._lps, _orientation = volume.oriented_lps()

    def _nextSlice(self) -> None:
        from KLIPCore.volume.body import body_mask

        self._body.append(body_mask(self._card.window.apply(self._lps.array[len(self._body)])))

    def _finish(self) -> None:
        from KLIPCore.volume.frame import Frame
        from KLIPCore.volume.framed_study import suitability

        body = np.stack(self._body)
        spacing = self._lps.grid.spacing
        frame = Frame.of_body(body, (float(spacing[1]), float(spacing[2])), self._card.size, self._card.body_fraction)
        self._answer([*self._warnings, *suitability(self._lps, body, frame, self._card)], "")

    def _answer(self, warnings: list[str], error: str) -> None:
        self.stop()
        self._known[self._key] = (warnings, error)
        self._lps, self._body = None, []
        self._onAnswer(warnings, error)
