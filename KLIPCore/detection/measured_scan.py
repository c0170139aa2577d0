"""A scan that a scanner measured, as a prior wants to see it: nothing simulated, and nothing guessed.

Between a sinogram file and the sampler stand five questions; each is answered from the data themselves, or
from the one scan of a solid disc that calibrates the scanner:

which rays      thinned to so many views over so long an arc (:class:`Selection`);
                detector bins are joined until one is about a pixel wide
which unit      line integrals become windowed intensity · mm, so that A is a plain projection of the prior's images
how linear      hardening of the one material is undone, p → μ₀ L
                (:class:`KLIPCore.physics.hardening.Hardening`), or left as it is
how noisy       counts from the scan's own second differences; a share of p for what drifts
                (tube output), measured on the solid disc
where           the disc's outline from its shadow, holes or not (:func:`KLIPCore.physics.disc_fit.fit_outline`)
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.detection.sample_slices import steps
from KLIPCore.detection.slice_record import SliceRecord, slice_generator
from KLIPCore.errors import ConfigError, PriorError
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.physics.disc import Disc
from KLIPCore.physics.disc_fit import Outline, fit_outline, photons_per_ray
from KLIPCore.physics.hardening import Hardening
from KLIPCore.physics.joined_bins import joined_bins
from KLIPCore.physics.known_noise import KnownNoise
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.prior import Prior, denoiser
from KLIPCore.volume.frame import Frame
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.geometry import Geometry, ImageGrid2D
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import MU_WATER_PER_MM
from KLIPCore.volume.volume import Volume

NEIGHBOUR_CORRELATION = 0.2
"""Noise that neighbouring detector bins share (residuals of the solid disc); none beyond the next one."""

DRIFT = 0.008
"""Slow errors as a share of p: what hardening and noise leave of the solid disc, 0.8 % root-mean-square."""

READOUT = 0.002
"""Smallest error of a ray: offsets in air vary by this much over views."""

RIM = (0.2, 0.5)
"""Paths, as parts of the longest, from which the material's attenuation is read."""


