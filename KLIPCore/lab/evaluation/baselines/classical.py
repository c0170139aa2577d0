"""Baselines without a network: residuals of reconstructions, blobs, local features, a threshold in the organ.

Each function takes a :class:`~KLIPCore.lab.evaluation.baselines.view.SliceView` and returns non-negative scores per
pixel, or two maps of them: as they are, and behind the scores' low-pass
(:func:`~KLIPCore.lab.evaluation.baselines.view.energies`).
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray

from KLIPCore.kl.bands import cell_sums
from KLIPCore.kl.signed import gaussian_blur
from KLIPCore.kl.soft import soft_share
from KLIPCore.lab.evaluation.baselines.view import LOW_PASS_PX, SliceView, energies
from KLIPCore.maps.information import per_information

RADII_MM = (3.0, 5.0, 8.0, 12.0, 20.0)
"""Radii of blobs that are looked for."""

SCALES_PX = (1.5, 3.0, 6.0)
ORDERS = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))
"""Of the Gaussian jet."""

ORGAN_SMOOTHING_PX = 2.0

EXPECTATION_PX = (4.0, 8.0, 16.0)
"""Standard deviations of the Gaussians that stand for a prior in :func:`without_prior`: some 6 to 25 mm."""


def reconstruction_residual(view: SliceView) -> NDArray[np.float32]:
    """Return what the prior took out of, or put into, the measured image.

    (CG reconstruction − posterior mean)², the oldest idea of the field: an autoencoder or a diffusion model returns
    what it knows, so anomalies stay in the residual (Baur et al., Med. Image Anal. 69, 101952, 2021, compare its
    variants). Streaks of a sparse scan stay in it as well.
    """
    return energies(torch.from_numpy(view.classical("cg") - view.trace.reconstruction)[None])


def classical_residual(view: SliceView) -> NDArray[np.float32]:
    """Return what a prior of flat pieces cannot explain, (FBP − TV)².

    Total variation (Sidky & Pan, Phys. Med. Biol. 53, 4777, 2008) keeps plateaus and edges; the rest is texture,
    noise and streaks. A floor for every method that has seen anatomy.
    """
    return energies(torch.from_numpy(view.fbp - view.classical("tv"))[None])


def blob_responses(image: NDArray[np.floating], pixel_mm: float) -> NDArray[np.float64]:
    """Return (len(RADII_MM), H, W) scale-normalised Laplacians; positive where a blob is dark."""
    scales = [r / pixel_mm / np.sqrt(2) for r in RADII_MM]
    return np.stack([s**2 * ndi.gaussian_laplace(np.asarray(image, np.float64), s) for s in scales])


def blob(view: SliceView) -> NDArray[np.float32]:
    """Return the square of the largest absolute response over scales, inside the body.

    The multi-scale Laplacian of Gaussian (Lindeberg, Int. J. Comput. Vis. 30, 79, 1998): max over s of
    |s² ∇²G_s * x|; a disc of radius r answers most at s = r/√2. It knows nothing of anatomy: kidneys, vertebrae and
    bowel are blobs, too.
    """
    strongest = np.abs(blob_responses(view.trace.reconstruction, view.pixel_mm)).max(0)
    return np.asarray(np.square(strongest) * view.body, np.float32)


def jet(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (F, H, W) scale-normalised Gaussian derivatives up to second order."""
    return np.stack(
        [
            s ** sum(order) * ndi.gaussian_filter(np.asarray(image, np.float64), s, order)
            for s in SCALES_PX
            for order in ORDERS
        ]
    )


def mahalanobis(features: NDArray[np.float64], body: NDArray[np.bool_], trim: float = 0.1) -> NDArray[np.float64]:
    """Return the (H, W) squared distance from the body's mean.

    The ``trim`` most distant pixels do not count in the second of two rounds.
    """
    inside = features[:, body]
    kept = np.ones(inside.shape[1], bool)
    distance = np.zeros(features.shape[1:])
    for _ in range(2):
        mean, covariance = inside[:, kept].mean(1), np.cov(inside[:, kept])
        whitener = np.linalg.inv(np.linalg.cholesky(covariance + 1e-12 * np.trace(covariance) * np.eye(len(mean))))
        distance = np.square(np.einsum("fg,ghw->fhw", whitener, features - mean[:, None, None])).sum(0)
        own = distance[body]
        kept = own <= np.quantile(own, 1 - trim)
    return distance


def feature_distance(view: SliceView) -> NDArray[np.float32]:
    """Return how far a pixel's local jet is from the slice's usual ones, 0 outside the body.

    A plain relative of PaDiM (Defard et al., ICPR 2021) and PatchCore (Roth et al., CVPR 2022) without a pretrained
    network: features are the Gaussian jet at three scales (Koenderink & van Doorn, Biol. Cybern. 55, 367, 1987), the
    distance is Mahalanobis', mean and covariance come from the slice's own body.
    """
    return np.asarray(mahalanobis(jet(view.trace.reconstruction), view.body) * view.body, np.float32)


def without_prior(view: SliceView) -> NDArray[np.float32]:
    """Return (h, w) per base cell: the score ``hypodense`` with a Gaussian blur in the place of the prior.

    Control: the same reconstruction x̂, low-pass, sign (darker), gate (soft tissue) and weights (information of the
    guided chain), but what is expected at a place is G_s x̂, its own surroundings, and not what a prior makes of it.
    What ``hypodense`` finds beyond this row the prior's expectation finds. The weights still come from the chain and
    so from the prior; x̂ does as well.
    """
    path = view.trace.layers["path"]
    image = view.image[None]
    cell = image.shape[-1] // path.energy.shape[-1]
    share = soft_share(image, *view.soft)
    dark = np.zeros(path.energy.shape[-2:])
    for scale in EXPECTATION_PX:
        push = (gaussian_blur(image, scale) - image) * share
        low = gaussian_blur(push, LOW_PASS_PX) * share.sqrt()
        dark = dark + cell_sums(low.clamp_min(0).square(), cell)[0].numpy()
    return np.asarray(dark * per_information(path, cell), np.float32)


def hu_threshold(view: SliceView) -> NDArray[np.float32]:
    """Return the squared depth below the organ's median after smoothing within the organ, 0 outside it.

    What a first-year resident would program: liver metastases are darker than a portal-venous liver. It is given the
    organ's mask, which no other method here has.
    """
    if not view.organ.any():
        return np.zeros(view.organ.shape, np.float32)
    share = ndi.gaussian_filter(view.organ.astype(np.float64), ORGAN_SMOOTHING_PX)
    depth = np.median(view.trace.reconstruction[view.organ]) - view.trace.reconstruction
    smooth = ndi.gaussian_filter(np.where(view.organ, depth, 0.0), ORGAN_SMOOTHING_PX) / np.maximum(share, 1e-6)
    return np.asarray(np.square(np.maximum(smooth, 0.0)) * view.organ, np.float32)
