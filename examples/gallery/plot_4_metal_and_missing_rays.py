"""
Metal, truncation and missing angles
====================================

Rays through metal carry no honest number, a short detector cuts the patient off, a gantry that cannot go round
leaves a wedge out. In all of them the right measurement is the same one with fewer rays: they keep their place in
the sinogram and weigh nothing. Rays that are merely wrong, and believed, push the samples where nothing is.
"""

import matplotlib.pyplot as plt
import torch

import KLIPCore as klip
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.physics.missing import on_shorter_detector, outside_metal, within_arc, without_rays
from KLIPCore.priors.stationary import StationaryGaussianPrior

SIZE = 48
prior = StationaryGaussianPrior.matern(torch.full((SIZE, SIZE), 0.5), std=0.1, length=4.0)
image = prior.sample(1, torch.Generator().manual_seed(5))[0, 0]
rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
lesion = (rows - 32) ** 2 + (columns - 15) ** 2 <= 12
metal = (rows - 16) ** 2 + (columns - 30) ** 2 <= 5
image = image - 0.3 * lesion

grid = klip.ImageGrid2D((SIZE, SIZE), 1.5)
geometry = klip.FanBeam.sparse(48, grid)
A = klip.Projector(geometry, grid, dtype=torch.float64)
noise = klip.GaussianNoise(0.2)
clean = A(image)

# %%
# What the scanner reads
# ----------------------
# Behind the metal almost no photon arrives: the readings there saturate, whatever the tissue.

keep = outside_metal(A, metal)
y = noise.sample(clean, torch.Generator().manual_seed(0))
y = torch.where(keep, y, 0.75 * y)
believed = klip.Measurement(y, A, noise=noise, simulated=True)
print(f"{100 * float((~keep).double().mean()):.0f} % of the rays pass metal")

first, last = geometry.n_detectors // 4, geometry.n_detectors - 1 - geometry.n_detectors // 4
scans = {
    "metal believed": believed,
    "metal's rays left out": without_rays(believed, keep),
    "short detector": without_rays(believed, keep & on_shorter_detector(geometry, first, last)),
    "200 degrees": without_rays(believed, keep & within_arc(geometry, 200.0)),
}

# %%
# Samples and maps
# ----------------

window = gauss_legendre_nodes(6, 0.05, 0.5)
figure, axes = plt.subplots(3, 4, figsize=(11, 8.4), layout="constrained")
for column, (name, measurement) in enumerate(scans.items()):
    samples = klip.sample_posterior(prior, measurement, n_samples=4, prior_std=0.1)
    nats = klip.kl_map(samples, prior, measurement, nodes=window, part="mean", block_px=2)
    weights = measurement.weights.expand(y.shape)
    axes[0, column].imshow(torch.where(weights > 0, y, torch.nan).T.numpy(), cmap="gray", aspect="auto")
    axes[0, column].set_title(name)
    axes[1, column].imshow(samples.mean(0).numpy(), cmap="gray", vmin=0.1, vmax=0.9)
    axes[2, column].imshow(nats.clamp(min=0).numpy(), cmap="inferno", vmin=0, vmax=6)
for axis, label in zip(axes[:, 0], ("rays that count", "mean of 4 samples", "KL map"), strict=True):
    axis.set_ylabel(label)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()
