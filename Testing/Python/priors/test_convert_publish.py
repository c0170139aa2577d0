"""From a checkpoint of any format to a prior that loads by path, through the function and the command."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from test_convert_edm import DDPMPP, PADIS, published, snapshot  # noqa: F401  (the fixture is used by name)

from KLIPCore.cli import main
from KLIPCore.errors import ConfigError, OutputError, PriorError
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.convert.edm import read_edm
from KLIPCore.priors.convert.publish import Wanted, convert, format_of
from KLIPCore.priors.prior import Prior
from KLIPCore.volume.units import Window

WINDOW = Window(-160.0, 240.0)


def test_an_edm_snapshot_becomes_a_prior(published: types.ModuleType, tmp_path: Path) -> None:  # noqa: F811
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    prior = load_prior(
        convert(tmp_path / "n.pkl", tmp_path / "out", Wanted("mine", WINDOW, anatomy="none", licence="mine"))
    )
    assert isinstance(prior, Prior)
    card = prior.card
    assert (card.name, card.window, card.size, card.licence, card.position_channels) == (
        "mine",
        WINDOW,
        16,
        "mine",
        False,
    )
    assert card.training["converted_from"]["file"] == "n.pkl"
    assert (card.sigma_min, card.sigma_max) == (0.001, 40.0), "EDM's -1..1 is twice as wide as 0..1"
    network, _ = read_edm(tmp_path / "n.pkl")
    x, sigma = torch.rand(2, 1, 16, 16), torch.tensor([0.05, 0.5])
    torch.testing.assert_close(
        prior.denoise(x, sigma), network(x, sigma, torch.zeros(2, 2, 16, 16)), rtol=1e-4, atol=1e-4
    )


def test_a_padis_snapshot_is_asked_in_patches(published: types.ModuleType, tmp_path: Path) -> None:  # noqa: F811
    snapshot(published, tmp_path / "n.pkl", PADIS, outer="Patch_EDMPrecond")
    prior = load_prior(convert(tmp_path / "n.pkl", tmp_path / "out", Wanted("p", WINDOW, size=24, patch=8, pad=4)))
    assert prior.card.position_channels
    assert prior.denoise(torch.rand(1, 1, 24, 24), torch.tensor([0.1])).shape == (1, 1, 24, 24)


def test_a_diffusers_folder_becomes_a_prior(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="needs the test extra 'convert'")
    from test_convert_diffusers import made

    made(tmp_path / "d", "modern")
    prior = load_prior(convert(tmp_path / "d", tmp_path / "out", Wanted("d", WINDOW)))
    assert prior.card.size == 16
    assert 0.004 < prior.card.sigma_min < 0.006
    assert torch.isfinite(prior.denoise(torch.rand(1, 1, 16, 16), torch.tensor([0.1]))).all()


def test_the_command(
    published: types.ModuleType,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    argv = [
        "klip",
        "priors",
        "convert",
        str(tmp_path / "n.pkl"),
        "-o",
        str(tmp_path / "out"),
        "--name",
        "mine",
        "--hu=-160:240",
    ]
    monkeypatch.setattr(sys, "argv", argv)
    main()
    assert "mine.safetensors" in capsys.readouterr().out
    assert load_prior(tmp_path / "out" / "mine.safetensors").card.window == WINDOW
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"ema": print}))
    monkeypatch.setattr(sys, "argv", [*argv, "--overwrite"])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == PriorError.exit_code
    assert "not run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a/b", "../b", "/b", "", ".b", "a" * 101, "a\0b", "é", "a b"])
def test_names_that_are_no_files_are_refused(published: types.ModuleType, name: str, tmp_path: Path) -> None:  # noqa: F811
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    with pytest.raises(ConfigError, match="cannot be called"):
        convert(tmp_path / "n.pkl", tmp_path / "out", Wanted(name, WINDOW))
    assert [p.name for p in tmp_path.iterdir()] == ["n.pkl"]


def test_a_prior_of_the_same_name_is_not_replaced_without_a_word(published: types.ModuleType, tmp_path: Path) -> None:  # noqa: F811
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    first = convert(tmp_path / "n.pkl", tmp_path / "out", Wanted("mine", WINDOW, anatomy="one"))
    with pytest.raises(OutputError, match=r"holds mine\.safetensors and mine\.json already") as caught:
        convert(tmp_path / "n.pkl", tmp_path / "out", Wanted("mine", WINDOW, anatomy="two"))
    assert "--overwrite" in caught.value.remedy
    assert load_prior(first).card.anatomy == "one"
    convert(tmp_path / "n.pkl", tmp_path / "out", Wanted("mine", WINDOW, anatomy="two"), overwrite=True)
    assert load_prior(first).card.anatomy == "two"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        convert(tmp_path / "n.pkl", tmp_path / "file", Wanted("mine", WINDOW))


def test_what_is_not_said_is_asked_for(published: types.ModuleType, tmp_path: Path) -> None:  # noqa: F811
    snapshot(published, tmp_path / "n.pkl", DDPMPP)
    with pytest.raises(ConfigError, match="divides"):
        convert(tmp_path / "n.pkl", tmp_path, Wanted("x", WINDOW, size=17))
    with pytest.raises(ConfigError, match="format"):
        convert(tmp_path / "n.pkl", tmp_path, Wanted("x", WINDOW), kind="onnx")
    with pytest.raises(PriorError):
        format_of(tmp_path)


def test_formats_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").touch()
    (tmp_path / "run" / "checkpoint_3").mkdir(parents=True)
    assert [
        format_of(p) for p in (tmp_path, tmp_path / "run", tmp_path / "run" / "checkpoint_3", tmp_path / "a.pkl")
    ] == ["diffusers", "flax", "flax", "edm"]
