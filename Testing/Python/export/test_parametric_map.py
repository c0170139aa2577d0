"""Parametric maps read back by pydicom and highdicom: the very bits of ``kl_map.nrrd``, at the right places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from export.dicom_example import SHAPE, Example, example, study_in
from export.examples import kl_map

from KLIPCore.errors import GeometryError, InputError, OutputError
from KLIPCore.export import parametric_map as module
from KLIPCore.export.dicom_codes import EQUIVALENT, KL_BLOCK, SURPRISE, WEIGHTED, quantity_of, units_of
from KLIPCore.export.parametric_map import parametric_map, write_parametric_map
from KLIPCore.export.source_series import SourceSeries
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.images import read_image
from KLIPCore.scores import SCORES
from KLIPCore.volume.volume import Volume


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Results that tests only look at."""
    return example(tmp_path_factory.mktemp("results"))


def frames_of(path: Path) -> np.ndarray:
    """(n, rows, columns) as stored, through nothing but the bytes."""
    plain = pydicom.dcmread(path)
    return np.frombuffer(plain.FloatPixelData, "<f4").reshape(-1, plain.Rows, plain.Columns)


def check(path: Path, nats: Volume, study: Volume) -> None:
    """Every number and place of the file against the map and the source files."""
    plain = pydicom.dcmread(path)
    frames = frames_of(path)
    assert len(frames) == plain.NumberOfFrames == len(nats.array)
    by_uid = {uid: k for k, uid in enumerate(study.source.sop_uids)}
    orientation = plain.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(np.array(orientation[:3], float), np.array(orientation[3:], float))
    along = []
    for n, (frame, groups) in enumerate(zip(frames, plain.PerFrameFunctionalGroupsSequence, strict=True), start=1):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        k = by_uid[source.ReferencedSOPInstanceUID]
        np.testing.assert_array_equal(frame, nats.array[k])
        original = pydicom.dcmread(study.source.files[k], stop_before_pixels=True)
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert position == original.ImagePositionPatient
        assert orientation == original.ImageOrientationPatient
        assert plain.FrameOfReferenceUID == original.FrameOfReferenceUID
        assert plain.StudyInstanceUID == original.StudyInstanceUID
        assert groups.FrameContentSequence[0].DimensionIndexValues == n
        along.append(float(np.array(position, float) @ normal))
    assert along == sorted(along), "OHIF lays frames over the CT in the order it stacks the CT's slices"


def test_numbers_are_those_of_kl_map_nrrd_bit_by_bit(made: Example) -> None:
    stored = read_image(made.folder / "kl_map.nrrd")
    np.testing.assert_array_equal(stored.array, made.nats.array)
    check(made.folder / "kl_map.dcm", stored, made.study)


