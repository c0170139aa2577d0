"""Names that are not UTF-8, libraries that talk, two processes in one folder: real processes, a sentence each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from detection.test_interrupt import ARGUMENTS
from pydicom.uid import generate_uid

from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.errors import AmbiguousSeriesError, ConfigError, OutputError
from KLIPCore.io.dicom import read_dicom
from KLIPCore.io.images import write_image
from KLIPCore.runs.folder import LOCK, RunFolder
from KLIPCore.runs.rerun import Detection, redo_regions
from KLIPCore.volume.selection import Part

LATIN = os.fsdecode(b"caf\xe9")


def klip(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """The real command; its output as bytes, since names are what this is about."""
    command = [sys.executable, "-m", "KLIPCore.cli", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=1800,
        check=False,
    )


@pytest.fixture
def latin(tmp_path: Path) -> Path:
    """A folder whose name is Latin-1; left out where the file system takes UTF-8 alone (macOS), which then
    cannot fail either.
    """
    folder = tmp_path / LATIN
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    return folder


def test_a_dicom_folder_with_any_name_is_read(dicom_study: Path, latin: Path, tmp_path: Path) -> None:
    shutil.copytree(dicom_study, latin / "ct")
    done = klip("detect", str(latin / "ct"), "-o", str(tmp_path / "out"), "--slices", "1:2", *ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert RunFolder(tmp_path / "out").run()["study"]["path"] == str((latin / "ct").resolve())
    again = redo_regions(tmp_path / "out", report=True)
    assert again.folder.file("report.html").is_file()


def test_an_output_folder_of_another_encoding_is_refused(dicom_study: Path, latin: Path) -> None:
    done = klip("detect", str(dicom_study), "-o", str(latin / "out"), *ARGUMENTS)
    assert done.returncode == OutputError.exit_code
    assert b"not written in UTF-8" in done.stderr
    assert b"Traceback" not in done.stderr
    assert list(latin.iterdir()) == []


def test_what_is_not_there_is_told_in_any_name(tmp_path: Path) -> None:
    done = klip("detect", str(tmp_path / LATIN), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == []


def test_a_second_process_is_refused(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(run.folder.path, out)
    with RunFolder(out).locked():
        for arguments in (["detect", str(dicom_study), "-o", str(out), *ARGUMENTS], ["regions", str(out)]):
            done = klip(*arguments)
            assert done.returncode == OutputError.exit_code
            assert b"Another process is at work" in done.stderr
    assert not (out / LOCK).exists()
    redo_regions(out)
    assert not (out / LOCK).exists()


def test_a_lock_left_by_a_killed_process_holds_nobody_back(tmp_path: Path) -> None:
    (tmp_path / LOCK).touch()
    with RunFolder(tmp_path).locked():
        assert (tmp_path / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []


def test_no_line_of_a_library_reaches_the_screen(dicom_study: Path, tmp_path: Path) -> None:
    image = tmp_path / "study.nii.gz"
    write_image(read_dicom(dicom_study), image)
    for study in (dicom_study, image):
        done = klip("detect", str(study), "-o", str(tmp_path / f"out-{study.name}"), "--slices", "1:2", *ARGUMENTS)
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""


def test_slices_and_output_folder_are_checked_before_the_study_is_read(
    run: Detection, dicom_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes half a minute; a mistake that needs none of it is told at once."""

    def read(*arguments: object) -> None:
        raise AssertionError("the study was read")

    monkeypatch.setattr("KLIPCore.detection.detect.read_study", read)
    config = Config.from_dict(run.folder.run()["config"])
    with pytest.raises(ConfigError, match="not a range of slices"):
        detect(dicom_study, tmp_path / "new", config, part=Part(slices="twelve"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        detect(dicom_study, tmp_path, config)
    copy = tmp_path / "copy"
    shutil.copytree(run.folder.path, copy)
    other = config.updated({"sampling": {"n_samples": config.sampling.n_samples + 1}})
    with pytest.raises(OutputError, match="other settings"):
        detect(dicom_study, copy, other)
    with pytest.raises(AssertionError):  # the same settings, or leave to replace: only the study can tell more
        detect(dicom_study, copy, config)
    with pytest.raises(AssertionError):
        detect(dicom_study, copy, other, overwrite=True)


def test_an_acquisition_is_chosen_and_found_again(run: Detection, dicom_study: Path, tmp_path: Path) -> None:
    """Two phases under one series UID: the run remembers which of them it examined."""
    folder = tmp_path / "ct"
    shutil.copytree(dicom_study, folder)
    for file in sorted(dicom_study.rglob("*.dcm")):
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID, dataset.AcquisitionNumber = generate_uid(), 2
        dataset.PixelData = (dataset.pixel_array + 1).astype(dataset.pixel_array.dtype).tobytes()
        dataset.save_as(folder / f"late-{file.name}")
    config = Config.from_dict(run.folder.run()["config"])
    with pytest.raises(AmbiguousSeriesError, match="2 acquisitions"):
        detect(folder, tmp_path / "out", config)
    found = detect(folder, tmp_path / "out", config, part=Part("#2", "1:2"))
    assert found.folder.run()["study"]["series"].count("/") == 1
    assert redo_regions(tmp_path / "out", report=True).folder.file("report.html").is_file()


def test_slices_with_frames_of_reference_of_their_own_go_to_the_end(
    run: Detection, dicom_study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ct"
    shutil.copytree(dicom_study, folder)
    for file in folder.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.FrameOfReferenceUID = generate_uid()
        dataset.save_as(file)
    found = detect(folder, tmp_path / "out", Config.from_dict(run.folder.run()["config"]), part=Part(slices="1:2"))
    assert any("frame of reference of its own" in said for said in found.report.warnings)
