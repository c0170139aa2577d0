"""The regions that are checked, handed over: to the scene, to files, to a PACS.

All files come from KLIPCore's own writers, so that the panel and the command line write the same, and each is
whole or not there. Coordinates are those of the study as it was scanned: a DICOM SEG must fit the source
images, and so the others do, too. A parent transform moves the scene's segmentation only.

What is exported are the regions under the present settings. Segments that were changed by hand are exported
with Slicer's own tools, best from the copy that ``"scene"`` makes, which no slider touches.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from KLIPCore import __version__
from KLIPCore.errors import InputError, KlipError, OutputError
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.volume import Volume
from KLIPSlicerLib import nodes, regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from KLIPCore.export.report import Report
    from KLIPCore.maps.kl_map import MapVolumes
    from KLIPCore.maps.regions import Region
    from KLIPSlicerLib.scene_results import SceneResults

KINDS = ("scene", "seg.nrrd", "nifti", "dicom-seg", "dicom", "stl", "report", "json")

WITHOUT_REGIONS = ("dicom", "report", "json")
"""Kinds that also make sense when no region is checked."""


def exportRegions(
    results: SceneResults, kind: str, path: str | Path | None = None, keep: Sequence[int] | None = None
) -> Any:
    """Hand the checked regions over.

    Parameters
    ----------
    results : a detection.
    kind : one of :data:`KINDS`.
    path : the file to write; a folder for ``"stl"`` and ``"dicom"``; not needed for ``"scene"``.
    keep : places of the regions in ``results.regions``; those that are visible when None.

    Returns
    -------
    the file; for ``"stl"`` and ``"dicom"`` the files, for ``"scene"`` the new segmentation node.

    Raises
    ------
    OutputError : no region is checked, the file cannot be written, or a package for it is missing.
    InputError : the study does not allow it (a DICOM SEG of a study that is no DICOM series, ...).
    """
    if kind not in KINDS:
        raise OutputError(
            _("There is no export “{kind}”.").format(kind=kind),
            _("Choose from {kinds}.").format(kinds=", ".join(KINDS)),
        )
    chosen = results.visibleRegions if keep is None else [results.regions[i] for i in sorted(set(keep))]
    if not chosen and kind not in WITHOUT_REGIONS:
        raise OutputError(_("No region is checked."), _("Check at least one region in the table."))
    if kind == "scene":
        name = f"{results.segmentationNode.GetName()} (kept)"
        return _toScene(results, chosen, name)
    if path is None:
        raise OutputError(_("There is no file to write to."), _("Choose one."))
    try:
        return _WRITERS[kind](results, chosen, Path(path))
    except ImportError as error:
        missing = (error.name or "a package").split(".")[0]
        raise OutputError(
            _("This export needs {name}, which Slicer's Python does not have.").format(name=missing),
            _(
                "Install it in Slicer's Python console with slicer.util.pip_install('{name}'), or use another format."
            ).format(name=missing),
        ) from error


def _toScene(results: SceneResults, chosen: list[Region], name: str) -> Any:
    import slicer

    identifiers = [regions.segmentId(region) for region in chosen]
    copy = regions.copyOfSegments(results.segmentationNode, identifiers, name)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(copy.GetScene())
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(results.segmentationNode))
    item = hierarchy.GetItemByDataNode(copy) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), copy)
    if folder:
        hierarchy.SetItemParent(item, folder)
    return copy


def _writeSegNrrd(results: SceneResults, chosen: list[Region], path: Path) -> Path:
    from KLIPCore.export.segmentation import write_segmentation

    return write_segmentation(chosen, results.live.framing.grid, path)


def _writeNifti(results: SceneResults, chosen: list[Region], path: Path) -> Path:
    from KLIPCore.export.labels import write_labels

    return write_labels(chosen, results.live.framing.grid, path)


def _writeStl(results: SceneResults, chosen: list[Region], folder: Path) -> list[Path]:
    """One file a region; all of them, or none."""
    from KLIPCore.export.mesh import write_meshes

    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix="klip-", suffix=".part", dir=folder))
    except OSError as error:
        raise OutputError(
            _("{folder} cannot be written to ({reason}).").format(folder=folder, reason=error.strerror),
            _("Choose a folder you may write to."),
        ) from error
    try:
        written = write_meshes(chosen, results.live.framing.grid, part, file_format="stl")
        return [file.replace(folder / file.name) for file in written]
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _writeDicomSeg(results: SceneResults, chosen: list[Region], path: Path) -> Path:
    from KLIPCore.export.dicom_seg import write_dicom_seg

    study = sourceStudy(results)
    score = results.settings.chosen
    parameters = {
        "score": score.name,
        "block_mm": f"{results.settings.block_mm:g}",
        "sigma_window": f"{score.window[0]:g}-{score.window[1]:g}",
        "null": results.settings.null,
    }
    written = write_dicom_seg(chosen, study, path, version=__version__, parameters=parameters)
    assert written is not None  # there are regions
    return written


def _writeDicom(results: SceneResults, chosen: list[Region], folder: Path) -> list[Path]:
    """Segmentation, map and structured report, which refer to each other."""
    from KLIPCore.runs.dicom_results import write_dicom_results

    study = sourceStudy(results)
    report, volumes = _report(results, chosen)
    return write_dicom_results(folder, report, volumes, study)


def _writeReport(results: SceneResults, chosen: list[Region], path: Path) -> Path:
    """The page that `klip detect` writes, with the present settings and the checked regions."""
    from KLIPCore.export.html import write_html
    from KLIPCore.runs.outputs import report_inputs
    from KLIPCore.volume.model_card import ModelCard

    framing = results.live.framing
    framed = FramedStudy.of(_onStudyGrid(results, results.inputNode), framing.body, framing.frame)
    report, volumes = _report(results, chosen)
    reconstruction = _onStudyGrid(results, results.reconstructionNode)
    card = ModelCard.from_dict(results.live.run["prior"])
    return write_html(report_inputs(report, volumes.cells, volumes, framed, reconstruction, card), path)


def _writeJson(results: SceneResults, chosen: list[Region], path: Path) -> Path:
    """The numbers of the same page, and what the reader said of each region."""
    return _report(results, chosen)[0].write_json(path)


def _report(results: SceneResults, chosen: list[Region]) -> tuple[Report, MapVolumes]:
    """What there is to say of the checked regions under the present settings, and the map it comes from."""
    from KLIPCore.runs.rerun import maker_of, report_of

    live, settings = results.live, results.settings
    framing = live.framing
    volumes = maker_of(live.run, live.trace, framing, live.where).volumes(settings)
    left = [region for region in results.regions if region not in chosen]
    names = ", ".join(region.name for region in left)
    warnings = [f"Left out by hand: {names} of {len(results.regions)} regions."] if left else []
    made = report_of(live.run, live.trace, volumes, chosen, settings, warnings, live.where)
    significant = float(made.significant_mm3 or 0.0) - sum(region.volume_mm3 for region in left)
    readings = results.readings.ofAll(chosen, framing.grid)
    report = replace(made, significant_mm3=significant, readings=readings)
    return report, volumes


def sourceStudy(results: SceneResults) -> Volume:
    """The DICOM series that was examined, with its files: where the run read it, or where Slicer's DICOM
    database has it.

    Raises
    ------
    InputError : the study is no DICOM series, or its files are gone.
    """
    from KLIPCore.io.study import read_study
    from KLIPCore.runs.rerun import volume_hash
    from KLIPSlicerLib.study_source import dicomStudyOf

    run, grid = results.live.run, results.live.framing.grid
    recorded = run["study"]
    if recorded["path"] and Path(recorded["path"]).exists():
        try:
            study = read_study(Path(recorded["path"]), recorded["series"] or None)
        except KlipError:
            study = None
        if study is not None and study.source.is_dicom and volume_hash(study) == recorded["hash"]:
            return study
    node = results.inputNode
    found = None if node is None else dicomStudyOf(node, nodes.volumeFromNode(node))
    if found is None or not found.grid.same_as(grid):
        raise InputError(
            _("DICOM results must refer to the DICOM images they were made from, and those are not to be found."),
            _("Load the study through the DICOM module and run the detection again, or use the .seg.nrrd."),
        )
    return found


def reasonAgainstDicomSeg(results: SceneResults) -> str:
    """Why no DICOM results can be written of a detection, in a sentence; empty when they can. No pixel is read."""
    from KLIPCore.io.images import READ_FORMATS, image_format
    from KLIPSlicerLib.dicom_origin import reasonAgainstOrigin

    recorded = results.live.run["study"]
    path = Path(recorded["path"] or ".")
    if (recorded["series"] and path.is_dir()) or (path.is_file() and not image_format(path, READ_FORMATS)):
        return ""
    return reasonAgainstOrigin(results.inputNode)


def _onStudyGrid(results: SceneResults, node: Any) -> Volume:
    """A node's numbers in the order in which the run has its voxels."""
    if node is None:
        raise InputError(
            _("The examined volume is no longer in the scene."), _("Load it again, or use another format.")
        )
    grid = results.live.framing.grid
    volume = nodes.volumeFromNode(node)
    return Volume(nodes.VoxelOrder.between(volume.grid, grid).apply(volume.array), grid)


_WRITERS = {
    "seg.nrrd": _writeSegNrrd,
    "nifti": _writeNifti,
    "stl": _writeStl,
    "dicom-seg": _writeDicomSeg,
    "dicom": _writeDicom,
    "report": _writeReport,
    "json": _writeJson,
}
