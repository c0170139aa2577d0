"""What a sinogram's values add up to: an object of one mass, whose tissue weakens rays as tissue does.

An object that is seen whole has the same mass in every parallel view (the moment of order 0 of Helgason and Ludwig).
Line integrals keep to that, and what was made of them by anything but a factor does not. A factor shows in a patient:
soft tissue has 0.019 to 0.021 per mm at the energies of CT, and logarithms to base 10 make 0.008 to 0.009 of that.

References
----------
D. Ludwig, "The Radon transform on Euclidean space", Comm. Pure Appl. Math. 19, 49 (1966).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.volume.geometry import FanBeam, Geometry, ParallelBeam

MOST_VIEWS, WIDEST_GAP_RAD = 180, math.radians(12)
"""Views that are looked at, and the largest angle between neighbours that still tells an object's shape."""
LEAST_VIEWS, LEAST_BINS = 16, 16
FEWEST_VIEWS = 5
"""Parallel views whose masses are compared, where they do not go all around."""
EMPTY = 0.03
"""Rays at the detector's ends as part of the largest: less, and the object was seen whole."""
UNEVEN, BETTER = 0.015, 3.0
"""Relative standard deviation of the mass over views that line integrals of a scanner stay below, or make smaller than
another reading of the values does by the latter factor.
"""
RIM = 0.05
"""Rays that pass an object's rim only, as part of the largest: where a short scan lacks these, they count as 0."""
PATIENT_MM = (100.0, 700.0)
NARROWEST_MM, WIDEST_MM = 1.0, 1200.0
"""Wider than any patient with both arms, and a patient whose pitch is in metres."""
SIDE = 64
"""Pixels of the picture that attenuation is read from."""
BODY_PART = 0.5
"""Of the largest attenuation: less is lung, air or a streak."""
LOG10_PER_MM = (0.0070, 0.0102)
"""Soft tissue after a logarithm to base 10, from fat to a head with its skull; no tissue has so little."""
SATURATED = (0.8, 1.02)
"""1 − I/I₀ comes near to 1 behind 100 mm of tissue, and never exceeds it but for noise."""


