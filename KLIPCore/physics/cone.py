"""Circular cone beam: a point source and a flat panel turning around a small volume.

The fan beam's third dimension. The source turns in the plane of the volume's middle slice; detector rows lie
along z. In each view the source, the detector's columns and the sense of rotation are those of
:class:`KLIPCore.volume.geometry.FanBeam`.

    volume     slice k at z = (k − (D − 1)/2)·slice_mm to Superior; rows and columns as ImageGrid2D
    detector   row r at v = (r − (n − 1)/2)·row pitch along +z, column c at u = (c − (n − 1)/2)·column pitch + offset

Joseph's method in three dimensions: a ray is followed along x or y, whichever it runs along more, with bilinear
interpolation in the plane across.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.projector import DEFAULT_MEMORY_LIMIT_BYTES
from KLIPCore.physics.rows import MAX_ENTRIES, RowMatrix, Rows
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, arc_text


@dataclass(frozen=True)
class ConeBeam:
    """A flat panel around a circular orbit.

    Attributes
    ----------
    fan : views, detector columns and distances, as seen in the plane of the orbit; a flat detector.
    n_rows : detector rows.
    row_pitch_mm : distance between rows on the detector.
    """

    fan: FanBeam
    n_rows: int
    _: KW_ONLY
    row_pitch_mm: float

    def __post_init__(self) -> None:
        if self.fan.equiangular:
            raise ConfigError("A cone-beam panel is flat.", "Use a fan with equiangular=False.")
        if self.n_rows < 1 or not self.row_pitch_mm > 0:
            raise ConfigError(
                f"A panel of {self.n_rows} rows, {self.row_pitch_mm} mm apart, cannot measure.",
                "Give positive numbers.",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n_views, n_rows, n_columns)``."""
        return (self.fan.n_views, self.n_rows, self.fan.n_detectors)


