"""The pictures of a report: CT beside reconstruction beside CT with its KL map, and a montage.

Read from faint to bright: where the overlay is invisible the block holds few nats, where it is pale yellow it
holds as many as any in the study. One scale serves all pictures of a study. Outlines are the regions, each in its own
colour with its own number; every picture carries its orientation letters, a scale bar in mm and its slice
number from the feet. Axes are in millimetres, so pixels keep their true shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.export.images import FOREGROUND, MUTED, new_figure, overlay_rgba
from KLIPCore.export.label_layout import Box, leader, place_names
from KLIPCore.export.scene import Scene
from KLIPCore.maps.regions import Region

HALO: list[AbstractPathEffect] = [withStroke(linewidth=2.2, foreground="black")]
"""Text and lines stay readable over bright bone and dark lung."""
NAME = "region name"
"""Group identifier of the names of regions among a picture's texts."""
NAME_MARGIN_POINTS = 1.5
"""Left free around a name: its halo, and what hinting adds at another resolution."""
PANEL_INCH = 4.6
HEADER_INCH = 0.62
LEGEND_INCH = 1.25


def slice_figure(
    scene: Scene, k: int, *, reconstruction_title: str = "Reconstruction", kl_title: str | None = None
) -> Figure:
    """Draw slice k: CT | reconstruction | CT with overlay, outlines and legend.

    Without a reconstruction there are two panels.

    Parameters
    ----------
    scene : the result, turned for display.
    k : slice counted from the feet, from 0.
    reconstruction_title, kl_title : what the second panel and the legend say; the map's unit, unless told.

    Raises
    ------
    ConfigError : there is no slice k.
    """
    if not 0 <= k < scene.slices:
        raise ConfigError(f"There is no slice {k}.", f"Choose one of 0 to {scene.slices - 1}.")
    panels = [("CT", scene.ct), ("CT + KL map", scene.ct)]
    if scene.reconstruction is not None:
        panels.insert(1, (reconstruction_title, scene.reconstruction))
    width_mm, height_mm = _size_mm(scene)
    panel_height = PANEL_INCH * height_mm / width_mm
    gap = 0.08
    total_width = len(panels) * (PANEL_INCH + gap) + LEGEND_INCH
    total_height = panel_height + HEADER_INCH + gap
    figure = new_figure(total_width, total_height)
    for n, (title, array) in enumerate(panels):
        left = gap + n * (PANEL_INCH + gap)
        axes = figure.add_axes(
            (left / total_width, gap / total_height, PANEL_INCH / total_width, panel_height / total_height)
        )
        _show_ct(axes, scene, array[k])
        edge_letters(axes, scene.letters)
        if n == 0:
            _scale_bar(axes, width_mm, height_mm)
        if n == len(panels) - 1:
            _show_kl(axes, scene, k)
            outline_regions(axes, scene, k)
        figure.text(left / total_width, 1 - 0.50 / total_height, title, color=MUTED, fontsize=11)
    figure.text(
        gap / total_width, 1 - 0.24 / total_height, f"Slice {k}", color=FOREGROUND, fontsize=13, fontweight="bold"
    )
    window = f"window {scene.window.lo_hu:.0f} to {scene.window.hi_hu:.0f} HU"
    note = f"of 0–{scene.slices - 1} from the feet   ·   z = {scene.z_mm(k):.1f} mm   ·   {window}".replace("-", "−")
    figure.text((gap + 1.15) / total_width, 1 - 0.24 / total_height, note, color=MUTED, fontsize=10.5)
    place = (total_width - LEGEND_INCH + 0.28, gap + 0.3, 0.17, panel_height - 0.6)  # inches
    bar = figure.add_axes(
        (place[0] / total_width, place[1] / total_height, place[2] / total_width, place[3] / total_height)
    )
    colour_bar(bar, scene.low, scene.high, kl_title or scene.legend)
    return figure


