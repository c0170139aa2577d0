"""Folders, configurations and masks of whole volumes: what is understood, and what is refused in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_study import small_study

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError, InputError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.lab.evaluation.volumes.config import Scan, VolumesConfig, is_volumes
from KLIPCore.lab.evaluation.volumes.folder import folder_config
from KLIPCore.lab.evaluation.volumes.reading import changed_grid, read_mask, read_scan
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


def grid(shape: tuple[int, int, int] = (8, 20, 20), spacing: float = 2.0, origin: float = 0.0) -> Grid:
    """A cube's grid; its first voxel's corner stays where it is."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = origin + spacing / 2
    return Grid(shape, affine)


def write_mask(path: Path, at: Grid, value: float = 1.0) -> np.ndarray:
    """A mask with a box of lesion between 4 and 12 mm along each axis; returns it."""
    points = at.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in at.shape), indexing="ij"), -1))
    box = ((points > 4) & (points < 12)).all(-1)
    write_image(Volume(box.astype(np.float32) * value, at), path)
    return box


def test_a_folder_is_read_by_its_names(tmp_path: Path) -> None:
    for name in ("anna.nii.gz", "anna_LABEL.nrrd", "carl.nrrd", "dora.mha", "dora_seg.mha", "lost_mask.nii", "x.txt"):
        (tmp_path / name).touch()
    write_dicom_series(small_study(2), tmp_path / "bert", seed=1)
    (tmp_path / "bert_mask.nii.gz").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.md").write_text("no slice")
    made = folder_config(tmp_path, Config(), healthy=True)
    assert [(s.name, s.mask.name if s.mask else None, s.healthy) for s in made.studies] == [
        ("anna", "anna_LABEL.nrrd", False),
        ("bert", "bert_mask.nii.gz", False),
        ("carl", None, True),
        ("dora", "dora_seg.mha", False),
    ]
    assert made.notes == ("lost_mask.nii belongs to no scan.",)
    assert made.patients == ["anna", "bert", "carl", "dora"]
    assert made.scores == (Config().regions.score,)
    assert is_volumes(tmp_path)


def test_folders_that_cannot_be_understood(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="no scan in"):
        folder_config(tmp_path, Config())
    (tmp_path / "anna.nii.gz").touch()
    (tmp_path / "anna.nrrd").touch()
    with pytest.raises(ConfigError, match="two scans of one name"):
        folder_config(tmp_path, Config())
    (tmp_path / "anna.nrrd").unlink()
    (tmp_path / "anna_seg.nrrd").touch()
    (tmp_path / "anna_mask.nrrd").touch()
    with pytest.raises(ConfigError, match="two masks of one name"):
        folder_config(tmp_path, Config())


def load(tmp_path: Path, **fields: object) -> VolumesConfig:
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump({"kind": "volumes"} | fields))
    assert is_volumes(path)
    return VolumesConfig.load(path, tmp_path)


def test_a_file_is_read(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        preset="quick",
        scores=["unexpected", "klip", "klip"],
        lesion_values=[2],
        run={"sampling": {"seed": 3}},
        studies=[
            {"image": "a/one.nii.gz", "mask": "a/one_seg.nii.gz", "patient": 7},
            {"name": "two", "run": "runs/two", "healthy": True},
            {"name": "three", "image": "dicom", "mask": "m.nrrd", "lesion_values": [1, 4], "patient": "7"},
        ],
    )
    one, two, three = made.studies
    assert (one.name, one.patient, one.image) == ("one", "7", tmp_path / "a" / "one.nii.gz")
    assert (two.run, two.patient, two.healthy) == (tmp_path / "runs" / "two", "two", True)
    assert (made.values_of(one), made.values_of(three)) == ((2,), (1, 4))
    assert made.patients == ["7", "two"]
    assert (made.title, made.scores) == ("set", ("unexpected", "klip"))
    assert (made.run.preset, made.run.sampling.seed) == ("quick", 3)
    assert made.changed(("darker",), "default", "discs-128").run.prior == "discs-128"


