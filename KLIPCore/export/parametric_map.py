"""The KL map → a DICOM Parametric Map: the very float32 numbers of ``kl_map.nrrd`` over the original series.

One frame an image of the series, of the same rows, columns, orientation and position, in the study's own frame of
reference, and frames in the order of growing position along rows × columns: on these terms OHIF, which takes frames
as they come, and Slicer lay it over the CT. Numbers are stored as FloatPixelData, without slope, so
none is rounded; their unit and quantity stand in the Real World Value Mapping, a window from 0 to the map's brightest
thousandth beside it.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from KLIPCore.errors import GeometryError, InputError
from KLIPCore.export.dicom_codes import KL_BLOCK, scheme_identification, units_of
from KLIPCore.export.files import written
from KLIPCore.export.source_series import SourceSeries, making, new_instance
from KLIPCore.volume.volume import Volume

CONTENT_DESCRIPTION = "Of the block centred at each voxel; 0 where not examined"
BRIGHTEST = 99.9
"""Percentile of the map's positive numbers at the upper end of its window."""

BODY = Code("123037004", "SCT", "Body structure")
BODY_PARTS = {
    "ABDOMEN": codes.SCT.Abdomen,
    "ABDOMENPELVIS": codes.SCT.AbdomenAndPelvis,
    "CHEST": codes.SCT.Chest,
    "CHESTABDOMEN": codes.SCT.ChestAndAbdomen,
    "CHESTABDPELVIS": codes.SCT.ChestAbdomenAndPelvis,
    "PELVIS": codes.SCT.Pelvis,
}
"""What the series' Body Part Examined is in SNOMED CT (PS3.16 annex L); other parts are just *body structure*."""

LARGEST = 2**32 - 2
"""Bytes that a value in explicit little endian can have (PS3.5 section 7.1.1)."""


def parametric_map(
    kl_map: Volume, study: Volume, *, version: str, quantity: Code = KL_BLOCK, series: SourceSeries | None = None
) -> hd.pm.ParametricMap:
    """Return the map as a DICOM Parametric Map object.

    Parameters
    ----------
    kl_map : (D, H, W) numbers of the quantity on the study's grid (or on its in-plane crop).
    study : the CT; only its grid and source are used. Its files must still be there.
    version : KLIPCore's version.
    quantity : what the numbers are (:func:`KLIPCore.export.dicom_codes.quantity_of`).
    series : the study's series, where its files were opened already.

    Returns
    -------
    The object, ready to be saved.

    Raises
    ------
    InputError : the study is not a classic DICOM series (one file per slice), its header fields cannot be carried
        over, or the map is larger than one DICOM object can be.
    UnreadableFileError : a source file is gone or damaged.
    GeometryError : the files are not the slices of this volume, or the map is not on the study's grid.
    """
    if not kl_map.grid.same_as(study.grid):
        raise GeometryError("The KL map does not lie on the study's grid.", "Bring it onto the study's grid first.")
    series = series or SourceSeries.of(study)
    pixels = series.on_images(kl_map.array)
    if pixels.nbytes > LARGEST:
        raise InputError(
            f"A map of {pixels.nbytes / 2**30:.1f} GiB is larger than a DICOM object can be.",
            "Use kl_map.nrrd, or examine a part of the study.",
        )
    with making("a DICOM Parametric Map"):
        made = hd.pm.ParametricMap(
            source_images=series.headers,
            pixel_array=pixels,
            series_instance_uid=hd.UID(),
            series_number=10000 + series.number % 1000,  # behind the segmentation
            **new_instance(version),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(float(pixels.min()), float(pixels.max()), quantity)],
            voi_lut_transformations=[_window(pixels)],
            content_label="KLIP_MAP",
            content_description=CONTENT_DESCRIPTION,
            series_description=f"KLIP map, {units_of(quantity)[0].meaning} (research)",
        )
    _sort_frames(made, series)
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(series)]
    made.ContentCreatorName = ""  # must be there; no person made it
    made.CodingSchemeIdentificationSequence = scheme_identification()
    return hd.pm.ParametricMap.from_dataset(made, copy=False)  # what it knows of its frames, anew


def write_parametric_map(
    kl_map: Volume, study: Volume, path: Path, *, version: str, quantity: Code = KL_BLOCK
) -> Path:
    """Write :func:`parametric_map` to ``path``, whole or not at all.

    Raises
    ------
    OutputError : the file cannot be written; else as :func:`parametric_map`.
    """
    made = parametric_map(kl_map, study, version=version, quantity=quantity)
    with written(path) as part:
        made.save_as(part)
    return path


def _window(pixels: NDArray[np.float32]) -> hd.VOILUTTransformation:
    """From 0 to :data:`BRIGHTEST`; to 1 for a map of zeros."""
    positive = pixels[pixels > 0]
    top = float(np.percentile(positive, BRIGHTEST, overwrite_input=True)) if positive.size else 1.0
    return hd.VOILUTTransformation(
        window_center=top / 2,
        window_width=top,
        voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT,  # LINEAR asks for a width of 1 or more
    )


def _mapping(lowest: float, highest: float, quantity: Code) -> hd.pm.RealWorldValueMapping:
    """Stored numbers are the real ones."""
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.value,
        lut_explanation=f"Stored values are {units_of(quantity)[0].meaning}",
        unit=units_of(quantity)[0],
        value_range=(min(lowest, 0.0), max(highest, 1.0)),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity,
    )


def _sort_frames(made: hd.pm.ParametricMap, series: SourceSeries) -> None:
    """Put the frames in the order in which viewers stack the slices of a CT; highdicom writes the opposite one."""
    along = np.array([header.ImagePositionPatient for header in series.headers], float) @ series.normal
    numbers = frame_numbers(made, series)
    order = [numbers[int(k)] - 1 for k in np.argsort(along)]
    frames = np.frombuffer(made.FloatPixelData, "<f4").reshape(len(order), -1)
    made.FloatPixelData = b"".join(frames[n].data for n in order)
    made.PerFrameFunctionalGroupsSequence = [made.PerFrameFunctionalGroupsSequence[n] for n in order]
    for n, groups in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        groups.FrameContentSequence[0].DimensionIndexValues = [n]


def _anatomy(series: SourceSeries) -> Dataset:
    """Item of the Frame Anatomy Sequence, without which readers built on DCMTK do not open a map."""
    item = Dataset()
    part = str(series.headers[0].get("BodyPartExamined") or "").upper()
    item.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(BODY_PARTS.get(part, BODY))]
    item.FrameLaterality = "U"  # a slice through the trunk is no member of a pair
    return item


def frame_numbers(made: hd.pm.ParametricMap, series: SourceSeries) -> dict[int, int]:
    """Return slice of the study's array → number of the frame, from 1, that shows it."""
    slice_at = {tuple(float(v) for v in header.ImagePositionPatient): k for k, header in enumerate(series.headers)}
    return {
        slice_at[tuple(float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient)]: n
        for n, groups in enumerate(made.PerFrameFunctionalGroupsSequence, start=1)
    }
