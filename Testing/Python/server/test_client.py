"""The client's own half: what is sent of a study, settings as a file, the command lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from busy import longest
from serving import REPOSITORY, TOKEN, free_port, serving

from KLIPCore.cli.options import Place
from KLIPCore.client.command import write_settings
from KLIPCore.client.remote import BESIDE, RUN_FILES
from KLIPCore.client.study_files import study_files
from KLIPCore.client.token import read_token
from KLIPCore.config import Config
from KLIPCore.errors import ConfigError, EmptyInputError, UnreadableFileError
from KLIPCore.runs.folder import BESIDE as FOLDERS_BESIDE
from KLIPCore.runs.folder import OWN_FILES
from KLIPCore.server.claim import check_file_name


def test_only_dicom_leaves_a_folder_and_no_name_does(study: Path) -> None:
    (study / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (study / ".DS_Store").write_bytes(b"\0" * 128 + b"DICM")
    (study / "photo.jpg").write_bytes(b"\xff\xd8" + b"\0" * 200)
    found = study_files(study)
    assert [file.shown for file in found.files] == [f"DOE_JANE_{n}.dcm" for n in range(6)]
    assert [file.name for file in found.files] == [f"file00000{n + 1}.dcm" for n in range(6)]
    assert found.entry is None
    for file in found.files:
        check_file_name(file.name)
    assert found.in_the_users_words("file000003.dcm is cut short.") == "DOE_JANE_2.dcm is cut short."
    one = study_files(study / "DOE_JANE_2.dcm")  # stands for its series
    assert (len(one.files), one.entry) == (6, "file000003.dcm")
    assert study_files(study / "DICOMDIR").entry is None


def test_volumes_in_one_file_and_in_two(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.NRRD", "c.hdr", "c.img", "d.npz", "htc2022_ta_full.mat", "e.mhd", "f.img"):
        (tmp_path / name).write_bytes(b"x")
    names = {
        "a.nii.gz": ["volume.nii.gz"],
        "b.NRRD": ["volume.nrrd"],
        "c.hdr": ["volume.hdr", "volume.img"],
        "c.img": ["volume.img", "volume.hdr"],
        "d.npz": ["volume.npz"],
        "htc2022_ta_full.mat": ["htc2022_ta_full.mat"],  # read by its name, which is nobody's
    }
    for name, sent in names.items():
        found = study_files(tmp_path / name)
        assert [file.name for file in found.files] == sent
        assert found.entry == sent[0]
        for file in found.files:
            check_file_name(file.name)
    with pytest.raises(UnreadableFileError, match="second file"):
        study_files(tmp_path / "e.mhd")
    with pytest.raises(EmptyInputError, match=r"f\.hdr"):
        study_files(tmp_path / "f.img")
    with pytest.raises(EmptyInputError, match="nothing at"):
        study_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmptyInputError, match="No DICOM file"):
        study_files(tmp_path / "empty")


def test_settings_come_back_from_their_file(tmp_path: Path) -> None:
    """YAML takes 1e-05 for a word."""
    config = Config().updated({"measurement": {"noise": 1e-5}, "regions": {"window": [0.1, 0.3]}})
    write_settings(config.to_dict(), tmp_path / "settings.yaml")
    assert Config.load(tmp_path / "settings.yaml") == config
    words = config.updated({"prior": "mine-1e5"})
    write_settings(words.to_dict(), tmp_path / "settings.yaml")
    assert Config.load(tmp_path / "settings.yaml") == words


def test_tokens_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert read_token(tmp_path / "token", {"KLIP_TOKEN": "other"}) == TOKEN
    assert read_token(None, {"KLIP_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {}) is None
    for bad in ("nowhere", ""):
        with pytest.raises(ConfigError):
            read_token(tmp_path / bad, {})
    assert "token" not in {name for name in Place.__dataclass_fields__ if not name.endswith("_file")}


def test_what_the_client_knows_of_a_run_folder_is_true() -> None:
    assert set(RUN_FILES) == set(OWN_FILES)
    assert set(BESIDE) == set(FOLDERS_BESIDE)


def client(*words: str) -> subprocess.CompletedProcess[str]:
    """The client's own command, in a Python that sees none of the installed packages."""
    code = "import sys; sys.path[:] = [sys.argv.pop(1), *(p for p in sys.path if 'site-packages' not in p)]; "
    code += "import runpy; sys.argv[0] = 'klip'; runpy.run_module('KLIPCore.client', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-S", "-c", code, str(REPOSITORY), *words],
        capture_output=True,
        text=True,
        timeout=longest(60),
    )


def test_the_command_of_python_alone(prior: Path, study: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with serving(tmp_path / "state", prior, TOKEN) as served:
        url = f"http://127.0.0.1:{served.port}"
        done = client("--server", url, "--token-file", str(tmp_path / "token"))
        assert (done.returncode, "they fit" in done.stdout) == (0, True), done.stderr
        done = client("--server", url)
        assert (done.returncode, len(done.stderr.splitlines())) == (8, 2)
        assert "wants a token" in done.stderr
        (tmp_path / "settings.json").write_text('{"prior": "nobody"}')
        words = [str(study), "-o", str(tmp_path / "out"), "--server", url, "--token-file", str(tmp_path / "token")]
        done = client(*words, "--settings", str(tmp_path / "settings.json"))
        assert done.returncode == 2
        assert "no prior called 'nobody'" in done.stderr
        assert served.job_folders == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--workers", "2"], 2, "cannot be chosen for a server"),
        (["--prior", "mine.safetensors"], 2, "klip serve --prior"),
        (["--slices", "a:b"], 2, "not a range of slices"),
        (["--token-file", "nowhere"], 2, "cannot be read"),
        (["--server", "http://gpu.example"], 2, "unencrypted"),
    ],
)
def test_what_klip_detect_refuses_with_a_server(
    words: list[str], code: int, said: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import signal

    from KLIPCore.cli import main

    before = signal.getsignal(signal.SIGTERM)
    server = [] if "--server" in words else ["--server", f"http://127.0.0.1:{free_port()}"]
    line = ["klip", "detect", str(study), "-o", str(tmp_path / "out"), "--progress", "none", *server, *words]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as leave:
        main()
    signal.signal(signal.SIGTERM, before)
    told = capsys.readouterr().err
    assert leave.value.code == code, told
    assert said in " ".join(told.split())
    assert not (tmp_path / "out").exists()
