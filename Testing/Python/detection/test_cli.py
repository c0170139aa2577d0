"""The command: help that reads well, and every bad input as one sentence with its remedy."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from small_study import small_study

from KLIPCore.cli import app, main
from KLIPCore.cli.options import SettingOptions
from KLIPCore.config import SECTIONS, Config, RegionConfig
from KLIPCore.declare import settings_of
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
        (["--slices", "a:b"], 2, "not a range of slices"),
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


def test_files_that_are_there_are_not_replaced_without_a_word(klip: Klip, tmp_path: Path) -> None:
    """An image by klip reconstruct, a list of accession numbers by the index that is made of it, a folder's name."""
    mine = tmp_path / "mine.nrrd"
    mine.write_text("mine")
    for arguments in (
        ("reconstruct", str(tmp_path / "scan.npz"), "-o", str(mine)),
        ("archive", "index", str(tmp_path), "-o", str(mine)),
        ("archive", "run", str(mine), "-o", str(mine), "--job", "guard"),
    ):
        done = klip(*arguments)
        assert done.returncode == 3, done.stderr
        assert "-o" in done.stderr
    assert mine.read_text() == "mine"
    done = klip("reconstruct", str(tmp_path / "scan.npz"), "-o", str(tmp_path / "new.nrrd"))
    assert "There is no sinogram file" in done.stderr


def test_regions_without_a_run(klip: Klip, tmp_path: Path) -> None:
    done = klip("regions", str(tmp_path))
    assert done.returncode == 6
    assert "no finished or started run" in done.stderr


INAPPLICABLE = (
    ["--slices", "0"],
    ["--roi", "0:1,0:1,0:1"],
    ["--series", "1"],
    ["--workers", "2"],
    ["--threads", "1"],
    ["--batch", "4"],
    ["--geometry", "fan"],
    ["--geometry", "parallel"],  # its default, but said
    ["--noise", "0.01"],
    ["--dose", "1e5"],
)


@pytest.mark.parametrize("arguments", INAPPLICABLE, ids=" ".join)
def test_what_does_not_apply_to_measured_projections_is_refused(
    klip: Klip, tmp_path: Path, arguments: list[str]
) -> None:
    """Refused before the file is read, so that a mistake is told at once."""
    (tmp_path / "scan.npz").touch()
    done = klip("detect", str(tmp_path / "scan.npz"), "-o", str(tmp_path / "out"), "--progress", "none", *arguments)
    assert done.returncode == 2
    assert f"{arguments[0]} applies to a CT volume, not to measured projections." in " ".join(done.stderr.split())
    assert "Leave that out" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_of_settings_for_a_simulation_is_refused_with_measured_projections(klip: Klip, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("measurement: {photons: 1.0e+5, n_views: 24}\n")
    (tmp_path / "scan.npz").touch()
    scan, out = str(tmp_path / "scan.npz"), str(tmp_path / "out")
    done = klip("detect", scan, "-o", out, "--config", str(tmp_path / "run.yaml"), "--progress", "none")
    assert done.returncode == 2
    assert "photons applies to a CT volume" in " ".join(done.stderr.split())


def options_of(name: str) -> dict[str, Any]:
    """Options of a command by their first flag."""
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return {parameter.opts[0]: parameter for parameter in command.params}


def test_every_declared_option_is_one_of_detect_with_range_and_default() -> None:
    options = options_of("detect")
    for section in (Config, *SECTIONS.values()):
        for known in (known for known in settings_of(section).values() if known.option):
            told = options[known.option].help
            assert told.startswith(known.help.removesuffix("."))
            assert known.range_text in told
            assert f"default {known.default_text}" in told
    assert "6 in preset quick" in options["--steps"].help


def test_regions_changes_what_a_map_is_made_of_and_promises_no_default() -> None:
    own = {known.option for known in settings_of(RegionConfig).values() if known.option}
    options = options_of("regions")
    assert own <= set(options)
    assert not {"--views", "--samples", "--prior"} & set(options)
    assert not [option for option in own if "default" in options[option].help]  # a run has its own


def test_options_become_settings_by_section() -> None:
    group = SettingOptions("", "measurement", "sampling", "regions")
    given = dict.fromkeys(group.settings)
    assert group.gather(given) == {"measurement": {}, "sampling": {}, "regions": {}}
    changes = group.gather({**given, "prior": "mine", "n_views": 24, "window": "0.1:0.3", "fdr": 0.1})
    assert changes == {
        "prior": "mine",
        "measurement": {"n_views": 24},
        "sampling": {},
        "regions": {"window": [0.1, 0.3], "fdr": 0.1},
    }
