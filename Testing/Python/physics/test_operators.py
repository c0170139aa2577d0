"""Every operator against every law, in single and double precision."""

from __future__ import annotations

from collections.abc import Callable

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
from KLIPCore.physics.missing import SelectRays, interior
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import FanBeam, ImageGrid2D, ParallelBeam

IMAGE = ImageGrid2D((24, 20), 1.5)
SQUARE = ImageGrid2D((16, 16), 2.0)
PARALLEL = ParallelBeam.sparse(7, IMAGE)
FAN = FanBeam((0.1, 1.2, 4.0), 25, 3.1, 1.3, 100.0, 180.0)
CONE = ConeBeam(FanBeam((0.2, 1.7, 3.0), 14, 4.0, 0.7, 60.0, 100.0), 5, 5.0)
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
    "cone": lambda dtype: ConeProjector(CONE, CONE_IMAGE, 4, 2.5, dtype=dtype),
    "cone, on the fly": lambda dtype: ConeProjector(CONE, CONE_IMAGE, 4, 2.5, dtype=dtype, memory_limit_bytes=0),
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("law", ALL_LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", OPERATORS)
def test_law(name: str, law: Callable[[LinearOperator, torch.dtype], None], dtype: torch.dtype) -> None:
    law(OPERATORS[name](dtype), dtype)


@pytest.mark.parametrize("name", OPERATORS)
def test_another_shape_is_refused(name: str) -> None:
    A = OPERATORS[name](torch.float32)
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
        lambda: ConeBeam(CURVED, 3, 1.0),
        lambda: ConeBeam(FAN, 0, 1.0),
        lambda: ConeProjector(CONE, ImageGrid2D((50, 50), 3.0), 4, 2.5),
        lambda: ConeProjector(CONE, CONE_IMAGE, 0, 2.5),
    ],
)
def test_impossible_operators_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.remedy
