"""Which prior is taken where nobody named one: by the speed that was measured on this computer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from KLIPCore.config import Config
from KLIPCore.detection.affordable_prior import SMALLER, TOO_SLOW_S, with_affordable_prior
from KLIPCore.detection.precision import EXACT, Choice, choose
from KLIPCore.detection.user_cache import SWITCH
from KLIPCore.errors import ResourceError
from KLIPCore.priors.checkpoint import load_prior, shipped_cards
from KLIPCore.runs.rerun import Detection

QUICK = Config.from_preset("quick")
LARGE, SMALL = next(iter(SMALLER.items()))


@pytest.fixture(scope="module")
def cache_of_this_computer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which this computer has measured the large prior."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(SWITCH, "on")
        choose(load_prior(LARGE, "cpu", EXACT), cache=cache)
    return cache


@pytest.fixture
def measured(cache_of_this_computer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of the test's own."""
    monkeypatch.setenv(SWITCH, "on")
    return Path(shutil.copytree(cache_of_this_computer, tmp_path / "cache"))


def pretend(cache: Path, seconds_an_image: float) -> None:
    """Replace what was measured by another speed."""
    file = cache / "precision.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    made = Choice("bfloat16", True, "measured", {"float32": None, "bfloat16": seconds_an_image})
    file.write_text(json.dumps(dict.fromkeys(entries, made.to_dict())), encoding="utf-8")


def test_a_large_prior_and_its_small_one_are_shipped() -> None:
    cards = {card.name: card for card in shipped_cards()}
    assert {LARGE, SMALL} <= set(cards)
    assert cards[LARGE].window == cards[SMALL].window
    assert cards[LARGE].size == cards[SMALL].size
    numbers = [sum(p.numel() for p in load_prior(name).network.parameters()) for name in (LARGE, SMALL)]  # type: ignore[attr-defined]
    assert numbers[1] < 0.3 * numbers[0]


def test_the_speed_decides(measured: Path, tmp_path: Path) -> None:
    limit = TOO_SLOW_S / QUICK.evaluations_a_slice
    pretend(measured, 1.2 * limit)
    taken, note = with_affordable_prior(QUICK, tmp_path / "out", measured)
    assert taken.prior == SMALL
    assert taken.updated({"prior": LARGE}) == QUICK
    assert "about 6 s" in note
    assert f"--prior {LARGE}" in note
    pretend(measured, 0.8 * limit)
    assert with_affordable_prior(QUICK, tmp_path / "out", measured) == (QUICK, "")


def test_a_preset_with_more_evaluations_is_too_slow_earlier(measured: Path, tmp_path: Path) -> None:
    pretend(measured, 0.8 * TOO_SLOW_S / QUICK.evaluations_a_slice)
    assert with_affordable_prior(Config.from_preset("full"), tmp_path / "out", measured)[0].prior == SMALL


@pytest.mark.parametrize("prior", [LARGE, SMALL])
def test_a_run_keeps_its_prior(measured: Path, tmp_path: Path, run: Detection, prior: str) -> None:
    pretend(measured, 100.0)
    record = json.loads((run.folder.path / "run.json").read_text(encoding="utf-8"))
    record["config"]["prior"] = prior
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert with_affordable_prior(QUICK, tmp_path / "out", measured)[0].prior == prior


def test_nothing_is_measured_where_it_is_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert with_affordable_prior(QUICK, tmp_path / "out", tmp_path) == (QUICK, "")
    assert not list(tmp_path.iterdir())


def test_another_prior_is_left_alone_and_a_missing_device_is_told(measured: Path, tmp_path: Path) -> None:
    pretend(measured, 100.0)
    own = QUICK.updated({"prior": "discs-128"})
    assert with_affordable_prior(own, tmp_path / "out", measured) == (own, "")
    with pytest.raises(ResourceError):
        with_affordable_prior(QUICK.updated({"device": "cuda:99"}), tmp_path / "out", measured)
