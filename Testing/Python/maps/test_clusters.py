"""Cluster inference against what is known: fields without lesions, and fields with one."""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.ndimage as ndi
from scipy.stats import norm

from KLIPCore.maps.clusters import WhiteSpectra, _RandomField, find_clusters, z_of_p

SHAPE = (8, 40, 40)


def smooth_field(seed: int, width: float = 1.5) -> np.ndarray:
    """A stationary Gaussian field of unit variance."""
    white = np.random.default_rng(seed).standard_normal((SHAPE[0] + 16, SHAPE[1] + 16, SHAPE[2] + 16))
    field = ndi.gaussian_filter(white, width)[8:-8, 8:-8, 8:-8]
    return field / field.std()


def disc() -> np.ndarray:
    """A body that does not fill the array."""
    rows, columns = np.mgrid[0 : SHAPE[1], 0 : SHAPE[2]]
    return np.broadcast_to((rows - 20) ** 2 + (columns - 20) ** 2 < 18**2, SHAPE)


def test_fields_without_lesions_rarely_show_any() -> None:
    """The global null: P(any region at fdr α) ≤ α, here over 40 fields with a binomial allowance."""
    mask = disc()
    places = np.arange(SHAPE[0])
    smallest_q = np.array(
        [find_clusters(smooth_field(s), mask, 0.01, places, WhiteSpectra(s)).q.min(initial=1.0) for s in range(40)]
    )
    for rate in (0.1, 0.3, 0.5):
        assert (smallest_q <= rate).mean() <= rate + 3 * np.sqrt(rate * (1 - rate) / 40)
    assert (smallest_q <= 0.5).any(), "a test that never fires would pass the line above too"


def test_a_lesion_of_many_moderate_blocks_is_found_where_it_is() -> None:
    mask = disc()
    z = smooth_field(3, width=0.8)
    lesion = np.zeros(SHAPE, bool)
    lesion[2:6, 14:21, 22:29] = True
    z = np.where(lesion, z + 3.0, z)
    found = find_clusters(z, mask, 0.01, np.arange(SHAPE[0]))
    best = int(np.argmax(found.mass)) + 1
    assert found.q[best - 1] < 0.05
    inside = found.labels == best
    assert (inside & lesion).sum() / lesion.sum() > 0.6
    assert (inside & ~lesion).sum() < 0.3 * inside.sum()


def test_a_part_to_look_in_keeps_the_correlation_and_leaves_chance_less_room() -> None:
    mask = disc()
    z = smooth_field(3, width=0.8)
    z[2:6, 14:18, 22:26] += 2.0
    part = np.zeros(SHAPE, bool)
    part[:, 10:24, 16:32] = True
    whole, within = (find_clusters(z, mask, 0.01, np.arange(SHAPE[0]), None, sought) for sought in (None, part))
    assert not within.labels[~part].any()
    strongest = [found.labels == int(np.argmax(found.mass)) + 1 for found in (whole, within)]
    np.testing.assert_array_equal(*strongest)
    third, second = np.argsort(whole.mass)[-3], np.argsort(within.mass)[-2]
    assert within.mass[second] < whole.mass[third]
    assert within.p[second] < 0.5 * whole.p[third], (
        "chance makes as large a cluster more rarely in a sixth of the room"
    )


def test_surrogates_have_the_datas_correlation() -> None:
    mask = disc()
    z = smooth_field(5)
    field = _RandomField.like(z, mask)

    def correlation(a: np.ndarray, lag: int) -> float:
        both = mask[:, :, :-lag] & mask[:, :, lag:]
        return float((a[:, :, :-lag] * a[:, :, lag:])[both].mean() / (a[mask] ** 2).mean())

    pairs = [field.pair(white) for white in WhiteSpectra().on(field.amplitude.shape)]
    draws = [part for pair in pairs for part in (pair.real, pair.imag)]
    assert np.mean([d[mask].std() for d in draws]) == np.clip(np.mean([d[mask].std() for d in draws]), 0.93, 1.07)
    for lag in (1, 2, 3):
        assert abs(np.mean([correlation(d, lag) for d in draws]) - correlation(np.clip(z, -1.5, 1.5), lag)) < 0.1


def test_slices_that_are_no_neighbours_do_not_touch() -> None:
    p = np.ones((2, 20, 20))
    p[:, 8:12, 8:12] = 1e-6
    tested = np.ones(p.shape, bool)
    assert find_clusters(z_of_p(p), tested, 0.01, np.array([3, 4])).mass.size == 1
    assert find_clusters(z_of_p(p), tested, 0.01, np.array([3, 9])).mass.size == 2


def test_nothing_unusual_gives_no_clusters() -> None:
    p = np.full((2, 20, 20), 0.5)
    found = find_clusters(z_of_p(p), np.ones(p.shape, bool), 0.01, np.arange(2))
    assert found.mass.size == 0
    assert (found.spread(found.q) == 1).all()


def test_the_same_seed_gives_the_same_figures() -> None:
    mask = disc()
    p = np.where(mask, norm.sf(smooth_field(1)), 1.0)
    a, b = (find_clusters(z_of_p(p), mask, 0.02, np.arange(SHAPE[0]), WhiteSpectra(4)) for _ in range(2))
    np.testing.assert_array_equal(a.q, b.q)


def test_masses_are_those_of_every_field_labelled_by_itself() -> None:
    """To the bit: fields are drawn in place and joined all at once, which changes no number."""
    mask = disc()
    field = _RandomField.like(smooth_field(5), mask)
    noise, z0 = WhiteSpectra(), 1.0
    depth, height, width = field.shape
    expected = []
    for white in noise.on(field.amplitude.shape):
        out = scipy.fft.ifft(white * field.amplitude, axis=2, norm="ortho")[:, :, :width]
        out = scipy.fft.ifft(scipy.fft.ifft(out, axis=1, norm="ortho")[:, :height], axis=0, norm="ortho")[:depth]
        for drawn in (out.real, out.imag):
            labels, _ = ndi.label((drawn > z0) & mask, np.ones((3, 3, 3)))
            inside = labels > 0
            expected.append(np.bincount(labels[inside] - 1, weights=drawn[inside] - z0))
    found = field.masses(noise, mask, z0)
    assert len(found) > 100
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert field.masses(noise, mask, 50.0).size == 0, "no field reaches so far"
