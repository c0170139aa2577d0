"""Are the p-values right? `python -m KLIPCore.audit.calibration --runs 1000` tests them on simulated truth.

Small scans of a known image are simulated again and again with Gaussian noise and with photon counts; the image is the
truth, so every p-value must be uniform. Kolmogorov and Smirnov's test says whether it is.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from KLIPCore.audit.consistency import consistency
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise, Noise, PoissonNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.volume.geometry import ImageGrid2D, ParallelBeam

SCANS: dict[str, Noise] = {"gaussian": GaussianNoise(0.01), "photons": PoissonNoise(30.0)}
"""Noise laws; thirty photons a ray are far from any normal distribution."""


def p_values(law: str, n_runs: int, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return p-values of the truth over simulated scans of 12 × 12 pixels by 20 parallel views.

    Parameters
    ----------
    law : a name in :data:`SCANS`.
    n_runs : simulated scans.
    seed : of image and noise.

    Returns
    -------
    (n_runs,) p-values of the image, the geometry, one block, one view and one detector bin.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = ImageGrid2D((12, 12), 1.0)
    A = Projector(ParallelBeam.sparse(20, grid), grid, dtype=torch.float64)
    x = 0.02 * torch.rand(12, 12, generator=generator, dtype=torch.float64)
    clean, noise = A(x), SCANS[law]
    found: dict[str, list[float]] = {name: [] for name in ("image", "geometry", "block", "view", "bin")}
    for _ in range(n_runs):
        measured = Measurement(noise.sample(clean, generator), A, noise=noise, simulated=True)
        c = consistency(measured, x, block=4, generator=generator)
        assert c.geometry is not None
        row = (c.image.p, c.geometry.p, c.block_p[4], c.view_p[3], c.bin_p[9])
        for name, value in zip(found, row, strict=True):
            found[name].append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def main() -> None:
    """Print one row a noise law and kind of p-value."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| noise | p-value of | below .05 | below .01 | Kolmogorov-Smirnov p |\n| --- | --- | --- | --- | --- |")
    for law in SCANS:
        for name, p in p_values(law, given.runs, given.seed).items():
            ks = stats.kstest(p, "uniform").pvalue
            print(f"| {law} | {name} | {np.mean(p < 0.05):.3f} | {np.mean(p < 0.01):.3f} | {ks:.2f} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
