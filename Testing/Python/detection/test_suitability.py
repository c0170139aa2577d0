"""A study that does not suit the prior is examined, but the result says so: one warning a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_study import small_study

from KLIPCore.io.study import read_study
from KLIPCore.priors.checkpoint import shipped_cards
from KLIPCore.volume.framed_study import frame_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def warnings_of(volume: Volume) -> str:
    """What the framing says of a volume, as one text."""
    return " ".join(frame_study(volume, shipped_cards()[0]).warnings)


def respaced(volume: Volume, k: float = 1.0, ji: float = 1.0) -> Volume:
    """The same numbers with the slice and in-plane spacing multiplied."""
    affine = volume.grid.affine.copy()
    affine[:3, 0] *= k
    affine[:3, 1:3] *= ji
    return Volume(volume.array, Grid(volume.grid.shape, affine))


def test_a_suitable_study_has_none() -> None:
    study = respaced(small_study(), ji=0.85)
    fine = Volume(np.repeat(np.repeat(study.array, 2, 1), 2, 2), _halved(study.grid))
    assert warnings_of(fine) == ""


def _halved(grid: Grid) -> Grid:
    """A grid of in-plane voxels half as wide, covering the same space."""
    affine = grid.affine.copy()
    affine[:3, 1:3] /= 2
    affine[:3, 3] = grid.to_world([0, -0.25, -0.25])
    return Grid((grid.shape[0], 2 * grid.shape[1], 2 * grid.shape[2]), affine)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: respaced(v, ji=2.0), "the prior knows bodies of"),
        (lambda v: respaced(v, ji=0.4), "the prior knows bodies of"),
        (lambda v: respaced(v, ji=10.0), "check the voxel size"),
        (lambda v: respaced(v, ji=0.1), "check the voxel size"),
        (lambda v: respaced(v, k=3.0), "small lesions may fall between"),
        (lambda v: respaced(v.with_array(np.where(v.array > 40, -800, v.array)), k=4.0), "lung or air"),
        (lambda v: v.with_array(np.where(v.array > 40, 600, v.array)), "bone-dense"),
        (lambda v: v.with_array(np.where(v.array > 40, 290, v.array)), "Check that values are HU"),
        (lambda v: v.cropped((slice(None), slice(None), slice(40, 120))), "cut off by the field of view"),
        (lambda v: respaced(v, ji=1.8), "coarser than the prior's"),
    ],
)
def test_each_reason_is_named(change: object, words: str) -> None:
    assert callable(change)
    assert words in warnings_of(change(small_study()))


def test_slices_that_are_not_axial() -> None:
    study = small_study()
    turned = study.grid.affine.copy()
    turn = np.array([[1, 0, 0], [0, np.cos(0.7), -np.sin(0.7)], [0, np.sin(0.7), np.cos(0.7)]])
    turned[:3, :3] = turn @ turned[:3, :3]
    assert "not axial" in warnings_of(Volume(study.array, Grid(study.grid.shape, turned)))


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "words"), [("lung1-001_ct_256", "lung or air"), ("head-cranium_ct", "The body is")])
def test_real_studies_of_other_anatomy(shared_data: Path, name: str, words: str) -> None:
    assert words in warnings_of(read_study(shared_data / "volumes" / f"{name}.nii.gz"))


def test_a_stout_patient_is_not_asked_for_the_voxel_size() -> None:
    said = warnings_of(respaced(small_study(), ji=1.6))
    assert "the prior knows bodies of" in said
    assert "check the voxel size" not in said
