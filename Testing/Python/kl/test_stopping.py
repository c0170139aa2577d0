"""Stopping by the map's own error: the error is the true one, the rule does not bias the map, groups add up
to the whole.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.stopping import GROUP, BlockErrors, GroupedLayerSum, group_sizes

SIZE, EDGES = 32, np.geomspace(0.01, 0.4, 4)


@given(st.integers(1, 64))
def test_groups_make_up_the_samples(n: int) -> None:
    sizes = group_sizes(n)
    assert sum(sizes) == n
    assert set(sizes[:-1]) <= {GROUP}
    assert 1 <= sizes[-1] <= GROUP


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 4), st.integers(0, 99))
def test_groups_of_samples_add_up_to_one_layer_of_all(groups: list[int], n_steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pushes = torch.randn(n_steps, sum(groups), SIZE, SIZE, generator=generator)
    sigmas = np.geomspace(0.3, 0.02, n_steps)
    whole, grouped = LayerSum("path", EDGES, SIZE, 4), GroupedLayerSum("path", EDGES, SIZE, 4)
    for sigma, push in zip(sigmas, pushes, strict=True):
        whole.add(sigma, push)
    for part in torch.split(pushes, groups, 1):
        grouped.begin_group()
        for sigma, push in zip(sigmas, part, strict=True):
            grouped.add(sigma, push)
    a, b = whole.layer(), grouped.layer()
    np.testing.assert_allclose(b.energy, a.energy, rtol=1e-4)
    np.testing.assert_allclose(b.mean, a.mean, rtol=1e-3, atol=1e-4 * float(a.energy.max()))
    assert a.n_independent == b.n_independent == sum(groups)


def test_pairs_are_refused() -> None:
    grouped = GroupedLayerSum("path", EDGES, SIZE, 4)
    grouped.begin_group()
    with pytest.raises(ConfigError):
        grouped.add(0.1, torch.zeros(2, SIZE, SIZE), antithetic=True)


def pushes_of(n: int, generator: torch.Generator) -> torch.Tensor:
    """(n, SIZE, SIZE) pushes whose squares have known means: 1 in one half, 4 in the other."""
    scale = torch.ones(SIZE, SIZE)
    scale[:, SIZE // 2 :] = 2.0
    return scale * torch.randn(n, SIZE, SIZE, generator=generator)


def test_the_error_is_the_true_one() -> None:
    """Relative error claimed from four samples against the scatter of many maps of four samples around the truth."""
    generator = torch.Generator().manual_seed(1)
    claimed, squares = [], []
    truth = torch.full((4, 4), 64.0)
    truth[:, 2:] *= 4
    for _ in range(300):
        errors = BlockErrors(SIZE)
        errors.begin_group()
        errors.add(pushes_of(4, generator))
        claimed.append(errors.relative())
        squares.append(float((torch.cat(errors.groups).mean(0) - truth).square().sum()))
    assert np.mean(claimed) == pytest.approx(np.sqrt(np.mean(squares)) / float(truth.norm()), rel=0.05)


def test_stopping_by_it_does_not_bias_the_map() -> None:
    """Draw groups until the error is small, a few hundred times: the mean of the maps is the true map, within
    what chance allows.

    The threshold lies where about half of the runs stop at the first look, which is where a bias would be largest.
    """
    generator = torch.Generator().manual_seed(2)
    n_used, totals = [], []
    for _ in range(400):
        errors = BlockErrors(SIZE)
        for _ in range(4):
            errors.begin_group()
            errors.add(pushes_of(GROUP, generator))
            if errors.relative() <= 0.092:
                break
        n_used.append(errors.n_samples)
        totals.append(float(torch.cat(errors.groups).mean(0).sum()))
    assert 0.2 < np.mean(np.array(n_used) == GROUP) < 0.8, "otherwise the threshold tests nothing"
    truth = SIZE * SIZE * 2.5
    assert abs(np.mean(totals) - truth) < max(3 * np.std(totals) / np.sqrt(len(totals)), 0.005 * truth)


def test_too_little_to_tell() -> None:
    errors = BlockErrors(30)
    assert errors.block == 6, "blocks divide the image"
    assert errors.relative() == float("inf")
    errors.begin_group()
    errors.add(torch.ones(1, 30, 30))
    assert errors.relative() == float("inf"), "one sample has no scatter"
    errors.begin_group()
    errors.add(torch.ones(1, 30, 30))
    assert errors.relative() == 0.0, "equal samples have none"
    nothing = BlockErrors(8)
    nothing.begin_group()
    nothing.add(torch.zeros(2, 8, 8))
    assert nothing.relative() == 0.0
