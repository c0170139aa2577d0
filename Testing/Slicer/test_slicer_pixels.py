"""What the slice views draw, pixel by pixel: overlay on the lesion and nowhere else, outlines on its rim, a legend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage as ndi
import slicer
from headless import SliceView, ThreeDView
from inputs import show_run, to_world
from KLIPSlicerLib import display
from KLIPSlicerLib.display import NatsRange
from KLIPSlicerLib.nodes import gridOfNode
from KLIPSlicerLib.regions import segmentId
from KLIPSlicerLib.scene_results import SceneResults
from made_run import BALL_RADIUS_MM, MadeRun, made_study, make_run

from KLIPCore.config import RegionConfig
from KLIPCore.runs.live import LiveView
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

MOVED = np.array([[0.36, 0.48, -0.8, 40], [-0.8, 0.6, 0, -15], [0.48, 0.64, 0.6, 7], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def views() -> Iterator[dict[str, SliceView]]:
    """The three slice views."""
    made = {name: SliceView(name) for name in ("Red", "Yellow", "Green")}
    yield made
    for view in made.values():
        view.close()


@pytest.fixture
def red(views: dict[str, SliceView], shown: SceneResults, made: MadeRun) -> SliceView:
    """The axial view at the strong ball, of the made run."""
    return at_ball(views["Red"], shown, made.ball_lps)


def at_ball(view: SliceView, results: SceneResults, lps: np.ndarray) -> SliceView:
    """A view that shows the whole study at a point."""
    view.fit()
    view.offset_to(to_world(results.inputNode, lps))
    results.showInSliceViews()
    return view


def changed(before: np.ndarray, after: np.ndarray, by: int = 3) -> np.ndarray:
    """(height, width) bool, where two pictures differ."""
    return (np.abs(after.astype(int) - before) > by).any(-1)


def indices(view: SliceView, results: SceneResults) -> np.ndarray:
    """(3, height, width) fractional (k, j, i) of the study's voxels under every pixel, by KLIPCore's grid."""
    node = results.inputNode
    ras = view.ras_of_pixels()
    transform = np.eye(4)
    if node.GetParentTransformNode() is not None:
        transform = slicer.util.arrayFromTransformMatrix(node.GetParentTransformNode())
    local = (ras - transform[:3, 3]) @ np.linalg.inv(transform[:3, :3]).T
    return np.moveaxis(gridOfNode(node).to_index(local * (-1, -1, 1)), -1, 0)


def overlay(view: SliceView, results: SceneResults) -> np.ndarray:
    """(height, width) bool, where the map colors the picture."""
    results.segmentationNode.GetDisplayNode().SetVisibility(False)
    display.legendOf(results.mapNode).SetVisibility(False)
    results.setOpacity(0.0)
    bare = view.pixels()
    results.setOpacity(0.6)
    colored = view.pixels()
    results.segmentationNode.GetDisplayNode().SetVisibility(True)
    return changed(bare, colored)


def expected_overlay(view: SliceView, results: SceneResults) -> np.ndarray:
    """Where the map, interpolated between voxels, lies above the threshold."""
    array = slicer.util.arrayFromVolume(results.mapNode)
    index = indices(view, results)
    values = ndi.map_coordinates(array, index, order=1, mode="nearest")
    inside = np.all(
        [(index[a] >= -0.5) & (index[a] < array.shape[a] - 0.5) for a in range(3)], axis=0
    )  # voxels have an extent
    return inside & (values >= results.threshold)


def sure(mask: np.ndarray, pixels: int = 2) -> np.ndarray:
    """Pixels farther than that from the mask's rim."""
    ball = ndi.generate_binary_structure(2, 2)
    return ~(ndi.binary_dilation(mask, ball, pixels) & ~ndi.binary_erosion(mask, ball, pixels))


