"""
Other inverse problems: blur, super-resolution, Fourier
=======================================================

Nothing in the method knows of CT. A KL map needs a prior, samples and an operator with its exact transpose; here
the same scarred texture is seen blurred, in coarse pixels, and through a quarter of its Fourier coefficients, as
magnetic resonance imaging would.
"""

# %%
# The operators
# -------------
# All have the same interface: ``A(x)``, ``A.T(y)``, composition by ``@``. A scanner whose detector blurs and whose
# pixels are coarse is a product.

import matplotlib.pyplot as plt
import torch

import KLIPCore as klip
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.lab.phantoms.photo import Scar
from KLIPCore.physics.blur import GaussianBlur
from KLIPCore.physics.downsample import Downsample
from KLIPCore.physics.fourier import UndersampledFourier, cartesian_mask
from KLIPCore.priors.stationary import StationaryGaussianPrior

SIZE = 64
shape = (SIZE, SIZE)
problems = {
    "blur": GaussianBlur(shape, sigma=1.5),
    "blur, then coarse pixels": Downsample(shape, 2) @ GaussianBlur(shape, sigma=1.0),
    "a quarter of k-space": UndersampledFourier(
        cartesian_mask(shape, acceleration=4, generator=torch.Generator().manual_seed(0))
    ),
}
for A in problems.values():
    print(A)

# %%
# The image
# ---------
# A draw from an exact prior, like a photograph of plaster, and a scar in it.

prior = StationaryGaussianPrior.matern(torch.full(shape, 0.5), std=0.1, length=6.0)
plain = prior.sample(1, torch.Generator().manual_seed(3))[0, 0]
scarred, scar = Scar(length=26, width=3, shade=-0.3).draw(plain.numpy(), seed=1)
image = torch.from_numpy(scarred)

# %%
# Samples and maps
# ----------------
# The same two calls for every operator. A map shows where the prior was overruled, and no more: with three columns
# of k-space out of four missing, the scar's aliases are nearly as likely as the scar, and get their share.

window = gauss_legendre_nodes(6, 0.03, 0.5)
noise = klip.GaussianNoise(0.02)
maps, means = {}, {}
for name, A in problems.items():
    y = noise.sample(A(image), torch.Generator().manual_seed(1))
    measurement = klip.Measurement(y, A, noise=noise, simulated=True)
    samples = klip.sample_posterior(prior, measurement, n_samples=4, prior_std=0.1)
    means[name] = samples.mean(0)
    maps[name] = klip.kl_map(samples, prior, measurement, nodes=window, part="mean", block_px=2)

# %%
figure, axes = plt.subplots(2, 4, figsize=(11, 5.6), layout="constrained")
axes[0, 0].imshow(image.numpy(), cmap="gray", vmin=0.1, vmax=0.8)
axes[0, 0].set_title("image")
axes[1, 0].imshow(scar, cmap="gray")
axes[1, 0].set_title("the scar")
for k, name in enumerate(problems, start=1):
    axes[0, k].imshow(means[name].numpy(), cmap="gray", vmin=0.1, vmax=0.8)
    axes[0, k].set_title(f"{name}:\nmean of 4 samples", fontsize=10)
    axes[1, k].imshow(maps[name].clamp(min=0).numpy(), cmap="inferno")
    axes[1, k].set_title(f"{float(maps[name].sum()):.0f} nats in blocks of 2 px", fontsize=10)
for axis in axes.flat:
    axis.set_axis_off()
plt.show()
