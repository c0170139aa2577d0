"""Slices and samples in batches: together or apart, halved or not, stopped or asked for, the traces are the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_study import small_study
from torch import Tensor

from KLIPCore.config import Config, MeasurementConfig, RecordConfig, SamplingConfig
from KLIPCore.detection.batching import MOST_IMAGES, Batches, images_for, images_that_fit, run_in_halves
from KLIPCore.detection.simulated_scan import Scanner, trace_slice, trace_slices
from KLIPCore.errors import ConfigError, ResourceError
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

CONFIG = Config(
    measurement=MeasurementConfig(
        noise=0.1
    ),  # a tame problem: conjugate gradients of a stiff one turn rounding into per cents
    sampling=SamplingConfig(n_samples=2, n_steps=3, cg_iterations=3),
    record=RecordConfig(layers=("cold", "path", "darker", "brighter", "renoised"), n_nodes=2),
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    """A tiny untrained network in float32: nothing here depends on what it thinks of images."""
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    network = build_network(shape)
    network.mixed_precision = False
    return UNetPrior(network, ModelCard("tiny", "nothing", Window(-160, 240), size=64, network=network_fields(shape)))


@pytest.fixture(scope="module")
def study(prior: UNetPrior) -> FramedStudy:
    return frame_study(small_study(4), prior.card)


def scanner(config: Config, prior: UNetPrior, study: FramedStudy) -> Scanner:
    return Scanner.build(config, prior, study.frame.pixel_mm, CPU)


def assert_same(a: SliceTrace, b: SliceTrace, rtol: float) -> None:
    """Reconstruction and all layers, to rounding; a slice's sums amplify that of its conjugate gradients."""
    np.testing.assert_allclose(a.reconstruction, b.reconstruction, atol=rtol)
    assert set(a.layers) == set(b.layers)
    for name, layer in a.layers.items():
        other = b.layers[name]
        assert layer.n_independent == other.n_independent
        np.testing.assert_allclose(
            other.energy, layer.energy, rtol=rtol, atol=rtol * float(layer.energy.max()), err_msg=name
        )
        np.testing.assert_allclose(
            other.mean, layer.mean, rtol=rtol, atol=rtol * float(layer.energy.max()), err_msg=name
        )


@pytest.mark.parametrize("photons", [None, 30.0])
def test_slices_together_are_what_they_are_alone(prior: UNetPrior, study: FramedStudy, photons: float | None) -> None:
    config = CONFIG.updated({"measurement": {"photons": photons}})
    s = scanner(config, prior, study)
    both = trace_slices(s, study, [1, 2])
    alone = [trace_slice(s, study, k) for k in (1, 2)]
    for together, single in zip(both, alone, strict=True):
        assert together.index == single.index
        assert together.info["network_evaluations"] == single.info["network_evaluations"]
        assert_same(single, together, 2e-2)


def test_evaluations_are_counted_once(prior: UNetPrior, study: FramedStudy) -> None:
    s = scanner(CONFIG, prior, study)
    made = trace_slices(s, study, [0, 1, 2])
    assert s.n_evaluations == sum(t.info["network_evaluations"] for t in made)
    assert made[0].info["network_evaluations"] == 2 * 3 + 2 * 2 + 2 * 2


def stopping(n_samples: int, stop_error: float) -> Config:
    return CONFIG.updated({"sampling": {"n_samples": n_samples, "stop_error": stop_error}})


def test_stopping_gives_what_asking_for_so_many_gives(prior: UNetPrior, study: FramedStudy) -> None:
    asked = trace_slice(scanner(stopping(8, 0.0), prior, study), study, 1)
    first = trace_slice(scanner(stopping(4, 0.0), prior, study), study, 1)
    at_once = trace_slice(scanner(stopping(12, 0.99), prior, study), study, 1)
    never = trace_slice(scanner(stopping(8, 1e-6), prior, study), study, 1)
    assert [t.info["samples"] for t in (asked, first, at_once, never)] == [8, 4, 4, 8]
    assert_same(first, at_once, 2e-3)
    assert_same(asked, never, 2e-2)
    assert (
        at_once.info["network_evaluations"] < asked.info["network_evaluations"] < never.info["network_evaluations"] + 1
    )
    between = 0.5 * (at_once.info["block_error"] + never.info["block_error"])
    assert never.info["block_error"] < between < at_once.info["block_error"], "more samples, smaller error"
    again = trace_slice(scanner(stopping(12, between), prior, study), study, 1)
    assert 4 < again.info["samples"] <= 12
    assert again.info["block_error"] <= between


