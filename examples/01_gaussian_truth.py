"""How true are the nats? Every estimator against a KL divergence that is known in closed form.

Run it from the repository (under a minute on one core):

    python examples/01_gaussian_truth.py

It prints tables of estimate, ratio to the closed form and standard error (for a whole image, σ windows, blocks
of pixels, a mixture that is not Gaussian; for the re-noised quadrature and for chains), and draws
docs/images/gaussian_truth.png. The problem is small but shaped like a scan: a correlated image of 16 × 16
pixels, every third pixel measured, the last four rows neither measured nor correlated with the rest.
docs/sampling.md reads the tables. How often a run stays within the goals, over many runs:

    python examples/01_gaussian_truth.py --reliability 100
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from KLIPCore.kl.estimate import EstimateOptions, estimate_kl
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.kl.mixture import MixtureKL
from KLIPCore.kl.path import PathKL, path_kl, richardson
from KLIPCore.kl.quadrature import gauss_legendre_nodes, panel_nodes
from KLIPCore.kl.result import KLEstimate
from KLIPCore.lab.benchmarks import GaussianBenchmark, MixtureBenchmark, inpainting, lesion_or_not, tomography
from KLIPCore.priors.gaussian import likelihood_score
from KLIPCore.priors.prior import Denoiser, denoiser
from KLIPCore.sampling.edm_stochastic import Churn, edm_stochastic_transitions
from KLIPCore.sampling.guidance import (
    exact_guidance,
    pigdm_guidance,
    posterior_denoiser,
    proximal_guidance,
    reconstruction_denoiser,
)
from KLIPCore.sampling.reverse import reverse_transitions, seeded_noise
from KLIPCore.sampling.schedule import geometric

LO, HI = 1e-3, 10.0
"""σ of the whole image: outside lie less than 0.4 nats."""

NODES = (5, 10, 20, 50)
STEPS = (10, 20, 40, 80, 160, 320)
CHAIN_LO, CHAIN_HI = 0.01, 10.0
"""σ interval of the chains."""

SAMPLES = 8
CHAINS = 128
FOR_APPROXIMATIONS = 64
"""Exact posterior samples behind the table of approximations."""

RUNS = 10
"""Runs behind the root-mean-square errors."""


def quadrature(
    b: GaussianBenchmark | MixtureBenchmark, n_nodes: int, seed: int = 0, *, refined: bool = True
) -> KLEstimate:
    """KL from eight exact posterior samples; ``refined`` with Stein's control variate."""
    generator = torch.Generator().manual_seed(seed)
    samples = b.posterior.sample(SAMPLES, generator)[:, 0]
    nodes = gauss_legendre_nodes(n_nodes, LO, HI)
    if refined:
        return estimate_kl(
            samples, denoiser(b.prior), denoiser(b.posterior), nodes, generator, control_variate="stein"
        )
    return estimate_kl(samples, denoiser(b.prior), denoiser(b.posterior), nodes, generator)


def rms_error(b: GaussianBenchmark | MixtureBenchmark, n_nodes: int, truth: float, *, refined: bool) -> float:
    """Root mean square of the relative error over :data:`RUNS` runs, each with samples and noise of its own."""
    errors = [quadrature(b, n_nodes, seed, refined=refined).nats / truth - 1 for seed in range(RUNS)]
    return math.sqrt(float(np.square(errors).mean()))


def row(name: str, nats: float, truth: float, error: float, rms: float | None = None) -> None:
    """One line of a table."""
    runs = "" if rms is None else f"   r.m.s. error of {RUNS} runs {100 * rms:4.1f} %"
    print(f"  {name:<38} {nats:9.2f} ± {error:5.2f}   {nats / truth:6.3f} ± {error / truth:.3f}{runs}")


