"""Every operator against every law, in single and double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from laws import ALL_LAWS, TOLERANCE, adjoint_error

from KLIPCore.errors import ConfigError
from KLIPCore.physics.blur import Blur, GaussianBlur
from KLIPCore.physics.cone import ConeBeam, ConeProjector
from KLIPCore.physics.downsample import Downsample
from KLIPCore.physics.fourier import UndersampledFourier, cartesian_mask
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.mask import Identity, Mask
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.missing import SelectRays, interior
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((24, 20), 1.5)
BODY = ImageGrid2D((256, 256), 1.45)
SQUARE = ImageGrid2D((16, 16), 2.0)
PARALLEL = ParallelBeam.sparse(7, IMAGE)
FAN = FanBeam((0.1, 1.2, 4.0), 25, pitch_mm=3.1, offset_mm=1.3, source_origin_mm=100.0, source_detector_mm=180.0)
CONE = ConeBeam(
    FanBeam((0.2, 1.7, 3.0), 14, pitch_mm=4.0, offset_mm=0.7, source_origin_mm=60.0, source_detector_mm=100.0),
    5,
    row_pitch_mm=5.0,
)
CONE_IMAGE = ImageGrid2D((10, 8), 3.0)
CURVED = FanBeam.sparse(8, SQUARE, source_origin_mm=60.0, source_detector_mm=90.0, equiangular=True)

OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "parallel": lambda dtype: Projector(PARALLEL, IMAGE, dtype=dtype),
    "parallel, square": lambda dtype: Projector(ParallelBeam.sparse(12, SQUARE), SQUARE, dtype=dtype),
    "parallel, wide bins": lambda dtype: Projector(ParallelBeam.sparse(5, IMAGE, pitch_mm=4.0), IMAGE, dtype=dtype),
    "parallel, on the fly": lambda dtype: Projector(PARALLEL, IMAGE, dtype=dtype, memory_limit_bytes=0),
    "fan, offset": lambda dtype: Projector(FAN, IMAGE, dtype=dtype),
    "fan, equiangular": lambda dtype: Projector(CURVED, SQUARE, dtype=dtype),
    "fan, on the fly": lambda dtype: Projector(CURVED, SQUARE, dtype=dtype, memory_limit_bytes=0),
    "cone": lambda dtype: ConeProjector(CONE, CONE_IMAGE, n_slices=4, slice_mm=2.5, dtype=dtype),
    "cone, on the fly": lambda dtype: ConeProjector(
        CONE, CONE_IMAGE, n_slices=4, slice_mm=2.5, dtype=dtype, memory_limit_bytes=0
    ),
    "missing rays": lambda dtype: SelectRays(Projector(PARALLEL, IMAGE, dtype=dtype), interior(PARALLEL, 9.0)),
    "identity": lambda dtype: Identity((3, 5, 4)),
    "inpainting": lambda dtype: Mask(torch.arange(42).reshape(6, 7) % 3 > 0),
    "gaussian blur": lambda dtype: GaussianBlur((13, 11), 1.2),
    "lopsided blur": lambda dtype: Blur((9, 12), torch.arange(1.0, 16.0).reshape(3, 5)),
    "super-resolution": lambda dtype: Downsample((12, 8), 4),
    "fourier, real": lambda dtype: UndersampledFourier(cartesian_mask((9, 12), 2.0, torch.Generator().manual_seed(1))),
    "fourier, complex": lambda dtype: UndersampledFourier(
        cartesian_mask((8, 11), 3.0, torch.Generator().manual_seed(1)), complex_image=True
    ),
}

COMPOSED: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "blurred, then projected": lambda dtype: Projector(PARALLEL, IMAGE, dtype=dtype) @ GaussianBlur(IMAGE.shape, 1.2),
    "normal operator": lambda dtype: (
        Projector(PARALLEL, IMAGE, dtype=dtype).T @ Projector(PARALLEL, IMAGE, dtype=dtype)
    ),
    "softened": lambda dtype: Identity((13, 11)) + 2 * GaussianBlur((13, 11), 1.2),
    "sum of two scans": lambda dtype: (
        -Projector(PARALLEL, IMAGE, dtype=dtype) + Projector(PARALLEL, IMAGE, dtype=dtype) * 1.5
    ),
}
"""Operators made of others; what they are is checked against products and sums of their matrices."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("law", ALL_LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", OPERATORS | COMPOSED)
def test_law(name: str, law: Callable[[LinearOperator, torch.dtype], None], dtype: torch.dtype) -> None:
    law((OPERATORS | COMPOSED)[name](dtype), dtype)


