"""Audit a reconstruction: what the scan measured, whether data and image agree, and what is invented or unprovable.

    image, data → do they belong together? → measured shares
                → consistency → structures → removal → sentences

:func:`audit` takes files' contents (a volume, and a sinogram or a reference); :func:`audit_subject` takes what the
mathematics is written with. Nothing here knows which method made the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.audit.against import NoiseSettings, Scan, ScanSettings, Subject, measured_against, simulated_against
from KLIPCore.audit.belonging import Belonging, belonging
from KLIPCore.audit.bias import ImageError, image_error
from KLIPCore.audit.consistency import Consistency, consistency
from KLIPCore.audit.null_space import DAMPING, Shares, block_shares, mask_shares, tiling
from KLIPCore.audit.removal import ENOUGH_NATS, LARGEST_REGION, Removal, flatten, removals
from KLIPCore.audit.structures import body_of, structures
from KLIPCore.errors import ConfigError
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.volume.units import MU_WATER_PER_MM
from KLIPCore.volume.volume import Volume

DISCLAIMER = (
    "Research software. Not a medical device. An audit says what these data can prove of an image; it does not "
    "diagnose, and what was measured need not be a lesion."
)
WIDELY = 0.3
"""Part of the blocks that may disagree before the whole image is said to."""
PER_SOLVE = 4
"""Regions whose systems are solved together."""

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class AuditSettings:
    """What an audit can be told.

    Attributes
    ----------
    block_mm : edge of the blocks of shares and residuals.
    damping : λ of the measured shares, as a part of ‖A‖².
    error_hu : standard deviation by which the image may be wrong anywhere else while a structure is asked about.
    error_length_mm : over how many mm such errors are alike.
    bias_length_mm : over how many mm a bias of the whole image is alike, where the residual shows one.
    max_structures : structures that are looked for where no regions are given.
    seed : of probes and of a simulated scan.
    noise : the law of the data.
    scan : of a reference.
    """

    block_mm: float = 12.0
    damping: float = DAMPING
    error_hu: float = 8.0
    error_length_mm: float = 3.0
    bias_length_mm: float = 30.0
    max_structures: int = 8
    seed: int = 0
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)

    def __post_init__(self) -> None:
        if (
            min(self.block_mm, self.error_hu, self.error_length_mm, self.bias_length_mm) <= 0
            or self.max_structures < 0
        ):
            raise ConfigError("Blocks, errors and lengths must be positive.", "Leave them out for the defaults.")


@dataclass(frozen=True, eq=False)
class AuditedRegion:
    """One region and what is known of it.

    Attributes
    ----------
    name : for people.
    mask : (H, W) bool.
    removal : nats for and against what the image shows there.
    measured_share : part of the region's even pattern that the scan saw.
    """

    name: str
    mask: NDArray[np.bool_]
    removal: Removal
    measured_share: float


@dataclass(frozen=True, eq=False)
class Audit:
    """The outcome.

    Attributes
    ----------
    subject : image and data.
    settings : as they were.
    belonging : whether image and data are of the same scan.
    body : (H, W) bool, the object.
    shares : measured share of each block.
    consistency : residual tests, with the blocks' labels.
    error : by how much the image may be wrong elsewhere while a region is asked about.
    regions : the most contradicted first, then what is unprovable, then what was measured.
    """

    subject: Subject
    settings: AuditSettings
    belonging: Belonging
    body: NDArray[np.bool_]
    shares: Shares
    consistency: Consistency
    error: ImageError
    regions: tuple[AuditedRegion, ...]

    def null_space_map(self) -> NDArray[np.float32]:
        """Return (H, W) null-space share of each pixel's block; 0 outside the object."""
        share = np.clip(self.shares.null_space.numpy(), 0.0, 1.0)
        return np.where(self.body, share[self.consistency.labels - 1], 0.0).astype(np.float32)

    def warnings(self) -> list[str]:
        """Sentences that come before everything else."""
        said = [self.belonging.sentence(), *self.subject.notes]
        inside = np.isfinite(self.consistency.t)
        seen = float(np.median(self.shares.measured.numpy()[inside])) if inside.any() else 0.0
        if seen < 0.5:
            said.append(
                f"Too little data: the scan measured {100 * seen:.0f} % of a typical block. Most of what the image "
                "shows comes from its method."
            )
        wrong = float((self.consistency.block_q[inside] < 0.05).mean()) if inside.any() else 0.0
        if wrong > WIDELY:
            said.append(
                f"Image and data disagree in {100 * wrong:.0f} % of the blocks: the image as a whole is biased, "
                "the geometry is another, or the noise is larger than told. Take what is said of single regions with "
                "care."
            )
        said.append(self.consistency.faulty_rays())
        if self.biased:
            said.append(
                f"The residual is that of an image that is wrong by about {_hu(self.error.std):.0f} HU over "
                f"{self.settings.bias_length_mm:g} mm and {_hu(self.error.fine_std):.0f} HU over "
                f"{self.settings.error_length_mm:g} mm. Regions were judged with room for that."
            )
        if self.regions and all(r.removal.information < ENOUGH_NATS for r in self.regions):
            said.append("Too little data to say anything of any region: none could get three nats for or against it.")
        return [sentence for sentence in said if sentence]

    @property
    def biased(self) -> bool:
        """Whether the residual shows an error of the whole image beyond what every image is allowed."""
        return self.error.coarse is not None

    def summary(self) -> str:
        """Return two or three sentences for somebody who reads nothing else."""
        count = {
            v: sum(r.removal.verdict == v for r in self.regions) for v in ("measured", "contradicted", "unprovable")
        }
        c = self.consistency
        q = int((c.block_q < 0.05).sum())
        n = int(np.isfinite(c.t).sum())
        agree = (
            f"Residuals agree with the noise in all {n} blocks."
            if q == 0
            else f"In {q} of {n} blocks image and data disagree beyond the noise (false-discovery rate 5 %)."
        )
        if not self.regions:
            return f"No structure was audited. {agree}"
        return (
            f"Of {len(self.regions)} structure{'s' if len(self.regions) > 1 else ''}, {count['measured']} "
            f"{'was' if count['measured'] == 1 else 'were'} measured, {count['contradicted']} contradicted by the "
            f"data (probably invented), {count['unprovable']} unprovable. {agree}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, with provenance."""
        return {
            "summary": self.summary(),
            "warnings": self.warnings(),
            "belongs": self.belonging.belongs,
            "belonging": asdict(self.belonging),
            "simulated": self.subject.measurement.simulated,
            "measurement": self.subject.measurement.description,
            "regions": [
                {
                    "name": r.name,
                    "centre_row_column": [round(float(v), 1) for v in np.argwhere(r.mask).mean(0)],
                    "area_mm2": float(r.mask.sum() * self.subject.pixel_mm**2),
                    "null_space_share": 1.0 - r.measured_share,
                    **r.removal.facts(),
                    "contrast_hu": _hu(r.removal.contrast),
                }
                for r in self.regions
            ],
            "consistency": self.consistency.facts(),
            "image_error": {
                "coarse_hu": _hu(self.error.std),
                "fine_hu": _hu(self.error.fine_std),
                "biased": self.biased,
            },
            "null_space": {
                "damping": self.shares.damping,
                "largest_standard_error": float(self.shares.error.max()),
                "median_share": float(np.median(self.null_space_map()[self.body])) if self.body.any() else None,
            },
            "settings": asdict(self.settings),
            "provenance": {"software": f"KLIPCore {__version__}", "seed": self.settings.seed, **self.subject.facts},
            "disclaimer": DISCLAIMER,
        }


def audit(
    reconstruction: Volume,
    against: Scan | Volume,
    *,
    index: int | None = None,
    regions: Volume | None = None,
    names: Mapping[int, str] | None = None,
    settings: AuditSettings | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Audit one slice of a reconstruction.

    Parameters
    ----------
    reconstruction : HU, or attenuation with the unit 1/mm.
    against : a measured sinogram, or a reference on the same voxels, whose scan is then simulated.
    index : slice from the feet; may be left out where there is one only.
    regions : labels on the reconstruction's voxels; None: structures are looked for.
    names : what labels are called.
    settings : see :class:`AuditSettings`.
    progress : called with stage, fraction and detail.

    Raises
    ------
    GeometryError, IntensityError, ConfigError : the two cannot be compared, with a remedy.
    """
    own = settings or AuditSettings()
    if isinstance(against, Scan):
        subject = measured_against(reconstruction, against, own.noise, index)
    else:
        subject = simulated_against(reconstruction, against, own.noise, own.scan, index, own.seed)
    if regions is None:
        return audit_subject(subject, None, own, progress)
    masks = _masks(regions, reconstruction, subject.facts["slice"])
    called = [(names or {}).get(label, f"Region {n}") for n, label in enumerate(masks, 1)]
    return audit_subject(subject, list(masks.values()), own, progress, called)


def audit_subject(
    subject: Subject,
    masks: Sequence[NDArray[np.bool_]] | None = None,
    settings: AuditSettings | None = None,
    progress: Progress | None = None,
    names: Sequence[str] | None = None,
) -> Audit:
    """Audit an image against a measurement.

    Parameters
    ----------
    subject : image, data and noise.
    masks : (H, W) regions; None: structures are looked for.
    settings, progress : see :func:`audit`.
    names : of the masks; None: Region 1, 2, …
    """
    own = settings or AuditSettings()
    tell = progress or (lambda stage, fraction, detail: None)
    image, m = subject.image, subject.measurement
    generator = torch.Generator().manual_seed(own.seed)
    body = body_of(image.numpy())
    tell("audit", 0.0, "do they belong together?")
    fits = belonging(m, image)
    tell("audit", 0.1, "residuals")
    block = max(2, round(own.block_mm / subject.pixel_mm))
    agree = consistency(
        m,
        image,
        block=block,
        geometry_test=False,
        calibrated=subject.estimated_noise,
        generator=generator,
        within=body,
    )
    tell("audit", 0.25, "what the scan measured")
    labels, colours = tiling((image.shape[0], image.shape[1]), block)
    shares = block_shares(m.A, labels, own.damping, colours=colours, n_rounds=2, generator=generator)
    found = list(masks) if masks is not None else structures(image.numpy(), subject.pixel_mm, body, own.max_structures)
    asked = found if fits.belongs else []
    error = room_for_error(subject, own, [torch.from_numpy(mask) for mask in asked])
    called = list(names) if names is not None else [f"Region {n}" for n in range(1, len(asked) + 1)]
    regions = _audited(subject, list(zip(called, asked, strict=False)), error, own.damping, tell)
    regions.sort(key=lambda r: ("contradicted", "unprovable", "measured").index(r.removal.verdict))
    tell("done", 1.0, f"{len(regions)} regions")
    return Audit(subject, own, fits, body, shares, agree, error, tuple(regions))


def room_for_error(subject: Subject, settings: AuditSettings, masks: Sequence[torch.Tensor] = ()) -> ImageError:
    """Return by how much the image may be wrong while regions are asked about.

    ``error_hu`` over ``error_length_mm`` at least; more, and a bias of the whole image, where the residual shows it.

    Parameters
    ----------
    subject : image, data and noise.
    settings : lengths, and the error that is always allowed.
    masks : (H, W) regions that will be asked about; none: the residual is not looked at.
    """
    std = settings.error_hu / 1000 * MU_WATER_PER_MM
    fine = StationaryGaussianPrior.matern(
        torch.zeros(subject.image.shape), std, max(0.7, settings.error_length_mm / subject.pixel_mm)
    )
    if not masks:
        return ImageError(fine)
    return image_error(
        subject.measurement,
        subject.image,
        fine,
        body_of(subject.image.numpy()),
        settings.bias_length_mm / subject.pixel_mm,
        structures=[subject.image - flatten(subject.image, mask) for mask in masks],
        generator=torch.Generator().manual_seed(settings.seed),
    )


def _hu(attenuation: float) -> float:
    """A difference of attenuation in HU."""
    return 1000 * attenuation / MU_WATER_PER_MM


def _audited(
    subject: Subject, named: Sequence[tuple[str, NDArray[np.bool_]]], error: ImageError, damping: float, tell: Progress
) -> list[AuditedRegion]:
    """Removal and share of every region, a few at a time."""
    regions: list[AuditedRegion] = []
    for start in range(0, len(named), PER_SOLVE):
        tell("audit", 0.5 + 0.5 * start / len(named), f"region {start + 1} of {len(named)}")
        part = named[start : start + PER_SOLVE]
        masks = [torch.from_numpy(mask) for _, mask in part]
        plain = [flatten(subject.image, mask) for mask in masks]
        found = removals(subject.measurement, subject.image, masks, error, without=plain)
        seen = mask_shares(subject.measurement.A, masks, damping).measured
        regions.extend(
            AuditedRegion(name, mask, removal, float(share))
            for (name, mask), removal, share in zip(part, found, seen, strict=True)
        )
    return regions


def _masks(regions: Volume, reconstruction: Volume, index: int) -> dict[int, NDArray[np.bool_]]:
    """Masks of the labels on a slice, by label.

    Raises
    ------
    ConfigError : another grid, no label on the slice, or one that is too large.
    """
    if not regions.grid.same_as(reconstruction.grid, 1e-3):
        raise ConfigError("The regions lie on another grid than the reconstruction.", "Draw them on its voxels.")
    labels = regions.oriented_lps()[0].array[index].round().astype(int)
    masks = {int(value): labels == value for value in np.unique(labels[labels > 0])}
    if not masks:
        raise ConfigError(f"There is no region on slice {index}.", "Choose another --slice, or leave --regions out.")
    if max(int(mask.sum()) for mask in masks.values()) > LARGEST_REGION:
        raise ConfigError(
            f"A region of more than {LARGEST_REGION} pixels is no structure.",
            "Outline single structures; split organs.",
        )
    return masks
