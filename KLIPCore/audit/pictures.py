"""The pictures of an audit: the image with its regions, what was not measured, where residuals lie, and each region.

Colours mean the same everywhere: green was measured, red is contradicted by the data, yellow is unprovable.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from KLIPCore.audit.audit import Audit, AuditedRegion
from KLIPCore.audit.colours import COLOURS
from KLIPCore.export.images import FOREGROUND, MUTED, Picture, encode, new_figure
from KLIPCore.export.overlay import HALO, bare
from KLIPCore.volume.units import mu_to_hu

MEANING = {
    "measured": "measured",
    "contradicted": "contradicted by the data: probably invented",
    "unprovable": "invented or unprovable",
}
T_LIMIT = 6.0
"""Residuals beyond so many standard deviations look alike."""
SHOWN = 8
"""Regions that get a row of pictures of their own."""


def pictures(audit: Audit) -> list[Picture]:
    """Return every picture of the page, in its order."""
    made = [
        encode(
            maps_figure(audit),
            anchor="maps",
            title="Image, what was not measured, and where image and data disagree",
            caption=(
                "Left: the reconstruction with the audited regions. Middle: the part of each block that the scan did "
                "not see; it comes from the method. Right: the residual, back-projected, in standard deviations: "
                "purple where the image holds more than the data, orange where it holds less."
            ),
            alt="Three maps of the slice: reconstruction with outlined regions, null-space share, and residual.",
        )
    ]
    if audit.regions:
        made.append(
            encode(
                regions_figure(audit),
                anchor="regions",
                title="Each region: as shown, and without the structure",
                caption="Bars: how much of the structure the data hold (1 all of it, 0 none), with 95 % intervals.",
                alt="Crops of the regions with and without the structure, and a chart of amplitudes.",
            )
        )
    made.append(
        encode(
            residual_figure(audit),
            anchor="rays",
            title="Residual ray by ray",
            caption=(
                "Whitened: each ray in units of its own noise. Noise alone looks like even grain; a structure that "
                "only one of image and data has is a sinusoid, a wrong view a row, a dead bin a column."
            ),
            alt="Whitened residual sinogram beside the mean square of each view.",
        )
    )
    return made


def maps_figure(audit: Audit) -> Figure:
    """Reconstruction with outlines | null-space share | residual per block."""
    rows, columns = _crop(audit.body)
    image = _grey(audit)[rows, columns]
    width, panel = 15.2, 4.4  # inches
    tall = panel * image.shape[0] / image.shape[1]
    height = tall + 0.95
    figure = new_figure(width, height)
    for n, title in enumerate(("Reconstruction", "Null-space share of blocks", "Residual of blocks, t")):
        left = 0.1 + n * (panel + 0.62)
        axes = figure.add_axes((left / width, 0.5 / height, panel / width, tall / height))
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        bare(axes)
        axes.set_title(title, color=FOREGROUND, fontsize=12, loc="left")
        if n == 0:
            _outline(axes, audit, rows, columns)
        else:
            body = audit.body[rows, columns]
            values = (audit.null_space_map() if n == 1 else audit.consistency.block_map())[rows, columns]
            top = max(0.1, float(np.quantile(values[body], 0.995))) if n == 1 and body.any() else T_LIMIT
            shown = np.ma.masked_where(~body, values)
            drawn = axes.imshow(
                shown,
                cmap="viridis" if n == 1 else "PuOr_r",
                vmin=0 if n == 1 else -top,
                vmax=top,
                alpha=0.82,
                interpolation="nearest",
            )
            if n == 2:
                _outline(axes, audit, rows, columns, names=False)
            beside = figure.add_axes(((left + panel + 0.06) / width, 0.6 / height, 0.1 / width, (tall - 0.2) / height))
            bar = figure.colorbar(drawn, cax=beside)
            bar.ax.tick_params(colors=FOREGROUND, labelsize=9)
            bar.set_label("part not measured" if n == 1 else "standard deviations", color=MUTED, fontsize=9)
    _legend(figure)
    return figure


def regions_figure(audit: Audit) -> Figure:
    """Crops of each region with and without the structure, and amplitudes with 95 % intervals."""
    shown = audit.regions[:SHOWN]
    columns = max(len(shown), 3)
    figure = new_figure(1.35 * columns + 5.2 if len(shown) > 4 else 2.2 * columns + 5.2, 5.0)
    image, pixel = _grey(audit), audit.subject.pixel_mm
    part = 1 - 4.9 / figure.get_figwidth()
    width = part / columns
    for n, region in enumerate(shown):
        where = _around(region, image.shape, max(12, round(24.0 / pixel)))
        without = _windowed(audit, region.removal.without.numpy())
        colour = COLOURS[region.removal.verdict]
        for row, (picture, title) in enumerate(((image, region.name), (without, "without"))):
            axes = figure.add_axes((0.005 + n * width, 0.52 - 0.47 * row, width * 0.95, 0.41))
            axes.imshow(picture[where], cmap="gray", vmin=0, vmax=1)
            bare(axes)
            axes.set_title(title, color=colour if row == 0 else MUTED, fontsize=10)
            axes.contour(region.mask[where], levels=[0.5], colors=[colour], linewidths=0.9)
    axes = figure.add_axes((part + 0.085, 0.14, 0.9 - part, 0.78))
    axes.set_facecolor(figure.get_facecolor())
    places = np.arange(len(shown))[::-1]
    for place, region in zip(places, shown, strict=True):
        r = region.removal
        error = min(1.96 * r.amplitude_error, 9.0)
        colour = COLOURS[r.verdict]
        axes.errorbar(r.amplitude, place, xerr=error, fmt="o", color=colour, capsize=3)
        axes.text(
            1.0,
            place + 0.18,
            f"{r.support:+.1f} nats  ",
            color=colour,
            fontsize=9,
            ha="right",
            transform=axes.get_yaxis_transform(),
        )
    for x, style in ((0.0, ":"), (1.0, "--")):
        axes.axvline(x, color=MUTED, linestyle=style, linewidth=1)
    axes.set_xlim(-1.6, 2.9)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_yticks(places, [r.name for r in shown])
    axes.set_xlabel("part of the structure that the data hold", color=FOREGROUND, fontsize=10)
    axes.tick_params(colors=FOREGROUND, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    _legend(figure)
    return figure


def residual_figure(audit: Audit) -> Figure:
    """Return the whitened residual sinogram, and the mean square of each view."""
    z = audit.consistency.z.numpy()
    figure = new_figure(15.2, 3.6)
    axes = figure.add_axes((0.045, 0.16, 0.62, 0.74))
    drawn = axes.imshow(z, aspect="auto", cmap="PuOr_r", vmin=-5, vmax=5, interpolation="nearest")
    axes.set_xlabel("detector bin", color=FOREGROUND)
    axes.set_ylabel("view", color=FOREGROUND)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("standard deviations", color=MUTED, fontsize=9)
    bar.ax.tick_params(colors=FOREGROUND, labelsize=9)
    side = figure.add_axes((0.74, 0.16, 0.24, 0.74))
    side.set_facecolor(figure.get_facecolor())
    side.plot(np.square(z).mean(1), np.arange(len(z)), color=FOREGROUND, linewidth=1)
    side.axvline(1.0, color=MUTED, linestyle="--", linewidth=1)
    side.set_ylim(len(z) - 0.5, -0.5)
    side.set_xlabel("mean square of each view (noise alone: 1)", color=FOREGROUND, fontsize=9)
    for place in (axes, side):
        place.tick_params(colors=FOREGROUND, labelsize=9)
        for spine in place.spines.values():
            spine.set_color(MUTED)
    return figure


def _legend(figure: Figure) -> None:
    figure.legend(
        handles=[Patch(facecolor="none", edgecolor=COLOURS[v], label=MEANING[v], linewidth=2) for v in COLOURS],
        loc="lower left",
        ncols=3,
        fontsize=9.5,
        labelcolor=FOREGROUND,
        frameon=False,
        bbox_to_anchor=(0.0, -0.01),
    )


def _grey(audit: Audit) -> NDArray[np.float64]:
    """The image in grey, windowed by the object's own values."""
    return _windowed(audit, audit.subject.image.numpy())