@pytest.mark.parametrize("name", OPERATORS | COMPOSED)
def test_another_shape_is_refused(name: str) -> None:
    A = (OPERATORS | COMPOSED)[name](torch.float32)
    with pytest.raises(ConfigError, match="takes arrays ending in"):
        A(torch.zeros(*A.domain_shape[:-1], A.domain_shape[-1] + 1))


class _Unmatched(LinearOperator):
    """A projector whose back-projection is off by one detector bin: what the laws are there to catch."""

    def __init__(self) -> None:
        self.inner = Projector(PARALLEL, IMAGE, dtype=torch.float64)
        self.domain_shape, self.range_shape = self.inner.domain_shape, self.inner.range_shape

    def _apply(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner._apply(x)

    def _apply_transpose(self, y: torch.Tensor) -> torch.Tensor:
        return self.inner._apply_transpose(y.roll(1, -1))


def dense(A: LinearOperator) -> torch.Tensor:
    """(n, m) Aᵀ of an operator, column by column, in double precision."""
    n = math.prod(A.domain_shape)
    return A(torch.eye(n, dtype=torch.float64).reshape(n, *A.domain_shape)).reshape(n, -1)


@pytest.mark.parametrize("name", OPERATORS | COMPOSED)
def test_the_norm_is_the_largest_singular_value(name: str) -> None:
    A = (OPERATORS | COMPOSED)[name](torch.float64)
    exact = float(torch.linalg.matrix_norm(dense(A), 2))
    for operator in (A, A.T):
        found = operator.norm(tolerance=1e-4)
        assert found == pytest.approx(exact, rel=1e-3)
        assert found <= exact * (1 + 1e-9)
        assert operator.norm(tolerance=1e-4) == found, "a seed decides it"


def test_a_norm_that_is_not_found_is_said_so() -> None:
    with pytest.raises(ConfigError, match="after 2 iterations") as caught:
        GaussianBlur((13, 11), 1.2).norm(tolerance=1e-12, max_iterations=2)
    assert "larger tolerance" in caught.value.remedy
    assert (0 * Identity((3,))).norm() == 0


def test_operators_compose_as_matrices_do() -> None:
    A, B = Projector(PARALLEL, IMAGE, dtype=torch.float64), GaussianBlur(IMAGE.shape, 1.2)
    C = Projector(PARALLEL, IMAGE, dtype=torch.float64, rays_per_bin=2)
    a, b, c = dense(A), dense(B), dense(C)
    for operator, expected in (
        (A @ B, b @ a),
        (A.T @ A, a @ a.T),
        (A + C, a + c),
        (A - C, a - c),
        (-A, -a),
        (3 * A, 3 * a),
        (np.float64(0.5) * A * 2, a),
        ((A @ B).T, (b @ a).T),
        (A.H, a.T),
        ((A - 0.5 * C) @ B, b @ (a - 0.5 * c)),
    ):
        torch.testing.assert_close(dense(operator), expected, rtol=1e-10, atol=1e-10)


def test_operators_that_do_not_fit_are_refused() -> None:
    A, B = Projector(PARALLEL, IMAGE), Identity((5, 5))
    for compose in (lambda: A @ B, lambda: A + B, lambda: A - B, lambda: A @ A):
        with pytest.raises(ConfigError) as caught:
            compose()
        assert caught.value.remedy
    for other in ("two", None, 1j):
        with pytest.raises(TypeError):
            A * other  # type: ignore[operator]
        with pytest.raises(TypeError):
            A @ other  # type: ignore[operator]


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (
            lambda: Projector(ParallelBeam.sparse(60, BODY), BODY, memory_limit_bytes=0),
            "Projector(60 views over 180 deg, 256 x 256 pixels of 1.45 mm)",
        ),
        (
            lambda: Projector(FanBeam.sparse(60, SQUARE), SQUARE),
            "Projector(60 fan-beam views over 360 deg, 16 x 16 pixels of 2 mm)",
        ),
        (
            lambda: Projector(FAN, IMAGE),
            "Projector(3 fan-beam views from 5.73 to 229.18 deg, 24 x 20 pixels of 1.5 mm)",
        ),
        (
            lambda: ConeProjector(CONE, CONE_IMAGE, n_slices=4, slice_mm=2.5),
            "ConeProjector(3 views from 11.46 to 171.89 deg, 4 x 10 x 8 voxels of 2.5 x 3 x 3 mm)",
        ),
        (lambda: SelectRays(Identity((4,)), torch.arange(4) > 0), "SelectRays(Identity(4), 3 of 4 rays)"),
        (lambda: Mask(torch.arange(42).reshape(6, 7) % 3 > 0), "Mask(28 of 6 x 7 pixels)"),
        (lambda: Blur((9, 12), torch.ones(3, 5)), "Blur(9 x 12 pixels, kernel of 3 x 5)"),
        (lambda: Downsample((12, 8), 4), "Downsample(12 x 8 to 3 x 2 pixels)"),
        (
            lambda: UndersampledFourier(torch.arange(8).reshape(2, 4) < 6),
            "UndersampledFourier(2 x 4 real pixels, 75 % of the frequencies)",
        ),
        (
            lambda: Downsample((12, 8), 4) @ GaussianBlur((12, 8), 1.5),
            "Downsample(12 x 8 to 3 x 2 pixels) @ GaussianBlur(12 x 8 pixels, sigma 1.5 pixels)",
        ),
        (lambda: Identity((3, 4)).T, "Identity(3 x 4).T"),
        (
            lambda: (Identity((3,)) + 2 * Identity((3,))).T @ -Identity((3,)),
            "(Identity(3) + 2 * Identity(3)).T @ (-1 * Identity(3))",
        ),
        (lambda: 0.5 * (Identity((3,)) + Identity((3,))), "0.5 * (Identity(3) + Identity(3))"),
        (_Unmatched, "_Unmatched(24 x 20 to 7 x 33)"),
    ],
)
def test_operators_print_themselves_in_users_units(operator: Callable[[], LinearOperator], text: str) -> None:
    assert repr(operator()) == text


