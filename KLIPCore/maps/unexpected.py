"""The score ``unexpected``: pushes centred on what health gives, both signs, without knowledge of lesions.

A trace keeps the mean pushes u_σ = x̂ − E D of a few noise levels with their sign (:mod:`KLIPCore.maps.pushes`). At
low temperature the denoiser sees less noise than it is told, so healthy tissue has a mean push of its own. With c a
class of the place, made of what the prior *expects* there (never of the pixel's own HU: a lesion shares its HU with
bowel), and g the tissue filter, which is 1 everywhere or the share of soft tissue in the posterior mean,

    centred        v_σ = g · (u_σ − E[u_σ | c in health])
    pooled         G_xy(2 px) and G_z(3 mm) of it, with its sign                     :func:`centred_pushes`
    statistic      S = Σ_block w Σ_σ max(± pooled, 0)² / σ²                          :func:`block_statistics`

for each sign, at the two small noise levels, w being the information of an average place over the place's own
(:mod:`KLIPCore.maps.information`). How unusual S is in health says the reference of the prior
(:mod:`KLIPCore.maps.reference`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import TraceError
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.half_size import study_images
from KLIPCore.maps.information import per_information
from KLIPCore.maps.pushes import STEP
from KLIPCore.maps.trace import KLTrace, SliceTrace
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.units import Window

NODES = (0.107, 0.239)
"""Noise levels that are asked: two Gauss–Legendre nodes of 0.08 to 0.32; the nearest recorded ones are taken."""

LEVELS = (*NODES, 0.45)
"""Those and a large one, which what is broad is asked at (:mod:`KLIPCore.maps.averages`)."""

SCALE_PX = 2.0
"""Standard deviation of the in-plane Gaussian in frame pixels."""

POOL_MM = 3.0
"""Standard deviation of the Gaussian across slices."""

LEAST_DEPTH, TRUNCATED = 0.3, 4.0
""":data:`POOL_MM` in slices from which slices are pooled, and standard deviations at which that Gaussian ends."""

SIGNS = {"darker": -1.0, "brighter": 1.0}

TISSUES = ("soft", "all")
"""Filters on what is looked at: soft tissue, or everything."""

SOFT_HU = (-25.0, 35.0)
"""HU up to which a place of the posterior mean counts as fat or gas, and from which as soft tissue; the filter rises
between them."""

ABDOMEN = Window(-125.0, 275.0)
"""HU window of the shipped priors of the abdomen."""

NEAR_LEVEL = 0.15
"""How far, in ln σ, a recorded noise level may lie from the one that is asked for."""

KINDS = [(tissue, sign) for tissue in TISSUES for sign in SIGNS]
"""Kinds of statistics, each with laws of its own."""

EXPECTATION_BINS = 32
GRADIENTS = (0.008, 0.02, 0.05)
"""Classes of a pixel: bins of the expectation D, and of its gradient per 2 px."""

BLOCK_WEIGHTS = (1.0, 2.5)
"""Classes of a block: how little the scan informs where it lies."""

LEAST_PIXELS = 50
"""A class with fewer pixels of the study is not centred."""

N_PIXEL_CLASSES = EXPECTATION_BINS * (len(GRADIENTS) + 1)
N_BLOCK_CLASSES = len(BLOCK_WEIGHTS) + 1


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the score reads of a trace, slices in order.

    Attributes
    ----------
    pushes : (n, 3, H, W) float32, u at :data:`LEVELS`, intensity.
    expectation : (n, H, W) float32.
    images : (n, H, W) float32, posterior mean, intensity.
    body : (n, H, W) bool.
    weight : (n, h, w) float32, of the base cells.
    places : (n,) slice numbers.
    pixel_mm, spacing_mm : edge of a frame pixel, and distance of slices.
    window : HU that intensities 0 and 1 stand for.
    other_levels : whether the run recorded other noise levels than :data:`NODES`, so that the nearest are far off.
    has_large : whether it recorded the last of :data:`LEVELS`.
    """

    pushes: NDArray[np.float32]
    expectation: NDArray[np.float32]
    images: NDArray[np.float32]
    body: NDArray[np.bool_]
    weight: NDArray[np.float32]
    places: NDArray[np.intp]
    pixel_mm: float
    spacing_mm: float
    window: Window = ABDOMEN
    other_levels: bool = False
    has_large: bool = True

    @property
    def cell_mm(self) -> float:
        """Edge of a base cell."""
        return self.pixel_mm * STEP * self.body.shape[-1] / self.weight.shape[-1]

    def runs(self) -> Iterator[slice]:
        """Yield the slices that are neighbours: a gap stays a gap."""
        cuts = np.flatnonzero(np.diff(self.places) > 1) + 1
        for start, stop in zip([0, *cuts], [*cuts, len(self.places)], strict=True):
            yield slice(int(start), int(stop))