def test_slices_of_a_batch_stop_each_by_itself(prior: UNetPrior, study: FramedStudy) -> None:
    alone = [trace_slice(scanner(stopping(8, 1e-6), prior, study), study, k) for k in (0, 2)]
    first = [trace_slice(scanner(stopping(8, 0.99), prior, study), study, k).info["block_error"] for k in (0, 2)]
    assert first[0] != first[1]
    config = stopping(8, float(np.mean(first)))  # between the two: one goes on, the other does not
    made = trace_slices(scanner(config, prior, study), study, [0, 2])
    assert sorted(t.info["samples"] for t in made) == [4, 8]
    longer = int(np.argmax([t.info["samples"] for t in made]))
    assert_same(alone[longer], made[longer], 2e-2)


def test_the_fingerprint_follows_the_rule_only_where_it_is_used() -> None:
    base = Config()
    assert base.fingerprint() != stopping(2, 0.1).fingerprint()
    with pytest.raises(ConfigError):
        SamplingConfig(stop_error=1.0)


class Short:
    """A network on a device with room for so many images: asks for more than there is, as PyTorch would, and
    counts its attempts.
    """

    def __init__(self, room: int) -> None:
        self.room, self.asked = room, []

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        return 2 * x


@pytest.mark.parametrize(
    ("n", "room", "asked"), [(8, 8, [8]), (8, 3, [8, 4, 2, 2, 2, 2]), (5, 2, [5, 2, 2, 1]), (3, 1, [3, 1, 1, 1])]
)
def test_a_batch_is_halved_until_it_fits(n: int, room: int, asked: list[int]) -> None:
    network, batches, x = Short(room), Batches(), torch.arange(float(n))[:, None]
    torch.testing.assert_close(batches.run(network, x), 2 * x)
    assert network.asked == asked
    network.asked.clear()
    batches.run(network, x)
    assert max(network.asked) <= room, "what was learnt is kept"


def test_not_even_one_image() -> None:
    with pytest.raises(ResourceError, match="single image"):
        Batches().run(Short(0), torch.zeros(4, 1))


def test_slices_are_halved_too() -> None:
    asked: list[int] = []

    def trace(items: list[int]) -> list[str]:
        asked.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [str(item) for item in items]

    assert run_in_halves(trace, [3, 1, 4, 1, 5]) == ["3", "1", "4", "1", "5"]
    assert asked == [5, 2, 3, 1, 2]


def test_a_failed_attempt_lets_go_of_its_memory() -> None:
    """The traceback of the error must not keep the tensors of the attempt alive while it is tried again."""
    kept: list[weakref.ref[Tensor]] = []

    def hungry(x: Tensor) -> Tensor:
        activations = torch.zeros(len(x), 10)
        assert all(ref() is None for ref in kept)
        kept.append(weakref.ref(activations))
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return x + activations.sum()

    assert len(Batches().run(hungry, torch.zeros(4, 1))) == 4
    assert len(kept) == 3 + 3


def test_a_short_device_changes_nothing(prior: UNetPrior, study: FramedStudy) -> None:
    """The real prior behind a wrapper that runs out of memory above one image: the same trace."""
    whole = trace_slice(scanner(CONFIG, prior, study), study, 1)

    def limited(denoise: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def run(x: Tensor, sigma: Tensor) -> Tensor:
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return denoise(x, sigma)

        return run

    short = UNetPrior(prior.network, prior.card)
    short.denoise = limited(short.denoise)  # type: ignore[method-assign]
    s = scanner(CONFIG, short, study)
    assert_same(whole, trace_slice(s, study, 1), 2e-2)
    assert s.batches.most == 1


def test_images_for_a_memory() -> None:
    assert images_for(10e9, 100e6) == 80
    assert images_for(1e6, 100e6) == 1
    assert images_for(1e15, 1.0) == MOST_IMAGES
    assert images_that_fit(lambda n: None, CPU) is None, "a CPU does not say"
