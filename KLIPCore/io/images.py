"""NIfTI, NRRD and MetaImage files ↔ volumes; all but the reading of NIfTI through SimpleITK.

ITK and this project agree on the world: LPS millimetres. NIfTI says RAS on disk and ITK negates x and y on the way, so
nothing here flips anything. What ITK does not notice about a damaged file, :mod:`KLIPCore.io.integrity` does; what it
decides without a word about a NIfTI file, :mod:`KLIPCore.io.nifti` does.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError, NotCTError, OutputError, UnreadableFileError
from KLIPCore.io.headers import check_header, stated_modality
from KLIPCore.io.integrity import check_integrity, damaged
from KLIPCore.io.nifti import read_nifti
from KLIPCore.io.silence import silenced
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.outside import air_outside
from KLIPCore.volume.untrusted import check_name
from KLIPCore.volume.volume import Source, Volume

FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""File extensions read and written; .mhd keeps its numbers in a second file beside it."""
PAIRS = (".hdr.gz", ".img.gz", ".hdr", ".img")
"""NIfTI in two files: either names both."""
READ_FORMATS = (*FORMATS, ".nhdr", *PAIRS)
"""File extensions read."""
SHEAR_TOLERANCE = 1e-3
"""Largest deviation of the direction matrix from orthonormality that still passes for right angles."""


def image_format(path: Path, formats: tuple[str, ...] = FORMATS) -> str:
    """Return the extension of ``formats`` that a path ends with (in any case), or "" when it is none of them."""
    name = Path(path).name.lower()
    return next((f for f in formats if name.endswith(f) and len(name) > len(f)), "")


def read_image(path: Path, fill_outside: bool = False) -> Volume:
    """Return a 3-D scalar image as float32 on its grid; its unit is what :func:`write_image` noted, else HU.

    Parameters
    ----------
    path : one of :data:`READ_FORMATS`. A fourth axis of length 1 is dropped.
    fill_outside : set what lies outside a CT's field of view to air, see :func:`KLIPCore.volume.outside.air_outside`.

    Raises
    ------
    UnreadableFileError : unknown extension, damaged or cut short.
    GeometryError : 2-D or 4-D, sheared axes, or two spacings that contradict each other.
    NotCTError : colour or vector voxels.
    IntensityError : NaN or infinite voxels.
    """
    path = Path(path)
    suffix = image_format(path, READ_FORMATS)
    if not suffix:
        problem = f"{path.name} is of an unknown format."
        raise UnreadableFileError(problem, f"Give a DICOM folder or one of {', '.join(READ_FORMATS)}.")
    notes = check_header(path)
    unit, modality = "HU", "CT"
    if suffix in (".nii", ".nii.gz", *PAIRS):
        array, grid, notes = read_nifti(path)
    else:
        check_name(path, UnreadableFileError)
        array, grid, unit = _parts(_read_itk(path))
        modality = stated_modality(path)
    try:
        if fill_outside and unit == "HU":
            array, said = air_outside(array)
            notes = [*notes, *said]
        name = path.name[: -len(suffix)]
        source = Source(path=str(path), description=name, modality=modality, notes=tuple(notes))
        return Volume(array, grid, source, unit)
    except IntensityError as error:
        raise IntensityError(f"{path.name}: {error.message}", error.remedy) from error


