"""The precision of the network: what is believed of a measurement, and what is remembered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from KLIPCore.config import Config
from KLIPCore.detection import precision as chosen
from KLIPCore.detection.precision import (
    TOLERANCE,
    Choice,
    choose,
    converted,
    disagreement,
    fastest,
    in_way,
    load_fastest,
    measure,
    noisy_body,
    race,
)
from KLIPCore.detection.user_cache import SWITCH
from KLIPCore.errors import ConfigError, PriorError, ResourceError
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.unet import DTYPES, UNetPrior, usual_precision

CPU = torch.device("cpu")


def test_the_fastest_is_taken_and_a_tie_goes_to_the_more_exact() -> None:
    def of(**seconds: float | None) -> str:
        return fastest(seconds, "processor").precision

    assert of(float32=0.34, bfloat16=0.3, float16=None) == "bfloat16"
    assert of(float32=0.31, bfloat16=0.3, float16=None) == "float32"
    assert of(float32=0.58, bfloat16=None, float16=None) == "float32"
    assert of(float32=0.5, bfloat16=0.2, float16=0.1) == "float16"
    assert of(float32=0.5, bfloat16=0.2, float16=0.19) == "bfloat16"
    apart = fastest({"float32": 0.5, "bfloat16": None, "float32, channels apart": 0.3}, "processor")
    assert (apart.precision, apart.channels_last) == ("float32", False)
    assert apart.reason == "fastest of float32 and bfloat16 on this processor, measured"


def test_it_is_measured_once(prior: UNetPrior, measured: list[str], tmp_path: Path) -> None:
    told: list[str] = []
    made = [choose(prior, tell=told.append) for _ in range(3)]
    assert len(measured) == len(told) == len({c.reason for c in made}) == 1
    assert (made[0].precision, made[0].channels_last) == ("bfloat16", True)
    assert made[0].reason == "fastest of float32, bfloat16 and float16 on this processor, measured"
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["precision.json"]


@pytest.mark.parametrize("name", chosen.ISA_SWITCHES)
def test_fewer_instructions_are_another_processor(
    prior: UNetPrior, measured: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    choose(prior)
    monkeypatch.setenv(name, "fewer")
    choose(prior)
    assert len(measured) == 2


def test_other_threads_weights_and_models_are_measured_anew(
    prior: UNetPrior, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(prior)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    choose(prior)
    monkeypatch.setattr(chosen, "processor", lambda: ("another",))
    choose(prior)
    prior._card = replace(prior.card, sha256="0" * 64)
    choose(prior)
    assert len(measured) == 4


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "\x00",
        '{"KEY": 3}',
        '{"KEY": {"precision": "float64", "seconds": {}}}',
        '{"KEY": {"precision": "float32"}}',
        '{"KEY": {"precision": "float32", "channels_last": 1, "seconds": {}}}',
        '{"KEY": {"precision": "float32", "seconds": {"float32": NaN}}}',
        '{"KEY": {"precision": "float32", "seconds": {"float32": "fast"}}}',
        '{"KEY": {"precision": "float32", "seconds": {}, "reason": 4}}',
        '{"KEY": {"precision": "float32", "seconds": {}, "command": "rm"}}',
    ],
)
def test_a_damaged_or_foreign_file_is_measured_anew(
    prior: UNetPrior, measured: list[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "cache").mkdir()
    file = tmp_path / "cache" / "precision.json"
    file.write_text(content.replace("KEY", chosen._key(prior)))
    assert choose(prior).precision == "bfloat16"
    assert len(measured) == 1
    assert [e["precision"] for e in json.loads(file.read_text()).values()] == ["bfloat16"]


def test_a_cache_that_cannot_be_written_stops_nobody(prior: UNetPrior, measured: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert choose(prior).precision == "bfloat16"
    assert choose(prior).precision == "bfloat16"
    assert len(measured) == 2


def test_what_was_asked_for_is_not_measured(prior: UNetPrior, measured: list[str]) -> None:
    for name in DTYPES:
        assert choose(prior, name) == Choice(name, True, "as asked for")
    assert not measured
    with pytest.raises(ConfigError, match="precision"):
        Config(precision="float64")  # type: ignore[arg-type]


def test_a_network_that_was_trained_in_float32_stays_in_it(prior: UNetPrior, measured: list[str]) -> None:
    prior.native = "float32"
    assert choose(prior).precision == "float32"
    assert not measured


def test_without_measuring_instructions_decide(
    prior: UNetPrior, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert choose(prior).precision == usual_precision(CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert choose(prior).precision == "float32"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert choose(prior).precision == "bfloat16"
    assert not measured


def test_a_precision_that_cannot_be_had_is_refused(prior: UNetPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> UNetPrior:
        raise RuntimeError("not implemented for 'Half'")

    monkeypatch.setattr(chosen, "converted", unknown)
    with pytest.raises(ResourceError, match="cannot compute in float16") as refused:
        choose(prior, "float16")
    assert "--precision" in refused.value.remedy


class Faulty(UNetPrior):
    """A way whose answers are wrong by so much, in units of σ."""

    wrong = 0.0

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return super().denoise(x, sigma) + self.wrong * sigma.view(-1, 1, 1, 1)


@pytest.mark.parametrize(("wrong", "taken"), [(2 * TOLERANCE, False), (math.nan, False), (TOLERANCE / 4, True)])
def test_only_a_correct_way_is_timed(
    prior: UNetPrior, monkeypatch: pytest.MonkeyPatch, wrong: float, taken: bool
) -> None:
    def faulty(prior: UNetPrior, precision: str, channels_last: bool = True, place: str = "") -> UNetPrior:
        made = Faulty(prior.network, prior.card, precision="float32", channels_last=channels_last)
        made.wrong = wrong
        return made

    monkeypatch.setattr(chosen, "converted", faulty)
    monkeypatch.setattr(chosen, "_small_seconds", lambda prior: 1.0)
    found = measure(prior)
    assert list(found)[:3] == ["float32", "bfloat16", "float16"]
    assert [found[name] is not None for name in ("float32", "bfloat16", "float16")] == [True, taken, taken]


def test_a_hopeless_way_is_not_tried_on_a_large_image(prior: UNetPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[str, int]] = []
    denoise = UNetPrior.denoise

    def noted(self: UNetPrior, x: Tensor, sigma: Tensor) -> Tensor:
        sizes.append((self.precision, x.shape[-1]))
        return denoise(self, x, sigma)

    slow = {"float32": 1.0, "bfloat16": 2.5, "float16": 9.0}
    monkeypatch.setattr(UNetPrior, "denoise", noted)
    monkeypatch.setattr(chosen, "_small_seconds", lambda prior: slow[prior.precision])
    found = measure(prior)
    assert {name for name, _ in sizes} == {"float32"}
    assert found["bfloat16"] is None
    assert found["float16"] is None
    assert list(found) == ["float32", "bfloat16", "float16", "float32, channels apart"]


def test_a_slower_way_leaves_the_race(prior: UNetPrior, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"float32": 0, "bfloat16": 0}

    def taken(prior: UNetPrior, images: Tensor, sigma: Tensor) -> float:
        counts[prior.precision] += 1
        return {"float32": 4.0, "bfloat16": 2.0}[prior.precision]

    monkeypatch.setattr(chosen, "_evaluate", taken)
    ways = {"float32": prior, "bfloat16": converted(prior, "bfloat16")}
    assert race(ways, *noisy_body(32, CPU)) == {"float32": 2.0, "bfloat16": 1.0}
    assert counts == {"float32": 1, "bfloat16": 3}


def test_measuring_leaves_the_prior_as_it_is(prior: UNetPrior) -> None:
    x, sigma = noisy_body(32, CPU)
    before = prior.denoise(x, sigma)
    found = measure(prior)
    assert found["float32"] is not None
    assert {p.dtype for p in prior.network.parameters()} == {torch.float32}
    assert torch.equal(prior.denoise(x, sigma), before)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("channels_last", [True, False])
def test_every_way_computes_the_same_denoiser(prior: UNetPrior, name: str, channels_last: bool) -> None:
    x, sigma = noisy_body(32, CPU)
    other = converted(prior, name, channels_last)
    assert (other.precision, other.mixed) == (name, name != "float32")
    assert DTYPES[name] in {p.dtype for p in other.network.parameters()}
    error = disagreement(other.denoise(x, sigma), prior.denoise(x, sigma), sigma)
    assert error < {"float32": 1e-4, "bfloat16": TOLERANCE, "float16": TOLERANCE / 5}[name]


def test_converted_afterwards_is_loaded_so(weights: str) -> None:
    """A run loads in float32 and converts what it chose: the same bits as ever."""
    x, sigma = noisy_body(32, CPU)
    exact = load_prior(weights, "cpu", "float32")
    at_once = load_prior(weights, "cpu", "bfloat16")
    assert torch.equal(in_way(exact, Choice("bfloat16")).denoise(x, sigma), at_once.denoise(x, sigma))
    assert load_prior(weights).precision == usual_precision(CPU)
    with pytest.raises(PriorError, match="no precision"):
        load_prior(weights, "cpu", "float8")


def test_loaded_as_it_is_fastest(weights: str, measured: list[str]) -> None:
    assert load_fastest(weights).precision == "bfloat16"
    assert load_fastest(weights, "cpu", "float32").precision == "float32"
