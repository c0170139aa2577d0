"""The guard: verdicts, exit codes, and a command that runs only where the study fits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from busy import longest
from small_study import small_study
from typer.testing import CliRunner

import KLIPCore as klip
from KLIPCore import errors
from KLIPCore.cli.application import app
from KLIPCore.cli.guard import run_instead
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.runs import guard
from KLIPCore.runs.guard import DOES_NOT_FIT, EXIT_CODES, FITS, LOOK_FIRST, Reason, Verdict, klip_guard, known_prior
from KLIPCore.volume import thin_study
from KLIPCore.volume.body import body_masks
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

REPOSITORY = Path(__file__).resolve().parents[3]
FITTING = Verdict("a-prior", (), 0.5, {}, {}, (), 1.0)
DOUBTFUL = Verdict("a-prior", (Reason("noise", LOOK_FIRST, "Noise."),), 0.5, {}, {}, (), 1.0)


def answering(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "klip_guard", lambda *_, **__: verdict)


def test_exit_codes_are_nobody_elses() -> None:
    own = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert EXIT_CODES[FITS] == 0
    assert not own & {EXIT_CODES[LOOK_FIRST], EXIT_CODES[DOES_NOT_FIT]}
    assert len(set(EXIT_CODES.values())) == 3


def test_a_study_without_contrast_agent_does_not_fit() -> None:
    study = small_study(30)
    found = klip_guard(study.with_array(np.where(study.array > 200, study.array, np.minimum(study.array, 40))))
    assert found.verdict == DOES_NOT_FIT
    assert not found.fits
    assert found.p is not None
    assert found.p < 0.05
    assert found.reasons[0].about == "contrast"  # the gravest first
    assert found.text().startswith("does not fit: prior abdomen-ct-256")
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["exit_code"] == found.exit_code


def test_too_few_slices_are_said_to_be_too_few() -> None:
    found = klip_guard(small_study(4))
    assert found.verdict == LOOK_FIRST
    assert found.p is None
    assert "too little" in {reason.about for reason in found.reasons}


@pytest.mark.parametrize(
    ("array", "about"),
    [
        (lambda hu: hu + 1024, "not HU"),
        (lambda hu: np.clip(hu, -160, 240) / 400, "not HU"),
        (lambda hu: np.full_like(hu, -1000), "not HU"),
    ],
    ids=["stored values", "normalised", "empty"],
)
def test_what_the_readers_refuse_does_not_fit(array: object, about: str) -> None:
    study = small_study(15)
    found = klip_guard(study.with_array(array(study.array)))  # type: ignore[operator]
    assert found.verdict == DOES_NOT_FIT
    assert [reason.about for reason in found.reasons] == [about]
    assert found.p is None


def test_missing_slices_of_a_series(tmp_path: Path) -> None:
    write_dicom_series(small_study(20), tmp_path, seed=1)
    files = sorted(tmp_path.iterdir())
    for file in files[8:12]:
        file.unlink()
    found = klip_guard(tmp_path)
    assert found.verdict == DOES_NOT_FIT
    assert [reason.about for reason in found.reasons] == ["missing slices or geometry"]


def test_no_study_and_no_prior_are_errors_not_verdicts(tmp_path: Path) -> None:
    with pytest.raises(errors.EmptyInputError):
        klip_guard(tmp_path / "nothing")
    with pytest.raises(errors.PriorError, match="no prior 'nobody'"):
        klip_guard(small_study(4), "nobody")
    with pytest.raises(errors.PriorError, match="no reference"):
        klip_guard(small_study(4), "discs-128")


def test_the_front_door_and_no_torch() -> None:
    assert klip.klip_guard is klip_guard
    heavy = "[m for m in ('torch', 'scipy.stats') if m in sys.modules]"
    code = f"import KLIPCore.runs.guard, KLIPCore.cli.guard, sys; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_command_runs_where_the_study_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(FITTING, monkeypatch)
    ran: list[list[str]] = []
    monkeypatch.setattr("KLIPCore.cli.guard.run_instead", lambda program, command: ran.append([program, *command]))
    done = CliRunner().invoke(app, ["guard", "STUDY", "--", Path(sys.executable).as_posix(), "-c", "--format", "json"])
    assert done.exit_code == 0
    assert ran == [[sys.executable, sys.executable, "-c", "--format", "json"]]  # its options are its own
    assert done.stdout == ""  # standard output is left to the command


def test_no_command_runs_where_the_study_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(DOUBTFUL, monkeypatch)
    monkeypatch.setattr("KLIPCore.cli.guard.run_instead", lambda *_: pytest.fail("it ran"))
    done = CliRunner().invoke(app, ["guard", "STUDY", "--", sys.executable])
    assert done.exit_code == EXIT_CODES[LOOK_FIRST]
    assert "look first: noise: Noise." in done.stderr


def test_json_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(DOUBTFUL, monkeypatch)
    done = CliRunner().invoke(app, ["guard", "STUDY", "--format", "json"])
    assert json.loads(done.stdout) == json.loads(json.dumps(DOUBTFUL.to_dict()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--date", "yesterday", "--format", "json"], "'yesterday' is not a date"),
        (["--scanner", "CT1"], "into the JSON alone"),
    ],
)
def test_what_drift_could_not_read_is_refused_before_the_study_is_read(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["guard", "STUDY", *words])
    assert isinstance(done.exception, errors.ConfigError)
    assert said in done.exception.message


def test_a_series_is_not_asked_of_a_volume_file(tmp_path: Path) -> None:
    write_image(small_study(4), tmp_path / "ct.nii.gz")
    with pytest.raises(errors.ConfigError, match="no series to choose"):
        klip_guard(tmp_path / "ct.nii.gz", series="7")


def test_a_sinogram_is_not_taken_for_an_archive(tmp_path: Path) -> None:
    (tmp_path / "scan.npz").write_bytes(b"PK\x03\x04" + bytes(200))
    (reason,) = klip_guard(tmp_path / "scan.npz").reasons
    assert (reason.about, reason.verdict) == ("not CT", DOES_NOT_FIT)
    assert "sinogram" in reason.sentence


def plan() -> Volume:
    """The plan of a synthetic patient, which fits the prior."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 2.1], [0, 2.1, 0], [5.0, 0, 0]])
    affine[:3, 3] = -2.1 * 95.5, -2.1 * 95.5, -5.0 * 14.5
    grid = Grid((30, 192, 192), affine)
    return Volume(Abdomen.random(0).hu(grid).astype(np.float32), grid)


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_from_the_shell_with_a_study_and_a_command(tmp_path: Path) -> None:
    """Nothing replaced: a study that fits runs the command, whose exit code and output are left; a flipped one not."""
    study = plan()
    write_image(study, tmp_path / "good.nii.gz")
    write_image(study.with_array(study.array[:, ::-1]), tmp_path / "flipped.nii.gz")
    command = ["--", "sh", "-c", "echo ran; exit 77"]
    told = {}
    for name in ("good", "flipped"):
        line = [sys.executable, "-m", "KLIPCore.cli", "guard", str(tmp_path / f"{name}.nii.gz"), *command]
        told[name] = subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (told["good"].returncode, told["good"].stdout) == (77, "ran\n")
    assert told["good"].stderr.startswith("fits")
    assert (told["flipped"].returncode, told["flipped"].stdout) == (EXIT_CODES[DOES_NOT_FIT], "")
    assert "Front and back look exchanged" in told["flipped"].stderr


