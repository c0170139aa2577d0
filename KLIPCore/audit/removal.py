"""Do the data want this structure? Nats between an image with it and the best image without it.

Let an image be x = m + e with e ~ N(0, C), and y = A x + n, n ~ N(0, V). *Without* anything in a region R that its
surroundings do not foretell, e inside R is its conditional mean given e outside. In terms of the precision
Q = C⁻¹ that is (Q e)_R = 0, and e has the covariance

    C₀ = C − E Q_RR⁻¹ Eᵀ           (E puts the pixels of R into the image).

The smallest data-and-prior energy of either model is a quadratic form of d = y − A m,

    min (y − A x)ᵀ V⁻¹ (y − A x) + eᵀ C⁻¹ e = dᵀ K⁻¹ d ,     K = A C Aᵀ + V ,     K₀ = A C₀ Aᵀ + V ,

so two numbers answer two questions.

*Is anything there?*        nats = ½ (dᵀ K₀⁻¹ d − dᵀ K⁻¹ d) ≥ 0: by how much the best image, free in R, beats the
best image without. This is the exact log ratio of the two minima. Where nothing is there it is not 0 but a little
more, because noise is fitted, too.

*Is it what is shown?*      Let s be the structure that is shown in R: the image less the image without it. With
x = (image without) + α s + e the log-likelihood of α is a parabola, I the Fisher information:

    I = (A s)ᵀ K⁻¹ A s ,    α̂ = (A s)ᵀ K⁻¹ d / I ± I^(−½) ,    support = log p(α = 1) − log p(α = 0) = I (α̂ − ½) .

α̂ is how much of the structure the data hold: 1 for one that was measured, 0 for one that was only added to the image.
Everything else in the image may be wrong by e meanwhile, inside R, too. I/2 is what these data are expected to say for
it where it is as shown, and against it where it is not there. Far above zero the structure was *measured*; far below
zero the data *contradict* it; in between nobody can know: invented or *unprovable*. A small number never means that
the structure is not there: it means that the scan did not show it.

*And where the whole image is wrong?* A bias b ~ N(0, τ² D S D) over centimetres (:mod:`KLIPCore.audit.bias`) is there
with the structure and without: C and C₀ both get τ² D S D added, and K and K₀ with them. The data's coarse part, which
a bias explains as well as a structure does, then no longer counts for or against one.

What the image is without the structure: :func:`foretell` fills R as a Gaussian prior and the surroundings expect it
(kriging). :func:`flatten` takes only the region's even contrast to its surroundings away and leaves its texture, which
is what a reader means by a lesion; reconstructions are audited with that. Any other filling, such as an inpainting
by a diffusion prior, can be handed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from KLIPCore.audit.bias import ImageError
from KLIPCore.audit.whitened import Whitened
from KLIPCore.errors import ConfigError
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import conjugate_gradients
from KLIPCore.priors.stationary import StationaryGaussianPrior

Verdict = Literal["measured", "contradicted", "unprovable"]

ENOUGH_NATS = 3.0
"""Odds of twenty to one: fewer nats decide nothing."""

LARGEST_REGION = 4096
"""Pixels of a region: its precision is written out."""


@dataclass(frozen=True, eq=False)
class Removal:
    """What the data say of one region.

    Attributes
    ----------
    nats : by which data and prior prefer the best image, free in the region, over the best without; at least 0.
    support : nats for the structure as it is shown, against none; negative where the data speak against it.
    amplitude, amplitude_error : how much of the structure the data hold, and its standard error.
    information : nats expected for it were it there exactly as shown, and against it were it not: I/2.
    without : (H, W) the image with the region as its surroundings foretell it.
    contrast : mean of what was removed from the region, in the image's unit.
    """

    nats: float
    support: float
    amplitude: float
    amplitude_error: float
    information: float
    without: Tensor
    contrast: float

    @property
    def verdict(self) -> Verdict:
        """``measured``, ``contradicted`` (the data speak against it) or ``unprovable``.

        Where even the structure as shown could not bring enough nats, many nats mean that the image's surroundings
        are wrong, not that this structure is there or is not.
        """
        if min(abs(self.support), self.information) < ENOUGH_NATS:
            return "unprovable"
        return "measured" if self.support > 0 else "contradicted"

    def sentence(self) -> str:
        """Say it to somebody who reads nothing else."""
        share = f"the data hold {self.amplitude:.2f} ± {self.amplitude_error:.2f} of it"
        if self.verdict == "measured":
            return f"Measured: {share}; {self.support:.0f} nats for it."
        if self.verdict == "contradicted":
            return f"Not measured, probably invented: {share}; {-self.support:.0f} nats against it."
        if self.information < ENOUGH_NATS:
            return (
                f"Not measured: were it there as shown, this scan would give only {self.information:.1f} nats for it. "
                "Invented or not, these data cannot prove it."
            )
        return f"Undecided: {share}; {self.support:+.1f} nats. Invented or not, these data cannot prove it."

    def facts(self) -> dict[str, Any]:
        """Return JSON-ready figures."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "nats": self.nats,
            "support_nats": self.support,
            "amplitude": self.amplitude,
            "amplitude_error": self.amplitude_error,
            "information_nats": self.information,
            "contrast": self.contrast,
        }


