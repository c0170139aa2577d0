"""A network that computes elsewhere than the rest of a run, as on a Mac's graphics processor.

No Mac is needed: PyTorch knows this processor under a second name, and a device whose tensors have no numbers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_precision import remember

from KLIPCore.config import Config
from KLIPCore.detection import precision as chosen
from KLIPCore.detection.autotune import candidates_for
from KLIPCore.detection.detect import detect
from KLIPCore.detection.devices import choose_devices, network_places
from KLIPCore.detection.precision import Choice, choose, converted, fastest, in_way, measure, noisy_body
from KLIPCore.detection.user_cache import SWITCH
from KLIPCore.errors import Cancelled, ResourceError
from KLIPCore.priors.unet import UNetPrior, usual_precision
from KLIPCore.runs.rerun import precision_told

CPU = torch.device("cpu")

ELSEWHERE = "cpu:0"
"""This processor by another name: a device of its own for whoever moves tensors."""

NOWHERE = "meta"
"""A device that answers nothing."""


def test_where_a_network_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert network_places("auto") == ("", "mps")
    assert network_places("mps") == network_places("mps:0") == ("mps",)
    assert network_places("cpu") == network_places("cuda") == ("",)
    assert choose_devices("auto") == choose_devices("mps") == [CPU]
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert network_places("auto") == ("",)
    with pytest.raises(ResourceError, match="no Apple GPU"):
        choose_devices("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert network_places("auto") == ("",)


def test_images_go_there_and_come_back(prior: UNetPrior) -> None:
    x, sigma = noisy_body(32, CPU)
    other = converted(prior, "float32", place=ELSEWHERE)
    assert (other.device, other.place, prior.place) == (CPU, torch.device(ELSEWHERE), CPU)
    denoised = other.denoise(x, sigma)
    assert denoised.device == CPU
    torch.testing.assert_close(denoised, prior.denoise(x, sigma))
    x.requires_grad_()
    other.denoise(x, sigma).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.abs().sum() > 0)
    away = converted(prior, "float32", place=NOWHERE)
    assert {p.device.type for p in away.network.parameters()} == {away.position.device.type} == {"meta"}


def test_every_place_is_measured_and_an_impossible_one_is_left_out(prior: UNetPrior) -> None:
    found = measure(prior, ("", ELSEWHERE, NOWHERE))
    for precision in ("float32", "bfloat16", "float16"):
        assert found[f"{precision} on {NOWHERE}"] is None
        assert {precision, f"{precision} on {ELSEWHERE}"} <= set(found)
    assert found["float32"] is not None
    assert found[f"float32 on {ELSEWHERE}"] is not None
    assert sum(name.endswith(f"on {ELSEWHERE}, channels apart") for name in found) == 1


def test_the_fastest_place_is_taken_and_remembered_by_its_places(
    prior: UNetPrior, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = {"float32": 0.5, "bfloat16": None, "float16": None, "float16 on cpu:0": 0.1}
    found = fastest(times, "computer")
    assert (found.precision, found.place, found.channels_last) == ("float16", ELSEWHERE, True)
    assert found.reason == "fastest of float32, bfloat16, float16 and float16 on cpu:0 on this computer, measured"
    assert Choice.from_dict(found.to_dict()) == found
    apart = fastest(times | {"float16 on cpu:0, channels apart": 0.05}, "computer")
    assert (apart.precision, apart.place, apart.channels_last) == ("float16", ELSEWHERE, False)
    asked: list[tuple[str, ...]] = []

    def fake(prior: UNetPrior, places: tuple[str, ...]) -> dict[str, float | None]:
        asked.append(places)
        return times if len(places) > 1 else {"float32": 0.5}

    monkeypatch.setattr(chosen, "measure", fake)
    monkeypatch.delenv(SWITCH, raising=False)
    both = ("", ELSEWHERE)
    assert [choose(prior, "auto", both, tmp_path).place for _ in range(2)] == [ELSEWHERE] * 2
    assert [choose(prior, "auto", cache=tmp_path).place for _ in range(2)] == [""] * 2
    assert asked == [both, ("",)]
    taken = in_way(prior, found)
    assert (taken.precision, taken.place, taken.device) == ("float16", torch.device(ELSEWHERE), CPU)


def test_a_place_that_was_asked_for_is_kept_to(
    prior: UNetPrior, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert choose(prior, "float32", (ELSEWHERE,)) == Choice("float32", True, "as asked for", place=ELSEWHERE)
    with pytest.raises(ResourceError, match="cannot compute in float32 on meta"):
        choose(prior, "float32", (NOWHERE,))
    monkeypatch.delenv(SWITCH, raising=False)
    with pytest.raises(ResourceError, match="graphics processor does not compute"):
        choose(prior, "auto", (NOWHERE,), tmp_path)
    monkeypatch.setenv(SWITCH, "off")
    assert choose(prior, "auto", (ELSEWHERE,)) == Choice(
        usual_precision(CPU), True, "usual on such a processor; not measured", place=ELSEWHERE
    )
    prior.native = "float32"
    assert choose(prior, "auto", (ELSEWHERE,)).place == ELSEWHERE


def test_a_network_elsewhere_has_one_worker(prior: UNetPrior) -> None:
    here = candidates_for(CPU, 2, prior)
    away = candidates_for(CPU, 2, converted(prior, "float32", place=NOWHERE))
    assert {a.workers for a in away} == {1}
    assert all(a.batch for a in away)
    assert any(a.batch is None for a in here)


def test_a_run_with_its_network_elsewhere_says_so_and_is_continued_without_it(
    dicom_study: Path,
    weights: str,
    prior: UNetPrior,
    measured: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config(preset="quick", prior=weights).updated(
        {"sampling": {"n_samples": 1, "n_steps": 2}, "regions": {"score": "one-shot", "min_volume_mm3": 10.0}}
    )
    plain = detect(dicom_study, tmp_path / "plain", replace(config, precision="float32"))
    monkeypatch.setattr("KLIPCore.detection.run_precision.network_places", lambda name: ("", ELSEWHERE))
    away = Choice("float32", True, "fastest then", place=ELSEWHERE)
    remember(tmp_path / "cache", prior, away, ("", ELSEWHERE))
    seen: list[str] = []
    denoise = UNetPrior.denoise

    def noted(self: UNetPrior, *given: torch.Tensor) -> torch.Tensor:
        seen.append(str(self.place))
        return denoise(self, *given)

    monkeypatch.setattr(UNetPrior, "denoise", noted)
    out = tmp_path / "out"

    def stop(stage: str, fraction: float, detail: str) -> None:
        if "(3 of 4)" in detail:
            raise KeyboardInterrupt

    with pytest.raises(Cancelled):
        detect(dicom_study, out, config, progress=stop)
    assert set(seen) == {ELSEWHERE}
    monkeypatch.setattr("KLIPCore.detection.run_precision.network_places", lambda name: ("",))
    seen.clear()
    found = detect(dicom_study, out, config)
    assert set(seen) == {"cpu"}
    assert precision_told({"precision": away.to_dict()}) == "float32 on cpu:0: fastest then"
    assert found.report.provenance["precision"] == "float32: fastest then"
    assert found.folder.run()["fingerprint"] == plain.folder.run()["fingerprint"]