class ConeProjector(LinearOperator):
    """Line integrals of (D, H, W) volumes: (n_views, n_rows, n_columns), and their transpose.

    Attributes
    ----------
    geometry : the scan.
    image : pixels of a slice.
    slice_mm : distance between slices.
    stored : whether the matrices are kept.
    """

    def __init__(
        self,
        geometry: ConeBeam,
        image: ImageGrid2D,
        *,
        n_slices: int,
        slice_mm: float,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build the matrices if they fit.

        Raises
        ------
        ConfigError : no slices, another dtype, or an orbit inside the volume.
        """
        if n_slices < 1 or not slice_mm > 0:
            raise ConfigError(
                f"A volume of {n_slices} slices, {slice_mm} mm apart, is none.", "Give positive numbers."
            )
        if dtype not in (torch.float32, torch.float64):
            raise ConfigError(
                f"Projections are computed in float32 or float64, not {dtype}.", "Choose one of the two."
            )
        if image.radius_mm >= geometry.fan.source_origin_mm:
            raise ConfigError(
                "The source would turn inside the volume.", "Use a smaller volume or a larger source distance."
            )
        self.geometry, self.image, self.n_slices, self.slice_mm, self.dtype = (
            geometry,
            image,
            n_slices,
            slice_mm,
            dtype,
        )
        self.domain_shape, self.range_shape = (n_slices, *image.shape), geometry.shape
        n_rays, per_ray = math.prod(geometry.shape), 4 * max(image.shape)
        estimated_bytes = 2 * n_rays * per_ray * (4 + (4 if dtype == torch.float32 else 8))
        self.stored = estimated_bytes <= min(memory_limit_bytes, 16 * MAX_ENTRIES)
        self._matrix = RowMatrix(self._rows, (n_rays, math.prod(self.domain_shape)), per_ray, dtype, self.stored)

    def __repr__(self) -> str:
        fan, (d, h, w), pixel = self.geometry.fan, self.domain_shape, self.image.pixel_mm
        voxels = f"{d} x {h} x {w} voxels of {self.slice_mm:.4g} x {pixel:.4g} x {pixel:.4g} mm"
        return f"ConeProjector({fan.n_views} {arc_text(fan.angles_rad)}, {voxels})"

    def _apply(self, x: Tensor) -> Tensor:
        y = self._matrix.forward(x.to(self.dtype).flatten(1).T.contiguous())
        return y.T.reshape(-1, *self.range_shape).to(x.dtype)

    def _apply_transpose(self, y: Tensor) -> Tensor:
        x = self._matrix.transpose(y.to(self.dtype).flatten(1).T.contiguous())
        return x.T.reshape(-1, *self.domain_shape).to(y.dtype)

    def _rows(self, device: torch.device, at_once: int) -> Rows:
        fan = self.geometry.fan
        theta = torch.tensor(fan.angles_rad, dtype=torch.float64, device=device)
        u = torch.from_numpy(np.asarray(fan.detector_mm(), float)).to(device)
        v = (
            torch.arange(self.geometry.n_rows, device=device, dtype=torch.float64) - (self.geometry.n_rows - 1) / 2
        ) * self.geometry.row_pitch_mm
        n_rays = math.prod(self.geometry.shape)
        per_view = self.geometry.n_rows * fan.n_detectors
        for start in range(0, n_rays, at_once):
            piece = slice(start, min(start + at_once, n_rays))
            ray = torch.arange(piece.start, piece.stop, device=device)
            angle = theta[ray // per_view]
            row, column = v[ray % per_view // fan.n_detectors], u[ray % fan.n_detectors]
            cos, sin = torch.cos(angle), torch.sin(angle)
            source = fan.source_origin_mm * torch.stack([sin, -cos, torch.zeros_like(sin)], -1)
            direction = torch.stack(
                [-fan.source_detector_mm * sin + column * cos, fan.source_detector_mm * cos + column * sin, row], -1
            )
            index, weight = self._joseph(source, direction)
            yield piece, index, weight

    def _joseph(self, source: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Voxel indices and weights (mm) of rays (R, 3): two tensors (R, N, 4), N the larger side of a slice."""
        (h, w), pixel = self.image.shape, self.image.pixel_mm
        along_y = direction[:, 1].abs() >= direction[:, 0].abs()
        main = torch.where(along_y, 1, 0)
        n_main, n_across = torch.where(along_y, h, w)[:, None], torch.where(along_y, w, h)[:, None]
        stride_main, stride_across = torch.where(along_y, w, 1)[:, None], torch.where(along_y, 1, w)[:, None]
        d_main, d_across = direction.gather(1, main[:, None]), direction.gather(1, 1 - main[:, None])
        s_main, s_across = source.gather(1, main[:, None]), source.gather(1, 1 - main[:, None])
        plane = torch.arange(max(h, w), device=source.device)[None, :]
        t = ((plane - (n_main - 1) / 2) * pixel - s_main) / d_main
        across = (s_across + t * d_across) / pixel + (n_across - 1) / 2
        height = (source[:, 2:] + t * direction[:, 2:]) / self.slice_mm + (self.n_slices - 1) / 2
        length = pixel * direction.norm(dim=1, keepdim=True) / d_main.abs()
        across_0, height_0 = torch.floor(across), torch.floor(height)
        indices, weights = [], []
        for step_across in (0, 1):
            for step_height in (0, 1):
                i, k = across_0.to(torch.int64) + step_across, height_0.to(torch.int64) + step_height
                part_across = across - across_0 if step_across else 1 - (across - across_0)
                part_height = height - height_0 if step_height else 1 - (height - height_0)
                valid = (plane < n_main) & (i >= 0) & (i < n_across) & (k >= 0) & (k < self.n_slices)
                flat = k * (h * w) + plane * stride_main + i * stride_across
                indices.append(torch.where(valid, flat, 0))
                weights.append(torch.where(valid, part_across * part_height * length, 0.0))
        return torch.stack(indices, -1), torch.stack(weights, -1)
