"""Measured shares against A⁺A written out."""

from __future__ import annotations

import pytest
import torch

from KLIPCore.audit import null_space
from KLIPCore.audit.null_space import block_shares, mask_shares, pixel_shares, tiling
from KLIPCore.errors import ConfigError
from KLIPCore.physics.mask import Mask
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

GRID = ImageGrid2D((32, 32), 1.0)
SCAN = Projector(ParallelBeam.sparse(12, GRID), GRID, dtype=torch.float64)


@pytest.fixture(scope="module")
def dense() -> torch.Tensor:
    """A⁺A of the scan, by a singular value decomposition of its own."""
    columns = SCAN(torch.eye(1024, dtype=torch.float64).reshape(-1, 32, 32)).reshape(1024, -1)
    return torch.linalg.pinv(columns.T, rtol=1e-8) @ columns.T


def test_pixels_within_one_per_cent_of_the_exact_projector(dense: torch.Tensor) -> None:
    found = pixel_shares(SCAN, 1e-10)
    assert found.exact
    exact = dense.diagonal().reshape(32, 32)
    assert 0.2 < float(exact.mean()) < 0.8  # the question is not trivial
    assert float((found.null_space - (1 - exact)).abs().max()) < 0.01


def test_blocks_within_one_per_cent_of_the_norm_of_their_projection(dense: torch.Tensor) -> None:
    labels, _ = tiling((32, 32), 5)
    masks = torch.stack([labels == k for k in range(1, int(labels.max()) + 1)])
    exact = (masks.flatten(1).double() @ dense).square().sum(1) / masks.flatten(1).sum(1)
    assert float((mask_shares(SCAN, masks, 1e-10).measured - exact).abs().max()) < 0.01


def test_solves_agree_with_what_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, _ = tiling((32, 32), 8)
    masks = torch.stack([labels == k for k in (1, 6, 10)])
    exact = mask_shares(SCAN, masks).measured
    monkeypatch.setattr(null_space, "EXACT_PIXELS", 0)
    assert float((mask_shares(SCAN, masks).measured - exact).abs().max()) < 0.01


def test_probes_err_as_much_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = pixel_shares(SCAN).measured
    monkeypatch.setattr(null_space, "EXACT_PIXELS", 0)
    found = pixel_shares(SCAN, n_probes=32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert not found.exact
    off = (found.measured - exact) / found.error
    assert 0.9 < float(off.square().mean().sqrt()) < 1.15
    assert abs(float((found.measured - exact).mean())) < 0.005


def test_coloured_block_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, colours = tiling((32, 32), 4)
    masks = torch.stack([labels == k for k in range(1, 65)])
    exact = mask_shares(SCAN, masks).measured
    found = block_shares(SCAN, labels, colours=colours, n_rounds=6, generator=torch.Generator().manual_seed(0))
    assert float(((found.measured - exact) / found.error).square().mean().sqrt()) < 1.6  # Student's t, 5 degrees
    assert float((found.measured - exact).abs().max()) < 0.05
    with pytest.raises(ConfigError, match="at least two rounds"):
        block_shares(SCAN, labels, n_rounds=1)


def test_what_is_not_seen_has_no_share() -> None:
    seen = torch.zeros(6, 6, dtype=torch.bool)
    seen[:3] = True
    found = pixel_shares(Mask(seen), 1e-8)
    assert torch.allclose(found.measured, seen.double(), atol=1e-6)


def test_a_damping_must_be_a_part() -> None:
    with pytest.raises(ConfigError, match="no part"):
        null_space.RangeProjection(SCAN, 0.0)