def test_layers_of_every_score_are_recorded(tmp_path: Path) -> None:
    made = load(tmp_path, scores=["nats", "klip"], studies=[{"image": "a.nrrd", "healthy": True}])
    assert "renoised" in made.recorded.record.layers
    assert made.recorded.record.layers[:2] == made.run.record.layers[:2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"studies": []}, "no study"),
        ({}, "studies"),
        ({"studies": [{"image": "a.nrrd", "colour": "red"}]}, "colour"),
        ({"studies": [{"image": "a.nrrd"}], "scores": ["oracle"]}, "oracle"),
        ({"studies": [{"image": "a.nrrd"}, {"image": "b/a.nii"}]}, "Two studies are called a"),
        (
            {"studies": [{"image": "a.nrrd", "patient": "P"}, {"image": "b.nrrd", "patient": "P", "healthy": True}]},
            "Patient P is healthy in one study",
        ),
        ({"studies": [{"name": "a", "mask": "a.nrrd"}]}, "an image or a finished run"),
        ({"studies": [{"name": "a", "image": "a.nrrd", "run": "r"}]}, "an image or a finished run"),
        ({"studies": [{"name": "a", "run": "r", "every": 2}]}, "cannot be changed"),
        ({"studies": [{"name": "../a", "image": "a.nrrd"}]}, "cannot name a folder"),
        ({"studies": [{"image": "a.nrrd", "healthy": "perhaps"}]}, "healthy is true or false"),
        ({"studies": [{"image": "a.nrrd", "every": 0}]}, "every 0 slices"),
        ({"studies": [{"image": "a.nrrd", "spacing_mm": [1, 0, 1]}]}, "impossible"),
        ({"studies": [{"image": "a.nrrd"}], "run": {"sampling": {"n_steps": -1}}}, "steps"),
        ({"studies": [{"image": "a.nrrd"}], "preset": "huge"}, "huge"),
        ({"studies": [{"image": "a.nrrd", "slope": "steep"}]}, "slope and intercept"),
        ({"studies": [{"image": "a.nrrd", "slices": [1]}]}, "not a range of slices"),
        ({"studies": [{"image": "a.nrrd", "lesion_values": 2}]}, "not a list of labels"),
        ({"studies": [{"image": "a.nrrd"}], "lesion_values": [0]}, "not a list of labels"),
        ({"studies": [{"image": "a.nrrd"}], "lesion_mm": -1}, "Lesions of -1 mm"),
        ({"studies": ["a.nrrd"]}, "cannot be used"),
    ],
)
def test_files_that_cannot_be_understood(tmp_path: Path, fields: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, **fields)


def test_the_shipped_file_is_read() -> None:
    path = Path(__file__).parents[4] / "configs" / "eval_volumes.yaml"
    made = VolumesConfig.load(path, Path("data"))
    assert {"A", "B"} < set(made.patients)
    assert all(scan.mask is not None or scan.healthy for scan in made.studies)


def test_a_mask_on_the_scans_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    own = grid()
    box = write_mask(tmp_path / "m.nrrd", own, 2.0)
    scan = Scan("a", image=tmp_path / "a.nrrd", mask=tmp_path / "m.nrrd")
    for values in ((2,), (), (1, 2)):
        mask, notes = read_mask(scan, own, values)
        assert (mask == box).all()
        assert notes == []


@pytest.mark.parametrize(("shape", "spacing"), [((16, 40, 40), 1.0), ((4, 10, 10), 4.0), ((8, 16, 16), 2.0)])
def test_a_mask_on_another_grid_in_the_same_place_is_resampled(
    tmp_path: Path, shape: tuple[int, int, int], spacing: float
) -> None:
    """Finer, coarser, and cropped: the box of 8 mm is the same voxels of the scan."""
    write_mask(tmp_path / "m.nrrd", grid(shape, spacing))
    mask, notes = read_mask(Scan("a", image=tmp_path / "a.nrrd", mask=tmp_path / "m.nrrd"), grid(), ())
    expected = np.zeros(grid().shape, bool)
    expected[2:6, 2:6, 2:6] = True
    assert (mask == expected).all()
    assert "nearest voxels" in notes[0]


