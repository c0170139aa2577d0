"""From unusual blocks to unusual regions: inference on clusters.

Nats of healthy blocks have a heavy tail (a vessel here, an edge there), and a study has tens of thousands of blocks: no single
block of a lesion stands out against that. But a lesion is many unusual blocks side by side, on several slices, and chance
rarely makes such clusters. So, as in functional brain imaging (Friston et al. 1994; Bullmore et al. 1999):

1. blocks with p < ``forming_p`` that touch form clusters; a cluster's *mass* is Σ (z − z₀) over its blocks;
2. the same is done with random Gaussian fields that have the study's own spatial correlation and know of no lesion;
3. E(m), the expected number of chance clusters of mass ≥ m in a study like this, gives each cluster two figures:

       p = 1 − exp(−E(m))                    that chance makes even one such cluster in the whole study
       q = min over smaller m of E(m) / #{observed clusters of mass ≥ m}      the false-discovery rate

The correlation is estimated from the clipped z of the tested blocks, so a few lesions hardly move it. What is *not* modelled
is that healthy anatomy has places that are unusual again and again; those are found as well, and are for the reader to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.special import ndtri

N_SIMULATIONS = 32
"""Random fields drawn: E(m) is resolved to 1/32 cluster a study."""

NEIGHBOURS = np.ones((3, 3, 3), bool)
"""Blocks that share a face, an edge or a corner belong together."""

CLIP_Z = 1.5
"""z is clipped to ± this before its correlation is estimated."""

MARGIN_CELLS = 8
"""Cells added to each axis so that a periodic random field does not meet itself."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of unusual blocks.

    Attributes
    ----------
    labels : (n, h, w) int32, 0 outside clusters, 1, 2, … inside.
    mass : (n_clusters,) Σ (z − z₀).
    p : (n_clusters,) chance of even one such cluster in the study.
    q : (n_clusters,) false-discovery rate at which it is still reported.
    """

    labels: NDArray[np.int32]
    mass: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]

    def spread(self, values: NDArray[np.float64], outside: float = 1.0) -> NDArray[np.float64]:
        """(n, h, w): each cluster's value on its blocks, ``outside`` elsewhere."""
        return np.concatenate([[outside], values])[self.labels]


def find_clusters(p_values: NDArray[np.floating], tested: NDArray[np.bool_], forming_p: float, places: NDArray[np.integer], seed: int = 0) -> Clusters:
    """Clusters of blocks and their significance.

    Parameters
    ----------
    p_values : (n, h, w) p-values of blocks, 1 where not tested.
    tested : (n, h, w) bool.
    forming_p : blocks below this p-value form clusters.
    places : (n,) slice numbers: slices that are not neighbours do not touch.
    seed : of the random fields.
    """
    places = np.asarray(places) - places[0]
    dense = np.zeros((int(places[-1]) + 1, *p_values.shape[1:]))
    mask = np.zeros(dense.shape, bool)
    dense[places] = -ndtri(np.clip(p_values, 1e-15, 1 - 1e-15))
    mask[places] = tested
    z0 = float(-ndtri(forming_p))
    labels, mass = _clusters(dense, mask, z0)
    if not len(mass):
        empty = np.zeros(0)
        return Clusters(labels[places], empty, empty, empty)
    field = _RandomField.like(dense, mask)
    rng = np.random.default_rng(seed)
    chance = np.sort(np.concatenate([_clusters(field.draw(rng), mask, z0)[1] for _ in range(N_SIMULATIONS)]))
    at_least = len(chance) - np.searchsorted(chance, mass, side="left")
    expected = np.maximum(at_least, 0.5) / N_SIMULATIONS  # half a cluster where none was seen: never a claim of zero
    order = np.argsort(-mass)
    q = np.empty(len(mass))
    q[order] = np.minimum.accumulate((expected[order] / np.arange(1, len(mass) + 1))[::-1])[::-1]
    return Clusters(labels[places], mass, -np.expm1(-expected), np.minimum(q, 1.0))


def _clusters(z: NDArray[np.floating], mask: NDArray[np.bool_], z0: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Labels of touching blocks above z₀, and each cluster's mass."""
    above = (z > z0) & mask
    labels, n = ndi.label(above, structure=NEIGHBOURS)
    mass = np.bincount(labels[above], weights=z[above] - z0, minlength=n + 1)[1:]
    return labels.astype(np.int32), mass.astype(np.float64)


@dataclass(frozen=True, eq=False)
class _RandomField:
    """Stationary Gaussian fields of unit variance with the correlation of given data, on a periodic box, cropped to ``shape``.

    White noise times the data's own spectral amplitude: a surrogate that keeps the (biased, hence positive semi-definite)
    autocorrelation and forgets every place (Theiler et al., Physica D 58, 1992, 77).

    Attributes
    ----------
    amplitude : half-spectrum amplitude of the periodic box.
    box : its size.
    shape : what is kept of it.
    """

    amplitude: NDArray[np.float32]
    box: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def like(cls, z: NDArray[np.floating], mask: NDArray[np.bool_]) -> _RandomField:
        """A field with the correlation of z inside the mask."""
        box = tuple(scipy.fft.next_fast_len(n + min(n, MARGIN_CELLS), real=True) for n in z.shape)
        inside = np.where(mask, np.clip(z, -CLIP_Z, CLIP_Z), 0.0)
        inside -= np.where(mask, inside[mask].mean(), 0.0)
        amplitude = np.abs(scipy.fft.rfftn(inside.astype(np.float32), box))
        variance = scipy.fft.irfftn(amplitude**2, box).flat[0]
        return cls((amplitude / np.sqrt(variance)).astype(np.float32), box, z.shape)

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """One field, float32 of ``shape``."""
        white = scipy.fft.rfftn(rng.standard_normal(self.box, dtype=np.float32))
        field = scipy.fft.irfftn(white * self.amplitude, self.box)
        return np.asarray(field[tuple(slice(n) for n in self.shape)], np.float32)
