"""Projections → a DICOM-CT-PD series, for simulated scans.

Tests, the demo of raw data and the fuzzer need scans that follow the published description
(:mod:`KLIPCore.io.projection_header`); patients' scans are not ours to ship. Comments in the files say that they are
simulated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from KLIPCore.errors import GeometryError, OutputError
from KLIPCore.io.projection_header import FIELDS

NOTE = "simulated projections, no patient"
KINDS = {"<u2": "US", "<f4": "FL", "text": "CS"}
MODULES = {
    0x7029: "DetectorSystemArrangementModule",
    0x7031: "DetectorDynamicsModule",
    0x7033: "SourceDynamicsModule",
    0x7037: "ProjectionDataDefinitions",
    0x7039: "PreprocessingFlagsModule",
    0x7041: "WaterAttenuationModule",
}
PER_UNIT = 4000.0
"""Stored values per unit of line integral: 16 bits end at 16."""


@dataclass(frozen=True)
class Writing:
    """How a series is stored.

    Attributes
    ----------
    untyped : store private fields without their types, as implicit encoding does.
    transposed : store pictures as columns × rows, as some scanners' exports do.
    patient_position : DICOM name; None leaves it out.
    seed : equal seeds give equal UIDs.
    """

    untyped: bool = False
    transposed: bool = False
    patient_position: str | None = "HFS"
    seed: int = 0


def write_projections(
    folder: Path,
    pictures: NDArray[np.floating],
    places: Sequence[tuple[float, float]],
    fields: Mapping[str, object],
    writing: Writing | None = None,
) -> list[Path]:
    """Write one DICOM-CT-PD file for each projection, named in the order of measurement.

    Parameters
    ----------
    folder : where the files go; made where it is missing.
    pictures : (n_views, rows, columns) line integrals, 0 to 16.
    places : φ₀ in rad and z₀ in mm of each projection.
    fields : further private fields by name, the same in all files, of
        :data:`KLIPCore.io.projection_header.FIELDS`; None leaves one out.
    writing : how they are stored.

    Raises
    ------
    GeometryError : pictures and places do not belong together.
    OutputError : the folder cannot be written.
    """
    style = writing or Writing()
    if pictures.ndim != 3 or len(pictures) != len(places):
        raise GeometryError(
            f"{len(places)} places do not belong to pictures of shape {pictures.shape}.", "Give one to each."
        )
    shape = {"NumberofDetectorRows": pictures.shape[1], "NumberofDetectorColumns": pictures.shape[2]}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k, (picture, (phi, z)) in enumerate(zip(pictures, places, strict=True), 1):
            own = {"DetectorFocalCenterAngularPosition": phi, "DetectorFocalCenterAxialPosition": z}
            dataset = _public(k, picture, style)
            _add_private(dataset, {**shape, **own, **fields})
            path = folder / f"projection_{k:05d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            written.append(path)
    except OSError as error:
        raise OutputError(
            f"The projections cannot be written to {folder} ({error.strerror}).", "Check the path and the free space."
        ) from error
    return written


def _public(k: int, picture: NDArray[np.floating], style: Writing) -> FileDataset:
    """What any DICOM reader understands of projection k."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["klip", str(style.seed), str(k)])
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if style.untyped else ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    made.Modality, made.Manufacturer, made.PatientName, made.PatientID = "CT", "KLIP", "SIMULATED^KLIP", "SIMULATED"
    made.StudyInstanceUID = generate_uid(entropy_srcs=["klip", str(style.seed), "study"])
    made.SeriesInstanceUID = generate_uid(entropy_srcs=["klip", str(style.seed), "series"])
    made.SeriesDescription, made.ImageComments = NOTE, NOTE
    made.InstanceNumber = k
    if style.patient_position is not None:
        made.PatientPosition = style.patient_position
    stored = np.rint(np.clip((picture.T if style.transposed else picture) * PER_UNIT, 0, 65535)).astype("<u2")
    made.Rows, made.Columns = stored.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.RescaleSlope, made.RescaleIntercept = f"{1 / PER_UNIT:g}", "0"
    made.PixelData = stored.tobytes()
    return made


def _add_private(dataset: Dataset, fields: Mapping[str, object]) -> None:
    for name, value in fields.items():
        if value is None:
            continue
        tag, kind = FIELDS[name]
        group = tag >> 16
        if (group, 0x0010) not in dataset:
            dataset.add_new((group, 0x0010), "LO", MODULES[group])
        decimal = name == "WaterAttenuationCoefficient"
        dataset.add_new(tag, "DS" if decimal else KINDS[kind], str(value) if kind == "text" else value)
