"""Does an image explain the data? A test under the noise's own law, then ray by ray and block by block.

With z the whitened residual of an image x (:mod:`KLIPCore.audit.whitened`) two different questions are asked.

*Does this image explain the data?* If x is the truth, z is M independent standard normal numbers and ‖z‖² is χ²
with M degrees of freedom. Nothing is fitted in that statement, so it is exact for an image that was not made from
these data. An image that was fitted to them has taken some of their noise into itself: ‖z‖² is then smaller and p
larger than it should be, so the test accuses too seldom, never too often.

*Does any image explain them?* Whatever lies in the range of W^½ A could have been caused by some image. What is left,

    r = (1 − H) z ,      H = B (Bᵀ B)⁻¹ Bᵀ ,  B = W^½ A ,

is the same for every x: ‖r‖² is χ² with M − rank B degrees of freedom whichever image was fitted, and so it tests the
data against the *geometry* (a patient that moved, another scanner, wrong angles). For a least-squares fit it
is the whole of the residual. With few views almost nothing is left over, and that is said. On images too large to
write B out, H is damped and ‖r‖² is compared with a scaled χ² of the same mean and variance (Satterthwaite 1946), both
traced by probes.

*Where.* The residual back-projected onto a block, t_B = 1_Bᵀ Bᵀ z / ‖B 1_B‖, is standard normal under the truth: the
score test for a uniform error of the block. It is negative where the image has more than the data hold. Sums over
views and over detector bins do the same in data space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special as special
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.audit.null_space import tiling
from KLIPCore.audit.whitened import Whitened, whitened_residual
from KLIPCore.maps.fdr import q_values
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.solve import conjugate_gradients

EXACT_ENTRIES = 3_000_000
"""Operators of at most so many entries are written out."""
RANK_TOLERANCE = 1e-6
"""Singular values below this part of the largest are 0."""
MAD_TO_STD = 1.4826

Array = NDArray[np.float64]


FAULTY, FEW = 0.01, 0.06
"""Chance that any view, or any bin, of a sound scan is named; part of them that may be: more are no single ones."""

SOUND_SPREAD = 1.5
"""Beyond such a spread of the blocks the noise is not as large as estimated, and single rays tell nothing."""


@dataclass(frozen=True)
class ChiSquare:
    """A sum of squares and what it is compared with.

    Attributes
    ----------
    statistic : the sum.
    dof : degrees of freedom of the χ² it follows under the truth, after scaling.
    scale : ``statistic / scale`` is that χ²; 1 where nothing was approximated.
    """

    statistic: float
    dof: float
    scale: float = 1.0

    @property
    def p(self) -> float:
        """Chance of at least so much under the truth; NaN without degrees of freedom."""
        if self.dof < 0.5:
            return math.nan
        return float(special.gammaincc(0.5 * self.dof, 0.5 * self.statistic / self.scale))

    @property
    def ratio(self) -> float:
        """Statistic over what the truth would show on average: 1 is as expected."""
        return self.statistic / (self.dof * self.scale) if self.dof >= 0.5 else math.nan


@dataclass(frozen=True, eq=False)
class Consistency:
    """How a reconstruction agrees with data.

    Attributes
    ----------
    image : does this image explain the data? χ² with as many degrees of freedom as rays.
    geometry : does any image? None where it was not asked.
    z : (*range_shape) whitened residual.
    view_p, bin_p : (n_views,), (n_detectors,) chance of so large a sum of squares.
    labels : (H, W) block of each pixel, from 1.
    t : (K,) back-projected residual of each block; NaN where no ray passes.
    spread : what t was divided by for the p-values: above 1 only where the law of the noise is an estimate.
    block_p, block_q : (K,) two-sided p-values of t / spread, and their false-discovery rates.
    """

    image: ChiSquare
    geometry: ChiSquare | None
    z: Tensor
    view_p: Array
    bin_p: Array
    labels: NDArray[np.int64]
    t: Array
    spread: float
    block_p: Array
    block_q: Array

    def block_map(self, values: Array | None = None) -> NDArray[np.float32]:
        """Return (H, W) each pixel with its block's t, or another value per block; 0 where there is none."""
        own = self.t if values is None else values
        return np.nan_to_num(own)[self.labels - 1].astype(np.float32)

    def facts(self) -> dict[str, Any]:
        """Return JSON-ready figures."""
        return {
            "rays": round(self.image.dof),
            "residual_over_noise": self.image.ratio,
            "p_image": self.image.p,
            "geometry": None if self.geometry is None else {"dof": self.geometry.dof, "p": self.geometry.p},
            "blocks": int(np.isfinite(self.t).sum()),
            "blocks_q_below_5_percent": int((self.block_q < 0.05).sum()),
            "smallest_block_p": float(np.nanmin(self.block_p)),
            "spread": self.spread,
            "views_p_below_0.1_percent": np.flatnonzero(self.view_p < 1e-3).tolist(),
            "bins_p_below_0.1_percent": np.flatnonzero(self.bin_p < 1e-3).tolist(),
        }

    def faulty_rays(self) -> str:
        """Return a sentence about single views or detector bins that disagree; empty where none do, or many."""
        views, bins = self._faulty_lines()
        said = [
            f"{name}{'s' if len(lines) > 1 else ''} {', '.join(map(str, sorted(lines)))}"
            for name, lines in (("view", views), ("detector bin", bins))
            if lines
        ]
        if (
            not said
            or self.spread > SOUND_SPREAD
            or len(views) > FEW * len(self.view_p)
            or len(bins) > FEW * len(self.bin_p)
        ):
            return ""
        return (
            f"Data and image disagree in {' and '.join(said)} (counted from 0) beyond the noise, not elsewhere. "
            "Either these readings are faulty, or the image is wrong where their rays touch it, as at an edge that "
            "all of them graze."
        )

    def _faulty_lines(self) -> tuple[list[int], list[int]]:
        """Views and bins, the worst first; each is then left out of the lines that cross it."""
        square, used = self.z.double().square().clone(), self.z != 0
        found: tuple[list[int], list[int]] = ([], [])
        for _ in range(sum(square.shape) // 10 + 2):  # by then they are many
            p = [_line_p(square, used, 1 - along) * square.shape[along] for along in (0, 1)]
            along = int(p[1].min() < p[0].min())
            line = int(p[along].argmin())
            if p[along][line] >= FAULTY:
                break
            found[along].append(line)
            square.select(along, line).zero_()
            used.select(along, line).zero_()
        return found


def consistency(
    measurement: Measurement,
    image: Tensor,
    *,
    block: int = 8,
    geometry_test: bool = True,
    calibrated: bool = False,
    generator: torch.Generator | None = None,
    within: NDArray[np.bool_] | None = None,
) -> Consistency:
    """Test an image against data.

    Parameters
    ----------
    measurement : one sinogram with its operator and noise.
    image : (H, W) in the operator's unit.
    block : edge of the blocks in pixels.
    geometry_test : whether to ask, too, if any image explains the data.
    calibrated : divide t by the blocks' own robust spread where that is above 1: for a law of the noise that was
        estimated. A block is then unusual among the blocks of this scan.
    generator : CPU generator of what counts and probes need; seed 0 when None.
    within : (H, W) only blocks at least half in here are tested; None: all that rays meet.
    """
    generator = generator or torch.Generator().manual_seed(0)
    with torch.no_grad():
        z = whitened_residual(measurement, image, generator)
        used = (measurement.weights > 0).expand_as(z)
        B = Whitened(measurement.A, measurement.noise.inverse_variance(measurement.A(image)).sqrt())
        labels, _ = tiling((image.shape[-2], image.shape[-1]), block)
        t = block_scores(B, z, labels, within)
        geometry = geometry_chi_square(B, z, generator) if geometry_test else None
    spread = 1.0
    tested = np.isfinite(t)
    if calibrated and tested.sum() >= 8:
        spread = max(1.0, MAD_TO_STD * float(np.median(np.abs(t[tested]))))
    p = np.full(t.shape, np.nan)
    p[tested] = special.erfc(np.abs(t[tested]) / spread / math.sqrt(2))
    q = np.full(t.shape, np.nan)
    if tested.any():
        q[tested] = q_values(p[tested])
    square = z.double().square()
    return Consistency(
        image=ChiSquare(float(square.sum()), float(used.sum())),
        geometry=geometry,
        z=z,
        view_p=_line_p(square, used, 1),
        bin_p=_line_p(square, used, 0),
        labels=labels.numpy(),
        t=t,
        spread=spread,
        block_p=p,
        block_q=q,
    )


def block_scores(B: Whitened, z: Tensor, labels: Tensor, within: NDArray[np.bool_] | None = None) -> Array:
    """Return t_B = 1_Bᵀ Bᵀ z / ‖B 1_B‖ of every block; NaN for those that are not tested or that no ray meets.

    Parameters
    ----------
    B : whitened operator.
    z : whitened residual.
    labels : (H, W) blocks from 1.
    within : (H, W) blocks less than half in here are not tested.
    """
    k = int(labels.max())
    flat = labels.flatten()
    size = torch.bincount(flat, minlength=k + 1)[1:].double()
    back = torch.zeros(k + 1, dtype=torch.float64).index_add_(0, flat, B.T(z).flatten().double().cpu())[1:]
    asked = torch.ones(k, dtype=torch.bool)
    if within is not None:
        inside = torch.zeros(k + 1, dtype=torch.float64)
        inside.index_add_(0, flat, torch.from_numpy(within).flatten().double())
        asked = inside[1:] >= 0.5 * size
    norm = torch.zeros(k, dtype=torch.float64)
    for part in asked.nonzero().flatten().split(16):
        masks = (labels[None] == part[:, None, None] + 1).to(z)
        norm[part] = B(masks).flatten(1).double().norm(dim=1).cpu()
    met = asked & (norm > 1e-9 * float(norm.max()))
    return torch.where(met, back / torch.where(met, norm, 1.0), torch.nan).numpy()


def geometry_chi_square(B: Whitened, z: Tensor, generator: torch.Generator, n_probes: int = 8) -> ChiSquare:
    """Return ‖(1 − H) z‖² and the χ² that it follows whatever the image.

    Parameters
    ----------
    B : whitened operator.
    z : whitened residual of any image.
    generator : CPU generator of the probes.
    n_probes : where B is too large to be written out.
    """
    n, m = math.prod(B.domain_shape), math.prod(B.range_shape)
    if n * m <= EXACT_ENTRIES:
        units = torch.eye(n, dtype=torch.float64).reshape(n, *B.domain_shape).to(z.device)
        columns = B(units).reshape(n, m)
        values, vectors = torch.linalg.eigh(columns @ columns.T)  # of Bᵀ B
        seen = values > RANK_TOLERANCE**2 * values[-1]
        flat = z.flatten().double()
        along = (vectors[:, seen].T @ (columns @ flat)).square() / values[seen]
        used = int((B.root > 0).expand_as(z).sum())
        return ChiSquare(float(flat.square().sum() - along.sum()), float(used - int(seen.sum())))
    one = z.new_ones(())
    weight = 1e-4 * B.norm(tolerance=1e-2) ** 2

    def left(y: Tensor) -> Tensor:
        d = conjugate_gradients(lambda x: B.normal(x, one) + weight * x, B.T(y), 150, relative_tolerance=1e-4)
        return y - B(d)

    signs = torch.randint(0, 2, (n_probes, *B.range_shape), generator=generator).to(z) * 2 - 1
    signs = signs * (B.root > 0)
    first = left(torch.cat([z[None], signs]))
    second = left(first[1:])
    mean = float(first[1:].double().square().sum()) / n_probes
    half_variance = float(second.double().square().sum()) / n_probes
    scale = half_variance / mean
    return ChiSquare(float(first[0].double().square().sum()), mean / scale, scale)


def _line_p(square: Tensor, used: Tensor, dim: int) -> Array:
    """Upper tail of the sums of squares along a dimension."""
    dof = used.sum(dim).double().cpu().numpy()
    return special.gammaincc(0.5 * np.maximum(dof, 1), 0.5 * square.sum(dim).cpu().numpy())
