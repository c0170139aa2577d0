"""The prior's frame: every patient at the same width, in the middle of a square.

A diffusion prior with position channels expects the liver where it usually is. The frame is the similarity map
(no rotation, no shear) that brings the study's median body width to ``body_fraction`` of a square of ``size``
pixels, with each slice's body centred. It is stored with every result, because the KL map lives in the
frame and must land on the study's own voxels again.

Index convention: a frame pixel (r, c) of slice k lies at study pixel
``centre[k] + (index − (size − 1) / 2) · pixel``, where ``centre`` and ``pixel`` are in study rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
import scipy.sparse as sp
from numpy.typing import NDArray

from KLIPCore.errors import InputError

LARGEST_SIZE = 16_384
"""Pixels along a frame's side; a file that claims more is refused."""

MIN_BODY_FRACTION = 0.03
"""A slice whose body fills less than this fraction of its area does not vote on the frame."""


def body_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """First and last row and column of a body mask; NaN where the slice shows too little of a body."""
    if mask.mean() <= MIN_BODY_FRACTION:
        return (np.nan,) * 4
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(rows[0]), float(rows[-1]), float(columns[0]), float(columns[-1])


@dataclass(frozen=True, eq=False)
class Frame:
    """A similarity map between study slices and the prior's square.

    Attributes
    ----------
    size : pixels along each side of the square.
    centres : (D, 2) study (row, column) of each slice's body centre.
    pixel : (2,) study rows and columns per frame pixel.
    pixel_mm : edge of a frame pixel in mm.
    """

    size: int
    centres: NDArray[np.float64]
    pixel: NDArray[np.float64]
    pixel_mm: float

    @classmethod
    def of_body(
        cls,
        masks: NDArray[np.bool_],
        spacing_mm: tuple[float, float] = (1.0, 1.0),
        size: int = 256,
        body_fraction: float = 0.875,
    ) -> Frame:
        """Return the frame of a study from its body masks.

        Parameters
        ----------
        masks : (D, H, W) body masks in LPS order.
        spacing_mm : row and column spacing.
        size : side of the prior's square in pixels.
        body_fraction : part of that side which the median body width takes.

        Raises
        ------
        InputError : no slice shows a body.
        """
        return cls.of_boxes(np.array([body_box(mask) for mask in masks]), spacing_mm, size, body_fraction)

    @classmethod
    def of_boxes(
        cls,
        boxes: NDArray[np.float64],
        spacing_mm: tuple[float, float] = (1.0, 1.0),
        size: int = 256,
        body_fraction: float = 0.875,
    ) -> Frame:
        """Return the frame of the boxes around a study's bodies, (D, 4) of :func:`body_box`; else as :meth:`of_body`.

        Raises
        ------
        InputError : no slice shows a body.
        """
        boxes = boxes.reshape(-1, 4)
        seen = np.isfinite(boxes[:, 0])
        if not seen.any():
            raise InputError(
                "No slice shows a body in this volume.",
                "Check that the volume is a CT in Hounsfield units and not cropped to an organ.",
            )
        width_mm = np.median((boxes[seen, 3] - boxes[seen, 2] + 1) * spacing_mm[1])
        pixel_mm = float(width_mm / (body_fraction * size))
        centres = np.stack([boxes[:, :2].mean(1), boxes[:, 2:].mean(1)], axis=1)
        index = np.arange(len(boxes))
        for axis in range(2):  # slices without a body borrow from their neighbours; a median steadies the rest
            filled = np.interp(index, index[seen], centres[seen, axis])
            centres[:, axis] = ndi.median_filter(filled, size=5, mode="nearest")
        return cls(size, centres, pixel_mm / np.asarray(spacing_mm, float), pixel_mm)

    def _coordinates(self, k: int, factor: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Study rows (size·factor,) and columns (size·factor,) of the frame's pixel centres in slice k."""
        offset = (np.arange(self.size * factor) + 0.5) / factor - self.size / 2
        return self.centres[k, 0] + offset * self.pixel[0], self.centres[k, 1] + offset * self.pixel[1]

    def pull(self, array: NDArray[np.floating], order: int = 1, factor: int = 1) -> NDArray[np.float32]:
        """Return the frame slices (D, size·factor, size·factor) of study slices (D, H, W).

        Parameters
        ----------
        array : values on the study's LPS-ordered grid; outside counts as 0.
        order : 1 for intensities (linear, after an anti-aliasing blur), 0 for masks (nearest).
        factor : frame pixels are split this many times: the finer grid a measurement is simulated on.
        """
        out = np.empty((len(array), self.size * factor, self.size * factor), np.float32)
        for k, image in enumerate(array):
            image = np.asarray(image, np.float32)
            if order == 0:
                rows, columns = (
                    _nearest(u, n) for u, n in zip(self._coordinates(k, factor), image.shape, strict=True)
                )
                out[k] = np.pad(image, ((0, 1), (0, 1)))[rows][:, columns]  # outside, index -1 finds the rim of zeros
                continue
            if self.pixel.max() / factor > 1:
                image = ndi.gaussian_filter(image, 0.4 * self.pixel / factor)
            rows, columns = (
                interpolation_weights(u, n, order)
                for u, n in zip(self._coordinates(k, factor), image.shape, strict=True)
            )
            out[k] = rows @ (columns @ image.T).T
        return out

    def push(self, framed: NDArray[np.floating], shape: tuple[int, int], order: int = 1) -> NDArray[np.float32]:
        """Return the study slices (D, H, W) of frame slices (D, n, n).

        The side ``n`` may be a divisor of ``size`` (a coarser base grid).

        Parameters
        ----------
        framed : values at the centres of an n × n division of the frame's square; outside it counts as 0.
        shape : (H, W) of the study's slices.
        order : 1 (linear) or 0 (nearest).
        """
        n = framed.shape[-1]
        out = np.empty((len(framed), *shape), np.float32)
        for k, image in enumerate(framed):
            rows, columns = (interpolation_weights(at, n, order) for at in self.cell_positions(n, shape, k))
            out[k] = rows @ (columns @ np.asarray(image, np.float32).T).T
        return out

    def cell_positions(
        self, n: int, shape: tuple[int, int], k: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the rows (H,) and columns (W,) of a study slice lie on an n × n division of the frame.

        They are indices of its cell centres.

        Parameters
        ----------
        n : a divisor of ``size``, or ``size`` itself.
        shape : (H, W) of the study's slices.
        k : the slice.

        Returns
        -------
        positions in [0, n − 1] (half-cells at the rim take the rim's value), NaN outside the square.
        """
        out = []
        for axis, length in enumerate(shape):
            u = (np.arange(length) - self.centres[k, axis]) / self.pixel[axis] + self.size / 2
            inside = (u > 0) & (u < self.size)
            out.append(np.where(inside, np.clip(u * n / self.size - 0.5, 0, n - 1), np.nan))
        return out[0], out[1]

    def truncated(self, masks: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (D,) fraction of each slice's body pixels that lies outside the frame's square."""
        return np.array([self.truncated_on(k, mask) for k, mask in enumerate(masks)])

    def truncated_on(self, index: int, mask: NDArray[np.bool_]) -> float:
        """Fraction of one slice's body pixels that lies outside the frame's square."""
        rows, columns = np.nonzero(mask)
        if not len(rows):
            return 0.0
        r = np.abs(rows - self.centres[index, 0]) / self.pixel[0]
        c = np.abs(columns - self.centres[index, 1]) / self.pixel[1]
        return float(np.mean(np.maximum(r, c) > self.size / 2))

    def to_dict(self) -> dict[str, object]:
        """Return JSON-ready fields."""
        return {
            "size": self.size,
            "centres": self.centres.tolist(),
            "pixel": self.pixel.tolist(),
            "pixel_mm": self.pixel_mm,
        }

    @classmethod
    def from_dict(cls, fields: dict) -> Frame:
        """Return the inverse of :meth:`to_dict`.

        Raises
        ------
        ValueError : the numbers are none of a frame.
        """
        made = cls(
            int(fields["size"]),
            np.array(fields["centres"], float),
            np.array(fields["pixel"], float),
            float(fields["pixel_mm"]),
        )
        lengths = np.array([*made.pixel.ravel(), made.pixel_mm])
        if (
            not 1 <= made.size <= LARGEST_SIZE
            or made.centres.ndim != 2
            or made.centres.shape[1] != 2
            or made.pixel.shape != (2,)
        ):
            raise ValueError("its size, centres or pixels are of the wrong shape")
        if not np.isfinite(made.centres).all() or not np.isfinite(lengths).all() or not (lengths > 0).all():
            raise ValueError("its centres or pixels are not lengths")
        return made


def _nearest(positions: NDArray[np.float64], n: int) -> NDArray[np.intp]:
    """(len(positions),) index of the nearest of n points; -1 outside [-½, n − ½]."""
    inside = (positions >= -0.5) & (positions <= n - 0.5)
    return np.where(inside, np.clip(np.floor(positions + 0.5), 0, n - 1), -1).astype(np.intp)


def interpolation_weights(positions: NDArray[np.float64], n: int, order: int) -> sp.csr_array:
    """Return the (len(positions), n) interpolation weights along one axis: linear or nearest.

    Rows of zeros outside [0, n − 1] and at NaN.

    Interpolation on a rectilinear grid is separable, so a slice is resampled by two thin sparse products.
    """
    covered = (positions >= -0.5) & (positions <= n - 0.5)
    inside = np.flatnonzero(covered)
    if order == 0:
        nearest = np.clip(np.floor(positions[inside] + 0.5), 0, n - 1).astype(np.int64)
        return sp.csr_array((np.ones(len(inside), np.float32), (inside, nearest)), shape=(len(positions), n))
    u = np.clip(positions[inside], 0, n - 1)
    low = np.minimum(u.astype(np.int64), max(n - 2, 0))
    share = (u - low).astype(np.float32)
    ends = np.concatenate([[0], np.cumsum(2 * covered)]).astype(np.int32)  # by hand: scipy would sort the pairs
    columns = np.stack([low, np.minimum(low + 1, n - 1)], axis=1).astype(np.int32)
    return sp.csr_array((np.stack([1 - share, share], axis=1).ravel(), columns.ravel(), ends), (len(positions), n))