def check_overlay(view: SliceView, results: SceneResults) -> np.ndarray:
    """The overlay is where it should be, and nowhere else; returns where that is."""
    seen, expected = overlay(view, results), expected_overlay(view, results)
    clear = sure(expected)
    assert expected[clear].sum() > 100, "the test must see a lesion"
    assert (seen[clear] == expected[clear]).all()
    return expected


def test_colors_on_the_lesion_and_nowhere_else(red: SliceView, shown: SceneResults, made: MadeRun) -> None:
    expected = check_overlay(red, shown)
    ras = red.ras_of_pixels()
    distance = np.linalg.norm(ras - to_world(shown.inputNode, made.ball_lps), axis=-1)
    assert expected[distance < 0.6 * BALL_RADIUS_MM].all(), "the whole core of the lesion"
    assert expected[distance > 2.5 * BALL_RADIUS_MM].mean() < 0.05, "little else: two in a hundred blocks by chance"


@pytest.mark.parametrize("name", ["Red", "Yellow", "Green"])
@pytest.mark.parametrize(
    ("rotation", "shear", "transform"),
    [((12, -8, 20), 0.0, None), ((0, 0, 0), 0.25, None), ((-10, 9, 15), 0.0, MOVED)],
)
def test_oblique_and_moved_studies_too(
    scene: Any,
    views: dict[str, SliceView],
    tmp_path: Path,
    name: str,
    rotation: tuple,
    shear: float,
    transform: np.ndarray | None,
) -> None:
    run = make_run(tmp_path / "run", made_study(rotation, shear))
    results = show_run(run, transform)
    check_overlay(at_ball(views[name], results, run.ball_lps), results)


def test_the_color_says_how_many_nats(red: SliceView, shown: SceneResults) -> None:
    """At the peak the picture is CT and the table's color mixed, as opacity says."""
    at_peak = shown.regions[0].peak_lps_mm
    at_ball(red, shown, np.array(at_peak))
    shown.segmentationNode.GetDisplayNode().SetVisibility(False)
    display.legendOf(shown.mapNode).SetVisibility(False)
    distance = np.linalg.norm(red.ras_of_pixels() - to_world(shown.inputNode, np.array(at_peak)), axis=-1)
    row, column = np.unravel_index(distance.argmin(), distance.shape)
    shown.setOpacity(0.0)
    bare = red.pixels()[row, column].astype(float)
    shown.setOpacity(1.0)
    full = red.pixels()[row, column].astype(float)
    shown.setOpacity(0.5)
    half = red.pixels()[row, column].astype(float)
    node = shown.mapNode.GetDisplayNode()
    table = node.GetColorNode().GetLookupTable()
    place = (shown.regions[0].peak_nats - node.GetWindowLevelMin()) / (
        node.GetWindowLevelMax() - node.GetWindowLevelMin()
    )
    expected = 255 * np.array(table.GetTableValue(round(255 * min(place, 1.0)))[:3])
    np.testing.assert_allclose(full, expected, atol=12)
    np.testing.assert_allclose(half, (bare + full) / 2, atol=2)


