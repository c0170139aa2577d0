"""From unusual blocks to unusual regions: inference on clusters.

Nats of healthy blocks have a heavy tail (a vessel here, an edge there), and a study has tens of thousands of
blocks: no single block of a lesion stands out against that. But a lesion is many unusual blocks side by side,
on several slices, and chance rarely makes such clusters. So, as in functional brain imaging (Friston et al.
1994; Bullmore et al. 1999):

1. blocks with p < ``forming_p`` that touch form clusters; a cluster's *mass* is Σ (z − z₀) over its blocks;
2. the same is done with random Gaussian fields that have the study's own spatial correlation and know of no lesion;
3. E(m), the expected number of chance clusters of mass ≥ m in a study like this, gives each cluster two figures:

       p = 1 − exp(−E(m))                    that chance makes even one such cluster in the whole study
       q = min over smaller m of E(m) / #{observed clusters of mass ≥ m}      the false-discovery rate

The correlation is estimated from the clipped z of the tested blocks, so a few lesions hardly move it. What is
*not* modelled is that healthy anatomy has places that are unusual again and again; those are found as well,
and are for the reader to judge.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri

N_SIMULATIONS = 32
"""Random fields drawn (an even number): E(m) is resolved to 1/32 cluster a study."""

NEIGHBOURS = [step for step in itertools.product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""Blocks that share a face, an edge or a corner belong together: one of each pair of the 26 steps."""

CLIP_Z = 1.5
"""z is clipped to ± this before its correlation is estimated."""

MARGIN_CELLS = 8
"""Cells added to each axis so that a periodic random field does not meet itself."""

Pairs = tuple[NDArray[np.intp], NDArray[np.int32]]
"""Cells that touch, by number: one, and the other of each pair."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of unusual blocks.

    Attributes
    ----------
    labels : (n, h, w) int32, 0 outside clusters, 1, 2, … inside.
    mass : (n_clusters,) Σ (z − z₀).
    p : (n_clusters,) chance of even one such cluster in the study.
    q : (n_clusters,) false-discovery rate at which it is still reported.
    expected : (n_clusters,) regions as strong that a healthy study like this one would show
        (:mod:`KLIPCore.maps.reference`); None where no reference was asked.
    broad : (n_clusters,) bool, found over several centimetres (:mod:`KLIPCore.maps.averages`); None likewise.
    """

    labels: NDArray[np.int32]
    mass: NDArray[np.float64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]
    expected: NDArray[np.float64] | None = None
    broad: NDArray[np.bool_] | None = None

    def spread(self, values: NDArray[np.float64], outside: float = 1.0) -> NDArray[np.float64]:
        """Return the (n, h, w): each cluster's value on its blocks, ``outside`` elsewhere."""
        return np.concatenate([[outside], values])[self.labels]


def find_clusters(
    z: NDArray[np.floating],
    tested: NDArray[np.bool_],
    forming_p: float,
    places: NDArray[np.integer],
    noise: WhiteSpectra | None = None,
    sought: NDArray[np.bool_] | None = None,
) -> Clusters:
    """Find clusters of blocks and their significance.

    Parameters
    ----------
    z : (n, h, w) z-scores of blocks: standard normal where nothing is unusual (see :func:`z_of_p`); read only
        where tested.
    tested : (n, h, w) bool.
    forming_p : blocks whose upper tail probability is below this form clusters.
    places : (n,) slice numbers: slices that are not neighbours do not touch.
    noise : random numbers for the fields, kept by a caller who asks again and again; seed 0 when None.
    sought : (n, h, w) bool, where clusters are looked for, and counted in random fields; wherever tested when None.
        Correlation is that of all tested blocks.
    """
    places = np.asarray(places) - places[0]
    rows, columns = (np.flatnonzero(tested.any(axis)) for axis in ((0, 2), (0, 1)))
    z0 = float(-ndtri(forming_p))
    looked = tested if sought is None else tested & sought
    if not len(rows) or not (z[looked] > z0).any():
        empty = np.zeros(0)
        return Clusters(np.zeros(z.shape, np.int32), empty, empty, empty)
    box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    dense = np.full((int(places[-1]) + 1, *z[box].shape[1:]), -np.inf, np.float32)
    dense[places] = np.where(tested[box], z[box], -np.inf)
    mask = np.isfinite(dense)
    within = np.zeros(mask.shape, bool)
    within[places] = looked[box]
    found = np.flatnonzero((dense > z0) & within)
    group = _groups(found, mask.shape)
    mass = _masses(group, dense.ravel()[found] - z0)
    labels = np.zeros(dense.shape, np.int32)
    labels.flat[found] = group + 1
    chance = np.sort(_RandomField.like(dense, mask).masses(noise or WhiteSpectra(), within, z0))
    at_least = len(chance) - np.searchsorted(chance, mass, side="left")
    expected = np.maximum(at_least, 0.5) / N_SIMULATIONS  # half a cluster where none was seen: never a claim of zero
    order = np.argsort(-mass)
    q = np.empty(len(mass))
    q[order] = np.minimum.accumulate((expected[order] / np.arange(1, len(mass) + 1))[::-1])[::-1]
    whole = np.zeros(z.shape, np.int32)
    whole[box] = labels[places]
    return Clusters(whole, mass, -np.expm1(-expected), np.minimum(q, 1.0))


