"""Regions → a plain label image (NIfTI, NRRD, MetaImage): the format every viewer and script can read.

Voxels hold a region's label, 0 elsewhere, as whole numbers of 8 bits (16 when there are more than 255 regions), on the
study's own grid. Names and colours do not fit in there: see :mod:`KLIPCore.export.segmentation` and
:mod:`KLIPCore.export.dicom_seg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from KLIPCore.errors import OutputError
from KLIPCore.export.files import REMEDY, written
from KLIPCore.io.images import image_format, image_on
from KLIPCore.maps.regions import Region, label_volume
from KLIPCore.volume.grid import Grid

IMAGE_IO = {".nii.gz": "NiftiImageIO", ".nii": "NiftiImageIO", ".nrrd": "NrrdImageIO", ".mha": "MetaImageIO"}
"""ITK's name of each format that keeps everything in one file."""


def label_image(regions: Sequence[Region], grid: Grid) -> sitk.Image:
    """Return the labels as an ITK image of whole numbers, lying where ``grid`` says.

    Raises
    ------
    GeometryError : the grid's axes are not at right angles, or a region lies outside it.
    """
    labels = label_volume(regions, grid)
    return image_on(labels.astype(np.uint8) if max((r.label for r in regions), default=0) < 256 else labels, grid)


def write_labels(regions: Sequence[Region], grid: Grid, path: Path) -> Path:
    """Write the labels to .nii.gz, .nii, .nrrd or .mha, whole or not at all.

    Raises
    ------
    OutputError : another extension, or the file cannot be written.
    GeometryError : see :func:`label_image`.
    """
    suffix = image_format(path)
    if suffix not in IMAGE_IO:
        raise OutputError(f"{path.name} has no extension of a label format.", f"Use one of {', '.join(IMAGE_IO)}.")
    write_itk(label_image(regions, grid), path, IMAGE_IO[suffix])
    return path


def write_itk(image: sitk.Image, path: Path, image_io: str) -> None:
    """Write an ITK image, compressed where the format can, whole or not at all.

    Parameters
    ----------
    image : what is written.
    path : file that appears whole or not at all.
    image_io : ITK's name of the format.

    Raises
    ------
    OutputError : ITK cannot write it.
    """
    # NIfTI looks at the extension even when told its name, so the temporary name keeps it: a.nii.gz → a.part.nii.gz
    suffix = image_format(path)
    with written(path, path.with_name(path.name[: -len(suffix)] + ".part" + suffix)) as part:
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(part))
        writer.SetImageIO(image_io)
        writer.UseCompressionOn()
        writer.SetCompressionLevel(1)  # labels are long runs of one number: more work gains nothing
        try:
            writer.Execute(image)
        except RuntimeError as error:
            raise OutputError(f"{path.name} cannot be written.", REMEDY) from error
