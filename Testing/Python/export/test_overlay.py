"""Pictures: what is drawn is measured in their pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from KLIPCore.errors import ConfigError
from KLIPCore.export.html import report_pictures
from KLIPCore.export.images import encode, kl_colour_map, new_figure, overlay_rgba
from KLIPCore.export.overlay import HEADER_INCH, PANEL_INCH, colour_bar, montage_figure, slice_figure
from KLIPCore.export.profile import profile_figure
from KLIPCore.export.scene import Scene
from KLIPCore.maps.regions import find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

DPI = 100
SHAPE = (5, 80, 60)
GRID = Grid.from_itk(SHAPE, (1.0, 0.5, 5.0), (-30, -20, 0), np.eye(3))  # pixels twice as wide as high: 60 mm × 40 mm
HU = Window(-125, 275)
BOX = np.s_[1:3, 20:40, 5:15]  # on the patient's right, towards the front


def scene(grid: Grid = GRID, box: tuple = BOX, flat: float = -125.0, reconstruction: bool = True) -> Scene:
    """Black CT with a KL box (10 nats) that is a region."""
    nats = np.zeros(grid.shape, np.float32)
    nats[box] = 10.0
    kl = Volume(nats, grid, unit="nats")
    regions = find_regions(kl, nats > 0, 1.0 - (nats > 0), nats)
    ct = Volume(np.full(grid.shape, flat, np.float32), grid)
    return Scene.of(ct, kl, regions, reconstruction=ct if reconstruction else None, scale=(1.0, 10.0))


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(figure, dpi=DPI, jpeg_quality=None).data)).convert("RGB")).astype(
        int
    )


def panel(image: np.ndarray, n: int, height_mm: float = 40, width_mm: float = 60) -> np.ndarray:
    """The pixels of panel n of a slice figure."""
    left, top = round(DPI * (0.08 + n * (PANEL_INCH + 0.08))), round(DPI * HEADER_INCH)
    return image[top : top + round(DPI * PANEL_INCH * height_mm / width_mm), left : left + round(DPI * PANEL_INCH)]


def bright(image: np.ndarray) -> np.ndarray:
    """The overlay's pale yellow: red and green strong, blue less."""
    return (image[..., 0] > 150) & (image[..., 1] > 150) & (image[..., 2] < 170) & (image[..., 0] > image[..., 2] + 60)


def test_the_overlay_lies_where_the_nats_are_in_true_shape() -> None:
    shown = panel(pixels(slice_figure(scene(), 2)), 2)
    rows, columns = np.nonzero(bright(shown[30:, 10:-20]))  # without the letters at the edges
    height, width = shown.shape[:2]
    np.testing.assert_allclose((height, width), (PANEL_INCH * DPI * 40 / 60, PANEL_INCH * DPI), atol=1)
    # the box covers 5..15 of 60 mm from the right side and 10..20 of 40 mm from the front
    np.testing.assert_allclose(np.quantile(columns + 10, (0.01, 0.99)) / width * 60, (5, 15), atol=0.8)
    np.testing.assert_allclose(np.quantile(rows + 30, (0.01, 0.99)) / height * 40, (10, 20), atol=0.8)


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1), (1, 1, -1), (-1, 1, -1)])
def test_patient_right_is_image_left_for_every_storage_order(flips: tuple[int, int, int]) -> None:
    # the same patient stored with reversed axes: the picture must not change
    axes = [axis for axis, sign in zip((2, 1, 0), flips, strict=True) if sign < 0]
    corner = GRID.to_world([(n - 1) if axis in axes else 0 for axis, n in enumerate(SHAPE)])
    stored = Grid.from_itk(SHAPE, (1.0, 0.5, 5.0), corner, np.diag(flips))
    box = tuple(
        slice(n - part.stop, n - part.start) if axis in axes else part
        for axis, (part, n) in enumerate(zip(BOX, SHAPE, strict=True))
    )
    np.testing.assert_array_equal(pixels(slice_figure(scene(stored, box), 2)), pixels(slice_figure(scene(), 2)))


