"""Results for a PACS: segmentation, parametric map and structured report of one DICOM study.

The report refers to the two others, so they are made together, of one reading of the study's headers, and none is
written before all are made; but a segmentation is of use alone, where the others cannot be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from KLIPCore import __version__
from KLIPCore.errors import InputError
from KLIPCore.export.files import written
from KLIPCore.export.report import Report
from KLIPCore.maps.kl_map import KLMap, MapVolumes
from KLIPCore.volume.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

SEGMENTATION, MAP, REPORT = "regions.dcm", "kl_map.dcm", "report.dcm"
DICOM_FILES = (SEGMENTATION, MAP, REPORT)


def write_dicom_results(
    folder: Path, report: Report, volumes: MapVolumes, study: Volume, organs: Mapping[int, Code] | None = None
) -> list[Path]:
    """Write :data:`DICOM_FILES`; each appears whole or not at all.

    Parameters
    ----------
    folder : where to; it is made when missing.
    report : what was found.
    volumes : the map that it was found on, on the study's grid.
    study : the CT; only its grid and source are used. Its files must still be there.
    organs : label of a region → code of the organ it lies in; None: of those whose organ's name has a code.

    Returns
    -------
    the files; without regions there is no segmentation, because that cannot be empty.

    Raises
    ------
    InputError : the study is not a classic DICOM series, its header fields cannot be carried over, or its files
        are gone or others (one of its descendants); or the map is larger than a DICOM object can be, and the
        segmentation alone was written.
    OutputError : a file cannot be written.
    """
    from KLIPCore.export.dicom_codes import quantity_of
    from KLIPCore.export.dicom_seg import dicom_seg
    from KLIPCore.export.organ_codes import organ_code
    from KLIPCore.export.parametric_map import parametric_map
    from KLIPCore.export.source_series import SourceSeries
    from KLIPCore.export.structured_report import Referenced, structured_report

    series, settings = SourceSeries.of(study), parameters_of(volumes.cells)
    quantity = quantity_of(volumes.cells.score)
    if organs is None:
        organs = {r.label: code for r in report.regions if (code := organ_code(r.organ)) is not None}
    segmentation = dicom_seg(report.regions, study, version=__version__, parameters=settings, series=series)
    try:
        kl_map = parametric_map(volumes.kl_map, study, version=__version__, quantity=quantity, series=series)
        referenced = Referenced(series, kl_map, segmentation, quantity, organs)
        document = structured_report(report, referenced, version=__version__, parameters=settings)
    except InputError:  # such as a map of more than 4 GiB
        _write({folder / SEGMENTATION: segmentation})
        raise
    return _write({folder / SEGMENTATION: segmentation, folder / MAP: kl_map, folder / REPORT: document})


def _write(objects: Mapping[Path, Dataset | None]) -> list[Path]:
    """Write what is there; returns its files."""
    files = []
    for path, made in objects.items():
        if made is not None:
            with written(path) as part:
                made.save_as(part)
            files.append(path)
    return files


def parameters_of(kl_map: KLMap) -> dict[str, str]:
    """Return settings named in the algorithm identification of DICOM results."""
    lo, hi = kl_map.score.window
    return {
        "score": kl_map.score.name,
        "block_mm": f"{kl_map.block_mm:g}",
        "sigma_window": f"{lo:g}-{hi:g}",
        "null": kl_map.null,
    }