def quadrature_tables(b: GaussianBenchmark, exact: GaussianKL) -> dict[bool, list[float]]:
    """Image, windows and blocks by re-noised quadrature; returns the r.m.s. errors over node counts, plain
    and refined.
    """
    rms: dict[bool, list[float]] = {False: [], True: []}
    truth = exact.window(LO, HI)
    print(
        f"\nRe-noised quadrature, whole image, {SAMPLES} samples; closed form {truth:.2f} nats (σ {LO:g} to {HI:g}; "
        f"{exact.nats():.2f} in all)"
    )
    for n_nodes in NODES:
        for better, name in ((False, f"{n_nodes} nodes"), (True, f"{n_nodes} nodes, Stein")):
            made = quadrature(b, n_nodes, refined=better)
            rms[better].append(rms_error(b, n_nodes, truth, refined=better))
            row(name, made.nats, truth, made.standard_error, rms[better][-1])
    refined = quadrature(b, 20)
    row("of it mean part (surprise)", refined.mean_part, exact.window(LO, HI, "mean"), refined.mean_part_error)
    row(
        "of it variance part (information)",
        refined.variance_part,
        exact.window(LO, HI, "variance"),
        math.hypot(refined.standard_error, refined.mean_part_error),
    )

    edges = [0.01, 0.04, 0.08, 0.32, 2.0]
    generator = torch.Generator().manual_seed(1)
    samples = b.posterior.sample(SAMPLES, generator)[:, 0]
    made = estimate_kl(
        samples, denoiser(b.prior), denoiser(b.posterior), panel_nodes(edges, 5), generator, control_variate="stein"
    )
    print("\nThe same, by σ window (5 nodes each)")
    for lo, hi in pairwise(edges):
        nats, error = made.window(lo, hi)
        row(f"σ {lo:g} to {hi:g}", nats, exact.window(lo, hi), error)

    print("\nThe same, by blocks of 4 rows (σ 0.01 to 2)")
    pixels = exact.pixels(edges[0], edges[-1])[0]
    for top in range(0, 16, 4):
        nats, exact_nats = float(made.map[top : top + 4].sum()), float(pixels[top : top + 4].sum())
        error = float(made.map_error[top : top + 4].square().sum().sqrt())
        if exact_nats > 1e-9:
            row(f"rows {top} to {top + 3}", nats, exact_nats, error)
        else:
            print(
                f"  rows {top} to {top + 3}, never seen               {nats:9.0e}           closed form "
                f"{exact_nats:.0e}"
            )
    return rms


def mixture_table() -> None:
    """A prior that is not Gaussian: with or without a bright disc, and data that leave both possible."""
    b = lesion_or_not()
    truth = MixtureKL(b.posterior, b.prior).window(LO, HI)
    odds = ", ".join(f"{w:.2f}" for w in b.posterior.weights.tolist())
    print(
        f"\nMixture of two (posterior weights {odds}), {SAMPLES} samples; one-dimensional integrals give "
        f"{truth:.2f} nats"
    )
    for n_nodes in NODES:
        made = quadrature(b, n_nodes)
        row(
            f"{n_nodes} nodes, Stein",
            made.nats,
            truth,
            made.standard_error,
            rms_error(b, n_nodes, truth, refined=True),
        )


def chains(b: GaussianBenchmark) -> dict[str, dict[int, PathKL]]:
    """Path KL of three samplers over step counts, with the exact likelihood score, started in equilibrium."""
    guidance = exact_guidance(denoiser(b.prior), likelihood_score(b.prior, b.posterior))
    out: dict[str, dict[int, PathKL]] = {"reverse diffusion": {}, "ancestral": {}, "EDM stochastic": {}}
    for n_steps in STEPS:
        sigmas = [float(s) for s in geometric(CHAIN_HI, CHAIN_LO, n_steps)]
        for k, (name, paths) in enumerate(out.items()):
            generator = torch.Generator().manual_seed(1000 * k + n_steps)
            noise = seeded_noise((CHAINS, 16, 16), generator, torch.float64)
            start = b.posterior.sample(CHAINS, generator)[:, 0] + sigmas[0] * noise()
            if name == "EDM stochastic":
                churn = Churn(math.log(CHAIN_HI / CHAIN_LO))
                steps = edm_stochastic_transitions(
                    denoiser(b.prior), b.measurement, sigmas, start, noise, churn=churn, guidance=guidance
                )
            else:
                steps = reverse_transitions(guidance, sigmas, start, noise, 0.0 if name == "ancestral" else math.inf)
            paths[n_steps] = path_kl(steps)
    return out


def chain_tables(paths: dict[str, dict[int, PathKL]], truth: float) -> None:
    """Nats along chains, and what Richardson extrapolation makes of two of them."""
    print(
        f"\nChains with the exact score, {CHAINS} of each; closed form {truth:.2f} nats (σ {CHAIN_LO:g} to "
        f"{CHAIN_HI:g})"
    )
    for name, by_steps in paths.items():
        for n_steps, path in by_steps.items():
            row(f"{name}, {n_steps} steps", path.nats, truth, path.standard_error)
        for n_steps in STEPS[1:3]:
            nats, error = richardson(by_steps[n_steps], by_steps[2 * n_steps])
            row(f"  Richardson from {n_steps} and {2 * n_steps}", nats, truth, error)


APPROXIMATIONS: dict[str, Callable[[GaussianBenchmark], Denoiser]] = {
    "exact": lambda b: denoiser(b.posterior),
    "proximal step": lambda b: posterior_denoiser(proximal_guidance(denoiser(b.prior), b.measurement, 0.2, 40)),
    "ΠGDM": lambda b: posterior_denoiser(pigdm_guidance(denoiser(b.prior), b.measurement, 0.2, 40)),
    "reconstruction": lambda b: reconstruction_denoiser(b.posterior.mean[0]),
}
"""What may stand for D_post where nothing is in closed form."""


