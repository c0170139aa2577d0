"""Every operator against every law, in single and double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from laws import ALL_LAWS, TOLERANCE, adjoint_error

from KLIPCore.errors import ConfigError
from KLIPCore.physics.geometry import FanBeam, ImageGrid2D, ParallelBeam
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.physics.projector import Projector

IMAGE = ImageGrid2D((24, 20), 1.5)
SQUARE = ImageGrid2D((16, 16), 2.0)
PARALLEL = ParallelBeam.sparse(7, IMAGE)
FAN = FanBeam((0.1, 1.2, 4.0), 25, 3.1, 1.3, 100.0, 180.0)
CURVED = FanBeam.sparse(8, SQUARE, source_origin_mm=60.0, source_detector_mm=90.0, equiangular=True)

OPERATORS: dict[str, Callable[[torch.dtype], LinearOperator]] = {
    "parallel": lambda dtype: Projector(PARALLEL, IMAGE, dtype=dtype),
    "parallel, square": lambda dtype: Projector(ParallelBeam.sparse(12, SQUARE), SQUARE, dtype=dtype),
    "parallel, wide bins": lambda dtype: Projector(ParallelBeam.sparse(5, IMAGE, pitch_mm=4.0), IMAGE, dtype=dtype),
    "parallel, on the fly": lambda dtype: Projector(PARALLEL, IMAGE, dtype=dtype, memory_limit_bytes=0),
    "fan, offset": lambda dtype: Projector(FAN, IMAGE, dtype=dtype),
    "fan, equiangular": lambda dtype: Projector(CURVED, SQUARE, dtype=dtype),
    "fan, on the fly": lambda dtype: Projector(CURVED, SQUARE, dtype=dtype, memory_limit_bytes=0),
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
