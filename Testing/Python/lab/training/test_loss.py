"""In what precision a network is trained: bfloat16 where the device has instructions for it, float32 elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from KLIPCore.lab.training.loss import answers, draw_noise, training_layout
from KLIPCore.lab.training.muon import orthogonalised

LAYOUTS = {"bfloat16": torch.channels_last, "float32": torch.contiguous_format}


@pytest.mark.parametrize(
    ("usual", "layout"), [("bfloat16", torch.channels_last), ("float32", torch.contiguous_format)]
)
def test_training_computes_in_what_is_fast_and_answers_in_float32(
    usual: str, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("loss", "muon"):
        monkeypatch.setattr(f"KLIPCore.lab.training.{module}.usual_precision", lambda device: usual)
    seen: list[torch.dtype] = []
    convolution = nn.Conv2d(1, 2, 3, padding=1)

    def ask(noisy: Tensor, level: Tensor, position: Tensor) -> Tensor:
        made: Tensor = convolution(noisy)
        seen.append(made.dtype)
        return made

    said = answers(ask, torch.rand(1, 1, 8, 8), torch.ones(1), torch.zeros(1, 2, 8, 8))
    assert seen == [getattr(torch, usual)]
    assert said.dtype == torch.float32
    assert training_layout(torch.device("cpu")) == layout
    exact = torch.linalg.svdvals(orthogonalised(torch.eye(8)))
    assert 0.6 < float(exact.min()) <= float(exact.max()) < 1.3


def test_some_images_get_the_noise_of_a_low_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = draw_noise((400, 1, 16, 16), 0.25, 0.25, generator).flatten(1).std(1)
    cold = spread < 0.75
    assert 60 < int(cold.sum()) < 140
    assert float(spread[cold].mean()) == pytest.approx(0.5, rel=0.02)
    assert float(spread[~cold].mean()) == pytest.approx(1.0, rel=0.02)


def test_without_a_low_temperature_nothing_more_is_drawn() -> None:
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(draw_noise((2, 1, 4, 4), 0.0, 0.25, one), torch.randn(2, 1, 4, 4, generator=other))
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=other))
