"""DICOM results of a small oblique study, as the run of a detection would write them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from export.examples import kl_map, two_regions
from maps.grids import make_grid
from pydicom.sr.coding import Code

from KLIPCore.export.dicom_codes import SURPRISE
from KLIPCore.export.dicom_seg import dicom_seg
from KLIPCore.export.parametric_map import parametric_map
from KLIPCore.export.report import Reading, Report
from KLIPCore.export.source_series import SourceSeries
from KLIPCore.export.structured_report import Referenced, structured_report
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.volume.volume import Volume

SHAPE = (6, 9, 8)
TILTED = make_grid(
    SHAPE, np.array([0.1, 0.2, 0.05]), np.array([5.0, 0.7, 0.8]), np.array([10.0, -20.0, 30.0]), (2, 1, 0), False
)
LIVER = Code("10200004", "SCT", "Liver")
SETTINGS = {"score": "unexpected", "block_mm": "12", "null": "reference"}


@dataclass(frozen=True, eq=False)
class Example:
    """A study, what was found on it, and the folder with ``kl_map.nrrd``, ``kl_map.dcm``, ``report.dcm`` and,
    where there are regions, ``regions.dcm``.
    """

    study: Volume
    nats: Volume
    report: Report
    folder: Path


def study_in(folder: Path) -> Volume:
    """An oblique synthetic series, read back as a user's study would be."""
    hu = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.float32)
    write_dicom_series(Volume(hu, TILTED), folder, seed=3)
    return read_dicom(folder)


def example(folder: Path, study: Volume | None = None, with_regions: bool = True) -> Example:
    """Write all results of a study; of one in ``folder / "study"`` when None."""
    study = study or study_in(folder / "study")
    plain = kl_map(study.grid, study.source)
    noise = np.random.default_rng(1).gamma(1.0, 0.3, study.grid.shape)
    nats = plain.with_array(np.where(plain.array > 0, plain.array + noise, noise))
    regions = [replace(r, expected=0.03 * r.label) for r in two_regions(plain)] if with_regions else []
    report = Report(
        tuple(regions),
        significant_mm3=sum(r.volume_mm3 for r in regions),
        tested_mm3=float(study.array.size * study.grid.voxel_volume_mm3),
        slices=study.grid.shape[0],
        false_regions=0.2,
        warnings=("Slices 3–4 are noisy.",),
        readings={1: Reading("normal variant", "für später")} if with_regions else {},
    )
    series = SourceSeries.of(study)
    segmentation = dicom_seg(regions, study, version="0.1.0", parameters=SETTINGS, series=series)
    made = parametric_map(nats, study, version="0.1.0", quantity=SURPRISE, series=series)
    referenced = Referenced(series, made, segmentation, SURPRISE, {2: LIVER})
    document = structured_report(report, referenced, version="0.1.0", parameters=SETTINGS)
    out = folder / "results"
    out.mkdir()
    write_image(nats, out / "kl_map.nrrd")
    made.save_as(out / "kl_map.dcm")
    document.save_as(out / "report.dcm")
    if segmentation is not None:
        segmentation.save_as(out / "regions.dcm")
    return Example(study, nats, report, out)