def montage_figure(
    scene: Scene, *, slices: Sequence[int] | None = None, maximum: int = 30, columns: int = 6
) -> Figure:
    """Draw examined slices at a glance, from the feet up, each with overlay, outlines and number.

    The peak slices of regions are always there.
    """
    chosen = sorted(set(slices)) if slices is not None else _spread(scene, maximum)
    width_mm, height_mm = _size_mm(scene)
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    tile, gap, header = 13.6 / max(columns, 4), 0.04, 0.12
    tile_height = tile * height_mm / width_mm
    total_width = columns * (tile + gap) + gap + LEGEND_INCH
    total_height = rows * (tile_height + gap) + header
    figure = new_figure(total_width, total_height)
    for n, k in enumerate(chosen):
        row, column = divmod(n, columns)
        left, bottom = gap + column * (tile + gap), total_height - header - (row + 1) * (tile_height + gap) + gap
        axes = figure.add_axes(
            (left / total_width, bottom / total_height, tile / total_width, tile_height / total_height)
        )
        _show_ct(axes, scene, scene.ct[k])
        _show_kl(axes, scene, k)
        outline_regions(axes, scene, k, names=False, width=1.0)
        axes.text(
            0.03,
            0.96,
            str(k),
            transform=axes.transAxes,
            color=FOREGROUND,
            fontsize=10,
            fontweight="bold",
            va="top",
            path_effects=HALO,
        )
        if n == 0:
            edge_letters(axes, scene.letters, size=8)
    bar_height = min(total_height - 0.7, 3.6)
    bar = figure.add_axes(
        (
            (total_width - LEGEND_INCH + 0.25) / total_width,
            (total_height - header - bar_height - 0.3) / total_height,
            0.17 / total_width,
            bar_height / total_height,
        )
    )
    colour_bar(bar, scene.low, scene.high, scene.legend)
    return figure


def outline_regions(axes: Axes, scene: Scene, k: int, *, names: bool = True, width: float = 1.4) -> None:
    """Draw the outline of each region on slice k in its colour, with its name beside it.

    It is drawn last: names avoid what is written already.
    """
    rows, columns = scene.crop
    _, dj, di = scene.spacing
    masks = {region: scene.labels[k, rows, columns] == region.label for region in scene.regions_on(k)}
    masks = {region: mask for region, mask in masks.items() if mask.any()}
    for region, mask in masks.items():
        rim = np.pad(mask, 1)
        y, x = (
            (np.arange(n) - 0.5) * d for n, d in zip(rim.shape, (dj, di), strict=True)
        )  # centres in mm, rim included
        lines = axes.contour(x, y, rim.astype(float), levels=[0.5], colors=[region.colour], linewidths=width)
        lines.set_path_effects([withStroke(linewidth=width + 1.4, foreground=(0, 0, 0, 0.75))])
    _true_limits(axes, scene)
    if names and masks:
        _name_regions(axes, masks, (dj, di))


def _name_regions(axes: Axes, masks: Mapping[Region, NDArray[np.bool_]], pixel: tuple[float, float]) -> None:
    """The names of regions, none over another, with a line to those that are far from their name."""
    written = [_box_mm(text) for text in axes.texts]
    texts = [
        axes.text(
            0,
            0,
            region.name,
            color=region.colour,
            fontsize=10,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=HALO,
            gid=NAME,
        )
        for region in masks
    ]
    boxes = [_box_mm(text) for text in texts]
    places = place_names([(box.x1 - box.x0, box.y1 - box.y0) for box in boxes], list(masks.values()), pixel, written)
    for text, place, (region, mask) in zip(texts, places, masks.items(), strict=True):
        if place is None:
            text.remove()
            continue
        text.set_position(((place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2))
        line = leader(place, mask, pixel)
        if line:
            axes.plot(
                *zip(*line, strict=True),
                color=region.colour,
                linewidth=0.9,
                path_effects=[withStroke(linewidth=2.0, foreground=(0, 0, 0, 0.75))],
            )


def _box_mm(text: Text) -> Box:
    """Where a text lies on its axes in mm, with a hair around it."""
    axes, figure = text.axes, text.get_figure(root=True)
    assert axes is not None
    assert figure is not None
    extent = text.get_window_extent().padded(NAME_MARGIN_POINTS * figure.dpi / 72)
    (xa, ya), (xb, yb) = axes.transData.inverted().transform([(extent.x0, extent.y0), (extent.x1, extent.y1)])
    return Box(min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))


