"""The precision that is chosen here and where only AVX2 is to be had, by real measurements."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch

from KLIPCore.detection.precision import Choice, way_name
from KLIPCore.detection.user_cache import SWITCH
from KLIPCore.lab.bench.precision import AVX2, elsewhere, relative
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR
from KLIPCore.priors.unet import usual_precision

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("switches", [AVX2, {}], ids=["AVX2 alone", "this processor"])
def test_never_slower_than_float32(switches: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped prior, really measured, in a process that keeps to AVX2 by the libraries' own switches, and here."""
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    made = elsewhere(DEFAULT_PRIOR, switches, every=False)
    choice = Choice.from_dict(made["choice"])
    taken = choice.seconds[way_name(choice.precision, choice.channels_last)]
    exact = choice.seconds["float32"]
    assert taken is not None
    assert exact is not None
    assert taken <= 1.15 * exact
    if switches and usual_precision(CPU) == "bfloat16":  # on such a processor the switches emulate bfloat16
        assert choice.precision == "float32"
        assert choice.seconds["bfloat16"] is None
    if not switches and usual_precision(CPU) == "bfloat16":
        assert choice.precision == "bfloat16"


def test_maps_are_compared_where_both_are_known() -> None:
    assert relative(np.array([1.0, 2.0, np.nan]), np.array([1.0, 1.0, 5.0])) == pytest.approx(math.sqrt(0.5))
