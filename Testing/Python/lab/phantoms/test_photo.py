"""Scars and patches: what changes lies in the mask, and the mask has the size that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.photo import Patch, Scar


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(10, 40), st.floats(1.5, 6), st.booleans())
def test_a_scar_is_as_long_and_wide_as_asked(seed: int, length: float, width: float, colour: bool) -> None:
    image = np.full((64, 80, 3) if colour else (64, 80), 0.7)
    changed, mask = Scar(length, width, bend=0.0).draw(image, seed)
    assert mask.sum() == pytest.approx(
        length * width + np.pi * width**2 / 4, abs=0.35 * (2 * length + np.pi * width)
    ), "to a third of a pixel along its rim"
    far = np.abs(changed - image) > 1e-9
    far = far.any(-1) if colour else far
    assert not (far & ~ndi.binary_dilation(mask, np.ones((3, 3)))).any()  # beyond the mask only the fading pixel
    assert changed[mask].mean() < 0.7 - 0.2
    again, same = Scar(length, width, bend=0.0).draw(image, seed)
    assert np.array_equal(again, changed)
    assert np.array_equal(same, mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 12), st.integers(3, 12))
def test_a_patch_is_a_piece_of_the_image_elsewhere(seed: int, height: int, width: int) -> None:
    image = np.arange(40 * 50, dtype=float).reshape(40, 50) / 2000  # every value once
    changed, mask = Patch(height, width).draw(image, seed)
    assert mask.sum() == height * width
    assert np.array_equal(changed[~mask], image[~mask])
    piece = np.sort(changed[mask])
    origin = np.argwhere(np.isin(image, piece))
    assert np.ptp(origin[:, 0]) + 1 == height
    assert np.ptp(origin[:, 1]) + 1 == width
    assert not np.isin(np.argwhere(mask)[:, 0] * 50 + np.argwhere(mask)[:, 1], origin[:, 0] * 50 + origin[:, 1]).any()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer"):
        Scar(100).draw(np.zeros((32, 32)), 0)
    with pytest.raises(ConfigError, match="too large"):
        Patch(20, 20).draw(np.zeros((32, 32)), 0)
    with pytest.raises(ConfigError):
        Scar(0)
    with pytest.raises(ConfigError):
        Patch(0, 3)
