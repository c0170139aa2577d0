"""DICOMweb: the same as C-FIND, C-GET and C-STORE by QIDO-RS, WADO-RS and STOW-RS."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from KLIPCore.errors import ResourceError
from KLIPCore.io.fields import number, text
from KLIPCore.pacs.fetch import Manner, Tell, whole
from KLIPCore.pacs.find import FoundSeries, Wanted, chosen, study_of
from KLIPCore.pacs.keep import Keeper
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.service import Service
from KLIPCore.pacs.uids import short


def find_series_web(service: Service, wanted: Wanted) -> list[FoundSeries]:
    """Return the CT series of a study, the largest first, or the one that is wanted; errors as of C-FIND."""
    with service.told("search"):
        asked, study = service.client(), wanted.study_uid
        if not study:
            found = asked.search_for_studies(search_filters={"AccessionNumber": wanted.accession})
            study = study_of([text(Dataset.from_json(row), "StudyInstanceUID") for row in found])
        fields = ["NumberOfSeriesRelatedInstances", "Modality", "SeriesInstanceUID"]
        rows = [Dataset.from_json(row) for row in asked.search_for_series(study, fields=fields)]
    return chosen(wanted, [(text(row, "Modality"), _series(study, row)) for row in rows])


def _series(study: str, row: Dataset) -> FoundSeries:
    images = number(row, "NumberOfSeriesRelatedInstances")
    return FoundSeries(study, text(row, "SeriesInstanceUID"), None if images is None else int(images))


def fetch_study_web(
    service: Service,
    wanted: Wanted,
    folder: Path,
    pace: Pace,
    *,
    manner: Manner | None = None,
    tell: Tell | None = None,
) -> list[FoundSeries]:
    """Fetch CT series of a study into a folder; as :func:`KLIPCore.pacs.fetch.fetch_study`."""
    if folder.exists():
        return []
    manner = manner or Manner()
    series = find_series_web(service, wanted)
    take = series if manner.every_series else series[:1]
    with whole(folder) as part:
        for one in take:
            _retrieve(service, one, Keeper(part), pace, manner, tell or (lambda n, of: None))
    return take


def _retrieve(service: Service, series: FoundSeries, keeper: Keeper, pace: Pace, manner: Manner, tell: Tell) -> None:
    """Fetch one series, instance by instance as the answer comes."""
    until, count = time.monotonic() + manner.most_s, 0
    with service.told("send a series"):
        answers = service.client().iter_series(
            series.study_uid, series.series_uid, media_types=(("application/dicom", "*"),)
        )
        for dataset in answers:
            pace.wait()
            if time.monotonic() > until:
                raise ResourceError("A series took too long to come.", "Try again when the PACS is less busy.")
            stream = io.BytesIO()
            pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
            count += keeper.keep(stream.getvalue()).series == series.series_uid
            tell(count, series.images)
    expected = max(series.images or 0, 1)
    if count < expected:
        raise ResourceError(
            f"Only {count} of {expected} images of a series ({short(series.series_uid)}) came.",
            "The study may still be arriving there; try again later.",
        )


def send_files_web(
    service: Service, files: Sequence[Path], pace: Pace, tell: Callable[[int], None] | None = None
) -> int:
    """Store DICOM files by STOW-RS, one a request, and return how many were stored.

    Raises
    ------
    ResourceError : the service does not answer, or did not take one; the message says how many it has taken.
    """
    asked = service.client()
    for done, file in enumerate(files):
        pace.wait()
        with service.told(f"store object {done + 1} of {len(files)}"):
            answer = asked.store_instances([pydicom.dcmread(file)])
        if answer.get("FailedSOPSequence"):
            raise ResourceError(
                f"{done} of {len(files)} objects were stored; the service refused the next one.",
                "Ask its administrator whether it takes this kind of object.",
            )
    return len(files)
