"""The score ``unexpected``: pushes centred on what health gives, both signs, without knowledge of lesions.

A trace keeps the mean pushes u_σ = x̂ − E D of a few noise levels with their sign (:mod:`KLIPCore.maps.pushes`). At
low temperature the denoiser sees less noise than it is told, so healthy tissue has a mean push of its own. With c a
class of the place, made of what the prior *expects* there (never of the pixel's own HU: a lesion shares its HU with
bowel),

    centred        u_σ − E[u_σ | c in health]                                       :func:`centred_pushes`
    pooled         G_xy(2.5 or 5 px) and G_z(3 mm) of it, with its sign
    statistic      S = Σ_block w Σ_σ max(± pooled, 0)² / σ²                          :func:`block_statistics`

for each sign and for the small (0.08 to 0.32) and the large noise levels (0.32 to 1.6), w being what a place of
average information would give (:mod:`KLIPCore.maps.information`). How unusual S is in health, class by class, says the
reference of the prior (:mod:`KLIPCore.maps.reference`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import TraceError
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.information import per_information
from KLIPCore.maps.pushes import STEP
from KLIPCore.maps.trace import KLTrace
from KLIPCore.volume.framed_study import Framing

NODES = (0.107, 0.239, 0.450, 1.139)
"""Noise levels that are asked: two Gauss–Legendre nodes of each interval; the nearest recorded ones are taken."""

WINDOWS = {"small": (0, 1), "large": (2, 3)}
"""Which nodes are added up, and the name of each sum."""

SCALES_PX = (2.5, 2.5, 5.0, 5.0)
"""Standard deviation of each node's in-plane Gaussian in frame pixels."""

POOL_MM = 3.0
"""Standard deviation of the Gaussian across slices."""

SIGNS = {"darker": -1.0, "brighter": 1.0}

EXPECTATION_BINS = 32
GRADIENTS = (0.008, 0.02, 0.05)
"""Classes of a pixel: bins of the expectation D, and of its gradient per 2 px."""

BLOCK_EXPECTATIONS = (0.15, 0.3, 0.36, 0.41, 0.45, 0.49, 0.53, 0.57, 0.61, 0.66, 0.72, 0.8)
BLOCK_SPREADS = (0.02, 0.04, 0.07, 0.12)
BLOCK_WEIGHTS = (1.0, 2.5)
"""Classes of a block: its mean expectation, the expectation's spread within some 24 mm, and its information weight."""

N_PIXEL_CLASSES = EXPECTATION_BINS * (len(GRADIENTS) + 1)
N_BLOCK_CLASSES = (len(BLOCK_EXPECTATIONS) + 1) * (len(BLOCK_SPREADS) + 1) * (len(BLOCK_WEIGHTS) + 1)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the score reads of a trace, slices in order.

    Attributes
    ----------
    pushes : (n, 4, H, W) float32, u at :data:`NODES`, intensity.
    expectation : (n, H, W) float32.
    body : (n, H, W) bool.
    weight : (n, h, w) float32, of the base cells.
    places : (n,) slice numbers.
    pixel_mm, spacing_mm : edge of a frame pixel, and distance of slices.
    """

    pushes: NDArray[np.float32]
    expectation: NDArray[np.float32]
    body: NDArray[np.bool_]
    weight: NDArray[np.float32]
    places: NDArray[np.intp]
    pixel_mm: float
    spacing_mm: float

    @property
    def cell_mm(self) -> float:
        """Edge of a base cell."""
        return self.pixel_mm * STEP * self.body.shape[-1] / self.weight.shape[-1]

    def runs(self) -> Iterator[slice]:
        """Yield the slices that are neighbours: a gap stays a gap."""
        cuts = np.flatnonzero(np.diff(self.places) > 1) + 1
        for start, stop in zip([0, *cuts], [*cuts, len(self.places)], strict=True):
            yield slice(int(start), int(stop))


def evidence_of(trace: KLTrace, study: Framing) -> Evidence:
    """Return what the score reads.

    Raises
    ------
    TraceError : pushes, or the chain's information, were not recorded.
    """
    pushes, expectations, weights, bodies = [], [], [], []
    for s in trace.slices:
        if s.pushes is None or "path" not in s.layers:
            raise TraceError(
                "This run did not record pushes, which the score 'unexpected' reads.",
                "Run detect again, or choose another score.",
            )
        size = len(s.reconstruction)
        pushes.append(s.pushes.push[[s.pushes.nearest(sigma) for sigma in NODES]])
        expectations.append(s.pushes.expectation)
        weights.append(per_information(s.layers["path"], size // s.layers["path"].energy.shape[-1]))
        mask = study.mask(s.index)
        bodies.append(mask.reshape(size // STEP, STEP, size // STEP, STEP).mean((1, 3)) >= 0.5)
    return Evidence(
        np.stack(pushes),
        np.stack(expectations),
        np.stack(bodies),
        np.stack(weights),
        np.array(trace.indices),
        study.frame.pixel_mm,
        float(study.lps_grid.spacing[0]),
    )


def pixel_classes(expectation: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the class of each pixel, (n, H, W) in 0 … :data:`N_PIXEL_CLASSES` − 1."""
    bins = np.clip((expectation * EXPECTATION_BINS).astype(np.intp), 0, EXPECTATION_BINS - 1)
    gradient = np.hypot(np.gradient(expectation, axis=1), np.gradient(expectation, axis=2))
    return bins * (len(GRADIENTS) + 1) + np.digitize(gradient, GRADIENTS)