def outline(view: SliceView, results: SceneResults) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that the segmentation draws, and the picture with it."""
    shown = results.segmentationNode.GetDisplayNode()
    results.setOpacity(0.0)
    display.legendOf(results.mapNode).SetVisibility(False)
    shown.SetVisibility(False)
    without = view.pixels()
    shown.SetVisibility(True)
    drawn = view.pixels()
    return changed(without, drawn, 20), drawn


def rims(view: SliceView, results: SceneResults) -> np.ndarray:
    """(height, width) pixels at the rim of any region."""
    return np.any([rim(view, results, i) for i in range(len(results.regions))], axis=0)


def rim(view: SliceView, results: SceneResults, i: int) -> np.ndarray:
    """(height, width) pixels at the rim of region i: inside it, with a neighbor outside."""
    region = results.regions[i]
    index = np.rint(indices(view, results)).astype(int)
    full = region.full_mask(results.live.framing.grid.shape)
    valid = np.all([(index[a] >= 0) & (index[a] < full.shape[a]) for a in range(3)], axis=0)
    inside = np.zeros(valid.shape, bool)
    inside[valid] = full[tuple(index[:, valid])]
    return inside & ~ndi.binary_erosion(inside)


@pytest.mark.parametrize("zoom", [1.0, 3.0])
def test_the_outline_is_on_the_regions_rim_to_the_pixel(red: SliceView, shown: SceneResults, zoom: float) -> None:
    shown.jumpTo(0)
    x, y, z = red.node.GetFieldOfView()
    red.node.SetFieldOfView(x / zoom, y / zoom, z)
    drawn, picture = outline(red, shown)
    expected = rim(red, shown, 0)
    assert expected.sum() > 40
    to_rim = ndi.distance_transform_edt(~rims(red, shown))  # the other region may reach this slice, too
    to_line = ndi.distance_transform_edt(~drawn)
    assert to_rim[drawn].max() < 3, "no line away from the rim (lines are two pixels wide)"
    assert np.median(to_rim[drawn]) <= 1
    assert to_line[expected].max() <= 1.5, "no rim without a line"
    pure = picture[drawn & (ndi.distance_transform_edt(~expected) <= 1)]
    wanted = 255 * np.array(shown.regions[0].colour)
    assert (np.abs(pure - wanted).max(-1) < 12).mean() > 0.4, "in the region's color (edges are smoothed)"


def test_an_outline_leaves_the_inside_free(red: SliceView, shown: SceneResults) -> None:
    drawn, _ = outline(red, shown)
    line = rim(red, shown, 0)
    inside = ndi.binary_erosion(ndi.binary_fill_holes(line), iterations=4)
    assert inside.sum() > 50
    assert not drawn[inside].any()


def test_a_slider_moves_the_picture(red: SliceView, shown: SceneResults) -> None:
    before, rim_before = overlay(red, shown), outline(red, shown)[0]
    shown.show(replace(shown.settings, block_mm=30.0))
    after = check_overlay(red, shown)
    assert changed(before[..., None] * 255, after[..., None] * 255).sum() > 200
    drawn, _ = outline(red, shown)
    assert (drawn != rim_before).sum() > 50
    assert ndi.distance_transform_edt(~rims(red, shown))[drawn].max() < 3


def test_a_checkbox_hides_one_region_only(red: SliceView, shown: SceneResults) -> None:
    shown.setRegionVisible(0, False)
    assert not outline(red, shown)[0][ndi.binary_dilation(rim(red, shown, 0), iterations=3)].any()
    at_ball(red, shown, np.array(shown.regions[1].centroid_lps_mm))
    assert outline(red, shown)[0][rim(red, shown, 1)].mean() > 0.9
    shown.setRegionVisible(0, True)
    shown.jumpTo(0)
    assert outline(red, shown)[0][rim(red, shown, 0)].mean() > 0.9


def test_opacity_and_threshold_act_on_the_picture(red: SliceView, shown: SceneResults) -> None:
    assert shown.opacity == pytest.approx(0.6)
    seen = overlay(red, shown)
    shown.setThreshold(shown.regions[0].peak_nats * 0.8)
    fewer = check_overlay(red, shown)
    assert fewer.sum() < 0.7 * seen.sum()
    shown.setThreshold(1e6)
    assert not overlay(red, shown).any()


def test_the_legend(red: SliceView, shown: SceneResults) -> None:
    """On the right, with the table's colors from dark below to bright above, and a title."""
    legend = display.legendOf(shown.mapNode)
    assert legend.GetTitleText() == display.legendTitle(shown.settings.chosen.unit)
    with_legend = red.pixels()
    legend.SetVisibility(False)
    without = red.pixels()
    rows, columns = np.nonzero(changed(without, with_legend))
    assert rows.size > 500
    assert columns.min() > 0.6 * red.width
    table = (
        np.array(
            [shown.mapNode.GetDisplayNode().GetColorNode().GetLookupTable().GetTableValue(n)[:3] for n in range(256)]
        )
        * 255
    )
    distance = np.abs(with_legend[rows, columns][:, None].astype(float) - table).max(-1)
    colored = distance.min(-1) < 3
    bar = [row for row in range(red.height) if (colored & (rows == row)).sum() >= 5]
    assert len(bar) > 0.2 * red.height, "a bar of colors"
    order = [np.median(distance[colored & (rows == row)].argmin(-1)) for row in bar]
    assert np.corrcoef(bar, order)[0, 1] < -0.99, "bright above, dark below"
    white = (with_legend[rows, columns].min(-1) > 180) & (rows < min(bar))
    assert white.sum() > 50, "text above the bar"


