"""A scanner that knows where its seconds went: into the network, into A and Aᵀ, or elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from KLIPCore.config import Config
from KLIPCore.detection.simulated_scan import Scanner
from KLIPCore.physics.linear import LinearOperator
from KLIPCore.priors.prior import Prior


@dataclass
class Clock:
    """Seconds spent in two kinds of work.

    Attributes
    ----------
    network, projections : seconds.
    """

    network: float = 0.0
    projections: float = 0.0


class ClockedOperator(LinearOperator):
    """An operator whose products are timed.

    Parameters
    ----------
    operator : the one that works.
    clock : where its seconds are added.
    """

    def __init__(self, operator: LinearOperator, clock: Clock) -> None:
        self.operator, self.clock = operator, clock
        self.domain_shape, self.range_shape, self.closed_form = (
            operator.domain_shape,
            operator.range_shape,
            operator.closed_form,
        )

    def __getattr__(self, name: str) -> Any:
        if name == "operator":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.operator, name)

    def _apply(self, x: Tensor) -> Tensor:
        started = time.perf_counter()
        made = self.operator._apply(x)
        _finish(made)
        self.clock.projections += time.perf_counter() - started
        return made

    def _apply_transpose(self, y: Tensor) -> Tensor:
        started = time.perf_counter()
        made = self.operator._apply_transpose(y)
        _finish(made)
        self.clock.projections += time.perf_counter() - started
        return made

    def normal(self, x: Tensor, w: Tensor) -> Tensor:
        """Return what the operator itself does, timed."""
        started = time.perf_counter()
        made = self.operator.normal(x, w)
        _finish(made)
        self.clock.projections += time.perf_counter() - started
        return made


@dataclass
class ClockedScanner(Scanner):
    """A scanner with a clock; otherwise the same numbers.

    Attributes
    ----------
    clock : seconds so far. A back-propagation through the network is not in them: see
        :mod:`KLIPCore.lab.bench.schedules`.
    """

    clock: Clock = field(default_factory=Clock)

    @classmethod
    def build(cls, config: Config, prior: Prior, pixel_mm: float, device: torch.device) -> ClockedScanner:
        """Build a scanner as :meth:`KLIPCore.detection.simulated_scan.Scanner.build` does, with a clock."""
        plain = Scanner.build(config, prior, pixel_mm, device)
        made = cls(config, prior, plain.A, plain.A_fine, plain.noise_sigma, device)
        made.A = ClockedOperator(plain.A, made.clock)  # type: ignore[assignment]
        return made

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """Return what the plain scanner does, timed."""
        started = time.perf_counter()
        made = super().denoise(x, sigma)
        _finish(made)
        self.clock.network += time.perf_counter() - started
        return made


def _finish(made: Tensor) -> None:
    """Wait for the device, where it works on while we go."""
    if made.device.type == "cuda":
        torch.cuda.synchronize(made.device)
