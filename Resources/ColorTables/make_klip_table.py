"""Writes KLIP.ctbl, the colors of the KL map in Slicer, from those of the report: `python
Resources/ColorTables/make_klip_table.py`.

One definition serves both (:func:`KLIPCore.export.images.kl_colour_map`); the file exists so that Slicer needs
no matplotlib. A test holds the two together. Opacity is left out: Slicer's volume display knows only shown and
not shown (its alpha is a logical AND of table and threshold), so the threshold decides what is seen and the
slice view's foreground opacity how strongly.
"""

from __future__ import annotations

from pathlib import Path

from KLIPCore.export.images import kl_colour_map

TABLE = Path(__file__).with_name("KLIP.ctbl")


def table_text() -> str:
    """The file: 256 lines of index, name, red, green, blue and opacity from 0 to 255."""
    colours = kl_colour_map()(range(256))
    lines = [
        f"{n} kl_{n} {' '.join(str(round(255 * float(c))) for c in rgba[:3])} 255" for n, rgba in enumerate(colours)
    ]
    head = ["# KL map: dark red to pale yellow, lightness rising steadily", "# index name R G B A"]
    return "\n".join([*head, *lines]) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table_text(), encoding="ascii")
