"""Do reconstruction and data belong together at all? Asked first, because nothing else means anything otherwise.

A reconstruction of these data, however poor, projects to within a few per cent of them. Another patient's does not;
nor does the right one mirrored, turned, or in another unit. So the image is projected in all eight orientations of the
square, and with the factor that fits the data best: where one of these explains far more, that is the remedy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from KLIPCore.physics.measurement import Measurement

FOREIGN = 0.12
"""Root-mean-square residual over that of the data: above it the two do not belong together."""
POOR = 0.05
"""Above this the reconstruction explains the data poorly."""
FACTOR = 0.08
"""Factors nearer to 1 than this are no other unit."""

ORIENTATIONS = {
    "as it is": (0, False),
    "mirrored left to right": (0, True),
    "mirrored top to bottom": (2, True),
    "turned by 180 degrees": (2, False),
    "turned by 90 degrees": (1, False),
    "turned by 270 degrees": (3, False),
    "mirrored about a diagonal": (1, True),
    "mirrored about the other diagonal": (3, True),
}


@dataclass(frozen=True)
class Belonging:
    """Whether an image and a sinogram are of the same scan.

    Attributes
    ----------
    residual : root-mean-square of y − A x over that of y.
    orientation : of the square in which the image explains the data best; ``"as it is"`` unless far better.
    factor : by which the image explains them best.
    """

    residual: float
    orientation: str
    factor: float

    @property
    def belongs(self) -> bool:
        """Whether anything else is worth saying."""
        return self.residual <= FOREIGN and self.orientation == "as it is"

    def sentence(self) -> str:
        """Return what is wrong and what to do; empty where nothing is."""
        much = f"{100 * self.residual:.0f} % of the data are not explained"
        if self.orientation != "as it is":
            return (
                f"The sinogram fits the reconstruction {self.orientation}, not as it lies ({much}). Turn it, or write "
                "the sinogram with the angles and bins of docs/conventions.md."
            )
        if self.residual <= POOR:
            return ""
        if abs(math.log(max(self.factor, 1e-9))) > FACTOR:
            return (
                f"The sinogram fits the reconstruction multiplied by {self.factor:.3g}: the two are in other units "
                f"({much}). Give HU, or attenuation in 1/mm; line integrals are -log(I / I0)."
            )
        if not self.belongs:
            return (
                f"The sinogram does not belong to this reconstruction: {much}, in any orientation and unit. Check "
                "slice, patient and geometry (distances, angles, pitch); nothing below can be relied on."
            )
        return f"The reconstruction explains the data poorly ({much}): take what follows as a description of that."


def belonging(measurement: Measurement, image: Tensor) -> Belonging:
    """Compare an image with data in every orientation, and find the factor between them.

    Parameters
    ----------
    measurement : one sinogram.
    image : (H, W) in the operator's unit.
    """
    y = measurement.y
    size = float(y.double().norm())
    names = [name for name in ORIENTATIONS if image.shape[0] == image.shape[1] or ORIENTATIONS[name][0] % 2 == 0]
    with torch.no_grad():
        turned = torch.stack([_oriented(image, *ORIENTATIONS[name]) for name in names])
        projected = measurement.A(turned).double()
    residuals = [float((y - p).norm()) / size for p in projected]
    best = min(range(len(names)), key=residuals.__getitem__)
    if residuals[best] > 0.5 * residuals[0]:
        best = 0
    along, own = float((projected[best] * y).sum()), float(projected[best].square().sum())
    factor = along / own if own > 0 else 0.0
    if best == 0 and float((y - factor * projected[0]).norm()) / size > 0.6 * residuals[0]:
        factor = 1.0  # another factor would hardly explain more
    return Belonging(residuals[0], names[best], factor)


def _oriented(image: Tensor, turns: int, mirrored: bool) -> Tensor:
    return torch.rot90(image.flip(1) if mirrored else image, turns, (0, 1))