def test_turned_axes_are_turned_back(tmp_path: Path) -> None:
    """As many voxels in the same box, counted from other corners and along other axes: no voxel is interpolated."""
    own = grid((20, 20, 20))
    write_mask(tmp_path / "m.nrrd", own.oriented((1, 2, 0), (True, False, True)))
    mask, notes = read_mask(Scan("a", image=tmp_path / "a.nrrd", mask=tmp_path / "m.nrrd"), own, ())
    assert (mask == write_mask(tmp_path / "same.nrrd", own)).all()
    assert notes == []


def test_masks_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    scan = Scan("a", image=tmp_path / "a.nrrd", mask=tmp_path / "m.nrrd")
    write_mask(tmp_path / "m.nrrd", grid(spacing=1.0))  # as many voxels: a header that was lost
    with pytest.raises(GeometryError, match="as many voxels as the scan and lies elsewhere"):
        read_mask(scan, grid(), ())
    write_mask(tmp_path / "m.nrrd", grid((9, 20, 20), origin=-10.0))
    with pytest.raises(GeometryError, match=r"% of the mask's box lies in the scan"):
        read_mask(scan, grid(), ())


def test_masks_and_words_that_contradict_each_other(tmp_path: Path) -> None:
    image, path = tmp_path / "a.nrrd", tmp_path / "m.nrrd"
    write_mask(path, grid(), 2.0)
    with pytest.raises(EmptyInputError, match="no mask and is not said to be healthy"):
        read_mask(Scan("a", image=image), grid(), ())
    with pytest.raises(EmptyInputError, match="is missing"):
        read_mask(Scan("a", image=image, mask=tmp_path / "gone.nrrd"), grid(), ())
    with pytest.raises(EmptyInputError, match=r"no voxel of m\.nrrd is lesion"):
        read_mask(Scan("a", image=image, mask=path), grid(), (7,))
    with pytest.raises(InputError, match="holds lesions"):
        read_mask(Scan("a", image=image, mask=path, healthy=True), grid(), ())
    empty, _ = read_mask(Scan("a", image=image, mask=path, healthy=True), grid(), (7,))  # organs alone
    assert not empty.any()
    assert not read_mask(Scan("a", image=image, healthy=True), grid(), ())[0].any()


def test_image_and_mask_are_changed_alike(tmp_path: Path) -> None:
    """Stored as 8 bits with a voxel of 1 mm; every second slice of 2 … 8."""
    study = small_study(9)
    stored = replace(study.grid, affine=np.array(study.grid.affine) / np.array([5, 2.5, 2.5, 1]))
    numbers = np.arange(9, dtype=np.float32)[:, None, None] * np.ones(stored.shape, np.float32)
    write_image(Volume(numbers, stored), tmp_path / "ct.nrrd")
    write_image(Volume((numbers == 4).astype(np.float32), stored), tmp_path / "seg.nrrd")
    scan = Scan(
        "a", image=tmp_path / "ct.nrrd", mask=tmp_path / "seg.nrrd", slope=10.0, intercept=-5.0,
        spacing_mm=(5.0, 2.5, 2.5), slices=(2, 9), every=2,
    )  # fmt: skip
    made = read_scan(scan)
    assert made.array[:, 0, 0].tolist() == [15.0, 35.0, 55.0, 75.0]
    assert made.grid.spacing.tolist() == [10.0, 2.5, 2.5]
    assert made.grid.origin == pytest.approx(study.grid.to_world([2, 0, 0]))
    mask, notes = read_mask(scan, made.grid, ())
    assert mask.any((1, 2)).tolist() == [False, True, False, False]
    assert notes == []
    with pytest.raises(GeometryError, match="no slices 2 to 12"):
        changed_grid(replace(scan, slices=(2, 12)), stored)
