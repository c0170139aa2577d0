"""The share of soft tissue, and pushes that only count there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.kl.signed import SignedSum, gaussian_blur
from KLIPCore.kl.soft import soft_share


def test_fat_has_none_fluid_has_all_and_between_it_is_linear() -> None:
    image = torch.stack([torch.full((64, 64), value) for value in (0.1, 0.25, 0.325, 0.4, 0.9)])
    share = soft_share(image, 0.25, 0.4)
    assert share.shape == image.shape
    assert share[:, 5, 5].tolist() == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-5)
    with pytest.raises(ConfigError):
        soft_share(image, 0.4, 0.4)


def test_pushes_in_fat_count_exactly_nothing_even_beside_soft_tissue() -> None:
    image = torch.full((64, 64), 0.1)
    image[:, 32:] = 0.6
    share = soft_share(image, 0.25, 0.4)
    edges = np.array([0.1, 0.4])
    gated, plain = (
        SignedSum("hypodense", -1, edges, 64, 4, (2.5,), share),
        SignedSum("darker", -1, edges, 64, 4, (2.5,)),
    )
    push = torch.zeros(2, 64, 64)
    push[:, 20:30, 4:14] = -3.0  # in fat
    push[:, 20:30, 44:54] = -1.0  # in soft tissue
    for total in (gated, plain):
        total.add(0.2, push)
    got, all_of_it = gated.layer().mean[0, 0], plain.layer().mean[0, 0]
    assert not got[:, 2:7].any()  # the blur is periodic: the first cells see the far side
    np.testing.assert_allclose(got[:, 10:14], all_of_it[:, 10:14], rtol=2e-3, atol=1e-6)
    assert all_of_it[:, :7].sum() > all_of_it[:, 10:].sum() > 1


def test_a_share_multiplies_before_and_after_the_blur() -> None:
    push, share = torch.randn(2, 32, 32), torch.rand(32, 32)
    total = SignedSum("hypodense", -1, np.array([0.1, 0.4]), 32, 4, (2.5,), share)
    total.add(0.2, push)
    expected = ((-gaussian_blur(push * share, 2.5)).mean(0).clamp_min(0).square() * share).sum()
    assert total.layer().mean.sum() == pytest.approx(float(expected), rel=1e-4)
