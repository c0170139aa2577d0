"""From files to framed slices: orientation, exclusion, the couch, and what the card is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_study import small_study
from tiny import SIZE, made_patients

from KLIPCore.errors import ConfigError, EmptyInputError, KlipError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.lab.training.data import DataSource, load_training_set, read_slices
from KLIPCore.volume.units import Window

WINDOW = Window(-160.0, 240.0)
ORIENTED = DataSource("s", "*", oriented=True)


def slices_of(path: Path, source: DataSource = ORIENTED) -> np.ndarray:
    return read_slices(path, source, WINDOW, SIZE, 0.875)[0]


def test_dicom_and_nifti_of_one_patient_are_the_same_slices(tmp_path: Path) -> None:
    volume = small_study(5, lesion=False)
    write_image(volume, tmp_path / "p.nii.gz")
    write_dicom_series(volume, tmp_path / "dicom", seed=1)
    nifti, entry, _ = read_slices(tmp_path / "p.nii.gz", ORIENTED, WINDOW, SIZE, 0.875)
    dicom, same, _ = read_slices(tmp_path / "dicom", DataSource("s", "*"), WINDOW, SIZE, 0.875)
    assert nifti.shape == (5, SIZE, SIZE)
    assert np.abs(nifti.astype(int) - dicom).max() <= 1, "DICOM keeps whole HU"
    assert entry["spacing_mm"] == same["spacing_mm"] == [5.0, 2.5, 2.5]
    assert entry["pixel_mm"] == pytest.approx(335 / (0.875 * SIZE), rel=0.02)


def test_a_volume_stored_the_other_way_round_is_turned(tmp_path: Path) -> None:
    write_image(small_study(5, lesion=False), tmp_path / "p.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "p.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAI"), str(tmp_path / "turned.nii.gz"))
    assert sitk.DICOMOrient(image, "RAI").GetDirection() != image.GetDirection()
    np.testing.assert_array_equal(slices_of(tmp_path / "turned.nii.gz"), slices_of(tmp_path / "p.nii.gz"))


def test_an_array_in_display_order_is_taken_as_it_is(tmp_path: Path) -> None:
    hu = small_study(5, lesion=False).array
    eight_bit = np.round(WINDOW.apply(hu) * 255).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(eight_bit), str(tmp_path / "p8.nii.gz"))
    write_image(small_study(5, lesion=False), tmp_path / "p.nii.gz")
    source = DataSource("s", "*", slope=400 / 255, intercept=-160.0)
    found, entry, _ = read_slices(tmp_path / "p8.nii.gz", source, WINDOW, SIZE, 0.875)
    assert np.abs(found.astype(int) - slices_of(tmp_path / "p.nii.gz")).max() <= 2
    assert (entry["spacing_mm"], entry["pixel_mm"]) == (None, 0.0)


def test_the_couch_is_not_learned(tmp_path: Path) -> None:
    volume = small_study(5, lesion=False)
    with_couch = volume.array.copy()
    with_couch[:, 136:140, 20:140] = 100.0
    write_image(volume.with_array(with_couch), tmp_path / "couch.nii.gz")
    write_image(volume, tmp_path / "p.nii.gz")
    np.testing.assert_array_equal(slices_of(tmp_path / "couch.nii.gz"), slices_of(tmp_path / "p.nii.gz"))


def test_exclusion_of_files_and_of_slices(tmp_path: Path) -> None:
    made_patients(tmp_path)
    everything, entries, _ = load_training_set(
        tmp_path, [DataSource("s", "{case}.nii.gz", oriented=True)], WINDOW, SIZE
    )
    less, fewer, _ = load_training_set(
        tmp_path, [DataSource("s", "{case}.nii.gz", exclude=("p1*", "p2.nii.gz:0-2"), oriented=True)], WINDOW, SIZE
    )
    assert [e["file"] for e in entries] == ["p0.nii.gz", "p1.nii.gz", "p2.nii.gz"]
    assert [(e["file"], e["n_slices"]) for e in fewer] == [("p0.nii.gz", 5), ("p2.nii.gz", 2)]
    np.testing.assert_array_equal(less, np.concatenate([everything[:5], everything[13:]]))


@pytest.mark.parametrize("exclude", ["p0*:all", "p0*:3", "p0*:-1-2"])
def test_exclusions_that_say_nothing_are_refused(tmp_path: Path, exclude: str) -> None:
    with pytest.raises(ConfigError, match="exclude"):
        DataSource("s", "*", exclude=(exclude,)).left_out("p0.nii.gz")


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    made_patients(tmp_path)
    with pytest.raises(EmptyInputError):
        load_training_set(tmp_path, [DataSource("s", "{case}.nii.gz", ("nobody",))], WINDOW, SIZE)
    with pytest.raises(ConfigError):
        load_training_set(tmp_path, [DataSource("s", "{case}.nii.gz", exclude=("*",))], WINDOW, SIZE)
    with pytest.raises(ConfigError):
        load_training_set(tmp_path, [], WINDOW, SIZE)
    (tmp_path / "broken.nii.gz").write_bytes(b"no volume")
    for oriented in (True, False):
        with pytest.raises(KlipError):
            load_training_set(
                tmp_path, [DataSource("s", "{case}.nii.gz", ("broken",), oriented=oriented)], WINDOW, SIZE
            )