def evidence_of(trace: KLTrace, study: Framing, window: Window = ABDOMEN) -> Evidence:
    """Return what the score reads.

    Parameters
    ----------
    trace : of a run.
    study : where its slices lie.
    window : of the prior, HU.

    Raises
    ------
    TraceError : pushes, or the chain's information, were not recorded.
    """
    pushes, expectations, weights, other_levels, has_large = [], [], [], False, True
    for piece in trace.slices:
        if piece.pushes is None or "path" not in piece.layers:
            raise TraceError(
                "This run did not record pushes, which the score 'unexpected' reads.",
                "Run detect again, or choose another score.",
            )
        pushes.append(piece.pushes.push[[piece.pushes.nearest(sigma) for sigma in LEVELS]])
        expectations.append(piece.pushes.expectation)
        weights.append(weight_of(piece))
        other_levels |= any(piece.pushes.distance(sigma) > NEAR_LEVEL for sigma in NODES)
        has_large &= piece.pushes.distance(LEVELS[-1]) <= NEAR_LEVEL
    images, body = study_images(trace, study)
    return Evidence(
        np.stack(pushes),
        np.stack(expectations),
        images,
        body,
        np.stack(weights),
        np.array(trace.indices),
        study.frame.pixel_mm,
        float(study.lps_grid.spacing[0]),
        window,
        other_levels,
        has_large,
    )


