"""The parts a slice is made of, each by itself: projector, denoiser, guidance, maps.

Every row says what bounds it. The projector is measured on one thread, because that is how it is compared with
ASTRA, whose CPU code has no other; the rest on the threads that PyTorch uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from KLIPCore.config import Config, RegionConfig
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.lab.bench.astra import AstraProjector, astra_projector
from KLIPCore.lab.bench.machine import installed
from KLIPCore.lab.bench.measure import Ceilings, Work, timed, work_of
from KLIPCore.lab.bench.table import NOT_MEASURED, Section, figures
from KLIPCore.lab.bench.trace import made_live_map
from KLIPCore.maps.blocks import block_nats
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import preconditioned_iterations, proximal_step
from KLIPCore.priors.prior import Prior
from KLIPCore.sampling.guidance import prior_variance
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

PIXEL_MM = 1.5
SIGMA = 0.2
"""Noise level of the denoiser's and guidance's rows; it does not change their cost."""


def adjoint_error(A: Projector, n_pairs: int = 4) -> float:
    """Return the largest |⟨A x, y⟩ − ⟨x, Aᵀ y⟩| / (‖A x‖ ‖y‖) over random pairs.

    Products in A's precision, inner products in float64.
    """
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(n_pairs):
        x, y = torch.randn(A.domain_shape, generator=generator), torch.randn(A.range_shape, generator=generator)
        projected, back = A(x).double(), A.T(y).double()
        difference = (projected * y).sum() - (x * back).sum()
        worst = max(worst, float(difference.abs() / (projected.norm() * y.double().norm())))
    return worst


def projector_section(
    single: Ceilings, size: int, views: tuple[int, ...], batches: tuple[int, ...], min_seconds: float
) -> Section:
    """Return a and Aᵀ against ASTRA; to be called with one thread.

    Parameters
    ----------
    single : ceilings of one thread.
    size : side of the image in pixels.
    views, batches : numbers of parallel views, and of images at once.
    min_seconds : each is repeated so long.
    """
    rows = []
    image = ImageGrid2D((size, size), PIXEL_MM)
    for n_views in views:
        geometry = ParallelBeam.sparse(n_views, image)
        A, other = Projector(geometry, image), astra_projector(geometry, image)
        error = adjoint_error(A)
        for batch in batches:
            x = torch.rand(batch, size, size)
            y = A(x)
            for name, run, run_other in _both(A, other, x, y):
                timing = timed(run, min_seconds)
                row = {"name": f"{name}, {n_views} views", "views": n_views, "batch": batch, "adjoint_error": error}
                row |= figures(timing, single.bound(work_of(run), timing.seconds))
                if run_other is not None:
                    slower = timed(run_other, min_seconds)
                    row |= {
                        "astra_seconds": slower.seconds,
                        "astra_spread": slower.spread,
                        "astra_ratio": slower.seconds / timing.seconds,
                    }
                else:
                    row["astra_seconds"] = "not installed"
                rows.append(row)
        if other is not None:
            other.close()
    version = installed("astra-toolbox")
    note = (
        f"One thread, {size}², float32. ASTRA {version}: its CPU projector `linear` (Joseph's method, as ours), one "
        "image after the other."
    )
    columns = ("batch", "seconds", "spread", "astra_seconds", "astra_ratio", "bound", "share", "adjoint_error")
    return Section("projector", columns, tuple(rows), (note,), heading="operation")


def _both(
    A: Projector, other: AstraProjector | None, x: torch.Tensor, y: torch.Tensor
) -> list[tuple[str, Callable[[], Any], Callable[[], Any] | None]]:
    """Both directions, ours and ASTRA's."""
    if other is None:
        return [("A", lambda: A(x), None), ("Aᵀ", lambda: A.T(y), None)]
    x_array, y_array = x.numpy(), y.numpy()
    return [
        ("A", lambda: A(x), lambda: other.forward(x_array)),
        ("Aᵀ", lambda: A.T(y), lambda: other.transpose(y_array)),
    ]


