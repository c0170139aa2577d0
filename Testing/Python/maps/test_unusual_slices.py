"""Slices: the scan over block sizes finds what a sum does not, and its shares are those of health."""

import numpy as np
import pytest

from KLIPCore.maps.unexpected import KINDS
from KLIPCore.maps.unusual_slices import LEAST_CELLS, N_TAIL, SliceLaws, slice_strengths

DARK, BRIGHT = ("soft", "darker"), ("soft", "brighter")
RNG = np.random.default_rng


def healthy(n: int, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Strengths of slices: the largest of a thousand exponential blocks has a Gumbel law about ln 1000."""
    return {kind: RNG([seed, k]).gumbel(np.log(1000), size=n) for k, kind in enumerate(KINDS)}


def test_a_slice_is_as_strong_as_its_largest_tested_block_of_any_size() -> None:
    fields = [{DARK: np.zeros((3, 8, 8), np.float32)} for _ in range(3)]
    fields[1][DARK][0, 2, 2] = 7.0
    fields[2][DARK][0, 5, 5] = 9.0
    fields[0][DARK][1, 0, 0] = 11.0
    tested = np.ones((3, 8, 8), bool)
    tested[1, 0, 0] = False
    tested[2].ravel()[LEAST_CELLS - 1 :] = False
    fields[0][DARK][2] = 20.0
    np.testing.assert_array_equal(slice_strengths(fields, tested)[DARK], [9.0, 0.0, 0.0])


def test_shares_are_those_of_unseen_health() -> None:
    """On average over what happens to be in a reference of 3000 slices."""
    references = [SliceLaws.fit([healthy(3000, seed)]) for seed in range(40)]
    assert references[0].n_slices == 3000
    unseen = healthy(20_000, 99)
    for level, error in ((0.05, 0.1), (0.02, 0.1), (0.01, 0.15), (0.002, 0.35)):  # the last one is extrapolated
        found = np.mean([(laws.share_of(unseen[DARK], DARK) <= level).mean() for laws in references])
        assert found == pytest.approx(level, rel=error)
    together = [(laws.share(unseen, "soft", ("darker", "brighter")) <= 0.04).mean() for laws in references]
    assert np.mean(together) == pytest.approx(0.04, rel=0.1)


def test_the_law_goes_on_beyond_the_strongest_and_never_rises() -> None:
    laws = SliceLaws.fit([healthy(3000, 0)])
    share = laws.share_of(np.linspace(0, 40, 500), DARK)
    assert share[0] == 1.0
    assert (np.diff(share) <= 1e-12).all()
    assert 0 < share[-1] < 1e-9
    strongest = float(laws.strongest[DARK][N_TAIL - 1])
    assert laws.share_of(np.array([strongest]), DARK)[0] == pytest.approx(N_TAIL / 3000)


def test_slices_without_body_do_not_count_as_health() -> None:
    own = healthy(300, 0)
    for values in own.values():
        values[:100] = 0.0
    assert SliceLaws.fit([own]).n_slices == 200


def test_a_small_lesion_is_found_by_the_largest_block_and_not_by_the_sum() -> None:
    """A single block of u = 12 in a slice whose thousand blocks are exponential."""
    rng = RNG(5)
    blocks = rng.exponential(size=(400, 1, 30, 34))
    blocks[:200, 0, 0, 0] = 12.0
    tested = np.ones((400, 30, 34), bool)
    strength = slice_strengths([{BRIGHT: blocks[:, 0].astype(np.float32)}], tested)[BRIGHT]
    order = (strength[:200, None] > strength[None, 200:]).mean()
    total = blocks.sum((1, 2, 3))
    assert order > 0.97
    assert (total[:200, None] > total[None, 200:]).mean() < 0.75
