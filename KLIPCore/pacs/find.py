"""C-FIND and QIDO: which study is meant, which CT series it has, and how many images each should have."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, NotCTError
from KLIPCore.io.fields import number, text
from KLIPCore.pacs.dimse import FIND, SYNTAXES, association, is_pending, silent
from KLIPCore.pacs.peers import Peer
from KLIPCore.pacs.uids import check_accession, check_uid


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a study by its UID or its accession number, and perhaps one series of it."""

    study_uid: str = ""
    accession: str = ""
    series_uid: str = ""

    def __post_init__(self) -> None:
        if self.study_uid:
            check_uid(self.study_uid, "study UID")
        else:
            check_accession(self.accession)
        if self.series_uid:
            check_uid(self.series_uid, "series UID")


@dataclass(frozen=True)
class FoundSeries:
    """A CT series in a PACS.

    Attributes
    ----------
    study_uid, series_uid : which.
    images : how many instances the PACS says it has; None where it does not say.
    """

    study_uid: str
    series_uid: str
    images: int | None


def find_series(peer: Peer, wanted: Wanted) -> list[FoundSeries]:
    """Return the CT series of a study, the largest first, or the one that is wanted.

    Raises
    ------
    EmptyInputError : the PACS knows no such study.
    AmbiguousSeriesError : several studies have that accession number.
    NotCTError : the study has no CT series, or not that one.
    ResourceError : the PACS does not answer.
    """
    with association(peer, [(FIND, SYNTAXES[:2])]) as link:
        study = wanted.study_uid or study_of(
            [text(found, "StudyInstanceUID") for found in _ask(peer, link, _study_query(wanted.accession))]
        )
        rows = _ask(peer, link, _series_query(study))
    return chosen(wanted, [(text(r, "Modality"), _series(study, r)) for r in rows])


def study_of(uids: list[str]) -> str:
    """Return the one study that an accession number names."""
    known = sorted({uid for uid in uids if uid})
    if not known:
        raise EmptyInputError("The PACS knows no study with that accession number.", "Check it in the RIS.")
    if len(known) > 1:
        raise AmbiguousSeriesError(f"{len(known)} studies have that accession number.", "Ask for one by --study-uid.")
    return check_uid(known[0], "study UID of the PACS")


def chosen(wanted: Wanted, rows: list[tuple[str, FoundSeries]]) -> list[FoundSeries]:
    """Return the CT series among (modality, series), largest first, or the wanted one."""
    if not rows:
        raise EmptyInputError("The PACS knows no such study.", "Check its UID; perhaps it is in another archive.")
    series = [found for modality, found in rows if modality == "CT" and found.series_uid]
    if wanted.series_uid:
        series = [found for found in series if found.series_uid == wanted.series_uid]
    if not series:
        kinds = ", ".join(sorted({modality or "unknown" for modality, _ in rows}))
        raise NotCTError(f"The study has no such CT series in the PACS, only {kinds}.", "Choose another study.")
    return sorted(series, key=lambda found: (-(found.images or 0), found.series_uid))


def _series(study: str, row: Dataset) -> FoundSeries:
    images = number(row, "NumberOfSeriesRelatedInstances")
    return FoundSeries(study, text(row, "SeriesInstanceUID"), None if images is None else int(images))


def _study_query(accession: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.AccessionNumber = accession
    query.StudyInstanceUID = ""
    return query


def _series_query(study_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_uid
    query.SeriesInstanceUID = query.Modality = ""
    query.NumberOfSeriesRelatedInstances = None
    return query


def _ask(peer: Peer, link: object, query: Dataset) -> list[Dataset]:
    """All answers to a query."""
    found = []
    for status, answer in link.send_c_find(query, FIND):  # type: ignore[attr-defined]
        if is_pending(status):
            found.append(answer)
            continue
        error = silent(peer, status)
        if error is not None:
            raise error
    return found