def _read_itk(path: Path) -> sitk.Image:
    """The 3-D scalar image of an NRRD or MetaImage file."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with silenced():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if components > 1 or "vector" in kind or "complex" in kind:
        problem = f"{path.name} has {components} numbers per voxel (colour, vectors or complex numbers)."
        raise NotCTError(problem, "Give a volume of single Hounsfield units.")
    if len(size) == 2:
        problem = f"{path.name} is a single picture of {size[0]}x{size[1]}, not a volume."
        raise GeometryError(problem, "Give a 3-D CT volume.")
    if len(size) > 3 and max(size[3:]) > 1:
        problem = f"{path.name} has {len(size)} dimensions {size}."
        raise GeometryError(problem, "Save one time point or phase as a 3-D volume.")
    bits = re.search(r"(\d+)-bit", kind)
    check_integrity(path, math.prod(size) * (int(bits[1]) if bits else 8) // 8)
    try:
        with silenced():
            image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    while image.GetDimension() > 3:
        image = image[..., 0]
    return image


def _unreadable(path: Path, error: RuntimeError) -> UnreadableFileError | GeometryError:
    text = str(error)
    if "orthonormal" in text or "direction cosines" in text:
        return GeometryError(
            f"{path.name} has sheared or scaled axes, which do not form a voxel grid.",
            "Resample the volume to a regular grid and save it again.",
        )
    return damaged(path)


def _parts(image: sitk.Image) -> tuple[NDArray[np.float32], Grid, str]:
    """Numbers, grid and unit of a 3-D scalar image."""
    array = sitk.GetArrayViewFromImage(image)
    grid = Grid.from_itk(array.shape, image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    unit = image.GetMetaData("klip_unit")[:20] if image.HasMetaDataKey("klip_unit") else "HU"
    return array.astype(np.float32), grid, unit


def from_sitk(image: sitk.Image, source: Source | None = None) -> Volume:
    """Return a 3-D scalar SimpleITK image as a volume (D, H, W) float32.

    Its unit is the image's "klip_unit" entry, else HU.
    """
    array, grid, unit = _parts(image)
    return Volume(array, grid, source or Source(), unit)


def to_sitk(volume: Volume) -> sitk.Image:
    """Return a volume → SimpleITK image of float32 with the same voxel places.

    Raises
    ------
    GeometryError : axes that are not at right angles, which ITK's formats cannot all express.
    """
    return image_on(volume.array, volume.grid)


def image_on(array: NDArray[np.generic], grid: Grid) -> sitk.Image:
    """Return an array (D, H, W) as a SimpleITK image with the voxels where ``grid`` says.

    Any kind of number that ITK knows will do.

    Raises
    ------
    GeometryError : axes that are not at right angles, which ITK's formats cannot all express.
    """
    directions = grid.directions[:, ::-1]
    if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE:
        raise GeometryError("The volume's axes are not at right angles.", "Resample it to a regular grid first.")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(v) for v in grid.spacing[::-1]])
    image.SetOrigin([float(v) for v in grid.origin])
    image.SetDirection([float(v) for v in directions.ravel()])
    return image


def write_image(volume: Volume, path: Path, description: str = "") -> None:
    """Write a volume as compressed float32, in the format of the path's extension, all or nothing.

    Geometry is exact to float64 in NRRD and MetaImage; NIfTI keeps float32. The description goes where each
    format has a place for one (NIfTI: ``descrip``, 79 bytes), the unit into NRRD's and MetaImage's own fields.

    Parameters
    ----------
    volume : numbers of any unit.
    path : the file to make or to replace; folders on the way are made.
    description : one line of ASCII for whoever opens the file elsewhere.

    Raises
    ------
    OutputError : unknown extension, or the file cannot be written.
    GeometryError : axes not at right angles.
    """
    path = Path(path)
    if not image_format(path):
        raise OutputError(f"{path.name} has no extension of a volume format.", f"Use one of {', '.join(FORMATS)}.")
    image = to_sitk(volume)
    line = " ".join(description.split()).encode("ascii", "replace").decode()
    image.SetMetaData("klip_unit", volume.unit)
    if line:
        image.SetMetaData("ITK_FileNotes", line[:79])
        image.SetMetaData("NRRD_content", line)
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(suffix=".part", prefix=path.name, dir=path.parent))
        sitk.WriteImage(
            image, str(part / path.name), useCompression=True, compressionLevel=1
        )  # in a folder of its own, because .mhd writes two files
        written = sorted(part.iterdir(), key=lambda file: file.name == path.name)  # the header last
        for file in written:
            file.replace(path.parent / file.name)
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{path} cannot be written.", "Check the path, its permissions and the free space."
        ) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