def block_classes(evidence: Evidence, block_mm: float) -> NDArray[np.intp]:
    """Return the class of each block, (n, h, w) in 0 … :data:`N_BLOCK_CLASSES` − 1."""
    expectation, body = evidence.expectation, evidence.body.astype(np.float32)
    reach = 12.0 / (evidence.pixel_mm * STEP)
    share = np.maximum(_blurred(body, reach), 0.05)
    mean = _blurred(expectation * body, reach) / share
    square = _blurred(expectation**2 * body, reach) / share
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    n_cells = evidence.weight.shape[-1]
    cells = block_mm / evidence.cell_mm
    count = block_nats(np.ones((1, n_cells, n_cells), np.float32), cells)
    block = block_nats(_per_cell(expectation, n_cells, np.mean), cells) / count
    made = np.digitize(block, BLOCK_EXPECTATIONS) * (len(BLOCK_SPREADS) + 1)
    made = made + np.digitize(_per_cell(spread, n_cells, np.mean), BLOCK_SPREADS)
    return made * (len(BLOCK_WEIGHTS) + 1) + np.digitize(evidence.weight, BLOCK_WEIGHTS)


def centred_pushes(evidence: Evidence, mean_push: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (n, 4, H, W) pushes less what health of the same class gives, pooled with their sign.

    Parameters
    ----------
    evidence : of the study.
    mean_push : (4, :data:`N_PIXEL_CLASSES`) mean push of health.
    """
    classes = pixel_classes(evidence.expectation)
    out = np.empty_like(evidence.pushes)
    depth = POOL_MM / evidence.spacing_mm
    for k, scale in enumerate(SCALES_PX):
        own = np.where(evidence.body, evidence.pushes[:, k] - mean_push[k][classes], 0.0).astype(np.float32)
        own = _blurred(own, scale / STEP)
        for run in evidence.runs():
            pooled = ndi.gaussian_filter1d(own[run], depth, axis=0, mode="nearest") if depth > 0.3 else own[run]
            out[run, k] = pooled
    return out


def block_statistics(
    evidence: Evidence, mean_push: NDArray[np.floating], block_mm: float
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return S of every block, (n, h, w), by sign and window.

    Parameters
    ----------
    evidence : of the study.
    mean_push : (4, :data:`N_PIXEL_CLASSES`) mean push of health.
    block_mm : edge of a block within a slice.
    """
    pooled = centred_pushes(evidence, mean_push)
    n_cells, cells = evidence.weight.shape[-1], block_mm / evidence.cell_mm
    out = {}
    for sign, factor in SIGNS.items():
        for window, nodes in WINDOWS.items():
            nats = sum(np.maximum(factor * pooled[:, k], 0.0) ** 2 / NODES[k] ** 2 for k in nodes)
            out[sign, window] = block_nats(_per_cell(np.asarray(nats), n_cells, np.sum) * evidence.weight, cells)
    return out


def mean_pushes(studies: Sequence[Evidence], least: float = 50.0) -> NDArray[np.float32]:
    """Return (4, :data:`N_PIXEL_CLASSES`): the mean push of each class over some healthy studies.

    Parameters
    ----------
    studies : of patients that count as healthy.
    least : pixels by which a class is drawn towards 0, so that a rare one says nothing.
    """
    total, count = np.zeros((len(NODES), N_PIXEL_CLASSES)), np.zeros(N_PIXEL_CLASSES)
    for study in studies:
        classes = pixel_classes(study.expectation)[study.body]
        count += np.bincount(classes, minlength=N_PIXEL_CLASSES)
        for k in range(len(NODES)):
            total[k] += np.bincount(classes, study.pushes[:, k][study.body], minlength=N_PIXEL_CLASSES)
    return (total / (count + least)).astype(np.float32)


def _blurred(images: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    """In-plane Gaussian of (n, H, W)."""
    out = ndi.gaussian_filter1d(images, scale, axis=1, mode="nearest")
    return np.asarray(ndi.gaussian_filter1d(out, scale, axis=2, mode="nearest"), np.float32)


def _per_cell(images: NDArray[np.floating], n_cells: int, how: object) -> NDArray[np.float32]:
    """(n, H, W) → (n, n_cells, n_cells) sums or means."""
    step = images.shape[-1] // n_cells
    shaped = images.reshape(len(images), n_cells, step, n_cells, step)
    return np.asarray(how(shaped, axis=(2, 4)), np.float32)  # type: ignore[operator]
