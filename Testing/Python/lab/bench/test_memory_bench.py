"""The memory bench on a study of postage stamps: the same commands, the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from KLIPCore.lab.bench.memory import large_study, memory_section
from KLIPCore.priors.checkpoint import save_prior
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


def test_the_study_has_its_size_and_lesions() -> None:
    volume = large_study(40, 64)
    assert volume.array.shape == (40, 64, 64)
    assert volume.array.dtype == np.float32
    assert volume.grid.spacing[1] == pytest.approx(400 / 64)
    y, x = 31, 21  # of the lesion's middle
    assert (
        np.mean(volume.array[20, y - 1 : y + 2, x - 1 : x + 2])
        < np.mean(volume.array[0, y - 1 : y + 2, x - 1 : x + 2]) - 30
    )


def test_the_peaks_are_those_of_real_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    card = ModelCard("tiny", "nothing", Window(-160, 240), size=64, network=network_fields(shape))
    weights = save_prior(build_network(shape), card, tmp_path)
    told: list[str] = []
    section = memory_section(6, 64, 1, 1, told.append, str(weights), "klip")  # random weights push nothing down
    assert [row["slices"] for row in section.rows] == [1, 2, 6]
    assert section.rows[2]["trace_mib"] == pytest.approx(3 * section.rows[1]["trace_mib"], rel=0.05), (
        "every slice of the study has its trace"
    )
    for row in section.rows:
        assert row["peak_gib"] == "not measured" or 0.1 < row["peak_gib"] < 6
    assert len(told) == 4
    assert "GiB" in section.markdown()
