"""AᵀWA in one go against Aᵀ after A: the same numbers, bit for bit."""

from __future__ import annotations

import pytest
import torch

from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, Geometry, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((32, 32), 1.5)
OBLONG = ImageGrid2D((24, 32), 1.5)
GEOMETRIES = [
    (ParallelBeam.sparse(60, IMAGE), IMAGE),
    (ParallelBeam.sparse(7, IMAGE), IMAGE),
    (ParallelBeam.sparse(11, IMAGE, arc_deg=100), IMAGE),
    (ParallelBeam.sparse(12, OBLONG), OBLONG),
    (FanBeam.sparse(16, IMAGE), IMAGE),
]


@pytest.mark.parametrize(("geometry", "image"), GEOMETRIES)
@pytest.mark.parametrize("lead", [(), (1,), (2, 3)])
def test_one_weight_for_all(geometry: Geometry, image: ImageGrid2D, lead: tuple[int, ...]) -> None:
    A = Projector(geometry, image)
    x, w = torch.randn(*lead, *image.shape), torch.tensor(0.7)
    torch.testing.assert_close(A.normal(x, w), A.T(w * A(x)), rtol=0, atol=0)


def test_some_of_them_have_views_that_the_scanner_lacks() -> None:
    assert any(Projector(geometry, image).orbits.unused for geometry, image in GEOMETRIES)


def test_weights_of_their_own() -> None:
    A = Projector(*GEOMETRIES[0])
    x, w = torch.randn(2, 32, 32), torch.rand(A.range_shape)
    torch.testing.assert_close(A.normal(x, w), A.T(w * A(x)), rtol=0, atol=0)


def test_computed_on_the_fly_and_in_other_precisions() -> None:
    geometry, image = GEOMETRIES[1]
    A = Projector(geometry, image, memory_limit_bytes=0)
    x, w = torch.randn(2, 32, 32), torch.tensor(0.7)
    torch.testing.assert_close(A.normal(x, w), A.T(w * A(x)))
    made = A.normal(x.double(), w.double())
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, A.T(w * A(x.double())), rtol=1e-4, atol=1e-3)


def test_gradients_flow() -> None:
    A = Projector(*GEOMETRIES[1], dtype=torch.float64)
    x, w = torch.randn(32, 32, dtype=torch.float64, requires_grad=True), torch.tensor(0.7, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(A.normal(x, w).square().sum() / 2, x)
    with torch.no_grad():
        expected = A.normal(A.normal(x, w), w)  # AᵀWA is its own transpose
    torch.testing.assert_close(gradient, expected)