def test_a_command_that_is_not_there_is_refused_before_the_study_is_read() -> None:
    done = CliRunner().invoke(app, ["guard", "STUDY", "--", "no-such-program-anywhere"])
    assert isinstance(done.exception, errors.ConfigError)


def instead(*command: str) -> subprocess.Popen[str]:
    code = f"from KLIPCore.cli.guard import run_instead; run_instead({command[0]!r}, {list(command)!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def test_the_commands_exit_code_passes_through() -> None:
    with instead(sys.executable, "-c", "print('ran'); raise SystemExit(77)") as child:
        assert child.communicate(timeout=longest(60))[0] == "ran\n"
    assert child.returncode == 77


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_a_command_that_never_ends(number: signal.Signals) -> None:
    loop = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); print('up', flush=True)\nwhile True: pass"
    with instead(sys.executable, "-c", loop) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.send_signal(number)
        assert child.wait(timeout=longest(30)) == -number


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads what Linux says of a process")
def test_the_command_ignores_no_signal_that_python_ignores() -> None:
    command = ["grep", "SigIgn", "/proc/self/status"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    grep = shutil.which("grep")
    assert grep is not None
    code = f"from KLIPCore.cli.guard import run_instead; run_instead({grep!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == plain


@pytest.mark.skipif(os.name != "posix", reason="exec of POSIX")
def test_a_program_that_the_system_cannot_run_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "no-program"
    file.write_bytes(bytes(100))
    file.chmod(0o755)
    with pytest.raises(errors.ConfigError, match="cannot be run"):
        run_instead(str(file), ["no-program"])


def test_a_study_that_is_no_file_of_any_format(tmp_path: Path) -> None:
    (tmp_path / "study.zip").write_bytes(b"PK\x03\x04" + bytes(200))
    found = klip_guard(tmp_path / "study.zip")
    assert [(reason.about, reason.verdict) for reason in found.reasons] == [("unreadable", DOES_NOT_FIT)]


def test_organs_that_are_known_get_nats(tmp_path: Path) -> None:
    """The small study's liver box, once as it is and once far too dark; a file of another place is refused."""
    study = small_study(40, lesion=False)
    labels = np.zeros(study.array.shape, np.float32)
    labels[10:30, 60:76, 44:60] = 1
    write_image(replace(study, array=labels, unit="label"), tmp_path / "organs.nrrd")
    text = (tmp_path / "organs.nrrd").read_bytes()
    plain = klip_guard(study, organs=tmp_path / "organs.nrrd")
    assert plain.organs == ()
    assert "None of the labels" in plain.notes[-1]
    head, body = text.split(b"\n\n", 1)
    (tmp_path / "named.seg.nrrd").write_bytes(head + b"\nSegment0_LabelValue:=1\nSegment0_Name:=liver\n\n" + body)
    dark = study.array.copy()
    dark[labels > 0] = -60.0
    found = klip_guard(replace(study, array=dark), organs=tmp_path / "named.seg.nrrd")
    assert found.organs[0].nats > 5
    assert any(reason.about == "liver" and "-60 HU" in reason.sentence for reason in found.reasons)
    assert "organ: liver: -60 HU" in found.text()
    assert found.to_dict()["organs"][0]["organ"] == "liver"
    moved = study.grid.affine.copy()
    moved[:3, 3] += 5000.0
    with pytest.raises(errors.GeometryError, match="overlap"):
        klip_guard(replace(study, grid=Grid(study.grid.shape, moved)), organs=tmp_path / "named.seg.nrrd")


def drawn_thinner() -> Volume:
    """The small study in 150 slices instead of 50, with lungs in the upper 60 of them."""
    few = small_study(50)
    affine = few.grid.affine.copy()
    affine[:3, 0] /= 3
    affine[:3, 3] = few.grid.to_world([-1 / 3, 0, 0])
    array = np.repeat(few.array, 3, 0)
    array[90:, 40:90, 30:130] = -800.0
    array += np.random.default_rng(2).normal(0, 4, array.shape) * (array > -900)
    return Volume(array, Grid((150, *few.grid.shape[1:]), affine))


def test_a_study_of_many_slices_is_judged_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second outline is spared; slices keep their numbers, and one that repeats another is still seen."""
    many, outlines = drawn_thinner(), []
    monkeypatch.setattr(thin_study, "body_masks", lambda planes: outlines.append(1) or body_masks(planes))
    found = klip_guard(many)
    assert len(outlines) == 75
    assert any(note.startswith("Slices 90 to 149 show lung") for note in found.notes)
    assert found.physical["repeated"] == 0
    twice = many.array.copy()
    twice[121] = twice[120]  # of which one alone is chosen
    assert klip_guard(many.with_array(twice)).physical["repeated"] == 1


@pytest.mark.parametrize(("n", "most", "chosen"), [(6, 6, [0, 1, 2, 3, 4, 5]), (7, 6, [1, 3, 5]), (8, 3, [1, 4, 7])])
def test_chosen_slices_keep_their_place(n: int, most: int, chosen: list[int]) -> None:
    thin = thin_study.thin_study(small_study(n), known_prior("abdomen-ct-256")[0], most)
    assert thin.complete == (len(chosen) == n)
    np.testing.assert_array_equal(thin.framed.lps.array, thin.whole.array[chosen])
    for own, k in enumerate(chosen):
        assert thin.framed.lps.grid.to_world([own, 3, 2]) == pytest.approx(thin.whole.grid.to_world([k, 3, 2]))
        assert thin.nearest[k] == own
    assert len(thin.nearest) == n
