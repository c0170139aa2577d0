"""Exact projections of ellipsoids by a third-generation scanner, as DICOM-CT-PD describes one.

Written from the published description alone: where the focal centre is and how columns and rows count, in the table's
left-handed Cartesian coordinates. It shares no formula with the reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from KLIPCore.io.projection_series import Writing, write_projections

WATER = 0.0195
TO_LPS = {
    "HFS": np.diag([1.0, -1.0, 1.0]),
    "HFP": np.diag([-1.0, 1.0, 1.0]),
    "FFS": np.diag([-1.0, -1.0, -1.0]),
    "FFP": np.diag([1.0, 1.0, -1.0]),
}
"""From the table, seen from its foot (x to the right, y up, z away), to the patient."""


@dataclass(frozen=True)
class Ellipsoid:
    """Where attenuation is more by ``value`` (1/mm): centre and semi-axes in mm, LPS; endless where an axis is inf."""

    value: float
    centre: tuple[float, float, float]
    axes: tuple[float, float, float]

    def integral(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Along lines from one point through others (..., 3)."""
        d = target - source
        d /= np.linalg.norm(d, axis=-1, keepdims=True)
        axes = np.asarray(self.axes)
        p, q = (source - np.asarray(self.centre)) / axes, d / axes
        a, b, c = (q * q).sum(-1), (q * p).sum(-1), (p * p).sum() - 1
        return self.value * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a


@dataclass(frozen=True)
class Machine:
    """A small scanner."""

    shape: str = "CYLINDRICAL"
    rows: int = 8
    columns: int = 56
    per_turn: int = 60
    origin: float = 400.0
    detector: float = 700.0
    column_mm: float = 7.0
    row_mm: float = 4.0
    centre: tuple[float, float] = (28.75, 4.5)
    extra: dict[str, object] = field(default_factory=dict)

    def fields(self, kind: str) -> dict[str, object]:
        """Private fields that all files share."""
        return {
            "DetectorElementTransverseSpacing": self.column_mm,
            "DetectorElementAxialSpacing": self.row_mm,
            "DetectorShape": self.shape,
            "DetectorFocalCenterRadialDistance": self.origin,
            "ConstantRadialDistance": self.detector,
            "DetectorCentralElement": list(self.centre),
            "SourceAngularPositionShift": 0.0,
            "SourceAxialPositionShift": 0.0,
            "SourceRadialDistanceShift": 0.0,
            "FlyingFocalSpotMode": "FFSNONE",
            "NumberofSourceAngularSteps": self.per_turn,
            "TypeofProjectionData": kind,
            "TypeofProjectionGeometry": "FANBEAM",
            "BeamHardeningCorrectionFlag": "YES",
            "LogFlag": "YES",
            "WaterAttenuationCoefficient": str(WATER),
        } | self.extra

    def picture(self, phi: float, z: float, objects: Sequence[Ellipsoid], to_lps: np.ndarray) -> np.ndarray:
        """(rows, columns) line integrals with the focal centre at φ and z."""
        source = np.array([-self.origin * math.sin(phi), self.origin * math.cos(phi), z])
        ahead = np.array([math.sin(phi), -math.cos(phi), 0.0])
        across, up = np.array([math.cos(phi), math.sin(phi), 0.0]), np.array([0.0, 0.0, 1.0])
        u = ((np.arange(1, self.columns + 1) - self.centre[0]) * self.column_mm)[None, :, None]
        v = ((self.centre[1] - np.arange(1, self.rows + 1)) * self.row_mm)[:, None, None]
        g, e = u / self.detector, v / self.detector
        if self.shape == "FLAT":
            way = self.detector * ahead + u * across + v * up
        elif self.shape == "CYLINDRICAL":
            way = self.detector * (np.cos(g) * ahead + np.sin(g) * across) + v * up
        else:
            way = self.detector * (np.cos(e) * (np.cos(g) * ahead + np.sin(g) * across) + np.sin(e) * up)
        start, ends = to_lps @ source, (source + way) @ to_lps.T
        return sum((thing.integral(start, ends) for thing in objects), np.zeros((self.rows, self.columns)))

    def scan(
        self, folder: Path, places: Sequence[tuple[float, float]], objects: Sequence[Ellipsoid], writing: Writing
    ) -> Path:
        """Write a series; helical where z changes with each view."""
        to_lps = TO_LPS[writing.patient_position or "HFS"]
        pictures = np.stack([self.picture(phi, z, objects, to_lps) for phi, z in places])
        helical = len({z for _, z in places}) > len(places) / 2
        stored = [(math.remainder(phi, 2 * math.pi), z) for phi, z in places]
        write_projections(folder, pictures, stored, self.fields("HELICAL" if helical else "AXIAL"), writing)
        return folder

    def helix(self, turns: float, feed: float, start: float = 0.7, z0: float = 0.0) -> list[tuple[float, float]]:
        """Places of the source; the table's middle is z0, ``feed`` mm a turn."""
        n = round(turns * self.per_turn)
        part = np.arange(n) / self.per_turn
        return [(start + 2 * math.pi * p, z0 + feed * (p - turns / 2)) for p in part]

    def turn(self, z: float, start: float = 0.7, n: int | None = None) -> list[tuple[float, float]]:
        """Places of the source in one plane."""
        return [(start + 2 * math.pi * k / self.per_turn, z) for k in range(self.per_turn if n is None else n)]

    def with_extra(self, **extra: object) -> Machine:
        """The same with other private fields; None leaves one out."""
        return replace(self, extra=self.extra | extra)
