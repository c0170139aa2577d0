"""What a prior makes of health, before any sampling: `python -m KLIPCore.lab.training.health --data FOLDER`.

A prior is worth what its pushes are: small and of no side in healthy tissue that it has not seen, large in lesions.
Here slices stand in for the posterior mean of a perfect scan, and one antithetic pair a noise level asks the prior.
Printed are, of centred pushes in livers, the root mean square of either side, in training patients and in others
(their ratio is memorisation); how much of a disc that is put into a healthy liver is pushed away; and how blocks with
a lesion rank by the score's own statistic. In minutes it tells the better of two priors; how well lesions are found
says `klip evaluate`.

FOLDER holds `btcv`, `lits-dev` and `volumes`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.detection.precision import load_fastest
from KLIPCore.errors import EmptyInputError
from KLIPCore.kl.quadrature import antithetic_noise
from KLIPCore.lab.audit_cases import BTCV_TEST, BTCV_TRAIN
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.training.data import DataSource, load_training_set
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.pushes import EXPECTATION_SIGMA
from KLIPCore.maps.unexpected import NODES, Evidence, block_statistics, cell_nats, centred_pushes, mean_pushes
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR
from KLIPCore.priors.unet import UNetPrior
from KLIPCore.settings import RecordConfig
from KLIPCore.volume.units import Window

BTCV = DataSource("BTCV", "btcv/case{case}_ct8.nii.gz", slope=400 / 255, intercept=-125.0)
LITS = DataSource("LiTS", "lits-dev/lits{case}_hu_win-160_240.nii.gz")
CHAOS = DataSource("CHAOS", "volumes/chaos-set{case}_ct.nii.gz")
LABELS = {
    BTCV: "btcv/case{case}_seg.nii.gz",
    LITS: "lits-dev/lits{case}_label.nii.gz",
    CHAOS: "volumes/chaos-set{case}_liver.nii.gz",
}
LIVER = {BTCV: 5, LITS: 1, CHAOS: 1}
LESION = 2
LESION_CASES = ("00", "01", "06", "08", "10")
LEAST_PIXELS = {"liver": 1500, "lesion": 30}
CELLS, BLOCK_MM, WIDTH_MM = 64, 12.0, 350.0
IMAGES_AT_ONCE = 4
DISC_HU, DISC_MM = 40.0, 20.0
"""By how much the discs that are put into livers are brighter and darker, and their diameter."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of one patient.

    Attributes
    ----------
    name : of the patient.
    images : (n, S, S) intensity.
    liver, lesion : (n, S, S) bool.
    """

    name: str
    images: NDArray[np.float32]
    liver: NDArray[np.bool_]
    lesion: NDArray[np.bool_]


def read(root: Path, source: DataSource, case: str, window: Window, n: int) -> Slices:
    """Return ``n`` slices of a patient that show the liver, or the lesions where it is a patient of LiTS.

    Parameters
    ----------
    root : folder of the data.
    source, case : one of :data:`LABELS`, and whom of it.
    window : HU of intensity 0..1.
    n : how many, evenly spread; where there are fewer, some are taken twice.

    Raises
    ------
    EmptyInputError : the patient is not there, or no slice shows enough of what is asked for.
    """
    fields = {**vars(source), "cases": (case,), "labels": LABELS[source]}
    slices, _, organs = load_training_set(root, [DataSource(**fields)], window)
    assert organs is not None
    labels = organs.labels.numpy()
    wanted, least = (labels == LESION, "lesion") if source is LITS else (labels == LIVER[source], "liver")
    shown = np.flatnonzero(wanted.sum((1, 2)) > LEAST_PIXELS[least])
    if not len(shown):
        raise EmptyInputError(f"No slice of {source.name} {case} shows the {least}.", "Check the labels in --data.")
    chosen = shown[np.linspace(0, len(shown) - 1, n).round().astype(int)]
    images, labels = slices[chosen].astype(np.float32) / 255, labels[chosen]
    lesion = (labels == LESION) & (source is LITS)
    return Slices(f"{source.name} {case}", images, (labels == LIVER[source]) | lesion, lesion)


def asked(prior: UNetPrior, slices: Slices, seed: int) -> Evidence:
    """Return what the prior's answers give the score to read; slices do not count as neighbours.

    Parameters
    ----------
    prior : of the slices' window and frame.
    slices : (n, S, S) intensity, as the posterior mean of a perfect scan.
    seed : of the antithetic pair.
    """
    x = torch.from_numpy(slices.images)[:, None]
    z = antithetic_noise(tuple(x.shape), 1, torch.Generator().manual_seed(seed))
    tau = RecordConfig().temperature

    def expected(sigma: float) -> Tensor:
        means = [
            torch.stack([prior.denoise(a + tau**0.5 * sigma * b, torch.full((len(a),), sigma)) for b in (up, down)])
            for a, up, down in zip(*(t.split(IMAGES_AT_ONCE) for t in (x, z[0], z[1])), strict=True)
        ]
        return torch.cat([mean.mean(0) for mean in means])[:, 0]

    def half(stack: Tensor) -> NDArray[np.float32]:
        return np.stack([halved(image) for image in stack.numpy()]).astype(np.float32)

    pushes = np.stack([half(x[:, 0] - expected(sigma)) for sigma in NODES], 1)
    n, pixel_mm = len(x), _pixel_mm(prior.card.size, prior.card.body_fraction)
    return Evidence(
        pushes,
        half(expected(EXPECTATION_SIGMA)),
        half(x[:, 0]),
        half((x[:, 0] > 0).float()) >= 0.5,
        np.ones((n, CELLS, CELLS), np.float32),
        2 * np.arange(n),
        pixel_mm,
        1000.0,
    )


def sides(evidence: Evidence, mean_push: NDArray[np.floating], liver: NDArray[np.bool_]) -> list[float]:
    """Return the root mean square of what is brighter and darker than centred, in livers, of each noise level.

    Parameters
    ----------
    evidence : of :func:`asked`.
    mean_push : (2, classes) of :func:`KLIPCore.maps.unexpected.mean_pushes`.
    liver : (n, S, S) bool.

    Returns
    -------
    brighter and darker at each of :data:`NODES`, intensity times 10 000.
    """
    inside = np.stack([halved(own.astype(np.float32)) for own in liver]) >= 1.0
    pushes = centred_pushes(evidence, mean_push, "all")
    return [
        float(np.sqrt(np.mean(np.maximum(sign * pushes[:, k][inside], 0.0) ** 2))) * 1e4
        for k in range(len(NODES))
        for sign in (1.0, -1.0)
    ]


def ranks(evidence: Evidence, mean_push: NDArray[np.floating], slices: Slices) -> list[float]:
    """Return AUROC of blocks with a lesion over body and liver: of either side, then of the darker one.

    Parameters
    ----------
    evidence, mean_push : as for :func:`sides`.
    slices : with their lesions; a block of which a quarter is lesion counts.
    """

    def blocks(mask: NDArray[np.bool_], part: float) -> NDArray[np.bool_]:
        step = mask.shape[-1] // CELLS
        return mask.reshape(len(mask), CELLS, step, CELLS, step).mean((2, 4)) >= part

    lesion, liver, body = blocks(slices.lesion, 0.25), blocks(slices.liver, 0.5), blocks(slices.images > 0, 0.5)
    nats = block_statistics(cell_nats(evidence, mean_push, "all"), evidence, BLOCK_MM)
    dark, bright = nats["all", "darker"], nats["all", "brighter"]
    return [
        auroc(score[where], lesion[where])
        for score in (np.maximum(dark, bright), dark)
        for where in (body | lesion, liver | lesion)
    ]


def with_disc(slices: Slices, change: float) -> tuple[Slices, NDArray[np.bool_]]:
    """Return slices with a disc where their liver is widest, and the discs (n, S, S).

    Parameters
    ----------
    slices : of a healthy patient.
    change : intensity that is added.
    """
    disc = np.zeros(slices.liver.shape, bool)
    for own, liver in zip(disc, slices.liver, strict=True):
        depth = ndi.distance_transform_edt(liver)
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
        own[:] = (np.hypot(rows - row, columns - column) < DISC_MM / 2 / _pixel_mm(depth.shape[-1])) & liver
    return replace(slices, images=(slices.images + change * disc).astype(np.float32)), disc


def _pixel_mm(side: int, body_fraction: float = 0.875) -> float:
    """Edge of a pixel of the frame where a body is as wide as :data:`WIDTH_MM`."""
    return WIDTH_MM / (body_fraction * side)


def erased(prior: UNetPrior, slices: Slices, plain: Evidence, seed: int) -> list[float]:
    """Return which part of a darker and of a brighter disc the prior pushes away, at each of :data:`NODES`.

    Parameters
    ----------
    prior, slices, seed : as for :func:`asked`.
    plain : what it returned for the same slices.

    Returns
    -------
    darker and brighter at each noise level; 1 where nothing of a disc is left, 0 where all is.
    """
    contrast = DISC_HU / (prior.card.window.hi_hu - prior.card.window.lo_hu)
    found = []
    for change in (-contrast, contrast):
        changed, disc = with_disc(slices, change)
        inside = np.stack([halved(own.astype(np.float32)) for own in disc]) >= 1.0
        pushed = asked(prior, changed, seed).pushes - plain.pushes
        found.append([float(pushed[:, k][inside].mean() / change) for k in range(len(NODES))])
    return [found[sign][k] for k in range(len(NODES)) for sign in range(2)]


@dataclass(frozen=True)
class Health:
    """What :func:`measured` found.

    Attributes
    ----------
    training : of :func:`sides`, the mean over the training patients.
    others : of :func:`sides`, by name of a patient outside training.
    discs : of :func:`erased`, likewise.
    lesions : of :func:`ranks`, by name of a scan with lesions.
    """

    training: list[float]
    others: dict[str, list[float]]
    discs: dict[str, list[float]]
    lesions: dict[str, list[float]]

    def memorised(self, name: str) -> float:
        """Return how much harder a patient outside training is pushed to the brighter side than one of training."""
        own = self.others[name]
        return float(np.mean([own[k] / self.training[k] for k in range(0, 2 * len(NODES), 2)]))


def measured(root: Path, prior: UNetPrior, n: int, seed: int) -> Health:
    """Return what a prior makes of health and of lesions.

    Parameters
    ----------
    root : folder of the data.
    prior : that is asked.
    n : slices of each patient.
    seed : of the noise.

    Raises
    ------
    EmptyInputError : a patient is not there.
    """

    def study(source: DataSource, case: str) -> tuple[Slices, Evidence]:
        slices = read(root, source, case, prior.card.window, n)
        return slices, asked(prior, slices, seed)

    trained = [study(BTCV, case) for case in BTCV_TRAIN]
    mean_push = mean_pushes([evidence for _, evidence in trained])
    others, discs, lesions = {}, {}, {}
    for source, case in [*((BTCV, case) for case in BTCV_TEST), (CHAOS, "3")]:
        own, evidence = study(source, case)
        others[own.name] = sides(evidence, mean_push, own.liver)
        discs[own.name] = erased(prior, own, evidence, seed)
    for case in LESION_CASES:
        own, evidence = study(LITS, case)
        lesions[own.name] = ranks(evidence, mean_push, own)
    of_training = [float(v) for v in np.mean([sides(evidence, mean_push, own.liver) for own, evidence in trained], 0)]
    return Health(of_training, others, discs, lesions)


def rows(found: Health) -> Iterator[str]:
    """Yield the lines of one prior's tables: healthy livers, discs in them, lesions."""
    levels = [f"{side} σ {sigma:.2g}".replace("0.", ".") for sigma in NODES for side in ("brighter", "darker")]
    yield f"| liver | {' | '.join(levels)} | brighter against training |"
    yield f"|{' --- |' * (len(levels) + 2)}"
    yield _row(f"training, {len(BTCV_TRAIN)} patients", [f"{v:.0f}" for v in found.training], "1")
    for name, own in found.others.items():
        yield _row(name, [f"{v:.0f}" for v in own], f"{found.memorised(name):.2f}")
    yield ""
    levels = [f"{side} disc, σ {sigma:.2g}".replace("0.", ".") for sigma in NODES for side in ("darker", "brighter")]
    yield f"| pushed away of discs of {DISC_HU:.0f} HU | {' | '.join(levels)} |"
    yield f"|{' --- |' * (len(levels) + 1)}"
    for name, own in found.discs.items():
        yield _row(name, [f"{v:.2f}" for v in own])
    yield ""
    yield "| lesions | either side, body | liver | darker, body | liver |"
    yield "| --- | --- | --- | --- | --- |"
    for name, own in found.lesions.items():
        yield _row(name, [f"{v:.3f}" for v in own])


def _row(name: str, figures: Sequence[str], *more: str) -> str:
    return f"| {' | '.join([name, *figures, *more])} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What priors make of healthy livers and of lesions.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--prior", action="append", default=[], help="Shipped name or .safetensors file; repeatable.")
    parser.add_argument("--slices", type=int, default=6, help="Of each patient.")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.prior or [DEFAULT_PRIOR]:
        prior = load_fastest(name)
        print(
            f"{prior.card.name}, {given.slices} slices a patient, seed {given.seed}, root mean squares times 10 000\n"
        )
        for line in rows(measured(given.data, prior, given.slices, given.seed)):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
