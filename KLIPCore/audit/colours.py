"""Colours of verdicts, the same on pages, in segmentations and in viewers: green was measured, red is contradicted by
the data, yellow is unprovable.
"""

from __future__ import annotations

COLOURS = {"measured": "#59d47a", "contradicted": "#ff5d55", "unprovable": "#ffd23f"}
"""By verdict (:data:`KLIPCore.audit.removal.Verdict`)."""


def rgb_of(verdict: str) -> tuple[float, float, float]:
    """Return a verdict's red, green and blue, 0 to 1."""
    red, green, blue = (int(COLOURS[verdict][k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue
