"""A volume → a DICOM CT series, for synthetic patients.

The demo and the tests need studies that any DICOM reader accepts and that nobody mistakes for a patient: name, ID and
comments say so. Every attribute the CT Image IOD demands (DICOM PS3.3, A.3) is written; those
that a synthetic patient cannot have (birth date, accession number) are left empty where the standard allows it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_ROOT_UID, UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from KLIPCore.errors import GeometryError, IntensityError, OutputError
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

RESCALE_INTERCEPT = -1024
"""HU of stored value 0, as most scanners have it."""
NOTE = "synthetic image, no patient"


def write_dicom_series(
    volume: Volume,
    folder: Path,
    *,
    patient_name: str = "SYNTHETIC^KLIP",
    study_description: str = "Synthetic study",
    series_description: str = "Synthetic CT",
    series_number: int = 1,
    seed: int | None = None,
    uid_prefix: str = PYDICOM_ROOT_UID,
) -> list[Path]:
    """Write one CT Image Storage file a slice, named in array order, into a new or empty folder.

    Parameters
    ----------
    volume : HU on a grid with axes at right angles; HU are rounded to integers.
    folder : where the files go; it appears only when all are written.
    patient_name : DICOM person name; keep it recognizably synthetic.
    study_description, series_description : free text, at most 64 characters.
    series_number : the series number.
    seed : equal seeds and equal prefixes give equal UIDs; None gives new ones. The study and frame of reference depend
        on the seed alone, so that several series (``series_number``) form one study.
    uid_prefix : root of all UIDs, ending in a dot.

    Returns
    -------
    The files, in array order. Instance numbers count the same way from 1.

    Raises
    ------
    GeometryError : sheared or left-handed voxels, which a CT series cannot express.
    IntensityError : the volume is not in HU, or exceeds 16 bits.
    OutputError : the folder holds something, or cannot be written.
    """
    folder = Path(folder)
    stored = _stored(volume)
    _check_axes(volume.grid)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not an empty folder.", "Choose a new folder.")
    study = [str(seed)] if seed is not None else [generate_uid()]
    uids = {name: generate_uid(uid_prefix, [*study, name]) for name in ("study", "frame")}
    uids["series"] = generate_uid(uid_prefix, [*study, "series", str(series_number)])
    uids["frame"] = UID(volume.grid.frame_uid) if volume.grid.frame_uid else uids["frame"]
    digits = max(4, len(str(len(stored))))
    names = [f"IM{k:0{digits}d}.dcm" for k in range(1, len(stored) + 1)]

    def dataset(k: int) -> Dataset:
        made = _common(uids, patient_name, study_description, series_description, series_number)
        made.update(_slice(volume.grid, k))
        made.SOPInstanceUID = generate_uid(uid_prefix, [*study, "series", str(series_number), str(k)])
        made.PixelData = stored[k].astype("<i2").tobytes()
        return made

    _write_folder(folder, names, dataset)
    return [folder / name for name in names]


def _write_folder(folder: Path, names: list[str], dataset: Callable[[int], Dataset]) -> None:
    """Write files into a folder that appears only when all of them are there.

    Raises
    ------
    OutputError : it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(suffix=".part", prefix=folder.name, dir=folder.parent))
        try:
            for k, name in enumerate(names):
                _save(dataset(k), part / name)
            part.chmod(0o755)  # mkdtemp makes private folders
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"The series cannot be written to {folder} ({error.strerror}).",
            "Check the path, its permissions and the free space.",
        ) from error


def _stored(volume: Volume) -> NDArray[np.float32]:
    """The stored values: HU, rounded, less the intercept.

    Raises
    ------
    IntensityError : the volume is not in HU, or exceeds 16 bits.
    """
    if volume.unit != "HU":
        raise IntensityError(
            f"The volume is in {volume.unit}; a CT series holds Hounsfield units.",
            "Write it as NRRD or NIfTI instead.",
        )
    stored = np.rint(volume.array) - RESCALE_INTERCEPT
    if stored.min() < -32768 or stored.max() > 32767:
        raise IntensityError(
            "Values exceed what 16 bits of a CT slice can hold.", "Clip the volume to -1024..31743 HU."
        )
    return stored


def _check_axes(grid: Grid) -> None:
    k, j, i = grid.directions.T
    if np.abs(np.cross(i, j) - k).max() > 1e-4:
        raise GeometryError(
            "A CT series needs slices stacked along row × column, at right angles.",
            "Resample the volume, or reverse its slices if it is left-handed.",
        )


def _common(
    uids: dict[str, UID], patient_name: str, study_description: str, series_description: str, series_number: int
) -> Dataset:
    """All that slices share, module by module (DICOM PS3.3, table A.3-1)."""
    d = Dataset()
    d.SpecificCharacterSet = "ISO_IR 192"
    # Patient, General Study
    d.PatientName, d.PatientID, d.PatientBirthDate, d.PatientSex = patient_name, "KLIP-SYNTHETIC", "", ""
    d.StudyInstanceUID, d.StudyDate, d.StudyTime, d.StudyID = uids["study"], "", "", "1"
    d.ReferringPhysicianName, d.AccessionNumber, d.StudyDescription = "", "", study_description
    # General Series, Frame of Reference, General Equipment
    d.Modality, d.SeriesInstanceUID, d.SeriesNumber, d.SeriesDescription = (
        "CT",
        uids["series"],
        series_number,
        series_description,
    )
    d.PatientPosition, d.FrameOfReferenceUID, d.PositionReferenceIndicator = "HFS", uids["frame"], ""
    d.Manufacturer, d.ManufacturerModelName = "KLIPSlicer", "write_dicom_series"
    # General Acquisition, General Image, CT Image
    d.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    d.AcquisitionNumber, d.PatientOrientation = None, ""
    d.DerivationDescription, d.ImageComments = NOTE, NOTE
    d.KVP, d.BurnedInAnnotation, d.LossyImageCompression = None, "NO", "00"
    # Image Pixel, Modality LUT, VOI LUT
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 1
    d.BitsAllocated, d.BitsStored, d.HighBit = 16, 16, 15
    d.RescaleIntercept, d.RescaleSlope, d.RescaleType = RESCALE_INTERCEPT, 1, "HU"
    d.WindowCenter, d.WindowWidth = 50, 400
    d.SOPClassUID = CTImageStorage
    return d


def _slice(grid: Grid, k: int) -> Dataset:
    """The Image Plane of slice k, in up to 16 characters a number."""
    d = Dataset()
    spacing, directions = grid.spacing, grid.directions
    d.InstanceNumber = k + 1
    d.Rows, d.Columns = grid.shape[1:]
    d.PixelSpacing = [format_number_as_ds(float(v)) for v in spacing[1:]]
    d.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*directions[:, 2], *directions[:, 1])]
    d.ImagePositionPatient = [format_number_as_ds(float(v)) for v in grid.to_world((k, 0, 0))]
    d.SliceThickness = format_number_as_ds(float(spacing[0]))
    d.SpacingBetweenSlices = format_number_as_ds(float(spacing[0]))
    return d


def _save(dataset: Dataset, file: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(str(file), dataset, file_meta=meta, preamble=b"\0" * 128).save_as(file, enforce_file_format=True)
