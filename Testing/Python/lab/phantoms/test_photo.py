"""Scars: what changes lies in the mask, and the mask has the size that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage as ndi
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import ConfigError
from KLIPCore.lab.phantoms.photo import Scar


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


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer"):
        Scar(100).draw(np.zeros((32, 32)), 0)
    with pytest.raises(ConfigError):
        Scar(0)
