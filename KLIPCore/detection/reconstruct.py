"""Reconstruction without a diffusion prior: the three classics, and how well they do on real measurements.

``fbp`` is exact for a full scan, ``cg`` (least squares, stopped early) for any set of rays, ``tv`` where views
are few and the object is made of flat pieces. They are the baselines that posterior samples must beat, and, on
measured sinograms whose truth is known, the proof that the scan geometry is right (:func:`htc_scores`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from KLIPCore.errors import ConfigError, EmptyInputError
from KLIPCore.io.sinogram import HTC2022_IMAGE, read_htc2022
from KLIPCore.physics.fbp import fbp
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.noise import GaussianNoise
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.physics.tv import gradient, tv_reconstruction
from KLIPCore.volume.geometry import Geometry, ImageGrid2D

METHODS = ("fbp", "cg", "tv")
DEFAULT_ITERATIONS = {"fbp": 0, "cg": 15, "tv": 150}
"""CG: the semi-convergence of noisy data ends about here. TV: changes below a grey value of 8 bits afterwards."""


def reconstruct(
    sinogram: ArrayLike,
    geometry: Geometry,
    image: ImageGrid2D,
    method: str = "fbp",
    *,
    filter: str = "hann",
    n_iterations: int | None = None,
    tv_weight: float | None = None,
    projector: Projector | None = None,
) -> NDArray[np.float32]:
    """Reconstruct sinograms.

    Parameters
    ----------
    sinogram : (..., n_views, n_detectors) line integrals.
    geometry : the scan.
    image : the pixels to reconstruct.
    method : "fbp", "cg" or "tv".
    filter : for fbp, see :func:`KLIPCore.physics.fbp.fbp`.
    n_iterations : for cg and tv; None: :data:`DEFAULT_ITERATIONS`.
    tv_weight : for tv, λ in nats per image unit; None: what a Laplace prior with this image's own mean gradient has.
    projector : an operator of this geometry and image, when one is at hand.

    Returns
    -------
    (..., H, W) float32, in the sinogram's unit per mm.

    Raises
    ------
    ConfigError : an unknown method or filter, a sinogram of another shape or not finite.
    """
    if method not in METHODS:
        raise ConfigError(f"There is no reconstruction method {method!r}.", f"Choose one of: {', '.join(METHODS)}.")
    y = _checked(sinogram, geometry)
    if method == "fbp":
        return fbp(y, geometry, image, filter).numpy()
    steps = DEFAULT_ITERATIONS[method] if n_iterations is None else n_iterations
    A = projector if projector is not None else Projector(geometry, image)
    if A.geometry != geometry or A.image != image:
        raise ConfigError(
            "The projector belongs to another scan or image.",
            "Leave it out, or build it from the same geometry and image.",
        )
    measurement = Measurement(y, A, noise=GaussianNoise(noise_level(y.numpy())), simulated=False)
    smooth = least_squares(measurement, DEFAULT_ITERATIONS["cg"] if method == "tv" else steps)
    if method == "cg":
        return smooth.numpy()
    if tv_weight is None:
        # a Laplace prior exp(−λ|g|) on two-dimensional gradients g has mean |g| = 2/λ
        tv_weight = 2.0 / max(float(gradient(smooth).square().sum(0).sqrt().mean()), 1e-12)
    return tv_reconstruction(measurement, tv_weight, steps, x0=smooth.clamp_min(0.0)).numpy()


def _checked(sinogram: ArrayLike, geometry: Geometry) -> torch.Tensor:
    """The sinogram as float32.

    Raises
    ------
    ConfigError : it is of another scan, or not finite.
    """
    y = torch.as_tensor(np.asarray(sinogram, np.float32))
    if tuple(y.shape[-2:]) != geometry.shape:
        raise ConfigError(
            f"A sinogram of shape {tuple(y.shape)} is not of a scan of {geometry.shape}.",
            "Rows are views, columns are detector bins.",
        )
    if not bool(torch.isfinite(y).all()):
        raise ConfigError(
            "The sinogram holds values that are not finite.",
            "Replace dead bins and starved rays before the logarithm.",
        )
    return y


def noise_level(sinogram: NDArray[np.floating]) -> float:
    """Return the standard deviation of white noise in (..., n_views, n_detectors) data.

    It comes from second differences along the detector.

    Second differences hardly see the object; their median absolute value does not see its edges. Never 0.
    """
    if sinogram.shape[-1] < 3:
        return max(1e-3 * float(np.std(sinogram)), 1e-9)
    curvature = np.diff(np.asarray(sinogram, np.float64), n=2, axis=-1)
    sigma = float(np.median(np.abs(curvature - np.median(curvature)))) / 0.6745 / np.sqrt(6.0)
    return max(sigma, 1e-6 * float(np.abs(sinogram).max()), 1e-9)


def otsu_threshold(image: ArrayLike, n_bins: int = 512) -> float:
    """Return the grey value that best splits an image in two (Otsu, IEEE Trans. Syst. Man Cybern. 9, 62, 1979).

    Raises
    ------
    ConfigError : the image has one value only.
    """
    values = np.asarray(image, float).ravel()
    if not np.ptp(values) > 0:
        raise ConfigError("An image of one grey value cannot be split in two.", "Check the reconstruction.")
    counts, edges = np.histogram(values, n_bins)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below, mass = np.cumsum(counts)[:-1], np.cumsum(counts * centres)
    above = values.size - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (mass[:-1] / below - (mass[-1] - mass[:-1]) / above) ** 2
    best = np.flatnonzero(
        between >= np.nanmax(between) * (1 - 1e-12)
    )  # an empty stretch between two heaps is a tie: its middle
    return float(edges[1:][best].mean())


def dice(mask: ArrayLike, truth: ArrayLike) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|), 1 when both are empty."""
    a, b = np.asarray(mask, bool), np.asarray(truth, bool)
    if a.shape != b.shape:
        raise ConfigError(f"Masks of shape {a.shape} and {b.shape} cannot be compared.", "Bring both to one grid.")
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