@dataclass(frozen=True)
class Selection:
    """Which views of a full-circle scan are used.

    Attributes
    ----------
    n_views : evenly spread over the arc; None takes all that lie in it.
    arc_deg : length of the arc.
    start_deg : where it begins, from the scan's first view on, in its own direction of turning.
    """

    n_views: int | None = None
    arc_deg: float = 360.0
    start_deg: float = 0.0

    @property
    def name(self) -> str:
        """For tables: ``60 views`` or ``arc 90°``."""
        if self.arc_deg >= 360:
            return f"{self.n_views} views" if self.n_views else "all views"
        return f"arc {self.arc_deg:g}°" + (f", {self.n_views} views" if self.n_views else "")

    def of(self, geometry: Geometry) -> NDArray[np.intp]:
        """Return indices of the views taken.

        Raises
        ------
        ConfigError : the scan has not that many.
        """
        angles = np.unwrap(np.asarray(geometry.angles_rad))
        turned = np.abs(np.rad2deg(angles - angles[0]))
        end = min(self.start_deg + self.arc_deg, 360.0)  # where a circle closes, the last view repeats the first
        within = np.flatnonzero((turned >= self.start_deg - 1e-6) & (turned < end - 1e-6))
        n = len(within) if self.n_views is None else self.n_views
        if not 1 <= n <= len(within):
            raise ConfigError(
                f"{n} views cannot be taken from the {len(within)} between {self.start_deg:g} and {end:g} degrees.",
                "Ask for fewer views, or for an arc that the scan has.",
            )
        return within[np.floor(np.arange(n) * len(within) / n).astype(int)]


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """A measured scan, ready for the sampler.

    Attributes
    ----------
    measurement : line integrals in windowed intensity · mm with their operator and noise.
    image : the pixels.
    outline : of the disc.
    photons : counts of a ray through air that explain its white noise.
    material : hardening that was undone; None where the data were left as measured.
    unit : windowed intensity per 1/mm.
    """

    measurement: Measurement
    image: ImageGrid2D
    outline: Outline
    photons: float
    material: Hardening | None
    unit: float

    @classmethod
    def prepare(
        cls,
        sinogram: NDArray[np.floating],
        geometry: Geometry,
        card: ModelCard,
        material: Hardening | None,
        offset: float = 0.0,
        drift: float = DRIFT,
        device: torch.device | str = "cpu",
        water_per_mm: float = MU_WATER_PER_MM,
    ) -> MeasuredScan:
        """Return the map from measured line integrals to the prior's units.

        Parameters
        ----------
        sinogram : (n_views, n_detectors) line integrals, the views that are to be used.
        geometry : their scan.
        card : of the prior; its pixel size is the image's.
        material : undo its hardening; None leaves it, less ``offset``.
        offset : line integral in air, where there is no material to tell it.
        drift : slow errors, as a share of the line integral.
        device : where the operators lie.
        water_per_mm : attenuation of water, where the scanner's calibration says it: then HU are calibrated, too.

        Raises
        ------
        PriorError : the prior's intensity 0 is not vacuum.
        IntensityError : no disc's shadow, or no noise.
        """
        if abs(card.window.lo_hu + 1000) > 1e-6:
            raise PriorError(
                f"Intensity 0 of the prior {card.name} is {card.window.lo_hu:g} HU, not air.",
                "Take a prior whose window begins at -1000 HU.",
            )
        image = ImageGrid2D((card.size, card.size), 0.5 * sum(card.pixel_mm_range))
        unit = 1000.0 / (water_per_mm * card.window.width_hu)
        k = max(1, round(image.pixel_mm / geometry.pitch_at_isocentre_mm))
        photons = photons_per_ray(sinogram, 1) * (6 - 8 * NEIGHBOUR_CORRELATION) / 6
        p, coarse = joined_bins(sinogram, geometry, k)
        share = (1 + 2 * NEIGHBOUR_CORRELATION * (k - 1) / k) / k  # variance of a mean of k bins
        variance = np.exp(p) / photons * share + (drift * p) ** 2 + READOUT**2
        y, slope = (
            (p - offset, np.ones_like(p))
            if material is None
            else (material.linearised(p), material.mu0 * material.slope(p))
        )
        A = Projector(coarse, image).to(device)
        noise = KnownNoise(torch.from_numpy(unit * slope * np.sqrt(variance)).float().to(device))
        data = torch.from_numpy(unit * y).float().to(device)
        measurement = Measurement(
            data,
            A,
            noise=noise,
            simulated=False,
            description=f"measured: {geometry.n_views} views of {geometry.n_detectors} bins",
        )
        return cls(measurement, image, fit_outline(sinogram, geometry), photons, material, unit)

    def framed(self, picture: NDArray[np.floating], card: ModelCard) -> FramedStudy:
        """Return a reconstruction (H, W) in windowed intensity as a study of one slice.

        It is 1 mm thick, and its body is the disc: what maps are drawn on.

        Its pixels are the frame's own. HU are 1000 (μ / μ_water − 1): a scale, not a claim about the tube.
        """
        affine = np.eye(4)
        affine[:3, :3] = np.array([[0, 0, self.image.pixel_mm], [0, self.image.pixel_mm, 0], [1.0, 0, 0]])
        affine[:3, 3] = (self.image.x_mm[0], self.image.y_mm[0], 0.0)
        volume = Volume(card.window.invert(picture)[None], Grid((1, *self.image.shape), affine))
        middle = (card.size - 1) / 2
        frame = Frame(card.size, np.array([[middle, middle]]), np.ones(2), self.image.pixel_mm)
        return FramedStudy.of(volume, self.mask[None], frame)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) the disc, holes included."""
        o = self.outline
        return Disc(o.radius_mm, o.x_mm, o.y_mm).mask(self.image)

    def twin(self, generator: torch.Generator) -> Measurement:
        """Return what the same scanner would have measured of a SOLID disc there.

        Same rays and noise, drift as a slow random gain.

        Simulated, and said so: the null that measured regions are tested against.
        """
        m, A = self.measurement, self.measurement.A
        assert isinstance(A, Projector)
        path = torch.from_numpy(self.outline.path_mm(A.geometry)).to(m.y)
        walk = torch.randn(4, generator=generator)
        t = torch.linspace(0, 2 * math.pi, A.geometry.n_views + 1)[:-1]
        gain = 1 + DRIFT * (
            walk[0] * t.cos() + walk[1] * t.sin() + walk[2] * (2 * t).cos() + walk[3] * (2 * t).sin()
        ) / math.sqrt(2)
        clean = self.attenuation * path * gain[:, None].to(path)
        return Measurement(
            m.noise.sample(clean, generator),
            A,
            noise=m.noise,
            simulated=True,
            description="SIMULATED solid disc where the measured one lies",
        )

    @cached_property
    def attenuation(self) -> float:
        """Intensity of the solid material, from rays near the rim, where holes are rarest.

        The upper quartile of y over path.
        """
        A = self.measurement.A
        assert isinstance(A, Projector)
        path = torch.from_numpy(self.outline.path_mm(A.geometry)).to(self.measurement.y)
        rim = (path > RIM[0] * path.max()) & (path < RIM[1] * path.max())
        return float(np.quantile((self.measurement.y[rim] / path[rim]).cpu().numpy(), 0.75))

    def facts(self) -> dict[str, Any]:
        """Return JSON-ready figures for a record."""
        o = self.outline
        return {
            "views": self.measurement.A.range_shape[0],
            "radius_mm": round(o.radius_mm, 3),
            "centre_mm": [round(o.x_mm, 3), round(o.y_mm, 3)],
            "photons_per_ray": round(self.photons),
            "hardening_undone": self.material is not None,
        }


def material_of(card: ModelCard) -> Hardening | None:
    """Return the hardening that a prior's card asks to be undone; None where it names none.

    Raises
    ------
    PriorError : the card's material cannot be read.
    """
    fields = card.training.get("config", {}).get("extra", {}).get("material")
    try:
        return None if fields is None else Hardening(**{name: float(value) for name, value in fields.items()})
    except (TypeError, ValueError, AttributeError, ConfigError) as error:
        raise PriorError(
            f"The material in the card of {card.name} cannot be read ({error}).",
            "Use the card written beside the weights.",
        ) from error


def trace_scan(scan: MeasuredScan, prior: Prior, config: Config, index: int = 0) -> SliceTrace:
    """Sample a measured scan and its twin together, and record both.

    The trace holds the scan's layers, and ``twin-…`` layers of a simulated solid disc.

    Parameters
    ----------
    scan : what was measured.
    prior : the denoiser.
    config : its measurement section is not read: nothing is simulated but the twin.
    index : with the seed it decides all randomness.
    """
    started = time.monotonic()
    seed, window = config.sampling.seed, prior.card.window
    own, other = slice_generator(seed, index), slice_generator(seed, index, purpose=1)
    slices = [
        SliceRecord(config, index, scan.measurement, own, window=window),
        SliceRecord(config, index, scan.twin(other), other, True, window),
    ]
    for step in steps(denoiser(prior), slices):
        step()
    real, twin = slices
    layers = real.layers() | {f"twin-{name}": layer for name, layer in twin.layers().items()}
    m, mean = real.measurement, real.mean
    info = {
        "seconds": round(time.monotonic() - started, 3),
        "network_evaluations": real.n_evaluations + twin.n_evaluations,
        "samples": real.n_samples,
        "data_misfit": round(float((m.weights * m.residual(mean).square()).mean()), 3),
        **scan.facts(),
    }
    return SliceTrace(index, layers, mean.cpu().numpy(), info)
