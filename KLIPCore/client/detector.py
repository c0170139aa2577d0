"""What a detection is to its user, wherever it runs: a request, events, files.

::

    detector = LocalDetector()                          # or RemoteDetector(Server("https://gpu.example", token))
    detector.run(Request(Path("STUDY"), Path("OUT"), {"preset": "quick"}), print)

Both leave in OUT what `klip detect` leaves, and both can be stopped and run again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore.errors import Cancelled


@dataclass(frozen=True)
class Request:
    """One detection to be done.

    Attributes
    ----------
    study : DICOM folder or file, volume file, or measured projections.
    out : folder for the results.
    settings : what :meth:`KLIPCore.config.Config.load` reads: a preset, and what is changed of it by section.
    series, slices, roi : which part of the study, as the options of `klip detect` say it.
    overwrite : replace a run with other settings in ``out``.
    """

    study: Path
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    series: str | None = None
    slices: str | None = None
    roi: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Event:
    """A step of the work.

    Attributes
    ----------
    stage : ``upload``, ``queue``, ``read``, ``frame``, ``sample``, ``map``, ``export``, ``download`` or ``done``.
    fraction : of the whole, 0 to 1.
    detail : in words.
    eta_s : seconds left, None where that is not known.
    """

    stage: str
    fraction: float
    detail: str = ""
    eta_s: float | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Event:
        """Return the event that a progress line of `klip` says."""
        eta = values.get("eta_s")
        return cls(
            str(values.get("stage", "")),
            float(values.get("fraction") or 0.0),
            str(values.get("detail", "")),
            None if eta is None else float(eta),
        )


class Detector(ABC):
    """A place where detections run. An object does one after another."""

    @abstractmethod
    def start(self, request: Request) -> None:
        """Begin; returns once the request has been accepted.

        Raises
        ------
        KlipError : it is refused.
        """

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Yield what happens, up to the end of the work.

        Raises
        ------
        KlipError : the work failed, with what is wrong and what to do.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Stop the work, wherever it is done; harmless where there is none."""

    @abstractmethod
    def results(self) -> list[Path]:
        """Return the files of the finished run, all of them below the request's ``out``."""

    def run(self, request: Request, tell: Callable[[str, float, str], None] | None = None) -> list[Path]:
        """Do a whole detection.

        Parameters
        ----------
        request : what to do.
        tell : called with stage, fraction and detail of each event.

        Raises
        ------
        KlipError : it is refused, or fails.
        Cancelled : stopped from the keyboard; the work is cancelled where it is done.
        """
        try:
            self.start(request)
            for event in self.events():
                if tell is not None:
                    tell(event.stage, event.fraction, event.detail)
            return self.results()
        except KeyboardInterrupt as stop:
            self.cancel()
            raise Cancelled("Stopped.", "Run the same command again to continue.") from stop