def weight_of(piece: SliceTrace) -> NDArray[np.float32]:
    """Return the weights of a slice's base cells, (h, w)."""
    if piece.weight is not None:
        return piece.weight
    path = piece.layers["path"]
    return per_information(path, len(piece.reconstruction) // path.energy.shape[-1])


def pixel_classes(expectation: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the class of each pixel, (n, H, W) in 0 … :data:`N_PIXEL_CLASSES` − 1."""
    bins = np.clip((expectation * EXPECTATION_BINS).astype(np.intp), 0, EXPECTATION_BINS - 1)
    gradient = np.hypot(np.gradient(expectation, axis=1), np.gradient(expectation, axis=2))
    return bins * (len(GRADIENTS) + 1) + np.digitize(gradient, GRADIENTS)


def block_classes(evidence: Evidence) -> NDArray[np.intp]:
    """Return the class of each block, (n, h, w) in 0 … :data:`N_BLOCK_CLASSES` − 1."""
    return np.digitize(evidence.weight, BLOCK_WEIGHTS)


def centred_pushes(evidence: Evidence, mean_push: NDArray[np.floating], tissue: str) -> NDArray[np.float32]:
    """Return (n, 2, H, W) pushes less what health of the same class gives, filtered, pooled with their sign.

    Parameters
    ----------
    evidence : of the study.
    mean_push : (2, :data:`N_PIXEL_CLASSES`) mean push of health.
    tissue : one of :data:`TISSUES`.
    """
    classes = pixel_classes(evidence.expectation)
    share = np.where(evidence.body, soft_share(evidence.images, evidence.window) if tissue == "soft" else 1.0, 0.0)
    out = np.empty_like(evidence.pushes[:, : len(NODES)])
    depth = POOL_MM / evidence.spacing_mm
    for k in range(len(NODES)):
        own = _blurred(share * (evidence.pushes[:, k] - mean_push[k][classes]), SCALE_PX / STEP)
        for run in evidence.runs():
            out[run, k] = _pooled(own[run], depth) if depth > LEAST_DEPTH else own[run]
    return out


def _pooled(images: NDArray[np.float32], depth: float) -> NDArray[np.float32]:
    """Gaussian across the slices of (n, H, W), zeros beyond the ends, with the variance of the inside everywhere.

    Laws are of slices that have neighbours. Were the last one repeated beyond the end, it would be smoothed less than
    those, and a slice alone not at all, so that what is usual would look rare.
    """
    reach = 2 * int(TRUNCATED * depth + 0.5) + 1
    squares = ndi.gaussian_filter1d(np.eye(1, 2 * reach + 1, reach)[0], depth, truncate=TRUNCATED) ** 2
    present = ndi.convolve1d(np.ones(len(images)), squares, mode="constant")
    gain = np.sqrt(squares.sum() / present)[:, None, None]
    return np.asarray(
        gain * ndi.gaussian_filter1d(images, depth, axis=0, mode="constant", truncate=TRUNCATED), np.float32
    )


def soft_share(images: NDArray[np.floating], window: Window = ABDOMEN) -> NDArray[np.float32]:
    """Return how far each place counts as soft tissue, 0 to 1.

    Parameters
    ----------
    images : posterior mean, intensity.
    window : HU that intensities 0 and 1 stand for.
    """
    low, high = ((hu - window.lo_hu) / window.width_hu for hu in SOFT_HU)
    return np.asarray(np.clip((images - low) / (high - low), 0, 1), np.float32)


def cell_nats(
    evidence: Evidence, mean_push: NDArray[np.floating], tissue: str
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return the terms of S, per base cell, (n, h, w), by kind.

    Parameters
    ----------
    evidence : of the study.
    mean_push : (2, :data:`N_PIXEL_CLASSES`) mean push of health.
    tissue : one of :data:`TISSUES`.
    """
    pooled, n_cells = centred_pushes(evidence, mean_push, tissue), evidence.weight.shape[-1]
    out = {}
    for sign, factor in SIGNS.items():
        nats = sum(np.maximum(factor * pooled[:, k], 0.0) ** 2 / NODES[k] ** 2 for k in range(len(NODES)))
        out[tissue, sign] = _per_cell(np.asarray(nats), n_cells) * evidence.weight
    return out


def block_statistics(
    cells: dict[tuple[str, str], NDArray[np.float32]], evidence: Evidence, block_mm: float
) -> dict[tuple[str, str], NDArray[np.float32]]:
    """Return S of every block, (n, h, w), by kind.

    Parameters
    ----------
    cells : of :func:`cell_nats`.
    evidence : of the study.
    block_mm : edge of a block within a slice.
    """
    return {kind: block_nats(own, block_mm / evidence.cell_mm) for kind, own in cells.items()}


def own_pushes(evidence: Evidence, n_levels: int = len(NODES)) -> NDArray[np.float32]:
    """Return (levels, :data:`N_PIXEL_CLASSES`) median pushes of each class in the study itself.

    They stand in for health where a prior has no reference; a lesion hardly moves a median.

    Parameters
    ----------
    evidence : of the study.
    n_levels : of :data:`LEVELS`, from the smallest.
    """
    classes = pixel_classes(evidence.expectation)[evidence.body]
    order = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[order], np.arange(N_PIXEL_CLASSES + 1))
    out = np.zeros((n_levels, N_PIXEL_CLASSES), np.float32)
    for k in range(n_levels):
        values = evidence.pushes[:, k][evidence.body][order]
        for number, (start, stop) in enumerate(pairwise(bounds)):
            if stop - start >= LEAST_PIXELS:
                out[k, number] = np.median(values[start:stop])
    return out


def mean_pushes(studies: Sequence[Evidence], least: float = LEAST_PIXELS) -> NDArray[np.float32]:
    """Return (2, :data:`N_PIXEL_CLASSES`): the mean push of each class over some healthy studies.

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


def _per_cell(images: NDArray[np.floating], n_cells: int) -> NDArray[np.float32]:
    """(n, H, W) → (n, n_cells, n_cells) sums."""
    step = images.shape[-1] // n_cells
    shaped = images.reshape(len(images), n_cells, step, n_cells, step)
    return np.asarray(shaped.sum((2, 4)), np.float32)
