"""Pictures as bytes: colours, figures to PNG or JPEG, data URIs for a page that needs nothing else.

The overlay's colour map runs from fully transparent to almost opaque while its lightness rises steadily (matplotlib's
*inferno* without its near-black start, which on grey CT would look like shadow). So more nats are never
darker, faint is invisible, and the order survives colour blindness and a black-and-white printer.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from KLIPCore.export.files import write_bytes

BACKGROUND = "#0e1116"
FOREGROUND = "#dfe5ec"
MUTED = "#8d99a8"
"""Colours of every figure: dark, as on a reading-room screen, on light and dark pages alike."""


def kl_colour_map() -> ListedColormap:
    """Return 256 RGBA colours from transparent dark red to nearly opaque pale yellow."""
    t = np.linspace(0, 1, 256)
    colours = colormaps["inferno"](0.38 + 0.60 * t)
    colours[:, 3] = 0.88 * np.clip(t / 0.55, 0, 1) ** 0.8
    return ListedColormap(colours, name="klip")


def overlay_rgba(nats: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    """Return nats of any shape → RGBA (..., 4) in 0..1.

    Transparent at and below ``low``, brightest from ``high`` on.
    """
    t = (np.asarray(nats, float) - low) / max(high - low, 1e-12)
    return np.asarray(kl_colour_map()(np.clip(t, 0.0, 1.0)))


@dataclass(frozen=True)
class Picture:
    """An encoded picture and what to say about it.

    Attributes
    ----------
    data : the file's bytes.
    mime : ``"image/png"`` or ``"image/jpeg"``.
    width, height : pixels.
    anchor : identifier on a page, e.g. ``"slice-17"``.
    title : a short heading.
    caption : a sentence under it.
    alt : what somebody who cannot see it should know.
    """

    data: bytes
    mime: str
    width: int
    height: int
    anchor: str = ""
    title: str = ""
    caption: str = ""
    alt: str = ""

    @property
    def data_uri(self) -> str:
        """``data:`` URI holding the whole picture."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    def write(self, path: Path) -> Path:
        """Write the bytes whole or not at all.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        return write_bytes(path, self.data)


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Return an empty dark figure on an Agg canvas of its own; no pyplot state, safe in any process and thread."""
    figure = Figure(figsize=(width_inch, height_inch), facecolor=BACKGROUND)
    FigureCanvasAgg(figure)
    return figure


def encode(
    figure: Figure,
    *,
    dpi: int = 110,
    jpeg_quality: int | None = 90,
    anchor: str = "",
    title: str = "",
    caption: str = "",
    alt: str = "",
) -> Picture:
    """Draw a figure into a picture.

    Parameters
    ----------
    figure : what is drawn.
    dpi : pixels per inch.
    anchor, title, caption, alt : of the picture (:class:`Picture`).
    jpeg_quality : JPEG of that quality for CT pictures (a fifth of the size); None: PNG, for line plots.
    """
    buffer = io.BytesIO()
    if jpeg_quality is None:
        figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    else:  # subsampling 0: coloured outlines stay sharp
        figure.savefig(
            buffer,
            format="jpeg",
            dpi=dpi,
            facecolor=figure.get_facecolor(),
            pil_kwargs={"quality": jpeg_quality, "subsampling": 0, "optimize": True},
        )
    with Image.open(buffer) as drawn:
        width, height = drawn.size
    return Picture(
        buffer.getvalue(),
        "image/png" if jpeg_quality is None else "image/jpeg",
        width,
        height,
        anchor,
        title,
        caption,
        alt,
    )
