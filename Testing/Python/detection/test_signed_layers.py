"""The one-sided layers of a real slice: shares of the surprise, and a dark lesion in the dark one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detection.conftest import FAST
from small_study import LESION_LPS_MM, small_study

from KLIPCore.config import Config
from KLIPCore.detection.simulated_scan import Scanner, trace_slice
from KLIPCore.maps.information import per_information
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.volume.framed_study import frame_study


@pytest.fixture(scope="module")
def traced() -> tuple[SliceTrace, tuple[int, int]]:
    """A slice through a lesion darker than the liver around it, and the lesion's cell."""
    prior = load_prior("abdomen-ct-256", torch.device("cpu"))
    framed = frame_study(small_study(3), prior.card)
    config = FAST.updated({"record": {"layers": ["cold", "path", "darker", "brighter"]}})
    made = trace_slice(Scanner.build(config, prior, framed.frame.pixel_mm, torch.device("cpu")), framed, 2)
    _, row, column = framed.lps.grid.to_index(np.array(LESION_LPS_MM))
    frame = framed.frame_of(2)
    cell = ((np.array([row, column]) - frame.centres[0]) / frame.pixel + frame.size / 2) / config.record.cell
    return made, (int(cell[0]), int(cell[1]))


def test_a_dark_lesion_is_found_by_its_sign(traced: tuple[SliceTrace, tuple[int, int]]) -> None:
    made, (row, column) = traced
    darker, brighter = (made.layers[name].mean[:, 0].sum(0) for name in ("darker", "brighter"))
    strongest = np.unravel_index(darker.argmax(), darker.shape)
    assert np.abs(np.array(strongest) - (row, column)).max() <= 1
    assert darker[row, column] > 10 * brighter[row, column]  # brighter is only a rim around it


def test_without_the_weight_both_signs_are_a_share_of_the_surprise(traced: tuple[SliceTrace, tuple[int, int]]) -> None:
    made, _ = traced
    weight = per_information(made.layers["path"], FAST.record.cell)
    both = (made.layers["darker"].mean + made.layers["brighter"].mean) / weight
    assert both.sum((2, 3)).max(1) == pytest.approx(both[:, 0].sum((1, 2)))  # longer scales keep less
    assert (both[:, 0].sum((1, 2)) < made.layers["cold"].mean.sum((1, 2, 3)) * 1.001).all()


def test_signs_can_be_recorded_alone() -> None:
    assert Config().updated({"record": {"layers": ["darker"]}, "regions": {"score": "darker"}}).record.layers == (
        "darker",
    )