class Conditional:
    """A stationary prior given everything outside a region.

    Parameters
    ----------
    prior : its spectrum is that of C; its mean plays no part.
    mask : (H, W) bool, the region.

    Raises
    ------
    ConfigError : the region is empty, too large to write its precision out, or of another shape.
    """

    def __init__(self, prior: StationaryGaussianPrior, mask: Tensor) -> None:
        n = int(mask.sum())
        if tuple(mask.shape) != tuple(prior.mean.shape):
            raise ConfigError(
                f"A region of {tuple(mask.shape)} is not of an image of {tuple(prior.mean.shape)}.",
                "Give the region on the image's own pixels.",
            )
        if not 0 < n <= LARGEST_REGION:
            raise ConfigError(
                f"A region of {n} pixels cannot be removed.",
                f"Outline 1 to {LARGEST_REGION} pixels; split larger ones.",
            )
        self.prior, self.mask = prior, mask
        precision = torch.fft.ifft2(1.0 / prior.spectrum).real  # Q's kernel
        rows, columns = mask.nonzero(as_tuple=True)
        height, width = mask.shape
        self.factor = torch.linalg.cholesky(
            precision[(rows[:, None] - rows) % height, (columns[:, None] - columns) % width]
        )
        self.at = rows * width + columns

    def foretold(self, e: Tensor) -> Tensor:
        """Return E[e_R | e outside] for images e (H, W) of zero mean: a vector of the region's pixels."""
        outside = torch.where(self.mask, 0.0, e.double())
        pulled = self.prior.filtered(outside, 1.0 / self.prior.spectrum).flatten()[self.at]
        return -torch.cholesky_solve(pulled[:, None], self.factor)[:, 0]

    def less(self, x: Tensor) -> Tensor:
        """Return E Q_RR⁻¹ Eᵀ x for one image (H, W): what R's own freedom contributes to C x."""
        inside = torch.cholesky_solve(x.flatten()[self.at][:, None].double(), self.factor)[:, 0]
        return torch.zeros(x.numel(), dtype=torch.float64).index_put_((self.at,), inside).reshape(x.shape)


def foretell(prior: StationaryGaussianPrior, image: Tensor, mask: Tensor, mean: Tensor | None = None) -> Tensor:
    """Return the image with a region as prior and surroundings expect it.

    Parameters
    ----------
    prior : spectrum of the covariance.
    image : (H, W).
    mask : (H, W) bool region.
    mean : (H, W) the prior's mean; None: the mean of the pixels around the region.
    """
    conditional = Conditional(prior, mask)
    if mean is None:
        around = torch.nn.functional.max_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0].bool() & ~mask
        mean = torch.full_like(image, float(image[around].mean())) if bool(around.any()) else torch.zeros_like(image)
    without = image.clone()
    without[mask] = mean[mask] + conditional.foretold(image - mean).to(image)
    return without


def flatten(image: Tensor, mask: Tensor, gap: int = 2, ring: int = 3) -> Tensor:
    """Return the image with a region's even contrast to its surroundings taken away, and its texture left.

    Parameters
    ----------
    image : (H, W).
    mask : (H, W) bool region.
    gap : pixels around the region that are neither it nor its surroundings.
    ring : width in pixels of the surroundings, whose median is what the region is brought to.
    """
    inner, outer = _grown(mask, gap), _grown(mask, gap + ring)
    around = outer & ~inner
    level = image[around].median() if bool(around.any()) else image.new_zeros(())
    contrast = image[mask].mean() - level
    return image - contrast * torch.nn.functional.avg_pool2d(mask[None, None].to(image), 3, 1, 1)[0, 0]