@dataclass(frozen=True, eq=False)
class ParallelViews:
    """A sinogram as parallel views, evenly spread over half a turn where they go all around.

    Attributes
    ----------
    angles : (n,) φ in radians from 0 to π.
    s : (m,) distances of the rays from the isocentre in mm, evenly spaced.
    values : (n, m).
    all_around : whether they are of half a turn; if not, only their masses tell anything.
    """

    angles: NDArray[np.float64]
    s: NDArray[np.float64]
    values: NDArray[np.float64]
    all_around: bool = True

    @classmethod
    def of(cls, sinogram: NDArray[np.floating], geometry: Geometry) -> ParallelViews | None:
        """Return the views of a scan that saw an object whole: all around, or some of a fan's; None for others."""
        n_views, n_bins = sinogram.shape
        if n_views < LEAST_VIEWS or n_bins < LEAST_BINS:
            return None
        if not _seen_whole(sinogram):
            return None
        u = (np.arange(n_bins) - (n_bins - 1) / 2) * geometry.pitch_mm + geometry.offset_mm
        n = min(n_views, MOST_VIEWS)
        phi = np.arange(n) * math.pi / n
        if isinstance(geometry, FanBeam):
            return cls._of_fan(sinogram.astype(np.float64), geometry, phi)
        theta = np.mod(np.asarray(geometry.angles_rad, np.float64), math.pi)
        flipped = np.mod(np.asarray(geometry.angles_rad), 2 * math.pi) >= math.pi  # the same lines from behind
        order = np.argsort(theta, kind="stable")
        gaps = np.diff(np.append(theta[order], theta[order[0]] + math.pi))
        if gaps.max() > WIDEST_GAP_RAD:
            return None
        s = np.linspace(-np.abs(u).max(), np.abs(u).max(), n_bins)
        lines = np.stack(
            [
                np.interp(s, -u[::-1] if back else u, row[::-1] if back else row, 0.0, 0.0)
                for row, back in zip(sinogram[order].astype(np.float64), flipped[order], strict=True)
            ]
        )
        return cls(phi, s, _at(lines, theta[order], phi, math.pi, mirrored=True)[0])

    @classmethod
    def _of_fan(cls, rows: NDArray[np.float64], geometry: FanBeam, phi: NDArray[np.float64]) -> ParallelViews | None:
        """Rebin: the line (φ, s) is the ray γ = asin(s / R) of the view φ + γ, and −γ of the view φ + π − γ.

        So half a turn and the fan's angle see each line once.
        """
        turn = 2 * math.pi
        theta = np.mod(np.asarray(geometry.angles_rad, np.float64), turn)
        order = np.argsort(theta, kind="stable")
        gamma = geometry.fan_angles()
        radius = geometry.source_origin_mm * np.sin(np.abs(gamma).max())
        s = np.linspace(-radius, radius, len(gamma))
        wanted = np.arcsin(s / geometry.source_origin_mm)
        rows = np.stack([np.interp(wanted, gamma, row, 0.0, 0.0) for row in rows[order]])
        seen = np.zeros((len(phi), len(s)), bool)
        values = np.zeros((len(phi), len(s)))
        for k in range(len(s)):
            one, near = _at(rows[:, [k]], theta[order], np.mod(phi + wanted[k], turn), turn)
            other, far = _at(rows[:, [-1 - k]], theta[order], np.mod(phi + math.pi - wanted[k], turn), turn)
            values[:, k] = np.where(near, one[:, 0], np.where(far, other[:, 0], 0))
            seen[:, k] = near | far
        object_mm = np.abs(s)[(rows > RIM * rows.max()).any(0)].max(initial=0)
        whole = seen[:, np.abs(s) <= object_mm].all(1)
        if whole.sum() < FEWEST_VIEWS:
            return None
        return cls(phi[whole], s, values[whole], bool(whole.all()))

    def unevenness(self, values: NDArray[np.float64]) -> float:
        """Return the relative standard deviation of the mass over views."""
        mass = values.sum(1)
        mean = float(mass.mean())
        return float(mass.std()) / mean if mean > 0 else math.inf

    def width_mm(self) -> float:
        """Return the object's widest shadow."""
        shadow = self.values > 0.1 * self.values.max()
        first, last = shadow.argmax(1), shadow.shape[1] - 1 - shadow[:, ::-1].argmax(1)
        return float((last - first + 1).max() * (self.s[1] - self.s[0]))

    def attenuation(self) -> float:
        """Return the median attenuation per mm of what is no lung, from filtered back-projection on a few pixels."""
        step = self.s[1] - self.s[0]
        n = 2 * len(self.s)
        ramp = np.abs(np.fft.fftfreq(n, step))
        ramp *= 0.5 + 0.5 * np.cos(2 * math.pi * np.fft.fftfreq(n))
        filtered = np.fft.ifft(np.fft.fft(self.values, n, axis=1) * ramp, axis=1).real[:, : len(self.s)]
        middle, half = self._place(), 0.55 * self.width_mm()
        at = np.linspace(-half, half, SIDE)
        x, y = np.meshgrid(at + middle[0], at + middle[1])
        picture = np.zeros_like(x)
        for phi, row in zip(self.angles, filtered, strict=True):
            picture += np.interp(x * math.cos(phi) + y * math.sin(phi), self.s, row)
        picture *= math.pi / len(self.angles)
        dense = picture[picture > BODY_PART * np.quantile(picture, 0.98)]
        return float(np.median(dense)) if dense.size else math.nan

    def _place(self) -> tuple[float, float]:
        """The centre of mass, whose distance is a cosine of the angle (order 1 of the same conditions)."""
        centre = (self.values @ self.s) / np.maximum(self.values.sum(1), 1e-12)
        basis = np.stack([np.cos(self.angles), np.sin(self.angles)], axis=1)
        x, y = np.linalg.lstsq(basis, centre, rcond=None)[0]
        return float(x), float(y)


