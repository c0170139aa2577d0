"""The model card: what a set of weights is, and which studies it was trained for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from KLIPCore.errors import PriorError
from KLIPCore.volume.units import Window


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
        """JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ModelCard:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        PriorError : a field is missing or unknown.
        """
        try:
            known = dict(fields)
            known["window"] = Window(**known["window"])
            known["pixel_mm_range"] = tuple(known.get("pixel_mm_range", (1.1, 2.1)))
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise PriorError(
                f"The model card cannot be read ({error}).",
                "Use the card written beside the weights by the same version.",
            ) from error
