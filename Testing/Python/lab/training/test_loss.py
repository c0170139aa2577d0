"""In what precision a network is trained: bfloat16 where the device has instructions for it, float32 elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from KLIPCore.lab.training.loss import answers, training_layout
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
