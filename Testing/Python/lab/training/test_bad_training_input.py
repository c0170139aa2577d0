"""Training folders as they come: strangers, cut-outs, tilted scans, patients in both sets, full disks, sudden ends."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import load_file, save_file
from small_study import small_study
from tiny import made_patients, tiny_config

from KLIPCore.errors import ConfigError, GeometryError, OutputError, PriorError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.lab.training.checks import judge_set
from KLIPCore.lab.training.data import DataSource, TrainingSet, load_training_set
from KLIPCore.lab.training.loop import train
from KLIPCore.priors.checkpoint import load_prior

FULL_DISK = Path("/dev/full")


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_patients(tmp_path_factory.mktemp("patients"))


CONFIG = tiny_config(steps=2, save_every=2, decay_steps=1, n_validation=1)


@pytest.fixture(scope="module")
def finished(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps that is over; to be copied."""
    return train(CONFIG, patients, tmp_path_factory.mktemp("finished") / "run").parent


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def abdomen(rng: np.random.Generator, side: int = 128, spleen: float = 0.62) -> np.ndarray:
    """Fourteen slices of an abdomen: a body, a liver that ends, a spleen, a spine, each a little different."""
    rows, columns = np.mgrid[:side, :side] / (side / 2) - 1
    a, b, shift = 0.85 + 0.03 * rng.normal(), 0.6 + 0.03 * rng.normal(), 0.03 * rng.normal(size=2)
    hu = 0.6 + 0.01 * rng.normal()

    def inside(x: float, y: float, w: float, h: float) -> np.ndarray:
        return ((columns - x) / w) ** 2 + ((rows - y) / h) ** 2 < 1

    out = []
    for k in range(14):
        jitter, size = 0.03 * rng.normal(size=6), 0.15 + 0.017 * k
        image = np.where(inside(0, 0, a + jitter[0], b + jitter[1]), 0.4, 0.0)
        image[inside(-0.35 + shift[0] + jitter[2], shift[1] + jitter[3], size, size)] = hu
        image[inside(0.45 + jitter[4], jitter[5], 0.15 + 0.03 * rng.random(), 0.18)] = spleen
        image[inside(jitter[4], 0.38, 0.12, 0.12)] = 0.95
        out.append(np.where(image > 0, image + 0.02 * rng.normal(size=image.shape), 0.0))
    return np.stack(out)


def as_set(stacks: dict[str, np.ndarray]) -> TrainingSet:
    entries = [{"source": "s", "file": name, "n_slices": len(own)} for name, own in stacks.items()]
    slices = np.concatenate([np.round(np.clip(own, 0, 1) * 255).astype(np.uint8) for own in stacks.values()])
    return TrainingSet(slices, entries, None)


def test_a_chest_among_abdomens_is_refused_and_another_phase_is_told() -> None:
    rng = np.random.default_rng(0)
    stacks = {f"p{k}": abdomen(rng) for k in range(6)}
    assert judge_set(as_set(stacks)) == []
    lungs = abdomen(rng)
    lungs[:, 44:84, 28:56] = lungs[:, 44:84, 72:100] = 0.0
    with pytest.raises(ConfigError, match="chest: it has more slices with much air inside") as told:
        judge_set(as_set(stacks | {"chest": lungs}))
    assert "mixed: true" in told.value.remedy
    assert any(note.startswith("chest: ") for note in judge_set(as_set(stacks | {"chest": lungs}), mixed=True))
    arterial = abdomen(rng, spleen=0.75)
    notes = judge_set(as_set(stacks | {"arterial": arterial}))
    assert [note.split(":")[0] for note in notes] == ["arterial"]
    assert "another contrast phase" in notes[0]
    few = {"p0": stacks["p0"], "chest": lungs}
    assert judge_set(as_set(few)) == []  # of two nobody can be called the odd one


