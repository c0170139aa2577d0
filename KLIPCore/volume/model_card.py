"""The model card: what a set of weights is, and which studies it was trained for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from KLIPCore.errors import PriorError
from KLIPCore.volume.units import Window

LARGEST_SIZE = 4096
"""Pixels along the side of a prior's square; a card that says more would fill the memory with positions alone."""


@dataclass(frozen=True)
class ModelCard:
    """What a set of weights is, where it came from, and what it may be used for.

    Attributes
    ----------
    name : short identifier.
    anatomy : the body region it has seen.
    window : HU interval of intensity 0..1.
    size : side of the prior's square in pixels.
    body_fraction : part of that side the median body width takes (see :class:`KLIPCore.volume.frame.Frame`).
    pixel_mm_range : edge lengths in mm of the frame's pixels that occurred in training, or a nominal range.
    position_channels : whether the network is given normalised row and column.
    sigma_min, sigma_max : noise levels seen in training, in intensity units.
    network : constructor arguments of the network.
    training : data, licences, steps, seconds, seed, validation figures; written by the training run.
    licence : licence of the weights.
    sha256 : hash of the weights' file.
    intended_use : one sentence a clinician should read.
    """

    name: str
    anatomy: str
    window: Window
    size: int = 256
    body_fraction: float = 0.875
    pixel_mm_range: tuple[float, float] = (1.1, 2.1)
    position_channels: bool = True
    sigma_min: float = 0.004
    sigma_max: float = 5.0
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    sha256: str = ""
    intended_use: str = "Research only; not a medical device."

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelCard:
        """Return the inverse of :meth:`to_dict`.

        Raises
        ------
        PriorError : a field is missing or unknown.
        """
        try:
            known = dict(fields)
            known["window"] = Window(**known["window"])
            known["pixel_mm_range"] = tuple(known.get("pixel_mm_range", (1.1, 2.1)))
            card = cls(**known)
            card._check()
            return card
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PriorError(
                f"The model card cannot be read ({error}).",
                "Use the card written beside the weights by the same version.",
            ) from error

    def _check(self) -> None:
        """Refuse a card whose fields are of the wrong kind or impossible.

        Raises
        ------
        ValueError : one is; the text names it.
        """
        if not all(
            isinstance(text, str) for text in (self.name, self.anatomy, self.licence, self.sha256, self.intended_use)
        ):
            raise ValueError("a text is missing")
        if (
            not isinstance(self.network, dict)
            or not isinstance(self.training, dict)
            or not isinstance(self.position_channels, bool)
        ):
            raise ValueError("network, training or position_channels are of the wrong kind")
        if type(self.size) is not int or not 1 <= self.size <= LARGEST_SIZE:
            raise ValueError(f"a size of {str(self.size)[:40]} pixels")
        numbers = (
            self.body_fraction,
            self.sigma_min,
            *self.pixel_mm_range,
            self.window.lo_hu,
            self.window.hi_hu,
        )
        if len(self.pixel_mm_range) != 2 or any(
            isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in numbers
        ):
            raise ValueError("a number is missing")
        if isinstance(self.sigma_max, bool) or not isinstance(self.sigma_max, int | float):
            raise ValueError("sigma_max is not a number")
        if not (
            0 < self.body_fraction <= 1
            and 0 <= self.sigma_min < self.sigma_max  # which may be infinite: a Gaussian prior knows every level
            and 0 < self.pixel_mm_range[0] <= self.pixel_mm_range[1]
        ):
            raise ValueError("body_fraction, sigma or pixel_mm_range are impossible")
