"""Nats along the body: the patient from the front beside a plot of nats per slice, both at the same height and in mm.

It answers two questions before any slice is opened: at which level something is, and whether a whole stretch
of the scan is unusual (then the prior, not the patient, may be at fault).
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.export.images import BACKGROUND, FOREGROUND, MUTED, new_figure, overlay_rgba
from KLIPCore.export.overlay import HALO, bare, edge_letters
from KLIPCore.export.scene import Scene, direction_letters

HEIGHT_INCH, PLOT_INCH, BOTTOM_INCH, TOP_INCH = 4.4, 5.6, 0.62, 0.5


def profile_figure(
    scene: Scene, nats_per_slice: NDArray[np.floating], *, expected: NDArray[np.floating] | None = None
) -> Figure:
    """Draw where along the body the nats are: the patient from the front, and nats per slice at the same height.

    Parameters
    ----------
    scene : the result, turned for display.
    nats_per_slice : (D,) total nats of each slice, counted from the feet; those of slices not examined are ignored.
    expected : (D,) what the null expects there, drawn as a dashed line.

    Raises
    ------
    ConfigError : not one number per slice.
    """
    nats = np.asarray(nats_per_slice, np.float64)
    if nats.shape != (scene.slices,) or (expected is not None and np.shape(expected) != (scene.slices,)):
        raise ConfigError("The profile needs one number per slice.", "Sum the density over each slice of the study.")
    step = scene.spacing[0]
    length_mm, columns = scene.slices * step, scene.crop[1]
    width_mm = (columns.stop - columns.start) * scene.spacing[2]
    picture, height = _front_size(width_mm, length_mm)
    left, middle = 0.45, (0.95 if picture else 0.45)
    total = np.array([left + picture + middle + PLOT_INCH + 0.35, height + BOTTOM_INCH + TOP_INCH])
    figure = new_figure(*total)
    if picture:
        front = figure.add_axes((left / total[0], BOTTOM_INCH / total[1], picture / total[0], height / total[1]))
        _show_front(front, scene, width_mm)
        figure.text(
            left / total[0],
            1 - 0.32 / total[1],
            "From the front: CT, and the brightest KL along the view",
            color=MUTED,
            fontsize=11,
        )
    plot_left = left + picture + middle
    plot = figure.add_axes((plot_left / total[0], BOTTOM_INCH / total[1], PLOT_INCH / total[0], height / total[1]))
    _plot(plot, scene, nats, None if expected is None else np.asarray(expected, float))
    figure.text(
        plot_left / total[0],
        1 - 0.32 / total[1],
        f"{scene.units[1].capitalize()} per slice; coloured bars: the regions",
        color=MUTED,
        fontsize=11,
    )
    return figure


def _front_size(width_mm: float, length_mm: float) -> tuple[float, float]:
    """Width and height in inches of the view from the front, in true shape; width 0 when the study is too
    flat for one.
    """
    ratio = length_mm / width_mm
    height = float(np.clip(HEIGHT_INCH, 2.0 * ratio, 7.5 * ratio))
    return (height / ratio, height) if height >= 1.6 else (0.0, 3.0)


def _show_front(axes: Axes, scene: Scene, width_mm: float) -> None:
    """CT of a thin slab, brightest KL and the regions' silhouettes; axes in mm, slices upwards."""
    dk, _, di = scene.spacing
    columns = scene.crop[1]
    row = _coronal_row(scene)
    slab = scene.ct[:, max(0, row - 2) : row + 3, columns].mean(1)
    extent = (0.0, width_mm, -0.5 * dk, (scene.slices - 0.5) * dk)
    axes.imshow(
        scene.window.apply(slab), cmap="gray", vmin=0, vmax=1, origin="lower", extent=extent, interpolation="bilinear"
    )
    faint = scene.low + 0.4 * (
        scene.high - scene.low
    )  # the brightest of hundreds of voxels is never dark: show the top of the scale only
    axes.imshow(
        overlay_rgba(scene.kl[:, :, columns].max(1), faint, scene.high),
        origin="lower",
        extent=extent,
        interpolation="bilinear",
    )
    z, x = np.arange(-1, scene.slices + 1) * dk, (np.arange(-1, columns.stop - columns.start + 1) + 0.5) * di
    for region in scene.regions:
        shadow = np.pad((scene.labels[:, :, columns] == region.label).any(1), 1)
        axes.contour(
            x, z, shadow.astype(float), levels=[0.5], colors=[region.colour], linewidths=1.1
        ).set_path_effects(HALO)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    up = scene.grid.directions[:, 0]
    edge_letters(axes, (*scene.letters[:2], direction_letters(up), direction_letters(-up)))
    bare(axes)


def _plot(axes: Axes, scene: Scene, nats_per_slice: NDArray[np.float64], expected: NDArray[np.float64] | None) -> None:
    """Nats against slices, at the same heights as the view from the front."""
    step = scene.spacing[0]
    z = np.arange(scene.slices) * step
    shown = np.where(
        np.isin(np.arange(scene.slices), scene.examined), nats_per_slice, np.nan
    )  # not examined: no nats, not zero nats
    axes.fill_betweenx(z, 0, shown, color="#f98e09", alpha=0.28, linewidth=0)
    axes.plot(shown, z, color="#fbb61a", linewidth=1.6, marker="o" if len(scene.examined) < 40 else "", markersize=3)
    if expected is not None:
        axes.plot(expected, z, color=FOREGROUND, linewidth=1.0, linestyle=(0, (4, 3)), label="expected by the null")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=FOREGROUND, fontsize=9)
    right = max(float(np.nanmax(shown)), 0.0 if expected is None else float(expected.max()), 0.0) * 1.25 or 1.0
    for n, region in enumerate(scene.regions[:10]):
        x = right * (0.985 - 0.017 * n)
        axes.plot(
            [x, x],
            [(region.slices[0] - 0.4) * step, (region.slices[1] + 0.4) * step],
            color=region.colour,
            linewidth=3.2,
            solid_capstyle="butt",
        )
    axes.set_xlim(min(0.0, float(np.nanmin(shown))), right)
    axes.set_ylim(-0.5 * step, (scene.slices - 0.5) * step)
    axes.yaxis.set_major_locator(_SliceTicks(step))
    axes.yaxis.set_major_formatter(lambda y, _: f"{round(y / step)}")
    _style(axes)
    axes.set_facecolor(BACKGROUND)
    axes.set_xlabel(f"{scene.units[1]} per slice", color=MUTED)
    axes.set_ylabel("slice, from the feet", color=MUTED)


def _style(axes: Axes) -> None:
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.grid(color="#252c36", linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#3a4350")


def _coronal_row(scene: Scene) -> int:
    """The row that a view from the front cuts: through the strongest region, else the middle of what is shown."""
    if scene.regions:
        return round(float(scene.grid.to_index(scene.regions[0].centroid_lps_mm)[1]))
    return (scene.crop[0].start + scene.crop[0].stop) // 2


class _SliceTicks(MaxNLocator):
    """Ticks at whole slice numbers on an axis in mm."""

    def __init__(self, step_mm: float) -> None:
        super().__init__(9, integer=True)
        self.step_mm = step_mm

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        return [self.step_mm * k for k in super().tick_values(vmin / self.step_mm, vmax / self.step_mm)]