def test_a_cut_out_is_refused_and_a_narrow_field_of_view_is_noted(tmp_path: Path) -> None:
    whole = small_study(5, lesion=False)
    for name, columns in {"narrow": slice(14, 146), "cut-out": slice(40, 120)}.items():
        rows = slice(0, 144) if name == "narrow" else slice(40, 110)
        sitk.WriteImage(sitk.GetImageFromArray(whole.array[:, rows, columns]), str(tmp_path / f"{name}.nii.gz"))
    config = tiny_config()
    (narrow,) = load_training_set(tmp_path, [DataSource("s", "narrow.nii.gz")], config.window, 32).entries
    made = load_training_set(tmp_path, [DataSource("s", "narrow.nii.gz")], config.window, 32)
    assert 0.0 < narrow["cut"] < 0.4
    assert "field of view cuts the body" in judge_set(made)[0]
    with pytest.raises(ConfigError, match=r"cut-out\.nii\.gz: the field of view cuts the body") as told:
        judge_set(load_training_set(tmp_path, [DataSource("s", "cut-out.nii.gz")], config.window, 32))
    assert "exclude" in told.value.remedy


def test_a_tilted_copy_without_trusted_directions_is_refused(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(small_study(5, lesion=False).array)
    angle = np.deg2rad(12)
    image.SetDirection([1, 0, 0, 0, np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle)])
    sitk.WriteImage(image, str(tmp_path / "tilted.nii.gz"))
    with pytest.raises(GeometryError, match="lie askew"):
        load_training_set(tmp_path, [DataSource("s", "tilted.nii.gz")], tiny_config().window, 32)
    write_dicom_series(small_study(5, lesion=False), tmp_path / "gantry", seed=1)
    pydicom = pytest.importorskip("pydicom")
    for file in (tmp_path / "gantry").iterdir():
        instance = pydicom.dcmread(file)
        x, y, z = (float(v) for v in instance.ImagePositionPatient)
        instance.ImagePositionPatient = [x, y + 0.2 * z, z]
        instance.save_as(file)
    with pytest.raises(GeometryError, match=r"tilt|askew|sideways"):
        load_training_set(tmp_path, [DataSource("s", "gantry")], tiny_config().window, 32)