def _windowed(audit: Audit, image: NDArray[np.floating]) -> NDArray[np.float64]:
    hu = np.asarray(mu_to_hu(image), float)
    own = np.asarray(mu_to_hu(audit.subject.image.numpy()), float)[audit.body] if audit.body.any() else hu.ravel()
    middle, spread = float(np.median(own)), float(np.quantile(own, 0.85) - np.quantile(own, 0.15))
    half = max(150.0, 1.5 * spread)
    return np.asarray(Normalize(middle - half, middle + half, clip=True)(hu), float)


def _crop(body: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The object with a rim."""
    if not body.any():
        return slice(None), slice(None)
    r, c = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
    rim = max(2, round(0.03 * len(body)))
    return (
        slice(max(0, int(r[0]) - rim), min(body.shape[0], int(r[-1]) + rim + 1)),
        slice(max(0, int(c[0]) - rim), min(body.shape[1], int(c[-1]) + rim + 1)),
    )


def _around(region: AuditedRegion, shape: tuple[int, ...], half: int) -> tuple[slice, slice]:
    """A square crop around a region, inside the image."""
    middle = np.argwhere(region.mask).mean(0).round().astype(int)
    first = [int(np.clip(m - half, 0, max(n - 2 * half, 0))) for m, n in zip(middle, shape, strict=True)]
    return slice(first[0], first[0] + 2 * half), slice(first[1], first[1] + 2 * half)


def _outline(axes: Axes, audit: Audit, rows: slice, columns: slice, names: bool = True) -> None:
    """Regions' outlines in the colour of their verdict, with their number."""
    for region in audit.regions:
        mask = region.mask[rows, columns]
        if not mask.any():
            continue
        colour = COLOURS[region.removal.verdict]
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.6)
        if names:
            row = float(np.argwhere(mask)[:, 0].mean())
            right = float(np.flatnonzero(mask.any(0)).max()) + 2
            axes.text(
                right,
                row,
                region.name.split()[-1],
                color=colour,
                fontsize=11,
                fontweight="bold",
                va="center",
                path_effects=HALO,
            )