def _grown(mask: Tensor, pixels: int) -> Tensor:
    return torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * pixels + 1, 1, pixels)[0, 0] > 0


def removal(
    measurement: Measurement,
    image: Tensor,
    mask: Tensor,
    prior: StationaryGaussianPrior | ImageError,
    *,
    mean: Tensor | None = None,
    without: Tensor | None = None,
    n_iterations: int = 400,
    tolerance: float = 1e-3,
) -> Removal:
    """Ask the data whether they want what an image shows in a region.

    Parameters
    ----------
    measurement : one sinogram with operator and weights.
    image : (H, W) the reconstruction, in the operator's unit.
    mask : (H, W) bool region R.
    prior : its spectrum is C, the room that the rest of the image has for correction; or that and a coarse error.
    mean : (H, W) m about which images vary by C. None: the image without the structure, so that only corrections of
        this reconstruction are asked for.
    without : (H, W) the image with another filling of R, e.g. by a diffusion prior; None: kriging.
    n_iterations, tolerance : of the conjugate gradients in data space.

    Returns
    -------
    The nats; see the module's docstring for what each of them means.
    """
    return removals(
        measurement,
        image,
        [mask],
        prior,
        mean=mean,
        without=None if without is None else [without],
        n_iterations=n_iterations,
        tolerance=tolerance,
    )[0]


def removals(
    measurement: Measurement,
    image: Tensor,
    masks: Sequence[Tensor],
    prior: StationaryGaussianPrior | ImageError,
    *,
    mean: Tensor | None = None,
    without: Sequence[Tensor] | None = None,
    n_iterations: int = 400,
    tolerance: float = 1e-3,
) -> list[Removal]:
    """Do :func:`removal` of several regions, each by itself, solved together."""
    B = Whitened(measurement.A, measurement.weights.sqrt())
    error = prior if isinstance(prior, ImageError) else ImageError(prior)
    conditionals = [Conditional(error.fine, mask) for mask in masks]
    plain = list(without) if without is not None else [foretell(error.fine, image, mask, mean) for mask in masks]
    structures = image - torch.stack(plain)
    base = torch.stack(plain) if mean is None else mean.expand(len(masks), *image.shape)
    with torch.no_grad():
        d = measurement.weights.sqrt() * (measurement.y - measurement.A(base))
        # what is shown is asked about beside the image without it, whatever the prior's mean
        beside = (
            d if mean is None else measurement.weights.sqrt() * (measurement.y - measurement.A(torch.stack(plain)))
        )
        shown = B(structures)
        n = len(masks)
        held = [*conditionals, *([None] * (2 * n))]
        solved = conjugate_gradients(
            lambda v: v + B(_covariance(B.T(v), error, held)),
            torch.cat([d, d, shown]),
            n_iterations,
            relative_tolerance=tolerance,
        ).double()
    v_held, v_free, v_shown = solved.split(n)
    energies = 0.5 * (d.double() * (v_held - v_free)).flatten(1).sum(1)
    information = (shown.double() * v_shown).flatten(1).sum(1)
    scores = (beside.double() * v_shown).flatten(1).sum(1)
    found = []
    for k, mask in enumerate(masks):
        i, score = max(float(information[k]), 0.0), float(scores[k])
        known = i > 1e-12
        found.append(
            Removal(
                nats=max(float(energies[k]), 0.0),
                support=score - 0.5 * i,
                amplitude=score / i if known else math.nan,
                amplitude_error=i**-0.5 if known else math.inf,
                information=0.5 * i,
                without=plain[k],
                contrast=float(structures[k][mask].mean()),
            )
        )
    return found


def _covariance(x: Tensor, error: ImageError, held: Sequence[Conditional | None]) -> Tensor:
    """C x for each image, less what a region's own freedom contributes where one is held."""
    full = error.covariance(x)
    for k, conditional in enumerate(held):
        if conditional is not None:
            full[k] -= conditional.less(x[k])
    return full.to(x.dtype)
