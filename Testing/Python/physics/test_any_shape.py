"""The dot-product law over shapes nobody chose, and values that must never change.

A transpose can be right for one image size and wrong for another (an odd width, a single row, a detector wider
than the image), so the shapes are drawn. Golden values pin what the laws leave open: an operator could be
replaced by twice itself and satisfy every law.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import TOLERANCE, adjoint_error
from physics.test_operators import OPERATORS

from KLIPCore.physics.blur import Blur, GaussianBlur
from KLIPCore.physics.cone import ConeBeam, ConeProjector
from KLIPCore.physics.downsample import Downsample
from KLIPCore.physics.fourier import UndersampledFourier, cartesian_mask
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.mask import Identity, Mask
from KLIPCore.physics.missing import SelectRays, interior, within_arc
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam

DOUBLE = torch.float64
ANY: dict[str, Callable[[st.DrawFn], LinearOperator]] = {}
"""A maker of random members of each family; a new operator is tested by adding one."""


def family(name: str) -> Callable[[Callable[[st.DrawFn], LinearOperator]], Callable[[st.DrawFn], LinearOperator]]:
    def enter(make: Callable[[st.DrawFn], LinearOperator]) -> Callable[[st.DrawFn], LinearOperator]:
        ANY[name] = make
        return make

    return enter


def some(draw: st.DrawFn, lo: int, hi: int) -> int:
    return draw(st.integers(lo, hi))


def grid(draw: st.DrawFn) -> ImageGrid2D:
    return ImageGrid2D((some(draw, 1, 17), some(draw, 1, 17)), draw(st.floats(0.3, 3.0)))


def parallel(draw: st.DrawFn, image: ImageGrid2D) -> ParallelBeam:
    return ParallelBeam.sparse(some(draw, 1, 9), image, arc_deg=draw(st.floats(20, 180)))


@family("parallel")
def _(draw: st.DrawFn) -> LinearOperator:
    image = grid(draw)
    return Projector(parallel(draw, image), image, dtype=DOUBLE)


@family("fan")
def _(draw: st.DrawFn) -> LinearOperator:
    image = grid(draw)
    beam = FanBeam.sparse(
        some(draw, 1, 9), image, source_origin_mm=200.0, source_detector_mm=300.0, equiangular=draw(st.booleans())
    )
    return Projector(beam, image, dtype=DOUBLE)


@family("cone")
def _(draw: st.DrawFn) -> LinearOperator:
    angles = tuple(draw(st.lists(st.floats(0, 6.2), min_size=1, max_size=3)))
    beam = ConeBeam(
        FanBeam(
            angles,
            some(draw, 1, 9),
            pitch_mm=4.0,
            offset_mm=draw(st.floats(-2, 2)),
            source_origin_mm=100.0,
            source_detector_mm=160.0,
        ),
        some(draw, 1, 5),
        row_pitch_mm=4.0,
    )
    return ConeProjector(
        beam,
        ImageGrid2D((some(draw, 1, 7), some(draw, 1, 7)), 3.0),
        n_slices=some(draw, 1, 4),
        slice_mm=3.0,
        dtype=DOUBLE,
    )


@family("limited angle, interior")
def _(draw: st.DrawFn) -> LinearOperator:
    image = ImageGrid2D((some(draw, 4, 12), some(draw, 4, 12)), 2.0)
    beam = ParallelBeam.sparse(some(draw, 3, 9), image)
    keep = within_arc(beam, draw(st.floats(30, 150))) & interior(beam, draw(st.floats(3, 12)))
    return SelectRays(Projector(beam, image, dtype=DOUBLE), keep)


@family("blur")
def _(draw: st.DrawFn) -> LinearOperator:
    kernel = (
        torch.rand(
            2 * some(draw, 0, 2) + 1,
            2 * some(draw, 0, 2) + 1,
            generator=torch.Generator().manual_seed(some(draw, 0, 99)),
        )
        + 0.1
    )
    return Blur((some(draw, 1, 12), some(draw, 1, 12)), kernel)


@family("gaussian blur")
def _(draw: st.DrawFn) -> LinearOperator:
    return GaussianBlur((some(draw, 1, 12), some(draw, 1, 12)), draw(st.floats(0.3, 3.0)))


@family("super-resolution")
def _(draw: st.DrawFn) -> LinearOperator:
    factor = some(draw, 1, 4)
    return Downsample((factor * some(draw, 1, 5), factor * some(draw, 1, 5)), factor)


@family("inpainting")
def _(draw: st.DrawFn) -> LinearOperator:
    mask = (
        torch.rand(some(draw, 1, 9), some(draw, 1, 9), generator=torch.Generator().manual_seed(some(draw, 0, 99)))
        < 0.6
    )
    mask.view(-1)[0] = True
    return Mask(mask)


@family("denoising")
def _(draw: st.DrawFn) -> LinearOperator:
    return Identity(tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))))


@family("undersampled fourier")
def _(draw: st.DrawFn) -> LinearOperator:
    mask = cartesian_mask(
        (some(draw, 2, 12), some(draw, 4, 12)),
        draw(st.floats(1.0, 3.0)),
        torch.Generator().manual_seed(some(draw, 0, 99)),
    )
    return UndersampledFourier(mask, complex_image=draw(st.booleans()))


@pytest.mark.parametrize("name", ANY)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_dot_product_at_any_shape(name: str, data: st.DataObject) -> None:
    A = st.composite(ANY[name])()
    operator = data.draw(A)
    x = torch.randn(operator.domain_shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    if float(operator(x).norm()) > 1e-9:  # rays may miss a tiny image: then both sides are 0
        assert adjoint_error(operator, DOUBLE) <= TOLERANCE[DOUBLE] * 10
    else:
        y = torch.randn(operator.range_shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
        assert float(operator.T(y).norm()) <= 1e-9


GOLDEN: dict[str, tuple[float, float]] = {
    "parallel": (397.066773041, 5021.47738152),
    "parallel, square": (439.594233795, 6143.48577229),
    "parallel, wide bins": (204.376901958, 1387.89315759),
    "parallel, on the fly": (397.066773041, 5021.47738152),
    "fan, offset": (251.134045791, 1947.25694022),
    "fan, equiangular": (357.08393533, 4198.43346019),
    "fan, on the fly": (357.08393533, 4198.43346019),
    "cone": (273.955838478, 3161.88799647),
    "cone, on the fly": (273.955838478, 3161.88799647),
    "missing rays": (336.301032756, 3144.12846773),
    "identity": (9.46185963852, 60.3316454102),
    "inpainting": (6.35527313181, 28.5604681745),
    "gaussian blur": (10.4930304564, 121.881785404),
    "lopsided blur": (1085.82040123, 10771.5063451),
    "super-resolution": (2.698343463, 7.22504836406),
    "fourier, real": (10.8681682976, 17.4854153854),
    "fourier, complex": (16.0562801275, 38.9161856961),
}
"""‖A x‖ and ⟨A x, y⟩ for x and y of :func:`waves`, each operator as in test_operators.py; recorded when the
tests against scipy, numpy, closed-form line integrals and hand-placed points (test_other_operators.py,
test_projector.py, test_geometry.py) passed."""


def waves(shape: tuple[int, ...], step: float) -> torch.Tensor:
    """1 + cos(step · n) over the flattened index n, of any shape: the same numbers on every computer."""
    n = math.prod(shape)
    return 1 + torch.cos(step * torch.arange(n, dtype=DOUBLE)).reshape(shape)


def fingerprint(A: LinearOperator) -> tuple[float, float]:
    ax = A(waves(A.domain_shape, 0.7))
    return float(ax.norm()), float((ax * waves(A.range_shape, 1.3)).sum())


@pytest.mark.parametrize("name", OPERATORS)
def test_golden_values(name: str) -> None:
    assert name in GOLDEN, f"add {fingerprint(OPERATORS[name](DOUBLE))} for it"
    assert fingerprint(OPERATORS[name](DOUBLE)) == pytest.approx(GOLDEN[name], rel=1e-9)
