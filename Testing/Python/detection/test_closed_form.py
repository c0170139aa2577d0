"""Closed forms in a scan: where the body lies in their disc, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from detection.conftest import FAST
from small_study import small_study

from KLIPCore.detection.simulated_scan import Scanner, trace_slice
from KLIPCore.physics.rotation import disc
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.geometry import ImageGrid2D

QUICK = FAST.updated({"sampling": {"preconditioned": True}, "record": {"layers": ["path", "cold", "darker"]}})


@pytest.fixture(scope="module")
def scanner_and_study() -> tuple[Scanner, FramedStudy]:
    prior = load_prior("abdomen-ct-256", torch.device("cpu"))
    framed = frame_study(small_study(3), prior.card)
    return Scanner.build(QUICK, prior, framed.frame.pixel_mm, torch.device("cpu")), framed


def enlarged(study: FramedStudy, factor: float) -> FramedStudy:
    """The same study in a frame whose pixels are ``factor`` times smaller."""
    frame = study.frame
    return FramedStudy.of(
        study.study, study.body, Frame(frame.size, frame.centres, frame.pixel / factor, frame.pixel_mm / factor)
    )


def test_reach_is_that_of_the_masks(scanner_and_study: tuple[Scanner, FramedStudy]) -> None:
    _, study = scanner_and_study
    inside = disc(ImageGrid2D((study.frame.size,) * 2, 1.0)) > 0
    for factor in (0.9, 1.0, 1.6):
        made = enlarged(study, factor)
        outside = any((made.mask(k) * ~inside).any() for k in range(3))
        assert outside == (made.reach > study.frame.size / 2)


def test_a_body_beyond_the_disc_is_measured_without_it(scanner_and_study: tuple[Scanner, FramedStudy]) -> None:
    scanner, study = scanner_and_study
    assert scanner.operator_for(study) is scanner.A
    assert scanner.A.closed_form is not None
    assert scanner.operator_for(enlarged(study, 1.6)).closed_form is None
    assert scanner.A.closed_form is not None  # the scanner keeps its own


def test_nothing_is_said_of_the_corners_and_the_body_is_as_well_known(
    scanner_and_study: tuple[Scanner, FramedStudy],
) -> None:
    scanner, study = scanner_and_study
    plain = replace(scanner, A=scanner.operator_for(enlarged(study, 1.6)))
    quick, slow = trace_slice(scanner, study, 1), trace_slice(plain, study, 1)
    corners = disc(ImageGrid2D((64, 64), 1.0)) == 0
    assert not quick.layers["darker"].mean[..., corners].any()
    assert np.isfinite(quick.layers["darker"].mean).all()
    assert quick.info["psnr_db"] > slow.info["psnr_db"]
