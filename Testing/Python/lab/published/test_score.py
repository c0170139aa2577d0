"""The published scores against formulas written out here: squares pixel by pixel, ROC curves threshold by
threshold.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.score import blocks_of, dataset_level, image_level, image_score, score_map


def area_under_curve(scores: NDArray, positive: NDArray) -> float:
    """Trapezoids under the ROC curve, one point a threshold."""
    if positive.all() or not positive.any():
        return math.nan
    points = [(0.0, 0.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        points.append(
            (float((called & ~positive).sum() / (~positive).sum()), float((called & positive).sum() / positive.sum()))
        )
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))


def slow_map(updates: NDArray[np.float32], block: int, window: tuple[int, int]) -> NDArray[np.float64]:
    """Block by block, number by number, in Python floats."""
    _, n_samples, n_channels, height, width = updates.shape
    out = np.zeros((height // block, width // block))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = 0.0
            for t in range(*window):
                for b in range(n_samples):
                    for c in range(n_channels):
                        patch = updates[t, b, c, i * block : (i + 1) * block, j * block : (j + 1) * block]
                        total += sum(float(v) ** 2 for v in patch.ravel())
            out[i, j] = total / ((window[1] - window[0]) * n_samples)
    return out


@st.composite
def made_updates(draw: st.DrawFn) -> tuple[NDArray[np.float32], int]:
    """Random updates (T, B, C, H, W) and a block that tiles them."""
    t, b, c, block, rows, columns = (draw(st.integers(1, n)) for n in (5, 3, 3, 4, 4, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return rng.standard_normal((t, b, c, rows * block, columns * block)).astype(np.float32), block


@given(made=made_updates(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_map_is_the_recipe_to_single_precision(made: tuple[NDArray[np.float32], int], data: st.DataObject) -> None:
    updates, block = made
    start = data.draw(st.integers(0, len(updates) - 1))
    end = data.draw(st.integers(start + 1, len(updates)))
    found = score_map(Artifact(updates, np.ones(len(updates), np.float32)), block, (start, end))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow_map(updates, block, (start, end)), rtol=2e-7)
    assert image_score(found) == float(found.max())


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 4),
    block=st.integers(1, 3),
    with_body=st.booleans(),
    coarse=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_both_kinds_of_auroc(seed: int, n: int, block: int, with_body: bool, coarse: bool) -> None:
    """Ties (coarse scores), images without a label, and bodies that leave blocks out included."""
    rng = np.random.default_rng(seed)
    shape = (4 * block, 5 * block)
    maps = [rng.random((4, 5)).astype(np.float32) for _ in range(n + 2)]
    if coarse:
        maps = [np.round(3 * m) for m in maps]
    labels = [(rng.random(shape) < 0.15 / block).astype(np.uint8) for _ in range(n)]
    bodies = [rng.random(shape) < 0.6 / block for _ in range(n)]
    expected = []
    for scores, label, body in zip(maps[:n], labels, bodies, strict=True):
        chosen, positive = [], []
        for i in range(4):
            for j in range(5):
                here = np.s_[i * block : (i + 1) * block, j * block : (j + 1) * block]
                if not with_body or body[here].any():
                    chosen.append(scores[i, j])
                    positive.append(bool((label[here] > 0).any()))
        expected.append(area_under_curve(np.array(chosen), np.array(positive, bool)))
    found = image_level(maps[:n], labels, bodies if with_body else None, block)
    np.testing.assert_allclose(found.per_image, expected, rtol=1e-6)
    valid = [v for v in expected if not math.isnan(v)]
    assert found.mean == pytest.approx(sum(valid) / len(valid), rel=1e-6) if valid else math.isnan(found.mean)

    normal, abnormal = maps[:2], maps[2:]
    tops = np.array([max(m.ravel()) for m in maps])
    assert dataset_level(normal, abnormal) == pytest.approx(area_under_curve(tops, np.arange(n + 2) >= 2), rel=1e-6)


def test_one_kind_alone_has_no_auroc() -> None:
    assert math.isnan(dataset_level([], [np.ones((2, 2))]))
    assert math.isnan(image_level([np.ones((2, 2))], [np.zeros((4, 4))], None, 2).mean)


def test_refusals() -> None:
    artifact = Artifact(np.ones((3, 1, 1, 6, 6), np.float32), np.ones(3, np.float32))
    for block, window, message in (
        (4, (0, 3), "do not tile"),
        (0, (0, 3), "do not tile"),
        (2, (2, 2), "not among"),
        (2, (0, 4), "not among"),
        (2, (-1, 2), "not among"),
    ):
        with pytest.raises(ConfigError, match=message):
            score_map(artifact, block, window)
    with pytest.raises(ConfigError, match="do not tile"):
        blocks_of(np.ones((5, 6)), 2)
    with pytest.raises(ConfigError, match="not as many"):
        image_level([np.ones((3, 3))], [], None, 2)
    with pytest.raises(GeometryError, match="another size"):
        image_level([np.ones((3, 3))], [np.ones((4, 4))], None, 2)
