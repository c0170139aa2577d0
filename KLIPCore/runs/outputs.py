"""Everything a finished run hands over: segments, report, result.json, and DICOM results of a DICOM study."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from KLIPCore.config import Config
from KLIPCore.errors import InputError
from KLIPCore.export.report import Report, json_ready
from KLIPCore.export.segmentation import write_segmentation
from KLIPCore.io.images import write_image
from KLIPCore.maps.image_score import largest_block
from KLIPCore.maps.kl_map import KLMap, MapVolumes
from KLIPCore.runs.dicom_results import write_dicom_results
from KLIPCore.runs.folder import RunFolder
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Volume

if TYPE_CHECKING:
    from KLIPCore.export.html import ReportInputs


DESCRIPTIONS = {
    "nats": "KL in nats",
    "weighted nats": "KL in nats weighted by what the scan informs",
    "equivalent nats": "Equivalent nats (not KL)",
    "surprise": "Surprise, -ln of rarity in health,",
}
"""What a map's numbers are, by its unit, as image files say it."""


def write_map(folder: RunFolder, kl_map: Volume) -> None:
    """Write ``kl_map.nrrd``.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    write_image(
        kl_map,
        folder.file("kl_map.nrrd"),
        description=f"{DESCRIPTIONS[kl_map.unit]} of the block centred at each voxel",
    )


def write_result(folder: RunFolder, report: Report, kl_map: KLMap, grid: Grid) -> None:
    """Write ``regions.seg.nrrd`` and ``result.json``, last of all: what lists the files of a run must find them.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    write_segmentation(report.regions, grid, folder.file("regions.seg.nrrd"))
    values: dict[str, Any] = report.to_dict()
    values["slice_nats"] = {str(k): float(v) for k, v in zip(kl_map.indices, kl_map.image_nats, strict=True)}
    values["slice_largest_block"] = {
        str(k): float(v) for k, v in zip(kl_map.indices, largest_block(kl_map), strict=True)
    }
    values["files"] = sorted(
        {"result.json", *(p.name for p in folder.path.iterdir() if p.is_file() and p.suffix != ".part")}
    )
    folder.write_json("result.json", json_ready(values))


def write_report(
    folder: RunFolder,
    report: Report,
    kl_map: KLMap,
    volumes: MapVolumes,
    framed: FramedStudy,
    reconstruction: Volume,
    card: ModelCard,
) -> Report:
    """Write ``report.html`` and, for a DICOM study, the files of :mod:`KLIPCore.runs.dicom_results`.

    Returns
    -------
    the report, with a warning more where the study allows no, or not all, DICOM results.

    Raises
    ------
    OutputError : a file cannot be written.
    """
    from KLIPCore.export.html import write_html  # matplotlib: a second that maps without a report need not wait

    if framed.study.source.is_dicom:
        try:
            write_dicom_results(folder.path, report, volumes, framed.study)
        except InputError as error:  # this study allows none, or not all: that must not cost the rest of the run
            report = replace(report, warnings=(*report.warnings, f"Not all DICOM results were written. {error}"))
    write_html(report_inputs(report, kl_map, volumes, framed, reconstruction, card), folder.file("report.html"))
    return report


def report_inputs(
    report: Report, kl_map: KLMap, volumes: MapVolumes, framed: FramedStudy, reconstruction: Volume, card: ModelCard
) -> ReportInputs:
    """Return what the HTML page shows: pictures and viewer, cropped to, and scaled in, the tested body."""
    from KLIPCore.export.html import ReportInputs, report_pictures
    from KLIPCore.export.scene import Scene
    from KLIPCore.export.viewer_data import viewer_of

    scene = Scene.of(
        framed.study,
        volumes.kl_map,
        report.regions,
        reconstruction=reconstruction,
        units=(kl_map.score.unit, kl_map.score.total_unit),
        body=volumes.tested,
        window=card.window,
    )
    per_slice = np.zeros(framed.lps.grid.shape[0])
    per_slice[list(kl_map.indices)] = kl_map.image_nats
    pictures = report_pictures(scene, per_slice, reconstruction_title="Reconstruction (posterior mean)")
    depth, rows, columns = framed.lps.grid.shape
    spacing = framed.lps.grid.spacing
    scan = Config.from_dict(dict(report.settings)).measurement
    dose = (
        f"{scan.photons:g} photons per ray"
        if scan.photons
        else f"Gaussian noise of {100 * scan.noise:g} % of a body's line integral"
    )
    simulation = (
        f"{scan.n_views} {scan.geometry}-beam views over {scan.arc:g}°, {dose}: simulated from the loaded CT, not "
        "measured"
    )
    return ReportInputs(
        report=report,
        pictures=pictures,
        low=scene.low,
        high=scene.high,
        study=(
            f"CT, {depth} slices of {rows} × {columns}, {spacing[0]:.2f} × {spacing[1]:.2f} × {spacing[2]:.2f} mm; "
            f"{len(kl_map.indices)} slices examined"
        ),
        block=f"{kl_map.block_mm:.0f} × {kl_map.block_mm:.0f} mm, {kl_map.depth_mm:.1f} mm deep",
        measurement=simulation if report.provenance["simulated"] else str(report.provenance["measurement"]),
        prior=f"{card.name}: {card.anatomy}",
        viewer=viewer_of(scene),
    )
