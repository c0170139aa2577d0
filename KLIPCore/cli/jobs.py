"""The smaller commands of `klip`: what each does once its options are read.

They live beside :mod:`KLIPCore.cli` so that the command line stays a list of options, and so that each can be called
and tested without one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from KLIPCore.detection.reconstruct import dice, htc_scores, otsu_threshold, reconstruct
from KLIPCore.errors import ConfigError, GeometryError, InputError, OutputError
from KLIPCore.export.files import written
from KLIPCore.io.images import FORMATS, image_format, write_image
from KLIPCore.io.sinogram import HTC2022_IMAGE, read_htc2022, read_sinogram
from KLIPCore.io.sinogram_doubts import doubts
from KLIPCore.volume.geometry import Geometry, ImageGrid2D
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.untrusted import check_name
from KLIPCore.volume.volume import Volume

if TYPE_CHECKING:
    from KLIPCore.audit.exported import Audited
    from KLIPCore.maps.regions import Region
    from KLIPCore.runs.rerun import Detection


def reconstruct_file(path: Path, out: Path, method: str, views: int | None, size: int, pixel_mm: float | None) -> str:
    """Reconstruct one measured sinogram into an image file and a PNG beside it.

    Parameters
    ----------
    path : ``.npz`` written by :func:`KLIPCore.io.sinogram.write_sinogram`, or a disc of the Helsinki
        Tomography Challenge 2022.
    out : NRRD, NIfTI or MHA file to write; one slice, in the sinogram's unit per mm.
    method : fbp, cg or tv.
    views : evenly spread views to keep; all when None.
    size, pixel_mm : image side in pixels, and their edge; None fits the field of view (a challenge disc has
        its truth's grid).

    Returns
    -------
    what to tell the user: shape, views, and the Dice overlap where a truth mask came with the data.

    Raises
    ------
    OutputError : the output is no image file name.
    ConfigError : more views asked for than there are.
    """
    check_output(out)
    sinogram, geometry, truth = _read(path)
    told = doubts(sinogram, geometry)
    if views is not None:
        keep = evenly_spread(views, geometry.n_views)
        sinogram, geometry = sinogram[keep], geometry.views(keep)
    image = HTC2022_IMAGE if truth is not None and pixel_mm is None else fitted_image(geometry, size, pixel_mm)
    found = reconstruct(sinogram, geometry, image, method)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, image.pixel_mm], [0, image.pixel_mm, 0], [1.0, 0, 0]])
    affine[:3, 3] = (image.x_mm[0], image.y_mm[0], 0.0)
    write_image(
        Volume(found[None], Grid((1, *image.shape), affine), unit="1/mm"),
        out,
        description=f"{method}, {geometry.n_views} views",
    )
    picture = write_picture_beside(found, out)
    text = (
        f"{method} from {geometry.n_views} views: {image.shape[0]} × {image.shape[1]} pixels of "
        f"{image.pixel_mm:.3f} mm, in {out} and {picture.name}"
    )
    if truth is not None and truth.shape == image.shape:
        text += f"\nDice against the truth mask: {dice(found > otsu_threshold(found), truth):.4f}"
    return "\n".join([text, *told])


def reconstruct_folder(folder: Path, methods: Sequence[str], views: Sequence[int]) -> str:
    """Reconstruct every measured disc of the Helsinki Tomography Challenge 2022 in ``folder``.

    A table of Dice overlaps.
    """
    rows = htc_scores(folder, methods, views)
    lines = ["method  views  discs  Dice mean  Dice worst  seconds a disc"]
    for n in views:
        for method in methods:
            own = [r for r in rows if r.method == method and r.n_views == n]
            overlaps = [r.dice for r in own]
            lines.append(
                f"{method:<6}  {n:>5}  {len(own):>5}  {np.mean(overlaps):>9.4f}  {min(overlaps):>10.4f}  "
                f"{np.median([r.seconds for r in own]):>14.2f}"
            )
    return "\n".join(lines)


def write_picture(image: NDArray[np.floating], path: Path) -> None:
    """Write an 8-bit grey PNG, black at the 1st and white at the 99.8th percentile."""
    from PIL import Image

    lo, hi = np.percentile(image, [1, 99.8])
    grey = np.clip((image - lo) / max(hi - lo, 1e-12) * 255, 0, 255).astype(np.uint8)
    with written(path) as part:
        Image.fromarray(grey).save(part, format="PNG")


def _check_folder(out: Path) -> None:
    """Raise where a file cannot be written there, before minutes go into what would be in it."""
    there = next(parent for parent in out.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problem = f"{out} cannot be written: {there} is {'no folder' if not there.is_dir() else 'write-protected'}."
        raise OutputError(problem, "Choose a folder you may write to with -o.")


def _read(path: Path) -> tuple[NDArray[np.float32], Geometry, NDArray[np.bool_] | None]:
    """A sinogram of either kind; a measured challenge disc is known by its name."""
    if path.name.startswith("htc2022_"):
        sinogram, geometry, truth = read_htc2022(path)
        if geometry.n_views == 721:  # the last view repeats the first
            return sinogram[:720], geometry.views(slice(0, 720)), truth
        return sinogram, geometry, truth
    own, scan = read_sinogram(path)
    return own, scan, None


def check_output(out: Path) -> None:
    """Refuse a file name that is none of an image, or lies where nothing can be written.

    Raises
    ------
    OutputError : its ending is of no format that is written, or its folder is none.
    """
    check_name(out, OutputError)
    if not image_format(out):
        raise OutputError(f"{out.name} is not a file name for an image.", f"Let it end in {', '.join(FORMATS)}.")
    _check_folder(out)


def evenly_spread(n: int, n_views: int) -> NDArray[np.intp]:
    """Return the numbers of ``n`` views out of ``n_views``.

    Raises
    ------
    ConfigError : there are not so many.
    """
    if not 1 <= n <= n_views:
        raise ConfigError(f"{n} views cannot be taken from {n_views}.", f"Ask for 1 to {n_views}.")
    return np.linspace(0, n_views, n, endpoint=False).round().astype(np.intp)


def write_picture_beside(image: NDArray[np.floating], out: Path) -> Path:
    """Write a grey PNG beside an image file, and return its path."""
    picture = out.parent / f"{out.name.removesuffix(image_format(out) or out.suffix)}.png"
    write_picture(image, picture)
    return picture


def fitted_image(geometry: Geometry, size: int, pixel_mm: float | None) -> ImageGrid2D:
    """Return a square image: the detector's width at the isocentre, unless a pixel size is given.

    Raises
    ------
    ConfigError : an unreasonable size.
    """
    if not 8 <= size <= 4096:
        raise ConfigError(f"An image of {size} pixels a side is out of range.", "Choose 8 to 4096.")
    fitted = geometry.n_detectors * geometry.pitch_at_isocentre_mm / size
    return ImageGrid2D((size, size), pixel_mm if pixel_mm is not None else fitted)


def export_regions(out: Path, folder: Path, kinds: Sequence[str], study: Path | None = None) -> list[Path]:
    """Write the regions of a finished run, or of an audit, in other formats.

    Parameters
    ----------
    out : folder of the run or of the audit.
    folder : where to.
    kinds : of ``nifti`` (labels), ``nrrd`` (labels), ``stl``, ``obj``, ``vtp`` (surfaces, LPS mm),
        ``dicom`` (segmentation; of a run also parametric map and structured report).
    study : where the study is now, if it has moved, or the audited reconstruction; read for ``dicom`` only.

    Returns
    -------
    the files written.

    Raises
    ------
    ConfigError : an unknown kind, or no reconstruction for DICOM.
    OutputError : the folder cannot be made: a file of that name is there.
    InputError : DICOM results of what is no DICOM series.
    GeometryError : ``study`` is not the reconstruction that was audited.
    TraceError : nothing finished in ``out``, or another study than the run's in ``study``.
    """
    from KLIPCore.export.labels import write_labels
    from KLIPCore.export.mesh import write_meshes

    known = {"nifti", "nrrd", "stl", "obj", "vtp", "dicom"}
    if not kinds or set(kinds) - known:
        raise ConfigError(
            f"Unknown export formats: {', '.join(sorted(set(kinds) - known)) or 'none given'}.",
            f"Choose from {', '.join(sorted(known))}.",
        )
    regions, grid, to_dicom = _exportable(out)
    check_name(folder, OutputError)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}).", "Give --to a new folder, or one that is there."
        ) from error
    files: list[Path] = []
    for kind in kinds:
        if kind == "dicom":
            files += to_dicom(folder, study)
        elif kind in ("nifti", "nrrd"):
            files.append(
                write_labels(regions, grid, folder / ("regions.nii.gz" if kind == "nifti" else "regions.nrrd"))
            )
        else:
            files += write_meshes(regions, grid, folder, file_format=kind)  # type: ignore[arg-type]
    return files


ToDicom = Callable[[Path, Path | None], list[Path]]
"""Writes DICOM results into a folder, of a study at a path."""


def _exportable(out: Path) -> tuple[Sequence[Region], Grid, ToDicom]:
    """Regions of a run or of an audit, their grid, and what writes them as DICOM."""
    from KLIPCore.audit.exported import is_audit, read_audited

    if is_audit(out):
        audited = read_audited(out)
        return audited.regions, audited.grid, partial(_audited_to_dicom, audited)
    from KLIPCore.runs.rerun import read_finished

    found = read_finished(out)
    return found.report.regions, found.study.grid, partial(_export_dicom, found)


def _audited_to_dicom(audited: Audited, folder: Path, study: Path | None) -> list[Path]:
    """A segmentation on the images of the audited reconstruction."""
    from KLIPCore import __version__
    from KLIPCore.export.dicom_seg import write_dicom_seg
    from KLIPCore.io.study import read_study

    if study is None:
        raise ConfigError(
            "An audit does not keep where its reconstruction lies, and DICOM results must refer to its images.",
            "Give the reconstruction's DICOM folder with --study, or leave dicom out.",
        )
    reconstruction = read_study(study)
    if not audited.grid.same_as(reconstruction.grid):
        raise GeometryError(
            f"The voxels of {study.name} do not lie where those of the audited reconstruction do.",
            "Give --study the reconstruction that was audited.",
        )
    path = folder / "audited.seg.dcm"
    made = write_dicom_seg(audited.regions, reconstruction, path, version=__version__, texts=audited.texts())
    return [] if made is None else [made]


def _export_dicom(found: Detection, folder: Path, study: Path | None) -> list[Path]:
    """Read the study of a finished run again and write its DICOM results."""
    from KLIPCore.detection.detect_measured import is_scan
    from KLIPCore.runs.dicom_results import write_dicom_results
    from KLIPCore.runs.rerun import reopen_study

    run = found.folder.run()
    if is_scan(study or Path(run["study"]["path"])):
        raise InputError(
            "DICOM results must refer to DICOM slices, and this run examined measured projections.",
            "Choose nifti, nrrd or a surface format.",
        )
    reopened = reopen_study(run, found.study, study)
    return write_dicom_results(folder, found.report, found.volumes, reopened.study)
