"""How long something takes, how much work it is, and what would have stopped it from being faster.

Three ceilings stand over every computation: the device's arithmetic, its memory, and the cost of starting an
operation at all (a
*launch*: on a GPU a kernel, on a CPU a pass through PyTorch's dispatcher). For a computation of F
floating-point operations that reads and writes B bytes in n operations,

    least time  =  max( F / peak,  B / bandwidth,  n · launch )

and the largest of the three is what bounds it: Williams, Waterman & Patterson, "Roofline", Commun. ACM 52(4),
2009, with the launch as a third roof. *Share* is the least time over the measured one, so 1 is as fast as this
device goes with these operations. Ceilings are measured in the same run (:mod:`KLIPCore.lab.bench.machine`),
never copied from a data sheet.

B counts what every operation reads and writes by itself, without fusion, because that is how eager PyTorch
runs; caches can beat it, and then the share is above one of main memory. The bandwidth is therefore that of a
working set of B / n bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one computation.

    Attributes
    ----------
    seconds : median over blocks of repetitions.
    spread : interquartile range over the median; None after a single run.
    runs : how often it ran.
    fastest : seconds of the fastest block; what a ceiling is taken from, since other programs only ever lower it.
    """

    seconds: float
    spread: float | None
    runs: int
    fastest: float = float("nan")


def timed(function: Callable[[], object], min_seconds: float = 0.5, device: torch.device | None = None) -> Timing:
    """Return the median and spread of a short computation, by blocked repetition.

    Parameters
    ----------
    function : what to run; its result is dropped.
    min_seconds : how long to repeat it, after one warming-up run.
    device : waited for before the clock stops, where its work is asynchronous.
    """
    function()
    from torch.utils.benchmark import Timer  # imports setuptools, which nothing but a measurement needs

    made = Timer(
        "run()", globals={"run": _finished(function, device)}, num_threads=torch.get_num_threads()
    ).blocked_autorange(min_run_time=min_seconds)
    few = len(made.times) < 2
    return Timing(
        float(made.median),
        None if few else float(made.iqr / made.median),
        made.number_per_run * len(made.times),
        min(made.times),
    )


def timed_runs(function: Callable[[], object], runs: int, device: torch.device | None = None) -> Timing:
    """Return the same for a long computation: so many runs, each timed, none for warming up."""
    run, seconds = _finished(function, device), []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    times = torch.tensor(seconds, dtype=torch.float64)
    median = float(times.quantile(0.5))
    return Timing(
        median,
        float(times.quantile(0.75) - times.quantile(0.25)) / median if runs > 1 else None,
        runs,
        float(times.min()),
    )


def _finished(function: Callable[[], object], device: torch.device | None) -> Callable[[], object]:
    """The function, over when the device is."""
    if device is None or device.type != "cuda":
        return function

    def run() -> None:
        function()
        torch.cuda.synchronize(device)

    return run


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Run PyTorch's arithmetic on so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Work:
    """What a computation asks of the device.

    Attributes
    ----------
    flops : floating-point operations, a multiplication and an addition counting two.
    bytes : read and written by its operations, each by itself.
    operations : operations that do something (views do not).
    precision : ``bf16`` or ``fp32``, of the arithmetic that counts.
    """

    flops: float
    bytes: float
    operations: int
    precision: str = "fp32"

    def times(self, n: float) -> Work:
        """Return the same work n times over."""
        return Work(n * self.flops, n * self.bytes, round(n * self.operations), self.precision)

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops, self.bytes + other.bytes, self.operations + other.operations, self.precision
        )


def work_of(function: Callable[[], object], precision: str = "fp32") -> Work:
    """Run a computation once and count its work.

    Floating-point operations are counted by PyTorch's formulas (matrix products, convolutions, attention, their
    gradients), sparse products by their stored entries, bytes and operations of everything.
    """
    with _Counter() as counter:
        function()
    return Work(counter.flops, counter.bytes, counter.operations, precision)


class _Counter(TorchDispatchMode):
    """Sees every operation that reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.bytes, self.operations = 0.0, 0.0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if getattr(func, "is_view", False):
            return out
        self.operations += 1
        inputs = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.bytes += sum(_bytes(t) for t in (*inputs, *outputs))
        sparse = [t for t in inputs if t.layout == torch.sparse_csr]
        packet = getattr(func, "_overloadpacket", None)
        if sparse:
            self.flops += 2.0 * sparse[0].values().numel() * (outputs[0].shape[-1] if outputs else 0)
        elif packet in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif "scaled_dot_product" in str(packet) and "backward" not in str(
            packet
        ):  # the CPU's own attention kernel has no formula there
            self.flops += sdpa_flop_count(args[0].shape, args[1].shape, args[2].shape)
        return out


def _bytes(t: Tensor) -> float:
    """What an operation moves of a tensor: an expanded one only once."""
    if t.layout == torch.sparse_csr:
        return float(
            sum(part.numel() * part.element_size() for part in (t.crow_indices(), t.col_indices(), t.values()))
        )
    return float(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()))


@dataclass(frozen=True)
class Bound:
    """What holds a computation back.

    Attributes
    ----------
    by : ``arithmetic``, ``memory`` or ``launch``.
    share : part of that ceiling reached.
    """

    by: str
    share: float


@dataclass(frozen=True)
class Ceilings:
    """What one device can do at best, measured.

    Attributes
    ----------
    flops : per second, by precision (``bf16``, ``fp32``): a large matrix product.
    bandwidth : bytes per second by size of the working set in bytes: a triad a = b + s c.
    launch : seconds an operation on one number takes.
    threads : it was measured with, 0 on a GPU.
    """

    flops: dict[str, float]
    bandwidth: dict[int, float]
    launch: float
    threads: int

    def speed(self, working_set: float) -> float:
        """Return the bandwidth of the measured working set next above this one: the smaller ones lie in a cache."""
        return self.bandwidth[
            next((size for size in sorted(self.bandwidth) if size >= working_set), max(self.bandwidth))
        ]

    def bound(self, work: Work, seconds: float) -> Bound:
        """Return which ceiling is lowest over this work, and how near it the measured time comes."""
        least = {
            "arithmetic": work.flops / self.flops[work.precision],
            "memory": work.bytes / self.speed(work.bytes / max(work.operations, 1)),
            "launch": work.operations * self.launch,
        }
        by = max(least, key=lambda name: least[name])
        return Bound(by, least[by] / seconds)