@pytest.mark.parametrize("transform", [None, MOVED], ids=["straight", "under a transform"])
def test_jumping_moves_all_views_to_the_region(
    scene: Any, views: dict[str, SliceView], made: MadeRun, transform: np.ndarray | None
) -> None:
    results = show_run(made, transform)
    for view in views.values():
        view.fit()
    for i, region in enumerate(results.regions):
        results.jumpTo(i)
        world = to_world(results.inputNode, np.array(region.peak_lps_mm))
        for view in views.values():
            away = np.linalg.norm(view.ras_of_pixels() - world, axis=-1)
            row, column = np.unravel_index(away.argmin(), away.shape)
            assert away.min() < 2, "the slice goes through it"
            assert abs(row - view.height / 2) <= 1
            assert abs(column - view.width / 2) <= 1
            assert overlay(view, results)[row, column]


def test_surfaces_in_3d_follow_the_slider(scene: Any, shown: SceneResults) -> None:
    shown.setShow3D(True)
    view = ThreeDView(300, 240)
    view.renderer.ResetCamera()
    drawn = view.pixels()
    colors = [np.array(region.colour) for region in shown.regions]
    lit = drawn.reshape(-1, 3) / np.maximum(drawn.reshape(-1, 3).max(-1, keepdims=True), 1)
    for color in colors:
        assert (np.abs(lit - color / color.max()).max(-1) < 0.25).sum() > 20
    shown.show(replace(shown.settings, block_mm=30.0))
    assert changed(drawn, view.pixels(), 20).sum() > 50
    shown.setShow3D(False)
    segment = shown.segmentationNode.GetSegmentation().GetSegment(segmentId(shown.regions[0]))
    assert (
        segment.GetRepresentation(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())
        is None
    )


def test_surprise_is_colored_on_its_own_scale() -> None:
    """Minus the logarithm of how rare a block is in health; the bulk of an unusual study would span hundreds."""
    rng = np.random.default_rng(0)
    rare = rng.exponential(1.0, (4, 64, 64)).astype(np.float32)
    rare[2, 20:24, 20:24] = 11.0
    volume = Volume(rare, Grid(rare.shape, np.eye(4)))
    view = LiveView(RegionConfig(), volume, (), by_health=True)
    shown = NatsRange.ofView(view)
    assert (shown.threshold, shown.low, shown.high) == pytest.approx((3.0, 3.0, 12.0))
    assert (rare > shown.threshold).mean() < 0.06  # a healthy scan shows little
    assert shown.low < 0.5 * (shown.low + shown.high) < 11.0 < shown.high  # what stands out is in the brighter half
    unusual = replace(volume, array=np.exp(rng.normal(-1.0, 1.5, rare.shape)).astype(np.float32))
    assert NatsRange.ofView(replace(view, kl_map=unusual)) == shown
    by_bulk = replace(view, kl_map=unusual, by_health=False)
    assert NatsRange.ofView(by_bulk) == NatsRange.ofMap(unusual.array)
    assert NatsRange.ofView(by_bulk).high > 100.0
