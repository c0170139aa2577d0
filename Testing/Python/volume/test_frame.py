"""Body mask and frame: found where they are known to be, and exact on the way back."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from small_study import small_study

from KLIPCore.errors import InputError
from KLIPCore.volume.body import body_mask, body_masks
from KLIPCore.volume.frame import Frame, interpolation_weights
from KLIPCore.volume.units import Window


def test_the_couch_is_cut_off() -> None:
    rows, columns = np.mgrid[0:256, 0:256]
    slice_ = np.where(((rows - 110) / 70) ** 2 + ((columns - 128) / 95) ** 2 <= 1, 0.5, 0.0)
    couch = (rows > 190) & (rows < 194) & (columns > 40) & (columns < 216)
    mask = body_mask(np.where(couch, 0.8, slice_))
    truth = slice_ > 0
    assert not mask[couch].any()
    assert (mask & truth).sum() / truth.sum() > 0.98
    assert (mask & ~truth).sum() / truth.sum() < 0.06  # about one pixel of rim


def test_dark_holes_belong_to_the_body() -> None:
    rows, columns = np.mgrid[0:256, 0:256]
    body = ((rows - 128) / 80) ** 2 + ((columns - 128) / 100) ** 2 <= 1
    gas = (rows - 110) ** 2 + (columns - 140) ** 2 <= 15**2
    assert body_mask(np.where(body & ~gas, 0.5, 0.0))[gas].all()


def test_air_has_no_body() -> None:
    assert not body_mask(np.zeros((64, 64))).any()
    with pytest.raises(InputError, match="No slice shows a body"):
        Frame.of_body(np.zeros((3, 64, 64), bool))


def test_a_slice_is_masked_alike_alone_and_in_the_study() -> None:
    intensity = Window(-125, 275).apply(small_study(3).array)
    np.testing.assert_array_equal(body_masks(intensity)[1], body_masks(intensity[1:2])[0])


def test_the_body_fills_the_frame_as_stated() -> None:
    study = small_study(3)
    masks = body_masks(Window(-125, 275).apply(study.array))
    frame = Frame.of_body(masks, (2.5, 2.5), 256, 0.875)
    assert frame.pixel_mm == pytest.approx(330 / (0.875 * 256), rel=0.03)
    framed = frame.pull(masks.astype(np.float32), order=0)
    columns = np.flatnonzero(framed[1].any(0))
    assert columns[-1] - columns[0] + 1 == pytest.approx(0.875 * 256, abs=3)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(127.5, abs=2)


def test_a_linear_image_goes_there_and_back_exactly() -> None:
    """Linear interpolation reproduces linear functions: any error of half a pixel would show."""
    frame = Frame(64, np.array([[31.0, 29.0]]), np.array([0.8, 0.6]), 1.0)
    rows, columns = np.mgrid[0:60, 0:62].astype(float)
    image = 2.0 * rows - 0.7 * columns + 5
    framed = frame.pull(image[None])[0]
    u = np.arange(64) + 0.5 - 32
    expected = 2.0 * (31 + 0.8 * u)[:, None] - 0.7 * (29 + 0.6 * u)[None] + 5
    inside = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(framed[inside], expected[inside], atol=1e-3)
    back = frame.push(framed[None], (60, 62))[0]
    np.testing.assert_allclose(back[12:50, 14:44], image[12:50, 14:44], atol=1e-3)


def test_coarse_cells_land_on_their_own_pixels() -> None:
    frame = Frame(64, np.array([[31.5, 31.5]]), np.array([1.0, 1.0]), 1.0)
    cells = np.arange(16 * 16, dtype=np.float32).reshape(1, 16, 16)
    spread = frame.push(cells, (64, 64), order=0)[0]
    np.testing.assert_array_equal(spread, np.kron(cells[0], np.ones((4, 4))))


def test_a_finer_grid_covers_the_same_square() -> None:
    frame = Frame(32, np.array([[31.5, 31.5]]), np.array([1.0, 1.0]), 1.0)
    image = np.random.default_rng(0).random((1, 64, 64))
    import scipy.ndimage as ndi

    image = ndi.gaussian_filter(image, 3)
    fine = frame.pull(image, factor=2)[0]
    coarse = frame.pull(image)[0]
    np.testing.assert_allclose(fine.reshape(32, 2, 32, 2).mean((1, 3)), coarse, atol=2e-3)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_linear_weights_are_those_that_scipy_would_sort(n: int) -> None:
    """To the bit, outside and at NaN, too."""
    rng = np.random.default_rng(n)
    positions = np.concatenate([rng.uniform(-1.5, n + 0.5, 200), np.arange(n), [-0.5, n - 0.5, np.nan]])
    inside = np.flatnonzero((positions >= -0.5) & (positions <= n - 0.5))
    u = np.clip(positions[inside], 0, n - 1)
    low = np.minimum(u.astype(int), max(n - 2, 0))
    share = (u - low).astype(np.float32)
    rows, columns = np.concatenate([inside, inside]), np.concatenate([low, np.minimum(low + 1, n - 1)])
    expected = sp.csr_array((np.concatenate([1 - share, share]), (rows, columns)), shape=(len(positions), n))
    made = interpolation_weights(positions, n, 1)
    np.testing.assert_array_equal(made.toarray(), expected.toarray())
    values = rng.random((n, 3)).astype(np.float32)
    np.testing.assert_array_equal(made @ values, expected @ values)
