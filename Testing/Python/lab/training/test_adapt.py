"""Adapting a prior: it learns a site's scans, keeps nothing that is no better, and refuses what it must."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_study import small_study
from tiny import NETWORK, made_patients, tiny_config
from typer.testing import CliRunner

from KLIPCore.cli.application import app
from KLIPCore.errors import ConfigError, EmptyInputError, PriorError
from KLIPCore.io.images import write_image
from KLIPCore.lab.training import adapt as module
from KLIPCore.lab.training.adapt import LEAST_SCANS, adapt
from KLIPCore.lab.training.loop import train
from KLIPCore.priors.checkpoint import load_prior, save_prior


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior that has learned a little, of whole slices."""
    folder = tmp_path_factory.mktemp("prior")
    config = tiny_config(network=replace(NETWORK, positions=False), patches=((32, 4),), backbone="whole")
    return train(config, made_patients(folder / "patients"), folder / "out")


def site(folder: Path, n: int = LEAST_SCANS) -> Path:
    """Scans of a site whose patients are called by their names."""
    folder.mkdir()
    for k in range(n):
        write_image(small_study(5, lesion=False, seed=20 + k), folder / f"Miller_{k}[1].nii.gz")
    return folder


def test_an_adapted_prior_knows_the_site_better(prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", 3e-3)  # for a network of a breath, a breath of steps
    scans = site(tmp_path / "site")
    done = adapt(scans, tmp_path / "out", prior=prior, steps=60)
    assert (done.learned, done.held_back) == (3, 1)
    assert done.change < -0.05
    assert done.path == tmp_path / "out" / "tiny-adapted.safetensors"
    adapted = load_prior(done.path)
    record = adapted.card.training
    assert record["adapted_from"]["sha256"] == load_prior(prior).card.sha256
    assert [e["file"] for e in record["data"]] == ["scan 1", "scan 2", "scan 3"]
    assert record["error_after"]["0.1"] < record["error_before"]["0.1"]
    for file in (tmp_path / "out").glob("tiny-adapted.*"):
        assert b"Miller" not in file.read_bytes()
    assert "no reference of health" in done.notes[0]  # so nothing could check the scans
    again = adapt(scans, tmp_path / "out", prior=prior, steps=60)  # finished: taken as it is
    assert again.after == done.after
    with pytest.raises(ConfigError, match="an adaptation of other scans"):
        adapt(scans, tmp_path / "out", prior=prior, steps=80)
    (tmp_path / "out" / "adaptation.json").write_text("{")
    with pytest.raises(ConfigError, match="an adaptation of other scans"):
        adapt(scans, tmp_path / "out", prior=prior, steps=60)


def test_weights_that_are_no_better_are_not_kept(prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", 0.0)
    done = adapt(site(tmp_path / "site"), tmp_path / "out", prior=prior, steps=4)
    assert done.path is None
    assert done.change == 0.0
    assert not list((tmp_path / "out").glob("*.safetensors"))
    assert done.table().count("+0.0 %") == len(done.before)


def test_what_cannot_be_adapted_to(prior: Path, tmp_path: Path) -> None:
    scans = site(tmp_path / "site", LEAST_SCANS - 1)
    with pytest.raises(EmptyInputError, match="holds 3 scans"):
        adapt(scans, tmp_path / "out", prior=prior)
    shutil.copy(scans / "Miller_0[1].nii.gz", scans / "Zoe.nii.gz")
    with pytest.raises(ConfigError, match="2 of the 4 scans hold the same slices"):
        adapt(scans, tmp_path / "out", prior=prior)
    with pytest.raises(ConfigError, match="cannot be called"):
        adapt(scans, tmp_path / "out", prior=prior, name="../elsewhere")
    with pytest.raises(EmptyInputError, match="not a folder"):
        adapt(tmp_path / "nowhere", tmp_path / "out", prior=prior)
    assert not (tmp_path / "out").exists()


def test_scans_that_do_not_fit_are_refused_by_the_priors_own_reference(tmp_path: Path) -> None:
    scans = site(tmp_path / "site")
    stored = small_study(5, lesion=False, seed=20)
    write_image(replace(stored, array=stored.array + 1024), scans / "stored.nii.gz")  # without its rescale
    with pytest.raises(ConfigError, match=r"do not fit the prior. scan 5 \(stored") as told:
        adapt(scans, tmp_path / "out", prior="abdomen-ct-256", steps=4)
    assert "another anatomy" in told.value.remedy
    assert not (tmp_path / "out").exists()


def test_a_converted_network_is_not_trained(tmp_path: Path) -> None:
    from KLIPCore.priors.networks import build_network, network_fields
    from KLIPCore.priors.song_unet import SongConfig

    given = load_prior("discs-128").card
    song = SongConfig(1, (8, 16), (False, False), first_channels=8, n_blocks=1, noise_width=8, told_width=16)
    card = replace(given, name="song", size=32, network=network_fields(song), position_channels=False)
    path = save_prior(build_network(song), card, tmp_path)
    with pytest.raises(PriorError, match="converted"):
        adapt(site(tmp_path / "site"), tmp_path / "out", prior=path)


def test_the_commands(prior: Path, tmp_path: Path) -> None:
    run = CliRunner()
    shown = run.invoke(app, ["priors", "show"])
    assert shown.exit_code == 0
    assert "# abdomen-ct-256" in shown.output
    assert "litres" in shown.output
    assert "holds for: geometry parallel" in shown.output
    assert "Reference of health: none" in run.invoke(app, ["priors", "show", str(prior)]).output
    scans = site(tmp_path / "site")
    checked = run.invoke(app, ["priors", "check", str(next(scans.iterdir()))])
    assert checked.exit_code == 20
    assert checked.output.startswith("look first: prior abdomen-ct-256")
    line = ["priors", "adapt", str(scans), "-o", str(tmp_path / "out"), "--prior", str(prior), "--progress", "none"]
    done = run.invoke(app, [*line, "--steps", "4", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "| σ | error before | after | change |" in done.output
    told = json.loads((tmp_path / "out" / "adaptation.json").read_text())
    assert told["steps"] == 4
    assert len(set(told["scans"])) == LEAST_SCANS
