"""
From a prior, a scan and an image to a KL map
=============================================

An image of correlated texture holds a disc that the prior does not expect. It is scanned from 24 directions;
posterior samples are drawn, and the nats of their mean push show where the measurement had to overrule the prior.
The prior here is Gaussian, so the same map is known in closed form, too.
"""

# %%
# The prior, the geometry, the image
# ----------------------------------
# Any object with ``denoise(x, sigma)`` and a card is a prior; :func:`klip.load_prior
# <KLIPCore.priors.checkpoint.load_prior>` reads a trained network. This one is exact.

import matplotlib.pyplot as plt
import torch

import KLIPCore as klip
from KLIPCore.kl.gaussian import GaussianKL
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.priors.gaussian import likelihood_score
from KLIPCore.priors.prior import denoiser
from KLIPCore.priors.stationary import StationaryGaussianPrior
from KLIPCore.sampling.guidance import exact_guidance

SIZE = 32
prior = StationaryGaussianPrior.matern(torch.full((SIZE, SIZE), 0.5), std=0.1, length=3.0)

image = prior.sample(1, torch.Generator().manual_seed(0))[0, 0]
rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
disc = (rows - 20) ** 2 + (columns - 11) ** 2 <= 9
image = image - 0.3 * disc

grid = klip.ImageGrid2D((SIZE, SIZE), 1.5)
A = klip.Projector(klip.ParallelBeam.sparse(24, grid), grid, dtype=torch.float64)
noise = klip.GaussianNoise(0.1)
y = noise.sample(A(image), torch.Generator().manual_seed(1))
measurement = klip.Measurement(y, A, noise=noise, simulated=True)
print(A)

# %%
# Samples and nats
# ----------------
# The window of noise levels says what size of departure is asked for. ``part="mean"`` keeps what the prior did not
# expect and leaves out what every measurement adds.

samples = klip.sample_posterior(prior, measurement, n_samples=8)
window = gauss_legendre_nodes(8, 0.05, 1.0)
nats = klip.kl_map(samples, prior, measurement, nodes=window, part="mean")

# %%
# The truth
# ---------
# Prior and posterior are Gaussian, and so the nats of every pixel in the window have a closed form. The default
# guidance approximates the posterior's denoiser and counts too many nats, at the right places; with the exact one
# the estimate converges to the closed form.

dense = prior.dense()
posterior = dense.posterior(measurement)
exact = GaussianKL(posterior, dense).pixels(0.05, 1.0, "mean")[0]
guided = exact_guidance(denoiser(dense), likelihood_score(dense, posterior))
draws = posterior.sample(8, torch.Generator().manual_seed(2))[:, 0]
converged = klip.kl_map(draws, prior, measurement, nodes=window, part="mean", guidance=guided)
for name, made in (("default guidance", nats), ("exact guidance", converged), ("closed form", exact)):
    print(f"{name}: {float(made.sum()):.0f} nats in the window")

# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.9), layout="constrained")
heat = {"cmap": "inferno", "vmin": 0, "vmax": float(exact.max())}
for axis, picture, title, style in (
    (axes[0], image, "image, with a disc", {"cmap": "gray"}),
    (axes[1], samples.mean(0), "mean of 8 samples", {"cmap": "gray"}),
    (axes[2], nats, "KL map", heat),
    (axes[3], converged, "exact guidance", heat),
    (axes[4], exact, "closed form", heat),
):
    shown = axis.imshow(picture.numpy(), **style)
    axis.set_title(title)
    axis.set_axis_off()
figure.colorbar(shown, ax=axes, shrink=0.8, label="nats per pixel")
plt.show()
