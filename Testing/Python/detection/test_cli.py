"""The command: help that reads well, and every bad input as one sentence with its remedy."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_study import small_study

from KLIPCore.cli import main
from KLIPCore.io.images import write_image


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


Klip = Callable[..., Done]


@pytest.fixture
def klip(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Klip]:
    """The command's own entry point, in this process: twenty interpreters would take minutes to start."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["klip", *arguments])
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, before)


def test_help_lists_the_commands(klip: Klip) -> None:
    done = klip("--help")
    assert done.returncode == 0
    for command in ("detect", "regions", "reconstruct", "train", "evaluate", "demo", "priors", "selftest"):
        assert command in done.stdout
    assert "Not a medical device" in done.stdout


def test_version_from_a_shell() -> None:
    from KLIPCore import __version__

    done = subprocess.run(
        [sys.executable, "-m", "KLIPCore.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert __version__ in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--slices", "99:120"], 2, "keeps no slice"),
        (["--slices", "a:b"], 2, "no range of slices"),
        (["--window", "0.3"], 2, "--window LO:HI"),
        (["--window", "5:9"], 2, "outside what would be recorded"),
        (["--fdr", "3"], 2, "false-discovery rate"),
        (["--views", "0"], 2, "1 to 4000 views"),
        (["--roi", "900:950,0:10,0:10"], 2, "outside the study"),
        (["--score", "magic"], 2, "There is no score 'magic'"),
        (["--prior", "nobody"], 5, "There is no prior called 'nobody'"),
        (["--device", "warp"], 2, "no device called 'warp'"),
        (["--preset", "huge"], 2, "huge"),
        (["--frobnicate"], 2, "frobnicate"),
    ],
)
def test_wrong_options_are_explained(klip: Klip, tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    study = tmp_path / "study.nrrd"
    write_image(small_study(2), study)
    done = klip("detect", str(study), "-o", str(tmp_path / "out"), "--slices", "0", "--progress", "none", *arguments)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_no_gpu_where_one_was_asked_for(klip: Klip, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this computer has a GPU")
    study = tmp_path / "study.nrrd"
    write_image(small_study(2), study)
    done = klip("detect", str(study), "-o", str(tmp_path / "out"), "--device", "cuda")
    assert done.returncode == 4
    assert "No GPU answers" in done.stderr
    assert "--device cpu" in done.stderr


def test_an_empty_folder_and_a_missing_path(klip: Klip, tmp_path: Path) -> None:
    for study in (tmp_path, tmp_path / "nowhere"):
        done = klip("detect", str(study), "-o", str(tmp_path / "out"))
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) >= 2, "what is wrong, and what to do"


def test_nan_is_refused(klip: Klip, tmp_path: Path) -> None:
    array = np.zeros((3, 32, 32), np.float32)
    array[1, 4, 4] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "nan.nrrd"))
    done = klip("detect", str(tmp_path / "nan.nrrd"), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "NaN" in done.stderr


def test_an_unwritable_place(klip: Klip, tmp_path: Path) -> None:
    study = tmp_path / "study.nrrd"
    write_image(small_study(2), study)
    (tmp_path / "file").write_text("a file, not a folder")
    done = klip("detect", str(study), "-o", str(tmp_path / "file" / "out"), "--slices", "0")
    assert done.returncode == 3
    assert "Choose a folder you may write to" in done.stderr


def test_regions_without_a_run(klip: Klip, tmp_path: Path) -> None:
    done = klip("regions", str(tmp_path))
    assert done.returncode == 6
    assert "no finished or started run" in done.stderr