def test_without_nats_the_overlay_panel_is_the_ct() -> None:
    image = pixels(slice_figure(scene(flat=75.0), 4))  # slice 4: no region, 0 nats
    inner = np.s_[40:-40, 40:-40]
    first, second, third = (panel(image, n)[inner] for n in range(3))
    np.testing.assert_array_equal(first[:, 200:], third[:, 200:])
    np.testing.assert_array_equal(second, third)
    assert abs(int(np.median(first)) - 127) <= 1  # 75 HU is the middle of −125..275


def test_outline_and_name_have_the_regions_colour() -> None:
    example = scene()
    colour = np.round(255 * np.array(example.regions[0].colour))
    for figure, factor in (
        (slice_figure(example, 1), 30),
        (montage_figure(example), 30),
        (profile_figure(example, np.ones(5)), 30),
    ):
        assert (np.abs(pixels(figure) - colour).sum(-1) < 12).sum() > factor
    blank = pixels(slice_figure(example, 0))  # not on this slice
    assert (np.abs(blank - colour).sum(-1) < 12).sum() == 0


def test_two_panels_without_a_reconstruction() -> None:
    assert (
        slice_figure(scene(reconstruction=False), 0).get_size_inches()[0]
        < slice_figure(scene(), 0).get_size_inches()[0] - PANEL_INCH
    )


