"""The projector against chords known exactly, against itself without its short cuts, and against the clock."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from KLIPCore.errors import ConfigError
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.symmetry import CANDIDATES, ViewOrbits
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((32, 32), 1.5)


def test_axial_views_are_row_and_column_sums() -> None:
    image = torch.rand(32, 32, dtype=torch.float64)
    geometry = ParallelBeam(tuple(np.deg2rad([0, 90, 180])), 32, pitch_mm=1.5)
    y = Projector(geometry, IMAGE, dtype=torch.float64)(image)
    torch.testing.assert_close(y[0], image.sum(0) * 1.5)
    torch.testing.assert_close(y[1], image.sum(1) * 1.5)
    torch.testing.assert_close(y[2], image.sum(0).flip(0) * 1.5)


def test_ones_give_chords_in_mm() -> None:
    """Central rays through a square of side 48 mm, at every angle; half a pixel of soft edge on each side at most."""
    angles = np.linspace(0, math.pi, 19)[:-1]
    y = Projector(ParallelBeam(tuple(angles), 1, pitch_mm=1.5), IMAGE, dtype=torch.float64)(
        torch.ones(32, 32, dtype=torch.float64)
    )
    chord = 48.0 / np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    np.testing.assert_allclose(y[:, 0].numpy(), chord, atol=0.75)


@pytest.mark.parametrize(
    ("geometry", "n_base"),
    [
        (ParallelBeam.sparse(60, IMAGE), 16),
        (ParallelBeam.sparse(12, IMAGE, start_deg=7.5), 3),
        (ParallelBeam.sparse(9, IMAGE), 5),
        (ParallelBeam.sparse(60, IMAGE, arc_deg=120), 23),
        (FanBeam.sparse(32, IMAGE), 8),
        (FanBeam.sparse(32, IMAGE, start_deg=3.0), 8),
        (ParallelBeam((0.0, 0.1234, 2.5), 40, pitch_mm=1.5, offset_mm=0.4), 3),
        (FanBeam((0.0, 0.5 * math.pi, math.pi), 40, pitch_mm=3.0, offset_mm=0.4), 1),
    ],
)
def test_symmetry_is_a_short_cut_not_an_approximation(geometry: Geometry, n_base: int) -> None:
    short, long = (Projector(geometry, IMAGE, dtype=torch.float64, symmetric=s) for s in (True, False))
    assert len(short.orbits.base) <= n_base
    x, y = torch.rand(2, 32, 32, dtype=torch.float64), torch.rand(2, *geometry.shape, dtype=torch.float64)
    torch.testing.assert_close(short(x), long(x), rtol=0, atol=1e-7 * float(long(x).max()))
    torch.testing.assert_close(short.T(y), long.T(y), rtol=0, atol=1e-7 * float(long.T(y).max()))


def test_turns_are_undone() -> None:
    x = torch.rand(5, 5, 2)
    turns = CANDIDATES[-1]
    assert len({tuple(t.apply(x).flatten().tolist()) for t in turns}) == 8
    for turn in turns:
        assert torch.equal(turn.undo(turn.apply(x)), x)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_gathered_images_are_the_turned_ones_side_by_side(n: int) -> None:
    orbits = ViewOrbits.find(ParallelBeam.sparse(24, ImageGrid2D((6, 6), 1.0)), square=True)
    assert len(orbits.turns) > 1
    x = torch.randn(6, 6, n)
    columns = orbits.images(x).reshape(6, 6, len(orbits.turns), n)
    for place, turn in enumerate(orbits.turns):
        torch.testing.assert_close(columns[:, :, place], turn.apply(x), rtol=0, atol=0)


def test_turned_images_are_not_assumed_of_oblong_ones() -> None:
    image = ImageGrid2D((20, 30), 1.0)
    orbits = ViewOrbits.find(ParallelBeam.sparse(12, image), square=False)
    assert not any(turn.transpose for turn in orbits.turns)


def test_on_the_fly_is_the_same_operator() -> None:
    geometry = FanBeam.sparse(10, IMAGE)
    stored, fly = (Projector(geometry, IMAGE, memory_limit_bytes=limit) for limit in (1 << 30, 0))
    assert stored.stored
    assert not fly.stored
    x, y = torch.rand(2, 32, 32), torch.rand(2, *geometry.shape)
    torch.testing.assert_close(stored(x), fly(x), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(stored.T(y), fly.T(y), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("pitch", [0.7, 1.5, 4.0])
def test_memory_is_estimated_before_it_is_taken(pitch: float) -> None:
    for symmetric in (True, False):
        A = Projector(ParallelBeam.sparse(20, IMAGE, pitch_mm=pitch), IMAGE, symmetric=symmetric)
        taken = 2 * A._matrix.n_entries * 8
        assert taken <= A.estimated_bytes <= 2.5 * taken


def test_wide_bins_average() -> None:
    """A bin of four pixels measures the mean of the four narrow bins inside it."""
    x = torch.rand(32, 32, dtype=torch.float64)
    wide, narrow = ParallelBeam((0.3, 1.1), 12, pitch_mm=6.0), ParallelBeam((0.3, 1.1), 48, pitch_mm=1.5)
    y_wide, y_narrow = (Projector(g, IMAGE, dtype=torch.float64)(x) for g in (wide, narrow))
    torch.testing.assert_close(y_wide, y_narrow.reshape(2, 12, 4).mean(-1))


def test_half_precision_goes_in_and_out() -> None:
    A = Projector(ParallelBeam.sparse(4, IMAGE), IMAGE)
    assert A(torch.ones(1, 1, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert A.to("cpu")(torch.ones(32, 32)).shape == A.range_shape


def test_nonsense_is_refused() -> None:
    geometry = ParallelBeam.sparse(4, IMAGE)
    with pytest.raises(ConfigError):
        Projector(geometry, IMAGE, dtype=torch.float16)
    with pytest.raises(ConfigError):
        Projector(geometry, IMAGE, rays_per_bin=0)
