"""Choosing an arrangement: what is tried, what is believed, what is remembered, and when nothing is measured
at all.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from KLIPCore.detection import autotune as tuning
from KLIPCore.detection import user_cache
from KLIPCore.detection.autotune import arrange, candidates_for, core_shares, images_per_second, measure
from KLIPCore.detection.user_cache import cache_folder
from KLIPCore.detection.workers import Arrangement
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    return UNetPrior(
        build_network(shape),
        ModelCard("tiny", "nothing", Window(-160, 240), size=32, network=network_fields(shape), sha256="0"),
    )


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four cores, and a measurement that notes that it was made."""
    calls: list[str] = []

    def fake(prior: UNetPrior, device: torch.device, n_samples: int) -> Arrangement:
        calls.append(device.type)
        return Arrangement(2, 2, None)

    monkeypatch.setattr(tuning, "measure", fake)
    monkeypatch.delenv(user_cache.SWITCH, raising=False)
    return calls


def test_a_short_run_is_not_measured(prior: UNetPrior, tmp_path: Path, measured: list[str]) -> None:
    assert arrange(prior, CPU, 2, tuning.WORTHWHILE - 1, 50, tmp_path) == Arrangement.plain()
    assert arrange(prior, CPU, 2, 10**6, 1, tmp_path) == Arrangement.plain(), "one slice cannot be dealt out"
    assert not measured
    assert not list(tmp_path.iterdir())


def test_a_long_run_is_measured_once(prior: UNetPrior, tmp_path: Path, measured: list[str]) -> None:
    told: list[str] = []
    made = [arrange(prior, CPU, 2, 10**4, 50, tmp_path, told.append) for _ in range(3)]
    assert made == [Arrangement(2, 2)] * 3
    assert len(measured) == len(told) == 1
    assert arrange(prior, CPU, 4, 10**4, 50, tmp_path) == Arrangement(2, 2)
    assert len(measured) == 2, "other samples, another measurement"
    assert arrange(prior, CPU, 2, 10**4, 2, tmp_path).workers == 2
    assert len(json.loads((tmp_path / "tuning.json").read_text())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["tuning.json"]


def test_it_can_be_turned_off(
    prior: UNetPrior, tmp_path: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(user_cache.SWITCH, "off")
    assert arrange(prior, CPU, 2, 10**6, 50, tmp_path) == Arrangement.plain()
    assert not measured


@pytest.mark.parametrize("content", ["", "[]", '{"k": {"workers": 0}}', '{"k": 3}', "\x00"])
def test_a_damaged_memory_is_replaced(prior: UNetPrior, tmp_path: Path, measured: list[str], content: str) -> None:
    (tmp_path / "tuning.json").write_text(content)
    assert arrange(prior, CPU, 2, 10**6, 50, tmp_path) == Arrangement(2, 2)
    assert list(json.loads((tmp_path / "tuning.json").read_text()).values()) == [asdict(Arrangement(2, 2))]


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_cache_that_cannot_be_written_stops_nobody(prior: UNetPrior, tmp_path: Path, measured: list[str]) -> None:
    tmp_path.chmod(0o500)
    assert arrange(prior, CPU, 2, 10**6, 50, tmp_path / "below") == Arrangement(2, 2)


def test_a_file_where_the_cache_should_be_stops_nobody(prior: UNetPrior, tmp_path: Path, measured: list[str]) -> None:
    (tmp_path / "file").write_text("")
    assert arrange(prior, CPU, 2, 10**6, 50, tmp_path / "file") == Arrangement(2, 2)


@pytest.mark.parametrize("cores", [1, 2, 6, 8, 64])
def test_cores_are_shared_out(cores: int) -> None:
    shares = core_shares(cores, 2, 16)
    assert Arrangement(1, cores) in shares
    assert len(shares) == len(set(shares)) <= 12
    for a in shares:
        assert a.workers * a.threads <= cores
        assert a.workers <= 16
    if cores > 1:
        assert any(a.workers > 1 for a in shares)
        assert any(a.batch == 8 for a in shares)
    else:
        assert shares == [Arrangement(1, 1)]


def test_all_workers_count(prior: UNetPrior) -> None:
    before = torch.get_num_threads()
    assert images_per_second(prior, CPU, Arrangement(2, 1), 2, 0.05) > 0
    assert torch.get_num_threads() == before


def test_what_does_not_fit_is_not_fast(prior: UNetPrior) -> None:
    class Short(UNetPrior):
        def denoise(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            if len(x) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().denoise(x, sigma)

    short = Short(prior.network, prior.card)
    assert images_per_second(short, CPU, Arrangement(2, 1, 8), 2, 0.05) == 0.0
    assert images_per_second(short, CPU, Arrangement(1, 1, 4), 2, 0.05) > 0.0


def test_only_a_clear_gain_counts(prior: UNetPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds that are made up: the choice is what is under test."""
    plain = Arrangement.plain()
    other = Arrangement(plain.workers, plain.threads, 8)

    def speeds(gain: float, again: float) -> Arrangement:
        told = iter([10.0, 10.0 * gain, 10.0, 10.0 * again])
        monkeypatch.setattr(tuning, "candidates_for", lambda *_: [plain, other])
        monkeypatch.setattr(tuning, "images_per_second", lambda *_: next(told))
        return measure(prior, CPU, 2)

    assert speeds(1.5, 1.4) == other
    assert speeds(1.5, 1.0) == plain, "not fast the second time"
    assert speeds(1.02, 1.5) == plain


def test_a_real_measurement_chooses_one_of_its_candidates(prior: UNetPrior) -> None:
    assert measure(prior, CPU, 2, 0.02) in [Arrangement.plain(), *candidates_for(CPU, 2, prior)]


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.name != "nt":
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "klip"
        monkeypatch.setattr("sys.platform", "darwin")
        assert cache_folder().parts[-3:] == ("Library", "Caches", "klip")