def test_highdicom_gives_the_same_volume_in_the_same_place(made: Example) -> None:
    volume = hd.imread(made.folder / "kl_map.dcm").get_volume()
    grid = made.study.grid
    values, affine = volume.array, volume.affine  # LPS mm of (slice, row, column)
    if affine[:3, 0] @ grid.affine[:3, 0] < 0:
        affine = affine @ np.array([[-1, 0, 0, len(values) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        values = values[::-1]
    np.testing.assert_array_equal(values.astype(np.float32), made.nats.array)
    np.testing.assert_allclose(affine, grid.affine, atol=1e-3)


def test_what_the_numbers_are_is_said(made: Example) -> None:
    plain = pydicom.dcmread(made.folder / "kl_map.dcm")
    (mapping,) = plain.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    (unit,) = mapping.MeasurementUnitsCodeSequence
    assert (unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning) == ("{surprise}", "UCUM", "surprise")
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    assert mapping.DoubleFloatRealWorldValueLastValueMapped >= made.nats.array.max()
    (quantity,) = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == (SURPRISE.value, "99KLIP")
    assert plain.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99KLIP"
    assert plain.ContentQualification == "RESEARCH"
    assert "research" in plain.SeriesDescription
    window = plain.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
    assert window.WindowCenter - window.WindowWidth / 2 == pytest.approx(0, abs=1e-6)
    assert 0 < window.WindowWidth <= made.nats.array.max()
    for keyword in ("SeriesDescription", "ContentDescription"):
        assert len(plain[keyword].value) <= 64


def test_scores_hold_different_quantities() -> None:
    assert quantity_of(SCORES["unexpected"]) == SURPRISE
    assert quantity_of(SCORES["hypodense"]) == EQUIVALENT
    assert quantity_of(SCORES["darker"]) == WEIGHTED
    assert quantity_of(SCORES["klip"]) == KL_BLOCK
    for score in SCORES.values():
        assert tuple(unit.meaning for unit in units_of(quantity_of(score))) == (score.unit, score.total_unit)
        assert all(len(unit.value) <= 16 for unit in units_of(quantity_of(score)))
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 for code in map(quantity_of, SCORES.values()))


def test_an_in_plane_crop_lands_on_the_full_images(made: Example, tmp_path: Path) -> None:
    crop = made.study.cropped((slice(1, 6), slice(2, 9), slice(1, 8)))
    nats = Volume(made.nats.array[1:6, 2:9, 1:8].copy(), crop.grid, crop.source, "nats")
    path = write_parametric_map(nats, crop, tmp_path / "map.dcm", version="0")
    whole = np.zeros((5, *SHAPE[1:]), np.float32)
    whole[:, 2:9, 1:8] = nats.array
    slab = made.study.cropped((slice(1, 6), slice(None), slice(None)))
    check(path, Volume(whole, slab.grid, slab.source, "nats"), slab)


def test_an_empty_map_and_one_slice_are_maps_too(made: Example, tmp_path: Path) -> None:
    nats = made.nats.with_array(np.zeros(SHAPE, np.float32))
    check(write_parametric_map(nats, made.study, tmp_path / "zero.dcm", version="0"), nats, made.study)
    box = (slice(2, 3), slice(None), slice(None))
    one, study = made.nats.cropped(box), made.study.cropped(box)
    check(write_parametric_map(one, study, tmp_path / "one.dcm", version="0"), one, study)


@pytest.mark.parametrize("reverse", [False, True])
def test_frames_stack_as_the_images_do_whatever_the_files_order(tmp_path: Path, reverse: bool) -> None:
    study = study_in(tmp_path / "study")
    if reverse:
        study, _ = study.oriented_lps() if study.grid.lps_axes()[1][0] else (study, None)
    nats = kl_map(study.grid, study.source)
    check(write_parametric_map(nats, study, tmp_path / "map.dcm", version="0"), nats, study)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("ISO 2022 IR 100", "Müller^Jörg"),
        ("GB18030", "王^小东"),
    ],
)
def test_names_in_other_scripts_and_missing_fields_are_survived(
    tmp_path: Path, charset: str | list[str], name: str
) -> None:
    study = study_in(tmp_path / "study")
    for file in study.source.files:
        dataset = pydicom.dcmread(file)
        dataset.SpecificCharacterSet, dataset.PatientName = charset, name
        del dataset.AccessionNumber, dataset.StudyID, dataset.StudyTime, dataset.PatientSex, dataset.StudyDate
        del dataset.StudyDescription, dataset.ReferringPhysicianName, dataset.SeriesNumber
        dataset.save_as(file)
    made = example(tmp_path, read_dicom(tmp_path / "study"))
    for file in ("regions.dcm", "kl_map.dcm", "report.dcm"):
        plain = pydicom.dcmread(made.folder / file)
        assert str(plain.PatientName) == name
        assert not plain.AccessionNumber
        assert plain.SeriesNumber >= 9000


def test_wrong_maps_and_studies_are_refused(made: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, nats = made.study, made.nats
    with pytest.raises(GeometryError, match="study's grid"):
        parametric_map(nats.cropped((slice(1, 6), slice(None), slice(None))), study, version="0")
    with pytest.raises(InputError, match=r"DICOM slices.*nrrd"):
        parametric_map(nats, Volume(study.array, study.grid), version="0")
    (tmp_path / "occupied").mkdir()
    with pytest.raises(OutputError):
        write_parametric_map(nats, study, tmp_path / "occupied", version="0")
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.setattr(module, "LARGEST", 100)
    with pytest.raises(InputError, match=r"larger than a DICOM object.*kl_map\.nrrd"):
        parametric_map(nats, study, version="0")


def test_a_refusal_quotes_no_patient_data(tmp_path: Path) -> None:
    study = study_in(tmp_path / "study")
    series = SourceSeries.of(study)
    broken = replace(series, headers=tuple(pydicom.dcmread(f, stop_before_pixels=True) for f in study.source.files))
    for header in broken.headers:
        del header.FrameOfReferenceUID
    with pytest.raises(InputError, match="frame of reference") as caught:
        parametric_map(kl_map(study.grid, study.source), study, version="0", series=broken)
    assert "SYNTHETIC" not in str(caught.value)
