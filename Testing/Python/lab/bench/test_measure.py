"""Counting work and naming what bounds it, against counts done by hand."""

from __future__ import annotations

import time

import pytest
import torch
from busy import longest

from KLIPCore.lab.bench.machine import WORKING_SETS, ceilings, machine
from KLIPCore.lab.bench.measure import Ceilings, Work, threads, timed, timed_runs, work_of
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

SOME = Ceilings({"fp32": 1e9, "bf16": 4e9}, {1000: 1e10, 1_000_000: 1e9}, 1e-6, 1)


def test_a_matrix_product_is_counted() -> None:
    a, b = torch.rand(30, 40), torch.rand(40, 50)
    work = work_of(lambda: a @ b)
    assert (work.flops, work.bytes, work.operations) == (2 * 30 * 40 * 50, 4 * (1200 + 2000 + 1500), 1)


def test_a_convolution_and_attention_are_counted() -> None:
    x, kernel = torch.rand(1, 3, 8, 8), torch.rand(5, 3, 3, 3)
    assert work_of(lambda: torch.nn.functional.conv2d(x, kernel, padding=1)).flops == 2 * 5 * 3 * 9 * 64
    q = torch.rand(1, 2, 64, 16)
    assert work_of(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)).flops == 2 * (
        2 * 2 * 64 * 64 * 16
    )


def test_views_are_free_and_expanded_tensors_are_read_once() -> None:
    a = torch.rand(10, 10)
    assert work_of(lambda: a.reshape(100)[3:5]).operations == 0
    row = torch.rand(1, 1000).expand(1000, 1000)
    assert work_of(lambda: row + 1.0).bytes == 4 * (1000 + 1_000_000)


def test_a_projection_is_counted_by_its_stored_weights() -> None:
    grid = ImageGrid2D((32, 32), 1.0)
    A = Projector(ParallelBeam.sparse(12, grid), grid)
    n = A._matrix.n_entries
    columns = 3 * len(A.orbits.turns)
    assert work_of(lambda: A(torch.ones(3, 32, 32))).flops == 2 * n * columns


@pytest.mark.parametrize(
    ("work", "seconds", "by", "share"),
    [
        (Work(2e9, 10.0, 1), 4.0, "arithmetic", 0.5),
        (Work(2e9, 10.0, 1, "bf16"), 4.0, "arithmetic", 0.125),
        (Work(0.0, 1e9, 1), 2.0, "memory", 0.5),  # its one operation moves more than any cache holds
        (Work(0.0, 1e9, 10**6), 2.0, "launch", 0.5),  # a thousand bytes each: fast to move, slow to start
    ],
)
def test_the_lowest_ceiling_bounds(work: Work, seconds: float, by: str, share: float) -> None:
    bound = SOME.bound(work, seconds)
    assert bound.by == by
    assert bound.share == pytest.approx(share)


def test_times_are_medians() -> None:
    made = timed(lambda: time.sleep(0.01), 0.05)
    assert 0.01 <= made.seconds < longest(0.2)
    assert made.runs >= 1
    few = timed_runs(lambda: time.sleep(0.01), 3)
    assert (few.runs, few.seconds >= few.fastest >= 0.01) == (3, True)
    assert timed_runs(lambda: None, 1).spread is None


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    seen = []

    def fail() -> None:
        with threads(1):
            seen.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [1]
    assert torch.get_num_threads() == before


def test_this_machine_has_ceilings_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("KLIPCore.lab.bench.machine.MATRIX", 64)
    found = ceilings(torch.device("cpu"), 0.01)
    assert set(found.bandwidth) == set(WORKING_SETS)
    assert min(*found.flops.values(), *found.bandwidth.values(), found.launch) > 0
    record = machine(ModelCard("some", "nothing", Window(-100, 200), sha256="0" * 64), torch.device("cpu"))
    assert record["libraries"]["torch"] == torch.__version__
    assert record["prior_sha256"] == "0" * 64
