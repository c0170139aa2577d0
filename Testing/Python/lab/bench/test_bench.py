"""The bench at work, small: a tiny untrained prior, small images, the real code around it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import small_study

from KLIPCore.config import PRESETS, RegionConfig
from KLIPCore.detection.simulated_scan import Scanner, trace_slice
from KLIPCore.errors import ConfigError, ResourceError
from KLIPCore.lab.bench.astra import astra_projector
from KLIPCore.lab.bench.child import run_klip
from KLIPCore.lab.bench.clock import ClockedScanner
from KLIPCore.lab.bench.command import BenchOptions, run_bench
from KLIPCore.lab.bench.preconditioner import preconditioned, transfer_function
from KLIPCore.lab.bench.scaling import exponent
from KLIPCore.lab.bench.schedules import Comparison, Lengths, curve_section, schedules_section
from KLIPCore.lab.bench.subject import Subject, subjects
from KLIPCore.lab.bench.trace import made_live_map
from KLIPCore.lab.evaluation.cases import Case, EvaluationConfig, LabelledStudy
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.checkpoint import load_prior, save_prior
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.volume.framed_study import frame_study
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained prior of 64² on disk."""
    torch.manual_seed(0)
    config = UNetConfig(channels=(16, 16))
    network = build_network(config)
    *_, last, offset = network.parameters()
    torch.nn.init.normal_(
        last, std=0.1
    )  # it begins at nothing, and a denoiser that only shrinks is surprised by bright things alone
    torch.nn.init.constant_(offset, 0.5)
    card = ModelCard("tiny", "nothing", Window(-160, 240), size=64, network=network_fields(config))
    return save_prior(network, card, tmp_path_factory.mktemp("prior"))


@pytest.fixture(scope="module")
def prior(weights: Path) -> UNetPrior:
    return load_prior(weights)


@pytest.fixture(scope="module")
def subject(prior: UNetPrior) -> Subject:
    """A slice of the small abdomen with its lesion."""
    with_lesion, without = small_study(4), small_study(4, lesion=False)
    label = np.where(with_lesion.array != without.array, 2, 0)
    label[:, 40:100, 35:75] = np.maximum(label[:, 40:100, 35:75], 1)
    index = int(np.argmax((label == 2).sum((1, 2))))
    labelled = LabelledStudy(
        Case("small", "small", "", ""),
        frame_study(with_lesion, prior.card),
        label,
        [index],
        [],
        EvaluationConfig("small", ()),
    )
    return Subject("small", labelled, index)


def test_a_clock_changes_nothing(prior: UNetPrior, subject: Subject) -> None:
    config, device = PRESETS["quick"], torch.device("cpu")
    clocked = ClockedScanner.build(config, prior, subject.study.frame.pixel_mm, device)
    plain = Scanner.build(config, prior, subject.study.frame.pixel_mm, device)
    a, b = trace_slice(clocked, subject.study, subject.index), trace_slice(plain, subject.study, subject.index)
    np.testing.assert_array_equal(a.layers["cold"].mean, b.layers["cold"].mean)
    np.testing.assert_array_equal(a.reconstruction, b.reconstruction)
    assert 0 < clocked.clock.network < a.info["seconds"] + 1e-3
    assert 0 < clocked.clock.projections < a.info["seconds"] + 1e-3
    assert clocked.n_evaluations == plain.n_evaluations


def test_schedules_make_the_evaluations_they_say(prior: UNetPrior, subject: Subject) -> None:
    lengths = Lengths(ve_steps=4, padis_levels=3, padis_inner=2, ddpm_steps=5)
    comparison = Comparison(prior, subject, torch.device("cpu"))
    rows = {row["name"]: row for row in schedules_section([comparison], lengths, lambda _: None).rows}
    counts = {name: rows[f"published {name}"]["evaluations"] for name in ("ve-projection", "padis", "ddpm")}
    assert counts == {
        "ve-projection": 2 * 4 + 1,
        "padis": 3 * 2,
        "ddpm": 5,
    }  # so the published lengths make 2001, 1000 and 100
    published = Lengths()
    assert (2 * published.ve_steps + 1, published.padis_levels * published.padis_inner, published.ddpm_steps) == (
        2001,
        1000,
        100,
    )
    assert (
        rows["preset quick, `hypodense`"]["evaluations"] == 2 * 6 + 2 * 2 + 2 * 2
    )  # two samples; pairs at small and at large nodes
    for row in rows.values():
        assert 0 <= row["body_auroc"] <= 1
        assert 0 < row["network_seconds"] < row["seconds"]
        assert row["reference_ratio"] == pytest.approx(rows["published ve-projection"]["seconds"] / row["seconds"])


def test_all_methods_are_given_the_same_data(prior: UNetPrior, subject: Subject) -> None:
    comparison = Comparison(prior, subject, torch.device("cpu"))
    torch.testing.assert_close(comparison.measurement().y, comparison.measurement().y, rtol=0, atol=0)


def test_a_map_of_the_truth_is_judged_perfect(prior: UNetPrior, subject: Subject) -> None:
    comparison = Comparison(prior, subject, torch.device("cpu"))
    lesion = comparison.truth.lesion.reshape(16, 4, 16, 4).sum((1, 3)).astype(float)
    body, organ = comparison.judge(lesion)
    assert min(body, organ) > 0.9
    assert comparison.judge(-lesion)[0] < 0.1


def test_the_curve_covers_its_grid(prior: UNetPrior, subject: Subject) -> None:
    rows = curve_section([Comparison(prior, subject, torch.device("cpu"))], (2, 3), (1, 2), lambda _: None).rows
    assert [(r["steps"], r["samples"], r["evaluations"]) for r in rows] == [
        (2, 1, 2 + 8),
        (2, 2, 4 + 8),
        (3, 1, 3 + 8),
        (3, 2, 6 + 8),
    ]