def test_a_patient_in_both_sets_is_found_whatever_the_files_are_called(patients: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(patients, tmp_path / "data"))
    config = tiny_config()
    (held_out,) = config.validation
    shutil.copy(data / "p1.nii.gz", data / "another name.nii.gz")
    write_dicom_series(small_study(5, lesion=False, seed=0), data / "dicom", seed=1)
    for copy in ("another name.nii.gz", "dicom"):
        twice = replace(config, validation=(replace(held_out, pattern=copy, cases=()),))
        with pytest.raises(ConfigError, match=f"{copy} is both learned from and held out"):
            train(twice, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_patients_whose_files_have_one_name_are_two(patients: Path, tmp_path: Path) -> None:
    for case in ("p0", "p1", "p2"):
        (tmp_path / case).mkdir()
        shutil.copy(patients / f"{case}.nii.gz", tmp_path / case / "ct.nii.gz")
    config = tiny_config(steps=3, n_validation=1)
    sources, held_out = (
        tuple(replace(source, pattern="{case}/ct.nii.gz") for source in part)
        for part in (config.sources, config.validation)
    )
    assert train(replace(config, sources=sources, validation=held_out), tmp_path, tmp_path / "out").is_file()


def test_a_follow_up_of_a_held_out_patient_is_found_by_its_id(tmp_path: Path) -> None:
    write_dicom_series(small_study(5, lesion=False, seed=7), tmp_path / "first", seed=1)
    write_dicom_series(small_study(6, lesion=True, seed=8), tmp_path / "later", seed=2)
    for file in [*(tmp_path / "first").iterdir(), *(tmp_path / "later").iterdir()]:
        named(file, "Somebody")
    config = tiny_config(
        sources=(DataSource("s", "first", licence="none"),), validation=(DataSource("v", "later", licence="none"),)
    )
    with pytest.raises(ConfigError, match="later is both learned from and held out") as told:
        train(config, tmp_path, tmp_path / "out")
    assert "Somebody" not in str(told.value)


def named(file: Path, patient: str) -> None:
    """Give a DICOM file a patient's ID."""
    pydicom = pytest.importorskip("pydicom")
    instance = pydicom.dcmread(file)
    instance.PatientID = patient
    instance.save_as(file)


def test_a_run_goes_on_with_nothing_but_what_it_was_begun_with(patients: Path, out: Path) -> None:
    config = replace(CONFIG, steps=4)
    (source,) = config.sources
    with pytest.raises(ConfigError, match="begun with another set of scans") as told:
        train(replace(config, sources=(replace(source, cases=("p0",)),)), patients, out)
    assert "empty folder" in told.value.remedy
    with pytest.raises(ConfigError, match="another window"):
        train(replace(config, window=replace(config.window, hi_hu=300.0)), patients, out)


def same(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class PowerCut(BaseException):
    """Nobody catches it."""


def test_a_run_that_ends_at_any_moment_of_writing_goes_on_to_the_same_weights(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(steps=4, save_every=2, decay_steps=2)
    whole = train(config, patients, tmp_path / "whole")
    put = Path.replace
    for moment in (1, 3, 5, 7, 11):  # two checkpoints of four files each, and four pictures before the last state
        out, left = tmp_path / f"cut{moment}", [moment]

        def cut(self: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return put(self, target)

        monkeypatch.setattr(Path, "replace", cut)
        with pytest.raises(PowerCut):
            train(config, patients, out)
        monkeypatch.setattr(Path, "replace", put)
        made = train(config, patients, out)
        assert same(made, whole), moment
        assert same(out / "state.safetensors", tmp_path / "whole" / "state.safetensors"), moment
        assert [e["step"] for e in load_prior(made).card.training["history"]] == [2, 4]


def test_weights_that_were_lost_are_written_again(patients: Path, out: Path) -> None:
    (out / "tiny.safetensors").unlink()
    card = load_prior(train(CONFIG, patients, out)).card
    assert card.training["steps"] == 2
    assert [e["step"] for e in card.training["history"]] == [2]


def test_a_state_of_an_earlier_version_is_continued(patients: Path, out: Path) -> None:
    config = replace(CONFIG, steps=3)
    tensors = load_file(out / "state.safetensors")
    save_file(tensors, out / "state.safetensors")  # no counters in the header: they lay beside it
    counters = json.loads((out / "state.json").read_text())
    del counters["identity"]
    (out / "state.json").write_text(json.dumps(counters))
    train(config, patients, out)
    assert json.loads((out / "state.json").read_text())["step"] == 3
    save_file(tensors, out / "state.safetensors")
    (out / "state.json").write_text("[3]")
    with pytest.raises(PriorError, match="cannot be continued"):
        train(config, patients, out)


@pytest.mark.skipif(not FULL_DISK.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("file", ["state.json.part", "tiny.json.part"])
def test_a_full_disk_is_told_and_leaves_the_last_state(patients: Path, out: Path, file: str) -> None:
    (out / "tiny.safetensors").unlink()  # so that it is written again, whatever its figure
    (out / file).symlink_to(FULL_DISK)
    with pytest.raises(OutputError, match="cannot") as told:
        train(replace(CONFIG, steps=4), patients, out)
    assert "space" in told.value.remedy or "room" in told.value.remedy
    assert not list(out.glob("*.part"))


def test_a_disk_that_fills_while_the_state_is_written(patients: Path, out: Path) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    config, weights = replace(CONFIG, steps=6), out / "tiny.safetensors"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * weights.stat().st_size, hard))
    try:
        with pytest.raises(OutputError, match="state of step 4 cannot be written") as told:
            train(config, patients, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Make room" in told.value.remedy
    assert not list(out.glob("*.part"))
    assert json.loads((out / "state.json").read_text())["step"] == 2
    train(config, patients, out)  # there is room again
    assert json.loads((out / "state.json").read_text())["step"] == 6


def test_a_file_where_the_folder_should_be_is_told(patients: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write to out"):
        train(tiny_config(), patients, tmp_path / "out")


def test_the_written_scans_are_read(tmp_path: Path) -> None:
    """The simulated patients of these tests are whole scans: nothing is noted about them."""
    write_image(small_study(5, lesion=False), tmp_path / "p.nii.gz")
    made = load_training_set(tmp_path, [DataSource("s", "p.nii.gz", oriented=True)], tiny_config().window, 32)
    assert made.entries[0]["cut"] == 0.0
    assert judge_set(made) == []