def approximations(b: GaussianBenchmark, edges: list[float]) -> dict[str, list[tuple[float, float]]]:
    """(energy, mean part) of every window for every approximation of D_post, from the same exact samples and noise."""
    samples = b.posterior.sample(FOR_APPROXIMATIONS, torch.Generator().manual_seed(0))[:, 0]
    out: dict[str, list[tuple[float, float]]] = {}
    for name, make in APPROXIMATIONS.items():
        posterior: Callable[[Tensor, float], Tensor] = make(b)
        out[name] = []
        for lo, hi in pairwise(edges):
            made = estimate_kl(
                samples,
                denoiser(b.prior),
                posterior,
                gauss_legendre_nodes(4, lo, hi),
                torch.Generator().manual_seed(1),
                options=EstimateOptions(n_pairs=2),
            )
            out[name].append((made.nats, made.mean_part))
    return out


def approximation_table(
    found: dict[str, list[tuple[float, float]]], exact: GaussianKL, edges: list[float], spread: float
) -> None:
    """Ratios to the closed form by window, in units of the posterior's standard deviation."""
    print(
        "\nWhat an approximate D_post costs: 6 projections of a 12 × 12 image, exact samples; energy | mean part "
        "over their closed forms"
    )
    print("  σ / posterior std    " + "".join(f"{name:>22}" for name in found))
    for k, (lo, hi) in enumerate(pairwise(edges)):
        energy, mean = exact.window(lo, hi), exact.window(lo, hi, "mean")
        cells = "".join(f"{values[k][0] / energy:13.2f} | {values[k][1] / mean:6.2f}" for values in found.values())
        print(f"  {lo / spread:6.2f} to {hi / spread:6.2f}     {cells}")


def draw_convergence(
    axes: Axes, exact: GaussianKL, rms: dict[bool, list[float]], paths: dict[str, dict[int, PathKL]]
) -> None:
    """Errors of chains and of the quadrature against the number of steps or nodes."""
    truth = exact.window(CHAIN_LO, CHAIN_HI)
    for (name, by_steps), colour in zip(paths.items(), ("tab:red", "tab:orange", "tab:purple"), strict=True):
        errors = [abs(p.nats / truth - 1) for p in by_steps.values()]
        bars = [p.standard_error / truth for p in by_steps.values()]
        axes.errorbar(list(by_steps), errors, bars, marker="o", ms=4, capsize=2, color=colour, label=f"chain: {name}")
    for refined, colour, label in ((False, "tab:cyan", "quadrature, plain"), (True, "tab:blue", "quadrature, Stein")):
        axes.plot(NODES, rms[refined], marker="s", ms=4, color=colour, label=f"{label} (r.m.s. of {RUNS} runs)")
    guide = np.array([10.0, 320.0])
    axes.plot(guide, 4.0 / guide, color="0.6", lw=1, ls="--", label="first order")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="steps or nodes",
        ylabel="relative error of the nats",
        title="Nats against the closed form",
    )
    axes.set_ylim(5e-4, 1.2)
    axes.legend(fontsize=7, loc="lower left")


def draw_density(axes: Axes, b: GaussianBenchmark, exact: GaussianKL) -> None:
    """Nats per e-fold of σ: the closed form and one estimate of 20 nodes."""
    sigma = np.geomspace(LO, HI, 200)
    tail = {part: np.array([exact.nats(float(s), part) for s in sigma]) for part in ("energy", "mean")}  # type: ignore[arg-type]
    middle = np.sqrt(sigma[1:] * sigma[:-1])
    made = quadrature(b, 20)
    width = np.diff(np.log(made.nodes.edges))
    axes.plot(middle, -np.diff(tail["energy"]) / np.diff(np.log(sigma)), color="black", label="closed form")
    axes.plot(
        middle, -np.diff(tail["mean"]) / np.diff(np.log(sigma)), color="black", ls=":", label="closed form, mean part"
    )
    axes.errorbar(
        made.nodes.sigma,
        made.per_node / width,
        made.per_node_error / width,
        fmt="s",
        ms=4,
        capsize=2,
        color="tab:blue",
        label="20 nodes, 8 samples",
    )
    axes.plot(
        made.nodes.sigma, made.mean_per_node / width, "o", ms=4, mfc="white", color="tab:blue", label="its mean part"
    )
    axes.set(
        xscale="log", xlabel="σ (intensity units)", ylabel="nats per e-fold of σ", title="Where in σ the nats are"
    )
    axes.legend(fontsize=8)