def test_exponents() -> None:
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2.0)
    assert exponent([1, 2, 4], [5, 5, 5]) == pytest.approx(0.0, abs=1e-12)


def test_preconditioned_gradients_solve_and_a_perfect_preconditioner_needs_one_step() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(36, 36, generator=generator, dtype=torch.float64)
    matrix = root @ root.T + torch.eye(36, dtype=torch.float64)
    truth = torch.randn(6, 6, generator=generator, dtype=torch.float64)

    def apply(x: torch.Tensor) -> torch.Tensor:
        return (matrix @ x.flatten()).reshape(6, 6)

    diagonal = matrix.diagonal().reshape(6, 6)
    torch.testing.assert_close(
        preconditioned(apply, apply(truth), lambda r: r / diagonal, 200), truth, rtol=1e-6, atol=1e-8
    )
    inverse = torch.linalg.inv(matrix)
    once = preconditioned(apply, apply(truth), lambda r: (inverse @ r.flatten()).reshape(6, 6), 1)
    torch.testing.assert_close(once, truth, rtol=1e-8, atol=1e-9)


def test_the_transfer_function_is_that_of_many_views() -> None:
    """With many views AᵀA is nearly a convolution: the circulant matrix does to a smooth blob what AᵀA does."""
    grid = ImageGrid2D((64, 64), 1.0)
    A = Projector(ParallelBeam.sparse(180, grid), grid, dtype=torch.float64)
    axis = torch.arange(64, dtype=torch.float64) - 31.5
    blob = torch.exp(-(axis[:, None] ** 2 + axis**2) / 32) * torch.cos(axis)[None]
    circulant = torch.fft.irfft2(torch.fft.rfft2(blob) * transfer_function(A), s=blob.shape)
    exact = A.T(A(blob))
    assert float((circulant - exact).norm() / exact.norm()) < 0.1


def test_astra_measures_the_same_lines() -> None:
    pytest.importorskip("astra", exc_type=ImportError)
    grid = ImageGrid2D((48, 48), 1.7)
    geometry = ParallelBeam.sparse(11, grid)
    A, other = Projector(geometry, grid), astra_projector(geometry, grid)
    assert other is not None
    x = torch.rand(2, 48, 48)
    y = A(x)
    np.testing.assert_allclose(other.forward(x.numpy()), y.numpy(), atol=2e-4 * float(y.max()))
    back = A.T(y).numpy()
    np.testing.assert_allclose(other.transpose(y.numpy()), back, atol=2e-4 * back.max())
    other.close()


def test_a_drawn_trace_becomes_a_map_with_regions() -> None:
    live = made_live_map(6, 96)
    small, large = (live.update(RegionConfig(score="hypodense", block_mm=edge)) for edge in (10.0, 30.0))
    assert small.regions
    assert small.kl_map.array.shape == (6, 96, 96)
    assert large.kl_map.array.sum() > 4 * small.kl_map.array.sum()


def test_a_child_is_timed_and_weighed(tmp_path: Path) -> None:
    found = run_klip(["--version"], tmp_path, threads=1)
    assert found.output.startswith("klip ")
    assert 0 < found.seconds < 60
    ballast = np.ones(400 * 1024**2, np.uint8)  # ours is not the child's
    again = run_klip(["--version"], tmp_path, threads=1)
    assert ballast[-1] == 1
    for peak in (found.peak_bytes, again.peak_bytes):
        assert peak is None or 10 * 1024**2 < peak < 300 * 1024**2
    with pytest.raises(ResourceError, match="not a number of views"):
        run_klip(["reconstruct", "nothing.npz", "--views", "many"], tmp_path)


def test_everything_in_one_small_run(weights: Path, tmp_path: Path) -> None:
    options = BenchOptions(("kernels", "scaling"), quick=True, data=tmp_path, prior=str(weights), device="cpu")
    told: list[str] = []
    run_bench(options, tmp_path / "out", tell=lambda stage, fraction, detail: told.append(detail))
    stored = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    assert set(stored["sections"]) == {"projector", "network", "maps", "preconditioner", "scaling"}
    assert all(0 <= row["adjoint_error"] <= 1e-6 for row in stored["sections"]["projector"]["rows"])
    assert "not measured" in [row["seconds"] for row in stored["sections"]["network"]["rows"]]  # a GPU, without one
    assert {row["bound"] for row in stored["sections"]["projector"]["rows"]} <= {"memory", "arithmetic", "launch"}
    assert (tmp_path / "out" / "bench_scaling.png").read_bytes().startswith(b"\x89PNG")
    assert "projector" in told
    assert "not measured" in (tmp_path / "out" / "bench.md").read_text(encoding="utf-8")


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to measure called noise"):
        BenchOptions(("kernels", "noise"))
    with pytest.raises(ConfigError, match="at least one slice"):
        BenchOptions(n_slices=0)
    with pytest.raises(ConfigError, match="Quick figures"):
        run_bench(BenchOptions(quick=True), tmp_path, table=tmp_path)
    with pytest.raises(ConfigError, match=r"performance\.md"):
        run_bench(BenchOptions(), tmp_path, table=tmp_path)


@pytest.mark.shared_data
def test_real_slices_come_from_two_patients_in_turn(shared_data: Path) -> None:
    prior = load_prior()
    found = subjects(shared_data, prior, 2)
    assert [s.labelled.case.patient for s in found] == ["B", "A"]
    for s in found:
        assert s.truth(4).lesion.any()
