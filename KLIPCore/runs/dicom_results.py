"""Results for a PACS: segmentation, parametric map and structured report of one DICOM study.

The three refer to each other, so they are made together, of one reading of the study's headers, and none is written
before all are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from KLIPCore import __version__
from KLIPCore.export.files import written
from KLIPCore.export.report import Report
from KLIPCore.maps.kl_map import KLMap, MapVolumes
from KLIPCore.volume.volume import Volume

if TYPE_CHECKING:
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
    organs : label of a region → code of the organ it lies in, where that is known.

    Returns
    -------
    the files; without regions there is no segmentation, because that cannot be empty.

    Raises
    ------
    InputError : the study is not a classic DICOM series, its header fields cannot be carried over, or its files
        are gone or others (one of its descendants).
    OutputError : a file cannot be written.
    """
    from KLIPCore.export.dicom_codes import quantity_of
    from KLIPCore.export.dicom_seg import dicom_seg
    from KLIPCore.export.parametric_map import parametric_map
    from KLIPCore.export.source_series import SourceSeries
    from KLIPCore.export.structured_report import Referenced, structured_report

    series, settings = SourceSeries.of(study), parameters_of(volumes.cells)
    quantity = quantity_of(volumes.cells.score)
    segmentation = dicom_seg(report.regions, study, version=__version__, parameters=settings, series=series)
    kl_map = parametric_map(volumes.kl_map, study, version=__version__, quantity=quantity, series=series)
    referenced = Referenced(series, kl_map, segmentation, quantity, organs or {})
    document = structured_report(report, referenced, version=__version__, parameters=settings)
    files = []
    for name, made in ((SEGMENTATION, segmentation), (MAP, kl_map), (REPORT, document)):
        if made is not None:
            with written(folder / name) as part:
                made.save_as(part)
            files.append(folder / name)
    return files


def parameters_of(kl_map: KLMap) -> dict[str, str]:
    """Settings named in the algorithm identification of DICOM results."""
    lo, hi = kl_map.score.window
    return {
        "score": kl_map.score.name,
        "block_mm": f"{kl_map.block_mm:g}",
        "sigma_window": f"{lo:g}-{hi:g}",
        "null": kl_map.null,
    }
