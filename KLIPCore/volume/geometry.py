"""Where the rays are: one image plane, and the lines along which a scanner measures it.

Everything that follows (projection, filtered back-projection, closed-form sinograms of ellipses) needs one thing of a
scanner: for each view and each detector bin, the *line* it measures. A line in the plane is written with a unit normal
and a signed distance from the isocentre,

    { (x, y) :  x cos φ + y sin φ = s } .

A parallel beam at view angle θ has φ = θ for all bins and s = the detector coordinate u. A fan beam with source at
distance R from the isocentre has φ = θ − γ and s = R sin γ, where γ is the ray's angle in the fan. That is the whole
difference, and it is why every operator below takes either.

Conventions (absolute; golden values in ``Testing/Python/physics/test_geometry.py``)
    image         row 0 = anterior (top), column 0 = patient right; centre of the array = isocentre
    plane         x = to the patient's Left (along columns), y = to Posterior (along rows), mm, as LPS
    view angle    θ = 0: rays travel from anterior to posterior, the source is above the image;
                  θ = 90°: the source is at the patient's Left (right of the image). As displayed, the source
                  turns clockwise
    detector      bin d lies at u = (d − (n − 1)/2)·pitch + offset along (cos θ, sin θ): to the patient's Left at θ = 0
    source (fan)  R (sin θ, −cos θ); the detector's middle (u = 0) lies opposite, through the isocentre
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import ConfigError

Array = NDArray[np.floating[Any]]
G = TypeVar("G", bound="Geometry")


@dataclass(frozen=True)
class ImageGrid2D:
    """Square pixels in one plane, their array centred on the isocentre.

    Attributes
    ----------
    shape : ``(H, W)`` rows and columns.
    pixel_mm : edge of a pixel in mm.
    """

    shape: tuple[int, int]
    pixel_mm: float

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ConfigError(
                f"An image needs two dimensions of at least one pixel, not {self.shape}.", "Give rows and columns."
            )
        if not (self.pixel_mm > 0 and math.isfinite(self.pixel_mm)):
            raise ConfigError(
                f"The pixel size of {self.pixel_mm} mm is not a positive number.", "Give the pixel's edge in mm."
            )
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "pixel_mm", float(self.pixel_mm))

    @property
    def x_mm(self) -> Array:
        """(W,) x (to the patient's left) of the columns' centres."""
        return (np.arange(self.shape[1]) - (self.shape[1] - 1) / 2) * self.pixel_mm

    @property
    def y_mm(self) -> Array:
        """(H,) y (to posterior) of the rows' centres."""
        return (np.arange(self.shape[0]) - (self.shape[0] - 1) / 2) * self.pixel_mm

    @property
    def radius_mm(self) -> float:
        """Half the diagonal: the circle around the isocentre that holds the image."""
        return 0.5 * self.pixel_mm * math.hypot(*self.shape)

    def __str__(self) -> str:
        return f"{self.shape[0]} x {self.shape[1]} pixels of {self.pixel_mm:.4g} mm"

    def refined(self, factor: int) -> ImageGrid2D:
        """Return the same square of the plane with every pixel split ``factor`` × ``factor``."""
        if factor < 1:
            raise ConfigError(f"A grid cannot be refined {factor} times.", "Give a whole number of at least 1.")
        return ImageGrid2D((self.shape[0] * factor, self.shape[1] * factor), self.pixel_mm / factor)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        return {"shape": list(self.shape), "pixel_mm": self.pixel_mm}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> ImageGrid2D:
        """Return the inverse of :meth:`to_dict`."""
        return cls((int(fields["shape"][0]), int(fields["shape"][1])), float(fields["pixel_mm"]))


@dataclass(frozen=True, repr=False)
class Geometry(ABC):
    """Views × detector bins, each a line in the plane.

    Attributes
    ----------
    angles_rad : view angles θ in radians, one per view.
    n_detectors : detector bins per view.
    pitch_mm : distance between the centres of neighbouring bins, measured on the detector.
    offset_mm : detector coordinate u of the detector's middle.
    """

    angles_rad: tuple[float, ...]
    n_detectors: int
    _: KW_ONLY
    pitch_mm: float
    offset_mm: float = 0.0

    def __post_init__(self) -> None:
        angles = tuple(float(a) for a in np.atleast_1d(np.asarray(self.angles_rad, dtype=float)).ravel())
        object.__setattr__(self, "angles_rad", angles)
        if not angles or not all(math.isfinite(a) for a in angles):
            raise ConfigError("A scan needs at least one view, at a finite angle.", "Give the view angles in radians.")
        if int(self.n_detectors) != self.n_detectors or self.n_detectors < 1:
            raise ConfigError(
                f"A detector of {self.n_detectors} bins cannot measure.", "Give a whole number of bins, at least 1."
            )
        object.__setattr__(self, "n_detectors", int(self.n_detectors))
        if not (self.pitch_mm > 0 and math.isfinite(self.pitch_mm)):
            raise ConfigError(
                f"The detector pitch of {self.pitch_mm} mm is not a positive number.", "Give the bins' distance in mm."
            )
        if not math.isfinite(self.offset_mm):
            raise ConfigError("The detector offset is not finite.", "Give it in mm, 0 for a centred detector.")

    def __repr__(self) -> str:
        bins = f"{self.n_detectors} bins of {self.pitch_mm:.4g} mm"
        return f"{type(self).__name__}({self.n_views} {arc_text(self.angles_rad)}, {bins}{self._more()})"

    def _more(self) -> str:
        """What :func:`repr` says beyond views and bins."""
        return f", offset {self.offset_mm:.4g} mm" if self.offset_mm else ""

    @property
    def n_views(self) -> int:
        """Number of views."""
        return len(self.angles_rad)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_views, n_detectors)``, the shape of a sinogram."""
        return (self.n_views, int(self.n_detectors))

    def detector_mm(self, shift: float = 0.0) -> Array:
        """Return the (n_detectors,) detector coordinates u of the bins' centres, moved by ``shift`` bins."""
        return (np.arange(self.n_detectors) - (self.n_detectors - 1) / 2 + shift) * self.pitch_mm + self.offset_mm

    @property
    @abstractmethod
    def pitch_at_isocentre_mm(self) -> float:
        """Distance between neighbouring rays where they pass the isocentre."""

    @abstractmethod
    def lines(self, shift: float = 0.0) -> tuple[Array, Array]:
        """Return normal angle φ (rad) and signed distance s (mm) of every ray, two arrays (n_views, n_detectors).

        Parameters
        ----------
        shift : moves each ray within its bin, in bins (−½ to ½ spans the bin).
        """

    def views(self: G, selection: ArrayLike | slice) -> G:
        """Return the same scanner with a selection of its views (indices, a mask or a slice)."""
        return replace(
            self,
            angles_rad=tuple(
                np.asarray(self.angles_rad)[selection if isinstance(selection, slice) else np.asarray(selection)]
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields, with the kind of scanner under ``type``."""
        fields = asdict(self)
        return {"type": KINDS_OF[type(self)], **fields, "angles_rad": list(self.angles_rad)}

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> Geometry:
        """Return the inverse of :meth:`to_dict`.

        Raises
        ------
        ConfigError : the type is unknown, or a field is missing or superfluous.
        """
        known = dict(fields)
        kind = known.pop("type", None)
        classes = {name: cls for cls, name in KINDS_OF.items()}
        if kind not in classes:
            raise ConfigError(
                f"Scanner geometry of type {kind!r} is unknown.", f"Use one of: {', '.join(sorted(classes))}."
            )
        try:
            known["angles_rad"] = tuple(known["angles_rad"])
            made: Geometry = classes[kind](**known)
            return made
        except ConfigError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"The {kind} geometry cannot be read: a field is missing, unknown, or no number.",
                "Give the fields that to_dict() writes.",
            ) from error


@dataclass(frozen=True, repr=False)
class ParallelBeam(Geometry):
    """Parallel rays: φ = θ, s = u. Half a turn sees every line once."""

    @property
    def pitch_at_isocentre_mm(self) -> float:
        """Distance of neighbouring rays: the bins' own."""
        return self.pitch_mm

    def lines(self, shift: float = 0.0) -> tuple[Array, Array]:
        """Return φ = θ (rad) and s = u (mm) of every ray, two arrays (n_views, n_detectors)."""
        phi = np.repeat(np.asarray(self.angles_rad)[:, None], self.n_detectors, axis=1)
        return phi, np.repeat(self.detector_mm(shift)[None, :], self.n_views, axis=0)

    @classmethod
    def sparse(
        cls,
        n_views: int,
        image: ImageGrid2D,
        *,
        arc_deg: float = 180.0,
        start_deg: float = 0.0,
        pitch_mm: float | None = None,
    ) -> ParallelBeam:
        """Return evenly spread views over an arc, with a detector that sees the whole image.

        Parameters
        ----------
        n_views : number of views, at θ = start + arc·k/n_views (the end of the arc is left out).
        image : the image that must be covered, corners included.
        arc_deg : 180 for a full scan; less is a limited-angle scan.
        start_deg : angle of the first view.
        pitch_mm : detector pitch; the image's pixel size when None.
        """
        pitch = image.pixel_mm if pitch_mm is None else pitch_mm
        return cls(_arc(n_views, arc_deg, start_deg), math.ceil(2 * image.radius_mm / pitch) + 1, pitch_mm=pitch)


@dataclass(frozen=True, repr=False, kw_only=True)
class FanBeam(Geometry):
    """Rays from a point source to a flat (or equiangular) detector: φ = θ − γ, s = R sin γ.

    Attributes
    ----------
    source_origin_mm : R, distance from source to isocentre.
    source_detector_mm : D, distance from source to the detector's middle.
    equiangular : False: flat detector, γ = arctan(u/D). True: detector on an arc around the source, γ = u/D.
    """

    source_origin_mm: float = 595.0
    source_detector_mm: float = 1085.6
    equiangular: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.source_origin_mm <= self.source_detector_mm < math.inf:
            raise ConfigError(
                f"A source {self.source_origin_mm} mm from the isocentre and {self.source_detector_mm} mm from the "
                "detector is impossible.",
                "The distance to the detector is the larger one; both are in mm.",
            )
        if float(np.abs(self.fan_angles()).max()) >= math.pi / 2:
            raise ConfigError("The fan opens to half a turn or more.", "Check the detector pitch and distances (mm).")

    def _more(self) -> str:
        shape = "arc" if self.equiangular else "flat detector"
        return (
            f"{super()._more()}, source {self.source_origin_mm:.4g} mm from the isocentre, {shape} "
            f"{self.source_detector_mm:.4g} mm from the source"
        )

    def fan_angles(self, shift: float = 0.0) -> Array:
        """Return the (n_detectors,) angle γ of each ray to the central one, in radians, of u's sign."""
        u = self.detector_mm(shift) / self.source_detector_mm
        return u if self.equiangular else np.arctan(u)

    @property
    def pitch_at_isocentre_mm(self) -> float:
        """Distance of neighbouring rays where they pass the isocentre."""
        return self.pitch_mm * self.source_origin_mm / self.source_detector_mm

    def lines(self, shift: float = 0.0) -> tuple[Array, Array]:
        """Return φ = θ − γ (rad) and s = R sin γ (mm) of every ray, two arrays (n_views, n_detectors)."""
        gamma = self.fan_angles(shift)
        phi = np.asarray(self.angles_rad)[:, None] - gamma[None, :]
        return phi, np.repeat(self.source_origin_mm * np.sin(gamma)[None, :], self.n_views, axis=0)

    @classmethod
    def sparse(
        cls,
        n_views: int,
        image: ImageGrid2D,
        *,
        arc_deg: float = 360.0,
        start_deg: float = 0.0,
        pitch_mm: float | None = None,
        source_origin_mm: float = 595.0,
        source_detector_mm: float = 1085.6,
        equiangular: bool = False,
    ) -> FanBeam:
        """Return evenly spread views over an arc, with a detector that sees the whole image.

        Parameters
        ----------
        n_views, image, arc_deg, start_deg : as for :meth:`ParallelBeam.sparse`; a full circle is 360.
        pitch_mm : detector pitch; when None, such that rays at the isocentre are one pixel apart.
        source_origin_mm, source_detector_mm, equiangular : the scanner; the defaults are those of a clinical gantry.
        """
        if image.radius_mm >= source_origin_mm:
            raise ConfigError(
                f"The image's corner is {image.radius_mm:.0f} mm from the isocentre, the source "
                f"{source_origin_mm:.0f} mm: it would turn inside the patient.",
                "Use a smaller image, smaller pixels or a larger source distance.",
            )
        pitch = image.pixel_mm * source_detector_mm / source_origin_mm if pitch_mm is None else pitch_mm
        gamma = math.asin(image.radius_mm / source_origin_mm)
        half_width = source_detector_mm * (gamma if equiangular else math.tan(gamma))
        n = math.ceil(2 * half_width / pitch) + 1
        return cls(
            _arc(n_views, arc_deg, start_deg),
            n,
            pitch_mm=pitch,
            source_origin_mm=source_origin_mm,
            source_detector_mm=source_detector_mm,
            equiangular=equiangular,
        )


KINDS_OF: dict[type[Geometry], str] = {ParallelBeam: "parallel", FanBeam: "fan"}


def arc_text(angles_rad: tuple[float, ...]) -> str:
    """Return what view angles (rad) span, in degrees, for people.

    ``views over 180 deg``, or between the first and last of uneven ones.
    """
    degrees = np.rad2deg(angles_rad)
    if len(degrees) == 1:
        return f"view at {round(float(degrees[0]), 2):g} deg"
    steps = np.diff(degrees)
    if np.allclose(steps, steps[0], rtol=0, atol=1e-6):
        return f"views over {round(abs(float(steps[0])) * len(degrees), 2):g} deg"
    return f"views from {round(float(degrees.min()), 2):g} to {round(float(degrees.max()), 2):g} deg"


def _arc(n_views: int, arc_deg: float, start_deg: float) -> tuple[float, ...]:
    """n_views angles in radians from ``start_deg``, evenly spread over ``arc_deg``, the end left out."""
    if n_views < 1:
        raise ConfigError(f"A scan of {n_views} views measures nothing.", "Ask for at least one view.")
    return tuple(np.deg2rad(start_deg + arc_deg * np.arange(n_views) / n_views))
