"""C-GET, C-MOVE: the CT series of one study → a folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from KLIPCore.errors import KlipError, OutputError, ResourceError
from KLIPCore.pacs.dimse import (
    CT_CLASSES,
    GET,
    MOVE,
    SYNTAXES,
    application,
    association,
    is_pending,
    pynetdicom,
    silent,
)
from KLIPCore.pacs.find import FoundSeries, Wanted, find_series
from KLIPCore.pacs.keep import Keeper, Limits
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.peers import Peer
from KLIPCore.pacs.uids import short

OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000

Tell = Callable[[int, int | None], None]
"""Hears images that came, and how many there should be."""


@dataclass(frozen=True)
class Manner:
    """How a study is fetched.

    Attributes
    ----------
    method : ``get``; or ``move``, where a PACS knows no C-GET: it then sends to a port of ours.
    port : on which we listen for ``move``.
    host : the address we listen at for ``move``.
    every_series : whether all CT series come; else the one with most images.
    most_s : seconds that one series may take.
    """

    method: str = "get"
    port: int = 11112
    host: str = "127.0.0.1"
    every_series: bool = False
    most_s: float = 3600.0


@dataclass
class Intake:
    """What comes while a series is fetched.

    Attributes
    ----------
    keeper : writes it.
    pace : how fast it may come.
    images : number that should come; None where nobody knows.
    tell : hears how many have.
    until : ``time.monotonic()`` at which it is given up.
    fault : the first thing that went wrong here.
    """

    keeper: Keeper
    pace: Pace
    images: int | None
    tell: Tell
    until: float
    fault: KlipError | None = None
    count: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, event: Any) -> int:
        """Handle a C-STORE of pynetdicom, and return its status."""
        self.pace.wait()
        with self.lock:
            try:
                if time.monotonic() > self.until:
                    raise ResourceError("A series took too long to come.", "Try again when the PACS is less busy.")
                self.keeper.keep(event.encoded_dataset())
            except KlipError as error:
                self.fault = self.fault or error
                return OUT_OF_RESOURCES if isinstance(error, ResourceError | OutputError) else CANNOT_UNDERSTAND
            self.count += 1
            self.tell(self.count, self.images)
        return 0x0000


def fetch_study(
    peer: Peer, wanted: Wanted, folder: Path, pace: Pace, *, manner: Manner | None = None, tell: Tell | None = None
) -> list[FoundSeries]:
    """Fetch CT series of a study into a folder and return them; a folder that is there already is kept.

    Parameters
    ----------
    peer : the PACS.
    wanted : the study.
    folder : to be; it appears when all images are in it.
    pace : how fast.
    manner : how.
    tell : hears how many images have come.

    Raises
    ------
    EmptyInputError, AmbiguousSeriesError, NotCTError : there is no such study, or it is not one CT.
    ResourceError : the PACS does not answer, fell silent, or sent only part of a series.
    OutputError : the folder cannot be written.
    """
    if folder.exists():
        return []
    manner, series = manner or Manner(), find_series(peer, wanted)
    take = series if manner.every_series else series[:1]
    with whole(folder) as part:
        for one in take:
            intake = Intake(
                Keeper(part, Limits()),
                pace,
                one.images,
                tell or (lambda n, of: None),
                time.monotonic() + manner.most_s,
            )
            said = _move(peer, one, intake, manner) if manner.method == "move" else _get(peer, one, intake)
            _check_whole(one, intake, said)
    return take


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the one to be, which takes its name when the block ends well and is removed when not."""
    part = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.rename(folder)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be written ({error.strerror or error}).", "Choose another folder with --to."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _query(series: FoundSeries) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID, query.SeriesInstanceUID = series.study_uid, series.series_uid
    return query


def _get(peer: Peer, series: FoundSeries, intake: Intake) -> Counter[str]:
    """Fetch a series over the association that asks for it."""
    events = pynetdicom().evt
    contexts: list[tuple[str, tuple[str, ...]]] = [(GET, SYNTAXES[:2])]
    contexts += [(sop_class, (syntax,)) for sop_class in CT_CLASSES for syntax in SYNTAXES]
    handlers = [(events.EVT_C_STORE, intake.store)]
    with association(peer, contexts, receives=CT_CLASSES, handlers=handlers) as link:
        return _responses(peer, link.send_c_get(_query(series), GET), intake, link)


def _move(peer: Peer, series: FoundSeries, intake: Intake, manner: Manner) -> Counter[str]:
    """Let the PACS send a series to a port of ours, open for this series alone and for this PACS alone.

    Raises
    ------
    ConfigError : the PACS is spoken to by TLS, and there is no certificate for our port.
    ResourceError : the port is taken, or the PACS does not answer.
    """
    events = pynetdicom().evt
    entity = application(peer.own_title, peer.timeout_s)
    entity.require_called_aet, entity.require_calling_aet = True, [peer.title]
    entity.maximum_associations = 4
    for sop_class in CT_CLASSES:
        entity.add_supported_context(sop_class, list(SYNTAXES))
    try:
        server = entity.start_server(
            (manner.host, manner.port),
            block=False,
            evt_handlers=[(events.EVT_C_STORE, intake.store)],
            ssl_context=None if peer.tls is None else peer.tls.listening(),
        )
    except OSError as error:
        raise ResourceError(
            f"The port {manner.port} at {manner.host} cannot be listened on ({error.strerror}).",
            "Choose the --port at which the PACS knows us.",
        ) from error
    try:
        with association(peer, [(MOVE, SYNTAXES[:2])]) as link:
            answers = link.send_c_move(_query(series), peer.own_title, MOVE)
            return _responses(peer, answers, intake, link)
    finally:
        server.shutdown()


def _responses(peer: Peer, answers: Iterator[Any], intake: Intake, link: Any) -> Counter[str]:
    """Hear all responses to a C-GET or C-MOVE; the sub-operations that they count at last."""
    said: Counter[str] = Counter()
    for status, _ in answers:
        for name in ("Completed", "Failed", "Warning", "Remaining"):
            value = status.get(f"NumberOf{name}Suboperations")
            if value is not None:
                said[name] = int(value)
        if intake.fault is not None or time.monotonic() > intake.until:
            link.abort()
            raise intake.fault or ResourceError(
                "A series took too long to come.", "Try again when the PACS is less busy."
            )
        error = None if is_pending(status) else silent(peer, status)
        if error is not None:
            raise error
    return said


def _check_whole(series: FoundSeries, intake: Intake, said: Counter[str]) -> None:
    """Compare what came with what the PACS said there is.

    Raises
    ------
    ResourceError : only part of it came; the study is not examined by half.
    """
    if intake.fault is not None:
        raise intake.fault
    came = sum(kept.series == series.series_uid for kept in intake.keeper.kept.values())
    expected = series.images if series.images is not None else came + said["Failed"]
    if came < expected or not came:
        raise ResourceError(
            f"Only {came} of {expected} images of a series ({short(series.series_uid)}) came from the PACS.",
            "The study may still be arriving there; try again later.",
        )