def _at(
    rows: NDArray[np.float64],
    theta: NDArray[np.float64],
    wanted: NDArray[np.float64],
    turn: float,
    mirrored: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows between those at sorted angles, linearly, and which lie between near ones.

    A turn on they come again, or mirrored.
    """
    again = rows[:1, ::-1] if mirrored else rows[:1]
    before = rows[-1:, ::-1] if mirrored else rows[-1:]
    rows = np.concatenate([before, rows, again])
    theta = np.concatenate([[theta[-1] - turn], theta, [theta[0] + turn]])
    right = np.clip(np.searchsorted(theta, wanted), 1, len(theta) - 1)
    span = theta[right] - theta[right - 1]
    part = np.where(span > 0, (wanted - theta[right - 1]) / np.where(span > 0, span, 1), 0)[:, None]
    return (1 - part) * rows[right - 1] + part * rows[right], span <= WIDEST_GAP_RAD


def _seen_whole(sinogram: NDArray[np.floating]) -> bool:
    """Whether the detector's ends are in air."""
    ends = np.abs(np.concatenate([sinogram[:, :2], sinogram[:, -2:]], axis=1))
    return float(ends.mean()) <= EMPTY * float(sinogram.max())


def check_scale(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    """Refuse the absorbed part 1 − I/I₀, and logarithms to base 10 of a patient.

    Parameters
    ----------
    sinogram : (n_views, n_detectors).
    geometry : its scan.

    Raises
    ------
    IntensityError : the mass is even over views if the values are the absorbed part; or what has a patient's size
        weakens rays as no tissue does.
    GeometryError : it is wider than any patient, or as narrow as one in metres.
    """
    with np.errstate(all="ignore"):  # whatever the numbers are: what is no number decides nothing
        _check(sinogram, geometry)


def _check(sinogram: NDArray[np.float32], geometry: Geometry) -> None:
    views = ParallelViews.of(sinogram, geometry)
    top = float(sinogram.max())
    if views is None:
        if isinstance(geometry, ParallelBeam) and len(sinogram) >= FEWEST_VIEWS and _seen_whole(sinogram):
            angles = np.asarray(geometry.angles_rad)  # one mass in each of them, however few they are
            _check_mass(
                ParallelViews(angles, np.arange(sinogram.shape[1], dtype=np.float64), sinogram.astype(np.float64)), top
            )
        return
    _check_mass(views, top)
    if not views.all_around:
        return
    width = views.width_mm()
    if width < NARROWEST_MM:
        raise GeometryError(
            f"What is seen is {width:.2g} mm wide: the pitch is perhaps in another unit.",
            "Give the distance between neighbouring bins in mm.",
        )
    if width > WIDEST_MM:
        raise GeometryError(
            f"What is seen is {width:.0f} mm wide, which no patient is: the pitch is perhaps in another unit.",
            "Give the distance between neighbouring bins in mm.",
        )
    if not PATIENT_MM[0] <= width <= PATIENT_MM[1]:
        return
    mu = views.attenuation()
    seen = f"What is seen is {width:.0f} mm wide and weakens rays by {mu:.4f} per mm, where soft tissue has 0.019"
    if LOG10_PER_MM[0] <= mu <= LOG10_PER_MM[1]:
        raise IntensityError(
            f"{seen}: this looks like a logarithm to base 10.",
            "Multiply the values by 2.3026 (the natural logarithm of 10), or take -log(I / I0) again; check that "
            "the detector's pitch is in mm.",
        )
    if SATURATED[0] < top < SATURATED[1] and 0 < mu < LOG10_PER_MM[0]:
        raise _is_absorbed(f"{seen}, and no value exceeds 1: these look like 1 - I/I0")


def _check_mass(views: ParallelViews, top: float) -> None:
    """Raise where views add up to one mass only if their values, at most ``top``, are the absorbed part."""
    if top >= SATURATED[1]:
        return
    absorbed = -np.log1p(-np.clip(views.values, None, 1 - 1e-4))
    given = views.unevenness(views.values)
    if given > UNEVEN and given > BETTER * views.unevenness(absorbed):
        raise _is_absorbed(f"The values, at most {top:.3g}, add up to one mass in all views if they are 1 - I/I0")


def _is_absorbed(problem: str) -> IntensityError:
    return IntensityError(
        f"{problem}, the part of the rays that is absorbed, not line integrals.",
        "Take -log(1 - value), which is -log(I / I0); line integrals are 0 in air and grow with what is in the way.",
    )
