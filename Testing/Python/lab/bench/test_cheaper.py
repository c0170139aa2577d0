"""Cheaper ways to evaluate a network: each computes the same denoiser, as far as its precision goes."""

from __future__ import annotations

import pytest
import torch

from KLIPCore.lab.bench.cheaper import QuantizedConv, cheaper_section, compiled, float32_copy, int8, openvino
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    """A tiny network whose output is not zero, as an untrained one's is."""
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    network = build_network(shape)
    for parameter in network.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.05)
    card = ModelCard("tiny", "nothing", Window(-160, 240), size=32, network=network_fields(shape))
    return UNetPrior(network, card, precision="bfloat16")


IMAGES = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
SIGMA = torch.full((2,), 0.1)


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def test_float32_is_a_copy(prior: UNetPrior) -> None:
    wide = float32_copy(prior)
    before = prior.denoise(IMAGES, SIGMA)
    assert not wide.mixed
    assert {p.dtype for p in wide.network.parameters()} == {torch.float32}
    assert 0 < error(wide.denoise(IMAGES, SIGMA), before) < 0.02
    torch.testing.assert_close(prior.denoise(IMAGES, SIGMA), before, rtol=0, atol=0)


@pytest.mark.skipif(
    "onednn" not in torch.backends.quantized.supported_engines, reason="no integer kernels in this build"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_bytes_are_close(prior: UNetPrior) -> None:
    evaluate = int8(prior, IMAGES)
    assert any(isinstance(m, QuantizedConv) for m in evaluate.__self__.network.modules())  # type: ignore[attr-defined]
    assert not any(isinstance(m, QuantizedConv) for m in prior.network.modules()), "the prior itself stays as it was"
    exact = float32_copy(prior).denoise(IMAGES, SIGMA)
    assert (
        error(prior.denoise(IMAGES, SIGMA), exact) < error(evaluate(IMAGES, SIGMA), exact) < 0.1 * float(exact.std())
    )


@pytest.mark.filterwarnings("ignore")
def test_openvino_computes_the_same(prior: UNetPrior) -> None:
    pytest.importorskip("openvino", exc_type=ImportError)
    exact = float32_copy(prior).denoise(IMAGES, SIGMA)
    assert error(openvino(prior, IMAGES)(IMAGES, SIGMA), exact) < 0.02


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_computes_the_same(prior: UNetPrior) -> None:
    assert error(compiled(prior)(IMAGES, SIGMA), prior.denoise(IMAGES, SIGMA)) < 0.02


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_table_compares_with_the_network_as_it_runs(prior: UNetPrior) -> None:
    told: list[str] = []
    section = cheaper_section(prior, IMAGES, 0.02, told.append, ("torch.compile", "OpenVINO, bfloat16"))
    rows = {row["name"]: row for row in section.rows}
    assert list(rows) == told == ["bfloat16, as it runs", "float32", "int8 convolutions"]
    assert rows["bfloat16, as it runs"]["speed_ratio"] == 1.0
    assert rows["float32"]["error at σ 0.1"] == 0.0
    assert rows["float32"]["speed_ratio"] == pytest.approx(
        rows["bfloat16, as it runs"]["seconds"] / rows["float32"]["seconds"]
    )
    assert "times as fast" in section.markdown()