def test_the_colour_map_rises_from_invisible() -> None:
    colours = kl_colour_map()(np.linspace(0, 1, 256))
    assert colours[0, 3] == 0
    assert (np.diff(colours[:, 3]) >= 0).all()
    assert 0.8 < colours[-1, 3] < 1
    linear = np.where(colours[:, :3] <= 0.04045, colours[:, :3] / 12.92, ((colours[:, :3] + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1e-4).all()  # more nats are never darker, also without colour
    rgba = overlay_rgba(np.array([-5.0, 1.0, 10.0, 99.0]), 1.0, 10.0)
    np.testing.assert_array_equal(rgba[:2, 3], 0)
    np.testing.assert_array_equal(rgba[2], rgba[3])
    assert overlay_rgba(np.zeros(2), 0.0, 0.0).shape == (2, 4)


def test_montage_shows_every_regions_peak_and_spreads_the_rest() -> None:
    grid = Grid.from_itk((60, 8, 8), (1, 1, 1), (0, 0, 0), np.eye(3))
    nats = np.zeros(grid.shape, np.float32)
    for k in (7, 33, 51):
        nats[k, 2:4, 2:4] = 3
    kl = Volume(nats, grid, unit="nats")
    example = Scene.of(kl, kl, find_regions(kl, nats > 0, np.ones(grid.shape), nats), scale=(0.5, 3))
    numbers = [int(a.texts[0].get_text()) for a in montage_figure(example, maximum=12).axes if a.texts]
    assert len(numbers) <= 12
    assert {7, 33, 51, 0, 59} <= set(numbers)
    assert numbers == sorted(numbers)
    assert [a.texts[0].get_text() for a in montage_figure(example, slices=[4, 2]).axes if a.texts] == ["2", "4"]
    assert len([a for a in montage_figure(scene()).axes if a.texts]) == 5


def test_the_profile_draws_the_numbers_at_their_slices() -> None:
    values = np.array([1.0, 5.0, 2.0, 0.5, -0.1])
    plot = profile_figure(scene(), values, expected=np.full(5, 1.5)).axes[1]
    x, y = plot.lines[0].get_data()
    np.testing.assert_array_equal(x, values)
    np.testing.assert_allclose(y, 5.0 * np.arange(5))
    assert plot.get_xlim()[0] == -0.1
    assert [plot.yaxis.get_major_formatter()(5.0 * k, 0) for k in range(3)] == ["0", "1", "2"]
    ticks = np.array(plot.get_yticks()) / 5.0
    np.testing.assert_allclose(ticks, np.round(ticks), atol=1e-9)


@pytest.mark.parametrize(("slices", "step"), [(60, 5.0), (300, 5.0), (30, 4.0)])
def test_the_front_view_has_the_true_shape(slices: int, step: float) -> None:
    grid = Grid.from_itk((slices, 8, 40), (10.0, 10.0, step), (0, 0, 0), np.eye(3))
    kl = Volume(np.zeros(grid.shape, np.float32), grid, unit="nats")
    figure = profile_figure(Scene.of(kl, kl), np.zeros(slices))
    front, plot = figure.axes
    box = front.get_position()
    width, height = figure.get_size_inches() * (box.width, box.height)
    assert height / width == pytest.approx(slices * step / 400)
    assert front.get_position().y0 == plot.get_position().y0
    assert front.get_ylim() == plot.get_ylim()


def test_a_single_slice_has_no_front_view() -> None:
    grid = Grid.from_itk((1, 8, 40), (1, 1, 5), (0, 0, 0), np.eye(3))
    kl = Volume(np.ones(grid.shape, np.float32), grid, unit="nats")
    assert len(profile_figure(Scene.of(kl, kl), np.ones(1)).axes) == 1
    assert len(montage_figure(Scene.of(kl, kl)).axes) == 2


@pytest.mark.parametrize(("slices", "shown"), [(1, False), (60, True)])
def test_the_caption_speaks_of_a_front_view_only_where_there_is_one(slices: int, shown: bool) -> None:
    grid = Grid.from_itk((slices, 8, 40), (10, 10, 5), (0, 0, 0), np.eye(3))
    kl = Volume(np.ones(grid.shape, np.float32), grid, unit="nats")
    profile = report_pictures(Scene.of(kl, kl), np.ones(slices), maximum_slices=1).profile
    assert profile is not None
    assert ("from the front" in profile.caption) is shown
    assert ("Frontal" in profile.alt) is shown


def test_slices_not_examined_are_left_out() -> None:
    grid = Grid.from_itk((9, 8, 8), (1, 1, 5), (0, 0, 0), np.eye(3))
    body = np.zeros(grid.shape, bool)
    body[3:6] = True
    kl = Volume(np.ones(grid.shape, np.float32), grid, unit="nats")
    example = Scene.of(kl, kl, body=body)
    assert example.examined == (3, 4, 5)
    assert [a.texts[0].get_text() for a in montage_figure(example).axes if a.texts] == ["3", "4", "5"]
    drawn = profile_figure(example, np.arange(9.0)).axes[1].lines[0].get_xdata()
    np.testing.assert_array_equal(np.isfinite(drawn), body.any((1, 2)))


def test_a_legend_says_nats() -> None:
    figure = new_figure(1, 3)
    axes = figure.add_axes((0.4, 0.1, 0.2, 0.8))
    colour_bar(axes, 2.0, 12.0, "KL per block [nats]")
    assert axes.get_ylabel() == "KL per block [nats]"
    assert axes.get_ylim() == (2.0, 12.0)


def test_jpeg_and_png_are_what_they_say() -> None:
    picture = encode(slice_figure(scene(), 2), dpi=50, anchor="slice-2")
    image = Image.open(io.BytesIO(picture.data))
    assert (image.format, image.size) == ("JPEG", (picture.width, picture.height))
    assert picture.data_uri.startswith("data:image/jpeg;base64,/9j/")
    assert Image.open(io.BytesIO(encode(new_figure(1, 1), jpeg_quality=None).data)).format == "PNG"


def test_impossible_pictures_are_refused() -> None:
    with pytest.raises(ConfigError, match="no slice 5"):
        slice_figure(scene(), 5)
    with pytest.raises(ConfigError, match="one number per slice"):
        profile_figure(scene(), np.ones(4))
