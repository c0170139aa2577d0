"""The trials of the audit: two data sets behind one picture, holes that fit where they are planted, honest counts."""

from __future__ import annotations

import numpy as np
import torch

from KLIPCore.audit.removal import Removal
from KLIPCore.lab.audit_cases import CONTRAST_HU, SIZE, Scanner, Slice, disc, pair, places
from KLIPCore.lab.audit_discs import _elsewhere
from KLIPCore.lab.audit_evidence import Row, lesion_rows, tables
from KLIPCore.lab.audit_unet import SmallUNet
from KLIPCore.volume.units import MU_WATER_PER_MM


def plain() -> Slice:
    """An even disc of water with room for lesions in its middle."""
    body = disc((63.5, 63.5, 50.0), SIZE)
    return Slice("plain", "water", MU_WATER_PER_MM * body, 2.5, (disc((63.5, 63.5, 30.0), SIZE) > 0.5).numpy())


def test_one_picture_two_data_sets() -> None:
    own, scanner = plain(), Scanner.of(plain().grid, 12)
    spots = places(own, 2, np.random.default_rng(0))
    held, without = pair(own, scanner, spots, 0)
    assert torch.equal(held.image, without.image)
    difference = held.measurement.y - without.measurement.y
    contrast = CONTRAST_HU / 1000 * MU_WATER_PER_MM
    expected = scanner.fine(contrast * torch.stack([disc(spot, 2 * SIZE) for spot in spots]).sum(0))
    assert torch.allclose(difference, expected, atol=1e-5)  # the noise is the same


def test_lesions_in_water_are_told_from_planted_ones() -> None:
    rows = list(lesion_rows([plain()], [24], 1, 0, None))
    assert {row.present: row.verdict for row in rows} == {True: "measured", False: "contradicted"}
    assert "| 24 | plain | water | 1 | 0 | 0 | 1 | 0 | 0 | 1.000 |" in tables(rows)


def test_places_keep_apart_and_inside() -> None:
    own = plain()
    spots = places(own, 4, np.random.default_rng(1))
    assert len(spots) == 4
    for n, (row, column, radius) in enumerate(spots):
        assert own.room[int(row), int(column)]
        assert all(np.hypot(row - r, column - c) > radius + q for r, c, q in spots[:n])


def test_a_planted_hole_is_the_same_hole_in_solid_material() -> None:
    hole = np.zeros((40, 40), bool)
    hole[3:7, 4:9] = True
    hole[3, 4] = False
    solid = np.zeros((40, 40), bool)
    solid[15:38, 12:38] = True
    moved = _elsewhere(hole, solid, np.random.default_rng(0))
    assert moved is not None
    assert moved.sum() == hole.sum()
    assert not (moved & ~solid).any()
    assert _elsewhere(hole, np.zeros_like(solid), np.random.default_rng(0)) is None


def test_counts_are_those_of_the_verdicts() -> None:
    def row(present: bool, support: float) -> Row:
        found = Removal(1.0, support, 1.0, 0.1, 5.0, torch.zeros(1), 0.1)
        return Row.of(("lesions", "here", "who", 24), present, 10.0, found)

    table = tables([row(True, 9.0), row(True, -9.0), row(True, 0.0), row(False, 5.0), row(False, -5.0)])
    assert "| 24 | here | who | 3 | 1 | 1 | 2 | 1 | 0 | 0.500 |" in table


def test_the_small_network_keeps_the_size() -> None:
    assert SmallUNet(4)(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)
