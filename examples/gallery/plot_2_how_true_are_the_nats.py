"""
How true are the nats?
======================

The estimator beside a KL divergence that is known: a correlated Gaussian image of which every third pixel is
measured. More nodes of the quadrature help until the samples are what is left; Stein's control variates remove
most of that, too. ``examples/01_gaussian_truth.py`` prints the full tables that :doc:`/sampling` reads.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import KLIPCore as klip
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.lab.benchmarks import inpainting
from KLIPCore.priors.prior import denoiser

LO, HI, RUNS = 1e-3, 10.0, 6

benchmark = inpainting(size=12)
truth = GaussianKL(benchmark.posterior, benchmark.prior).window(LO, HI)
prior, posterior = denoiser(benchmark.prior), denoiser(benchmark.posterior)


def estimate(n_nodes, control_variate, seed):
    """Return one estimate of the KL over the truth, from eight posterior samples."""
    generator = torch.Generator().manual_seed(seed)
    samples = benchmark.posterior.sample(8, generator)[:, 0]
    nodes = gauss_legendre_nodes(n_nodes, LO, HI)
    made = klip.estimate_kl(samples, prior, posterior, nodes, generator, control_variate=control_variate)
    return made.nats / truth


# %%
# Six runs of each, with their own samples and noise.

counts = [5, 8, 12, 20, 30]
ratios = {
    kind: np.array([[estimate(n, kind, seed) for seed in range(RUNS)] for n in counts]) for kind in ("none", "stein")
}

figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
axis.axhline(1, color="0.6", lw=1)
for kind, colour, label in (("none", "C1", "plain"), ("stein", "C0", "with Stein's control variates")):
    axis.plot(counts, ratios[kind], "o", color=colour, ms=4, alpha=0.6)
    axis.plot(counts, ratios[kind].mean(1), color=colour, label=label)
axis.set(xlabel="nodes", ylabel="estimate / closed form", title=f"KL of {truth:.1f} nats, {RUNS} runs")
axis.legend()
plt.show()

for kind, of_runs in ratios.items():
    rms = 100 * np.sqrt(np.square(of_runs[-1] - 1).mean())
    print(f"control variate {kind!r}, {counts[-1]} nodes: r.m.s. error {rms:.1f} %")