def _true_limits(axes: Axes, scene: Scene) -> None:
    """The whole picture and nothing else; drawing lines and outlines changes it."""
    width_mm, height_mm = _size_mm(scene)
    axes.set_xlim(0, width_mm)
    axes.set_ylim(height_mm, 0)


def colour_bar(axes: Axes, low: float, high: float, title: str) -> None:
    """Draw a legend that shows the overlay as it looks on mid-grey tissue, with nats beside it."""
    ramp = np.linspace(low, high, 256)
    rgba = overlay_rgba(ramp, low, high)
    seen = rgba[:, :3] * rgba[:, 3:] + 0.42 * (1 - rgba[:, 3:])
    axes.imshow(seen[:, None, :], origin="lower", extent=(0.0, 1.0, low, high), aspect="auto")
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(low, high)
    axes.set_ylabel(title, color=FOREGROUND, fontsize=10)
    axes.yaxis.set_label_position("left")
    axes.tick_params(colors=FOREGROUND, labelsize=9, length=3)
    for spine in axes.spines.values():
        spine.set_color(MUTED)


def _size_mm(scene: Scene) -> tuple[float, float]:
    """Width and height of an axial picture in mm."""
    rows, columns = scene.crop
    return (columns.stop - columns.start) * scene.spacing[2], (rows.stop - rows.start) * scene.spacing[1]


def _extent(scene: Scene) -> tuple[float, float, float, float]:
    width_mm, height_mm = _size_mm(scene)
    return 0.0, width_mm, height_mm, 0.0  # rows grow downwards


def _show_ct(axes: Axes, scene: Scene, image: NDArray[np.floating]) -> None:
    axes.imshow(
        scene.window.apply(image[scene.crop]),
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=_extent(scene),
        interpolation="antialiased",
    )
    bare(axes)


def _show_kl(axes: Axes, scene: Scene, k: int) -> None:
    rgba = overlay_rgba(scene.kl[k][scene.crop], scene.low, scene.high)
    axes.imshow(rgba, extent=_extent(scene), interpolation="nearest")


def bare(axes: Axes) -> None:
    """Remove ticks and frame and blacken the ground: an image and nothing else."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_visible(False)


def edge_letters(axes: Axes, letters: Iterable[str], size: float = 11) -> None:
    """Write the orientation letters at the left, right, top and bottom edge."""
    places: list[tuple[float, float, dict[str, Any]]] = [
        (0.012, 0.5, {"ha": "left", "va": "center"}),
        (0.988, 0.5, {"ha": "right", "va": "center"}),
        (0.5, 0.985, {"ha": "center", "va": "top"}),
        (0.5, 0.015, {"ha": "center", "va": "bottom"}),
    ]
    for letter, (x, y, where) in zip(letters, places, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, color="#f2d16b", fontsize=size, path_effects=HALO, **where)


def _scale_bar(axes: Axes, width_mm: float, height_mm: float) -> None:
    length = next((mm for mm in (200, 100, 50, 20, 10, 5, 2, 1) if mm <= 0.28 * width_mm), 1)
    x, y = 0.03 * width_mm, 0.955 * height_mm
    line = axes.plot([x, x + length], [y, y], color=FOREGROUND, linewidth=2.4, solid_capstyle="butt")[0]
    line.set_path_effects([withStroke(linewidth=4, foreground="black")])
    axes.text(x, y - 0.015 * height_mm, f"{length} mm", color=FOREGROUND, fontsize=10, va="bottom", path_effects=HALO)
    axes.set_xlim(0, width_mm)
    axes.set_ylim(height_mm, 0)


def _spread(scene: Scene, maximum: int) -> list[int]:
    """Up to ``maximum`` examined slices: the regions' peaks, the rest spread evenly."""
    examined = np.array(scene.examined)
    if len(examined) <= maximum:
        return list(scene.examined)
    chosen = set(scene.key_slices(maximum // 2))
    for n in range(maximum, 0, -1):
        both = chosen | {int(k) for k in examined[np.linspace(0, len(examined) - 1, n).round().astype(int)]}
        if len(both) <= maximum:
            return sorted(both)
    return sorted(chosen)
