"""
A cone beam
===========

The fan beam's third dimension: a point source and a flat panel turn around a small volume. Between the slices rays
cross at an angle, and far from the orbit's plane some places are seen from fewer sides; where less is measured
there are fewer nats. Prior and posterior of the volume are Gaussian, so every number here is exact.
"""

import matplotlib.pyplot as plt
import torch

import KLIPCore as klip
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.physics.cone import ConeBeam, ConeProjector
from KLIPCore.priors.gaussian import GaussianPrior

DEPTH, SIZE, PIXEL_MM, SLICE_MM = 5, 14, 4.0, 6.0

# %%
# The prior: tissue correlated over about two pixels, in all three directions.

k, i, j = torch.meshgrid(torch.arange(DEPTH), torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
places = torch.stack([SLICE_MM * k.flatten(), PIXEL_MM * i.flatten(), PIXEL_MM * j.flatten()], 1).double()
covariance = 0.1**2 * torch.exp(-torch.cdist(places, places) / 8.0)
prior = GaussianPrior(torch.full((DEPTH, SIZE, SIZE), 0.5), covariance)

# %%
# The scan: 20 views of a panel that sees the middle slices whole.

grid = klip.ImageGrid2D((SIZE, SIZE), PIXEL_MM)
fan = klip.FanBeam.sparse(20, grid, source_origin_mm=120.0, source_detector_mm=200.0)
A = ConeProjector(ConeBeam(fan, 5, row_pitch_mm=6.0), grid, n_slices=DEPTH, slice_mm=SLICE_MM, dtype=torch.float64)
print(A)

volume = prior.sample(1, torch.Generator().manual_seed(0))[0]
volume[3, 8:11, 3:6] -= 0.35  # a nodule, between the middle and the last slice
noise = klip.GaussianNoise(0.3)
measurement = klip.Measurement(
    noise.sample(A(volume), torch.Generator().manual_seed(1)), A, noise=noise, simulated=True
)

# %%
# The posterior and its nats, slice by slice.

posterior = prior.posterior(measurement)
exact = GaussianKL(posterior, prior)
unexpected, told = exact.pixels(part="mean"), exact.pixels(part="variance")
spread = posterior.covariance.diagonal().sqrt().reshape(DEPTH, SIZE, SIZE)

figure, axes = plt.subplots(4, DEPTH, figsize=(9, 7.6), layout="constrained")
pictures = (
    (volume, "volume", {"cmap": "gray", "vmin": 0.1, "vmax": 0.8}),
    (posterior.mean, "posterior mean", {"cmap": "gray", "vmin": 0.1, "vmax": 0.8}),
    (spread, "posterior std", {"cmap": "viridis", "vmin": 0, "vmax": 0.1}),
    (unexpected, "unexpected nats", {"cmap": "inferno", "vmin": 0}),
)
for row, (values, label, style) in zip(axes, pictures, strict=True):
    style = {"vmax": float(values.max())} | style
    for n, axis in enumerate(row):
        axis.imshow(values[n].numpy(), **style)
        axis.set(xticks=[], yticks=[])
    row[0].set_ylabel(label)
for n, axis in enumerate(axes[0]):
    axis.set_title(f"slice {n}\n{float(told[n].sum()):.0f} nats told", fontsize=10)
plt.show()
