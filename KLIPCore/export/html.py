"""The report as one page that needs nothing else: no network and no second file.

Pictures travel inside as data URIs, and so do the volumes and the code of its viewer. The page's own content policy
allows these two scripts, by their hashes, and forbids everything else, so opening it tells nobody anything. Without
scripts or WebGL 2 the pictures remain. It follows the reader's light or dark setting, prints, and reads in order
without style sheets. Every text from outside is escaped. Names, identifiers and dates of patients are not among its
inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.export.files import write_bytes
from KLIPCore.export.images import Picture, encode, overlay_rgba
from KLIPCore.export.overlay import montage_figure, slice_figure
from KLIPCore.export.profile import profile_figure
from KLIPCore.export.report import Report, json_ready, number
from KLIPCore.export.scene import Scene
from KLIPCore.export.viewer_data import Viewer, viewer_code

TISSUE_GREY = 0.42
"""Grey level of soft tissue under the legend's colours."""


@dataclass(frozen=True, eq=False)
class ReportPictures:
    """The pictures of a page.

    Attributes
    ----------
    slices : key slices, strongest region first, each with an ``anchor``.
    montage : the whole study at a glance.
    profile : nats along the body.
    jumps : region label → anchor of the picture that shows it best, for those shown.
    """

    slices: tuple[Picture, ...] = ()
    montage: Picture | None = None
    profile: Picture | None = None
    jumps: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Everything on the page.

    Attributes
    ----------
    report : regions, settings, provenance, warnings.
    pictures : see :func:`report_pictures`.
    low, high : nats at which the overlay begins to show, and is brightest.
    study : a line that says which series this is without saying whose, e.g. ``"CT, 51 slices of 512 × 512, 5.0 mm"``.
    block : what one value of the map covers, e.g. ``"12 × 12 mm on one slice"``.
    measurement : what was measured, e.g. ``"60 parallel views simulated from the CT"``; empty when unknown.
    prior : what the prior was trained on, in words; empty when unknown.
    title : the page's heading.
    viewer : all slices to scroll through; None: pictures only.
    """

    report: Report
    pictures: ReportPictures
    low: float
    high: float
    study: str = ""
    block: str = ""
    measurement: str = ""
    prior: str = ""
    title: str = "Where this CT departs from healthy anatomy"
    viewer: Viewer | None = None


def report_pictures(
    scene: Scene,
    nats_per_slice: NDArray[np.floating],
    *,
    expected_per_slice: NDArray[np.floating] | None = None,
    maximum_slices: int = 8,
    reconstruction_title: str = "Reconstruction",
) -> ReportPictures:
    """Draw the pictures of a page: key slices, montage and profile.

    Parameters
    ----------
    scene : the result, turned for display.
    nats_per_slice : (D,) total nats of each slice, counted from the feet.
    expected_per_slice : (D,) what the null expects, or None.
    maximum_slices : key slices to draw, one for each of the strongest regions.
    reconstruction_title : what stands above the reconstruction.
    """
    pictures = [_slice_picture(scene, k, reconstruction_title) for k in scene.key_slices(maximum_slices)]
    montage = encode(
        montage_figure(scene),
        anchor="overview",
        title="The study at a glance",
        caption="Slices from the feet upwards, numbered; overlay and outlines as above.",
        alt="Montage of axial slices with KL overlay and region outlines.",
    )
    figure = profile_figure(scene, nats_per_slice, expected=expected_per_slice)
    flat = len(figure.axes) == 1  # a study of few slices has no view from the front
    profile = encode(
        figure,
        jpeg_quality=93,
        anchor="profile",
        title=f"{scene.units[1].capitalize()} along the body",
        caption=(
            "The sum over each slice; bars mark the regions."
            if flat
            else "Left: the patient from the front with the brightest blocks. Right: the sum over each slice, at the "
            "same height; bars mark the regions."
        ),
        alt=f"{'Plot' if flat else 'Frontal view and plot'} of {scene.units[1]} per slice.",
    )
    return ReportPictures(tuple(pictures), montage, profile, _jumps(scene, pictures))


def _slice_picture(scene: Scene, k: int, reconstruction_title: str) -> Picture:
    """A key slice with its title and caption."""
    here = scene.regions_on(k)
    peaks = [
        f"{region.name} ({number(region.total_nats)} {scene.units[1]}, {region.volume_ml:.1f} mL)" for region in here
    ]
    title = (
        f"Slice {k}: {', '.join(region.name for region in here)}"
        if here
        else f"Slice {k}: no region; the study's strongest block"
    )
    caption = (
        "Shows " + "; ".join(peaks) + "."
        if here
        else "No region is significant. This slice holds the largest block of the study."
    )
    return encode(
        slice_figure(scene, k, reconstruction_title=reconstruction_title),
        anchor=f"slice-{k}",
        title=title,
        caption=caption,
        alt=f"CT, reconstruction and KL overlay of slice {k}. {caption}",
    )


def _jumps(scene: Scene, pictures: Sequence[Picture]) -> dict[int, str]:
    """Label of each region that is shown → where."""
    drawn = {picture.anchor for picture in pictures}
    jumps = {}
    for region in scene.regions:
        shown = [
            f"slice-{k}"
            for k in (region.peak_slice, *range(region.slices[0], region.slices[1] + 1))
            if f"slice-{k}" in drawn
        ]
        if shown:
            jumps[region.label] = shown[0]
    return jumps


def render_html(inputs: ReportInputs) -> str:
    """Return the page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # a process that writes no page need not have it

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("report.html").render(
        inputs=inputs,
        report=inputs.report,
        pictures=inputs.pictures,
        rows=inputs.report.rows(),
        gradient=legend_gradient(inputs.low, inputs.high),
        settings=flat_table(inputs.report.settings),
        provenance=flat_table(inputs.report.provenance),
        code=viewer_code() if inputs.viewer is not None else None,
    )


def write_html(inputs: ReportInputs, path: Path) -> Path:
    """Write the page whole or not at all.

    Raises
    ------
    OutputError : the file cannot be written.
    """
    return write_bytes(path, render_html(inputs).encode("utf-8"))


def legend_gradient(low: float, high: float, stops: int = 12) -> str:
    """Return CSS colours of the overlay on mid-grey tissue, from ``low`` to ``high`` nats."""
    rgba = overlay_rgba(np.linspace(low, high, stops), low, high)
    seen = rgba[:, :3] * rgba[:, 3:] + TISSUE_GREY * (1 - rgba[:, 3:])
    return ", ".join("#" + "".join(f"{round(255 * c):02x}" for c in colour) for colour in seen)


def flat_table(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested settings as rows of dotted name and text; lists of more than eight values are shortened."""
    rows: list[tuple[str, str]] = []

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            rows.append((prefix, _text(value)))

    add("", json_ready(fields))
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = [_text(item) for item in value[:8]]
        return ", ".join(shown) + (f", … ({len(value)} values)" if len(value) > 8 else "")
    return str(value)
