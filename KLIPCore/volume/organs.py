"""Which organ lies where: a label map with names, on a study's own grid.

Whoever knows the organs (a person's segmentation, another program's, a network) says it in an :class:`OrganMap`. It
does two things: it names the organ of a region, and it says where to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError

Box = tuple[slice, slice, slice]

OUTSIDE = "outside"
"""What the organ of a region is called that lies in none."""

FOUND = "KLIPCore's organ network"
"""What made an organ map that no person and no other program has drawn."""

LEAST_SHARE = 0.1
"""A region of which no organ holds this part lies outside: flagged blocks reach some millimetres beyond what they
mark, so a smaller part may be a neighbour that the rim merely touches."""

MOST_LABELS = 255
"""Labels are 8-bit numbers, and 0 is none."""


@dataclass(frozen=True, eq=False)
class OrganMap:
    """Organs on a study's grid.

    Attributes
    ----------
    labels : (slices, rows, columns) uint8 in the study's own array order; 0 where no organ is known.
    names : label → name, for people; labels that occur without a name are called ``"label 7"``.
    origin : what made it, for people and programs that read the results, e.g. a file's name.

    Raises
    ------
    GeometryError : the labels are not three-dimensional.
    ConfigError : a label is none of 1 … 255.
    """

    labels: NDArray[np.uint8]
    names: Mapping[int, str] = field(default_factory=dict)
    origin: str = ""

    def __post_init__(self) -> None:
        if np.ndim(self.labels) != 3:
            raise GeometryError(
                f"Organs on {np.ndim(self.labels)} axes are no volume.", "Give labels of slices, rows and columns."
            )
        if not all(1 <= label <= MOST_LABELS for label in self.names):
            raise ConfigError("An organ's label is none of 1 to 255.", "Number the organs from 1.")
        object.__setattr__(self, "labels", np.ascontiguousarray(self.labels, np.uint8))
        object.__setattr__(self, "names", MappingProxyType({int(n): str(name) for n, name in self.names.items()}))

    @property
    def present(self) -> tuple[int, ...]:
        """The labels that some voxel bears, in order."""
        counts = sum(np.bincount(plane.ravel(), minlength=MOST_LABELS + 1) for plane in self.labels)
        return tuple(int(n) for n in np.flatnonzero(counts) if n)

    def called(self, label: int) -> str:
        """Return what people call a label."""
        return self.names.get(label, f"label {label}")

    def name_of(self, mask: NDArray[np.bool_], box: Box | None = None) -> str:
        """Return the organ that holds most of a region, or :data:`OUTSIDE`.

        Parameters
        ----------
        mask : bool, True inside the region: of the labels' shape, or of the box's.
        box : where the mask lies in the labels; None: it is as large as they are.
        """
        inside = self.labels[box][mask] if box is not None else self.labels[mask]
        counts = np.bincount(inside, minlength=2)
        best = 1 + int(np.argmax(counts[1:]))
        return self.called(best) if counts[best] and counts[best] >= LEAST_SHARE * inside.size else OUTSIDE

    def number_of(self, wanted: str) -> int:
        """Return the label that a name or a number means; names in any case.

        Raises
        ------
        ConfigError : there is none, or nothing bears it; the remedy lists those there are.
        """
        present = self.present
        by_name = [n for n in present if self.called(n).casefold() == wanted.strip().casefold()]
        by_number = [n for n in present if wanted.strip() in (str(n), self.called(n).removeprefix("label "))]
        if by_name or by_number:
            return (by_name or by_number)[0]
        listed = ", ".join(f"{n} ({self.names[n]})" if n in self.names else str(n) for n in present)
        raise ConfigError(
            f"There is no label '{wanted}' in {self.origin or 'the segmentation'}.",
            f"Choose one of: {listed}." if listed else "It has no labels at all: give another one.",
        )

    def where(self, labels: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Return (slices, rows, columns) bool: the voxels of some labels, of all where None is given."""
        return self.labels > 0 if labels is None else np.isin(self.labels, np.asarray(labels, np.uint8))