def network_section(
    prior: Prior,
    here: Ceilings,
    device: torch.device,
    batches: tuple[int, ...],
    views: tuple[int, ...],
    min_seconds: float,
) -> Section:
    """Measure denoiser and guidance on the run's device."""
    rows: list[dict[str, Any]] = []
    size, seconds = prior.card.size, {}
    precision = "bf16" if bool(getattr(prior, "mixed", False)) else "fp32"
    for batch in batches:
        x = torch.rand(batch, 1, size, size, device=device)
        sigma = torch.full((batch,), SIGMA, device=device)
        work = work_of(lambda x=x, sigma=sigma: prior.denoise(x, sigma), precision)  # type: ignore[misc]
        timing = timed(lambda x=x, sigma=sigma: prior.denoise(x, sigma), min_seconds, device)  # type: ignore[misc]
        seconds[batch] = timing.seconds
        row = {"name": "denoiser", "batch": batch, **figures(timing, here.bound(work, timing.seconds))}
        rows.append(
            {
                **row,
                "per_image": timing.seconds / batch,
                "gflop": work.flops / 1e9,
                "peak_share": work.flops / here.flops[precision] / timing.seconds,
            }
        )
    defaults = Config().sampling
    image = ImageGrid2D((size, size), PIXEL_MM)
    for n_views in views:
        A = Projector(ParallelBeam.sparse(n_views, image), image).preconditioned().to(device)
        for batch in batches:
            truth = torch.rand(batch, size, size, device=device)
            measurement = Measurement(
                A(truth), A, noise=GaussianNoise(0.002 * 0.5 * 0.875 * size * PIXEL_MM), simulated=True
            )
            guess = truth + 0.05 * torch.randn_like(truth)

            n_iterations = preconditioned_iterations(measurement, defaults.cg_iterations)

            def guide(m: Measurement = measurement, x: torch.Tensor = guess, n: int = n_iterations) -> torch.Tensor:
                return proximal_step(m, x, prior_variance(SIGMA, defaults.prior_std), n)

            timing = timed(guide, min_seconds, device)
            row = {
                "name": f"guidance, {n_views} views",
                "batch": batch,
                **figures(timing, here.bound(work_of(guide), timing.seconds)),
            }
            rows.append({**row, "per_image": timing.seconds / batch, "of_network": timing.seconds / seconds[batch]})
    if device.type != "cuda":
        rows += [
            {"name": name, "batch": 64, "seconds": NOT_MEASURED} for name in ("denoiser on a GPU", "guidance on a GPU")
        ]
    note = (
        f"Guidance is a proximal step from its closed form, {n_iterations} iterations, each one A and one Aᵀ; "
        "its share is of the denoiser's time at that batch."
    )
    columns = ("batch", "seconds", "spread", "per_image", "gflop", "bound", "share", "of_network")
    return Section("network", columns, tuple(rows), (note,), heading=f"{size}², {precision} network")


def map_section(here: Ceilings, n_slices: int, size: int, min_seconds: float) -> Section:
    """Measure the way from a trace to a map, many slices at once: what a slider waits for.

    Parameters
    ----------
    here : ceilings.
    n_slices, size : of the study whose trace is drawn (:mod:`KLIPCore.lab.bench.trace`).
    min_seconds : each is repeated so long.
    """
    live = made_live_map(n_slices, size)
    settings = RegionConfig(score="hypodense")  # whose layer was drawn
    score = settings.chosen
    cells = live.trace.nats(score.layer, score.part, score.window, score.bands)
    voxels = float(np.prod(live.framing.grid.shape))
    moves = [replace(settings, block_mm=edge) for edge in (10.0, 12.0, 16.0, 22.0)]
    state = {"n": 0}

    def move() -> object:
        state["n"] += 1
        return live.update(moves[state["n"] % len(moves)])

    push = torch.randn(2, 256, 256)
    total = LayerSum("cold", np.array([0.08, 0.32]), 256, 4)
    parts: list[tuple[str, Callable[[], object], Work | None, float | None]] = [
        (
            "nats of a window from the trace",
            lambda: live.trace.nats(score.layer, score.part, score.window, score.bands),
            Work(4.0 * cells.size, 4.0 * 5 * cells.size, 1),
            None,
        ),
        (
            "re-blocking",
            lambda: block_nats(cells, 12.0 / live.framing.frame.pixel_mm / 4),
            Work(2 * 5 * cells.size * 2.0, 16.0 * cells.size, 2),
            0.05,
        ),
        ("a slider's move: map, significance, regions", move, Work(2.0 * voxels, 8.0 * voxels, 2), None),
        (
            "bands and cells of two pushes (one slice)",
            lambda: total.add(0.1, push),
            work_of(lambda: total.add(0.1, push)),
            None,
        ),
    ]
    rows = []
    for name, run, work, goal in parts:
        timing = timed(run, min_seconds)
        rows.append(
            {"name": name, "goal_seconds": goal, **figures(timing, here.bound(work, timing.seconds) if work else None)}
        )
    note = (
        f"{n_slices} slices of {size}² and {cells.shape[1]}² cells, a trace drawn at random. The bound of a "
        "slider's move counts one write of map and labels."
    )
    return Section("maps", ("seconds", "spread", "goal_seconds", "bound", "share"), tuple(rows), (note,))