def draw_price(axes: Axes, found: dict[str, list[tuple[float, float]]], edges: list[float], spread: float) -> None:
    """What each approximation of D_post makes of the nats, window by window."""
    other = tomography(12, 6)
    reference = GaussianKL(other.posterior, other.prior)
    middles = np.sqrt(np.array(edges[1:]) * np.array(edges[:-1])) / spread
    for name, colour in (("proximal step", "tab:red"), ("ΠGDM", "tab:green"), ("reconstruction", "tab:blue")):
        for n, (part, label, style) in enumerate(
            (("energy", "energy", {"marker": "s"}), ("mean", "mean part", {"marker": "o", "mfc": "white", "ls": ":"}))
        ):
            truths = [reference.window(lo, hi, part) for lo, hi in pairwise(edges)]  # type: ignore[arg-type]
            ratios = [values[n] / truth for values, truth in zip(found[name], truths, strict=True)]
            axes.plot(middles, ratios, ms=4, color=colour, label=f"{name}: {label}", **style)
    axes.axhline(1.0, color="0.6", lw=1, ls="--")
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.3, 30),
        xlabel="σ / posterior standard deviation",
        ylabel="nats / closed form",
    )
    axes.set_title("Price of an approximate posterior denoiser")
    axes.legend(fontsize=8)


def draw(
    path: Path,
    b: GaussianBenchmark,
    rms: dict[bool, list[float]],
    paths: dict[str, dict[int, PathKL]],
    found: dict[str, list[tuple[float, float]]],
    edges: list[float],
    spread: float,
) -> None:
    """Three panels: convergence, where in σ the nats are, and the price of approximating D_post."""
    exact = GaussianKL(b.posterior, b.prior)
    figure = Figure(figsize=(15.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    convergence, density, price = figure.subplots(1, 3)
    draw_convergence(convergence, exact, rms, paths)
    draw_density(density, b, exact)
    draw_price(price, found, edges, spread)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.png")
    figure.savefig(partial, dpi=110)
    partial.replace(path)


def reliability(n_runs: int) -> None:
    """Errors of many single runs with eight samples, and how often their intervals cover the truth."""
    print(f"{n_runs} runs each, {SAMPLES} samples, Stein's control variate")
    print("| benchmark | nodes | r.m.s. error | largest | within 1 % | within 2 % | 68 % interval covers | 95 % |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, make in (("inpainting", inpainting), ("tomography", tomography), ("mixture", lesion_or_not)):
        b: GaussianBenchmark | MixtureBenchmark = make()
        truth = (
            GaussianKL(b.posterior, b.prior).window(LO, HI)
            if isinstance(b, GaussianBenchmark)
            else MixtureKL(b.posterior, b.prior).window(LO, HI)
        )
        for n_nodes in (20, 50):
            made = [quadrature(b, n_nodes, seed) for seed in range(n_runs)]
            errors = np.abs(np.array([m.nats for m in made]) / truth - 1)
            covers = [100 * np.mean([m.interval(c)[0] < truth < m.interval(c)[1] for m in made]) for c in (0.68, 0.95)]
            within = [100 * float((errors < goal).mean()) for goal in (0.01, 0.02)]
            figures = [100 * math.sqrt(float(np.square(errors).mean())), 100 * float(errors.max())]
            cells = [f"{v:.2f} %" for v in figures] + [f"{v:.0f} %" for v in (*within, *covers)]
            print(f"| {name} | {n_nodes} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables and draw the figure."""
    parser = argparse.ArgumentParser(description="Estimated nats against closed forms.")
    default = Path(__file__).resolve().parents[1] / "docs" / "images" / "gaussian_truth.png"
    parser.add_argument("-o", "--out", type=Path, default=default, help="where the figure goes")
    parser.add_argument(
        "--reliability", type=int, metavar="RUNS", help="only this: errors of so many runs of the quadrature"
    )
    options = parser.parse_args()
    out: Path = options.out
    torch.set_num_threads(1)
    if options.reliability:
        reliability(options.reliability)
        return
    started = time.monotonic()
    print("                                              nats ± s.e.     ratio to the closed form")
    b = inpainting()
    exact = GaussianKL(b.posterior, b.prior)
    rms = quadrature_tables(b, exact)
    mixture_table()
    paths = chains(b)
    chain_tables(paths, exact.window(CHAIN_LO, CHAIN_HI))
    other = tomography(12, 6)
    spread = float(other.posterior.covariance.diagonal().mean().sqrt())
    edges = [spread * 2.0**k for k in range(-2, 6)]
    found = approximations(other, edges)
    approximation_table(found, GaussianKL(other.posterior, other.prior), edges, spread)
    draw(out, b, rms, paths, found, edges, spread)
    print(f"\n{out.name} drawn; {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