@dataclass(frozen=True)
class DiscScore:
    """How well a measured disc was reconstructed.

    Attributes
    ----------
    disc : its name in the challenge.
    method : reconstruction method.
    n_views : views used, evenly spread over the full circle.
    dice : overlap of the Otsu-thresholded reconstruction with the truth mask.
    seconds : time of the reconstruction, operator included where it had to be built.
    """

    disc: str
    method: str
    n_views: int
    dice: float
    seconds: float


def htc_scores(
    folder: str | Path,
    methods: Sequence[str] = ("fbp", "cg"),
    views: Sequence[int] = (720, 60),
    discs: Sequence[str] | None = None,
    image: ImageGrid2D = HTC2022_IMAGE,
) -> list[DiscScore]:
    """Reconstruct the measured discs of the Helsinki Tomography Challenge 2022 and compare with their truth.

    Parameters
    ----------
    folder : where the ``htc2022_*.npz`` lie.
    methods : methods of :func:`reconstruct`.
    views : numbers of views; each must divide 720 (a view every half degree).
    discs : names ("ta", "01a", …); all when None.
    image : grid of the truth masks.

    Raises
    ------
    EmptyInputError : no measured disc is there.
    ConfigError : a number of views that does not divide 720.
    """
    paths = sorted(Path(folder).glob("htc2022_*.npz"))
    if discs is not None:
        paths = [p for p in paths if p.stem.removeprefix("htc2022_") in discs]
    if not paths:
        raise EmptyInputError(
            "No measured disc (htc2022_*.npz) lies in this folder.", "Give the folder of the challenge's data."
        )
    rows: list[DiscScore] = []
    for n in views:
        if n < 1 or 720 % n:
            raise ConfigError(f"{n} evenly spread views cannot be taken from 720.", "Ask for a divisor of 720.")
        projector: Projector | None = None
        for path in paths:
            sinogram, geometry, truth = read_htc2022(path)
            if truth is None:
                continue
            sinogram, geometry = (
                sinogram[: 720 : 720 // n],
                geometry.views(slice(0, 720, 720 // n)),
            )  # the last view repeats the first
            for method in methods:
                start = time.perf_counter()
                if method != "fbp" and (projector is None or projector.geometry != geometry):
                    projector = Projector(geometry, image)
                found = reconstruct(
                    sinogram, geometry, image, method, projector=projector if method != "fbp" else None
                )
                seconds = time.perf_counter() - start
                overlap = dice(found > otsu_threshold(found), truth)
                rows.append(DiscScore(path.stem.removeprefix("htc2022_"), method, n, overlap, seconds))
    return rows