def z_of_p(p_values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return z-scores with the given upper tail probabilities, of their shape; within ± 7.9."""
    return np.asarray(-ndtri(np.clip(p_values, 1e-15, 1 - 1e-15)))


def _groups(cells: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Which of some cells touch.

    Parameters
    ----------
    cells : rising flat indices into an array of ``shape`` (D, h, w).

    Returns
    -------
    group of each cell: 0, 1, … in the order of each group's first cell.
    """
    return _joined(len(cells), *_touching(cells, shape))


def _touching(cells: NDArray[np.intp], shape: tuple[int, ...]) -> Pairs:
    """Pairs of cells that touch, by their places in ``cells``; the first ones in rising order.

    One cell in a hundred is above z₀, so neighbours are looked up, not scanned for.
    """
    padded = np.array(shape) + 2  # a rim without cells: no step leaves the array
    strides = np.array([padded[1] * padded[2], padded[2], 1])
    places = (np.stack(np.unravel_index(cells, shape), axis=1) + 1) @ strides
    number = np.full(int(padded.prod()), -1, np.int32)
    number[places] = np.arange(len(cells), dtype=np.int32)
    other = number[places[:, None] + np.array(NEIGHBOURS) @ strides]
    one, step = np.nonzero(other >= 0)
    return one, other[one, step]


def _joined(n: int, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.int32]:
    """Group of each of n cells, of pairs that touch, the first ones in rising order."""
    if not n:
        return np.zeros(0, np.int32)
    ends = np.concatenate([[0], np.cumsum(np.bincount(one, minlength=n))])
    links = csr_array((np.ones(len(one)), other, ends), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.int32)


def _masses(group: NDArray[np.int32], excess: NDArray[np.floating]) -> NDArray[np.float64]:
    """Σ (z − z₀) of each group."""
    return np.asarray(np.bincount(group, weights=excess), np.float64)


class WhiteSpectra:
    """Complex white noise, drawn once and kept: a slider's next map needs the same fields with another correlation.

    Parameters
    ----------
    seed : of the generator.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._kept: NDArray[np.complex64] | None = None

    def on(self, box: tuple[int, ...]) -> NDArray[np.complex64]:
        """Return the (N_SIMULATIONS / 2, *box) unit white noise.

        Each complex field holds two independent real ones.
        """
        if self._kept is None or self._kept.shape[1:] != box:
            rng = np.random.default_rng(self._seed)
            self._kept = rng.standard_normal((N_SIMULATIONS // 2, *box[:-1], 2 * box[-1]), dtype=np.float32).view(
                np.complex64
            )
        return self._kept


@dataclass(frozen=True, eq=False)
class _RandomField:
    """Stationary Gaussian fields of unit variance with the correlation of given data, on a periodic box,
    cropped to ``shape``.

    White noise times the data's own spectral amplitude: a surrogate that keeps the (biased, hence positive
    semi-definite) autocorrelation and forgets every place (Theiler et al., Physica D 58, 1992, 77). The noise
    is drawn in the frequency domain, where white is white, and its real and imaginary parts give two
    independent fields for one transform.

    Attributes
    ----------
    amplitude : spectral amplitude on the periodic box.
    shape : what is kept of it.
    """

    amplitude: NDArray[np.float32]
    shape: tuple[int, ...]

    @classmethod
    def like(cls, z: NDArray[np.floating], mask: NDArray[np.bool_]) -> _RandomField:
        """A field with the correlation of z inside the mask."""
        box = tuple(scipy.fft.next_fast_len(n + min(n, MARGIN_CELLS)) for n in z.shape)
        inside = np.where(mask, np.clip(z, -CLIP_Z, CLIP_Z), 0.0)
        inside -= np.where(mask, inside[mask].mean(), 0.0)
        amplitude = np.abs(scipy.fft.fftn(inside.astype(np.float32), box))
        return cls((amplitude / np.sqrt(np.mean(amplitude**2))).astype(np.float32), z.shape)

    def pair(self, white: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Two independent fields of ``shape`` as real and imaginary part; what is not kept of an axis is not
        carried to the next transform.
        """
        depth, height, width = self.shape
        out = np.empty_like(white)
        np.multiply(white.view(np.float32), self._amplitude_twice, out=out.view(np.float32))
        out = scipy.fft.ifft(out, axis=2, norm="ortho", overwrite_x=True)[:, :, :width]
        out = scipy.fft.ifft(out, axis=1, norm="ortho", overwrite_x=True)[:, :height]
        return np.asarray(scipy.fft.ifft(out, axis=0, norm="ortho", overwrite_x=True)[:depth], np.complex64)

    @cached_property
    def _amplitude_twice(self) -> NDArray[np.float32]:
        """The amplitude beside each real and each imaginary part: numpy would make it complex for each product."""
        return np.repeat(self.amplitude, 2, axis=-1)

    def masses(self, noise: WhiteSpectra, mask: NDArray[np.bool_], z0: float) -> NDArray[np.float64]:
        """Σ (z − z₀) of every cluster inside the mask, of N_SIMULATIONS fields; in two threads, nearly all
        of it in compiled code.
        """
        twice = np.repeat(mask.ravel(), 2)

        def own(white: NDArray[np.complex64]) -> list[tuple[NDArray[np.floating], Pairs]]:
            drawn = self.pair(white).ravel().view(np.float32)  # real, imaginary, real, …
            found = np.flatnonzero((drawn > z0) & twice)
            parts = (found[(found & 1) == part] for part in (0, 1))
            return [(drawn[above] - z0, _touching(above >> 1, self.shape)) for above in parts]

        with ThreadPoolExecutor(2) as threads:
            fields = [field for pair in threads.map(own, noise.on(self.amplitude.shape)) for field in pair]
        first = np.cumsum([0, *(len(excess) for excess, _ in fields)])  # all fields are joined at once
        one, other = (
            np.concatenate([pairs[k] + start for (_, pairs), start in zip(fields, first[:-1], strict=True)])
            for k in (0, 1)
        )
        return _masses(_joined(int(first[-1]), one, other), np.concatenate([excess for excess, _ in fields]))