def test_geometries_and_measurements_print_themselves() -> None:
    assert repr(ParallelBeam.sparse(60, BODY)) == "ParallelBeam(60 views over 180 deg, 364 bins of 1.45 mm)"
    assert (
        repr(ParallelBeam((0.5,), 3, pitch_mm=2.0, offset_mm=0.25))
        == "ParallelBeam(1 view at 28.65 deg, 3 bins of 2 mm, offset 0.25 mm)"
    )
    source = "source 60 mm from the isocentre, arc 90 mm from the source"
    assert repr(CURVED) == f"FanBeam(8 views over 360 deg, 25 bins of 3 mm, {source})"
    y = Measurement(torch.zeros(4), Identity((4,)), noise=GaussianNoise(1.0), simulated=True)
    assert repr(y) == "Measurement(4 simulated values, Identity(4), GaussianNoise)"


def test_laws_catch_an_unmatched_pair() -> None:
    assert adjoint_error(_Unmatched(), torch.float64) > 1e3 * TOLERANCE[torch.float32]


def test_operators_move_with_their_parts() -> None:
    moved = SelectRays(Projector(PARALLEL, IMAGE), interior(PARALLEL, 9.0)).to("meta")
    assert moved.keep.device.type == "meta"
    assert moved.operator._slot.device.type == "meta"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mask(torch.zeros(3, 3, dtype=torch.bool)),
        lambda: Mask(torch.ones(3, 3)),
        lambda: Blur((5, 5), torch.ones(2, 3)),
        lambda: GaussianBlur((5, 5), 0.0),
        lambda: Downsample((5, 6), 2),
        lambda: UndersampledFourier(torch.zeros(4, 4, dtype=torch.bool)),
        lambda: cartesian_mask((4, 4), 0.5, torch.Generator()),
        lambda: SelectRays(Identity((4,)), torch.zeros(4, dtype=torch.bool)),
        lambda: SelectRays(Identity((4,)), torch.ones(5, dtype=torch.bool)),
        lambda: ConeBeam(CURVED, 3, row_pitch_mm=1.0),
        lambda: ConeBeam(FAN, 0, row_pitch_mm=1.0),
        lambda: ConeProjector(CONE, ImageGrid2D((50, 50), 3.0), n_slices=4, slice_mm=2.5),
        lambda: ConeProjector(CONE, CONE_IMAGE, n_slices=0, slice_mm=2.5),
    ],
)
def test_impossible_operators_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.remedy
