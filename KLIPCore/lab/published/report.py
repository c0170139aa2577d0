"""Published scores from files: `klip score ARTIFACT.npz … --mask MASK …`.

One line an artifact: its image score (largest block, air included) and, with masks, the AUROC of its blocks;
then the mean over images and, with artifacts of normal images, the dataset-level AUROC.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError, UnreadableFileError
from KLIPCore.io.images import read_image
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.score import dataset_level, image_level, image_score, score_map
from KLIPCore.volume.untrusted import load_npy


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Return an (H, W) mask, what is above 0, from a ``.npy`` or an image file (NRRD, NIfTI, MHA) of one slice.

    Raises
    ------
    UnreadableFileError : missing or damaged.
    GeometryError : it is no single slice.
    """
    if path.suffix == ".npy":
        try:
            values = load_npy(path)
        except ValueError as error:
            raise UnreadableFileError(
                f"The mask {path.name} cannot be read: {error}.",
                "Give a plain array saved by numpy.save, or an image.",
            ) from error
    else:
        values = read_image(path).array
    values = np.squeeze(values)
    if values.ndim != 2:
        raise GeometryError(
            f"The mask {path.name} has the shape {values.shape}, not (H, W).", "Give the mask of one slice."
        )
    return np.asarray(values > 0)


def score_files(
    artifacts: Sequence[Path],
    block: int,
    window: tuple[int, int],
    masks: Sequence[Path] = (),
    bodies: Sequence[Path] = (),
    normal: Sequence[Path] = (),
) -> str:
    """Return the table that `klip score` prints.

    Parameters
    ----------
    artifacts : of abnormal images, or of images of any kind when there are neither masks nor normal ones.
    block, window : as in :func:`KLIPCore.lab.published.score.score_map`.
    masks : what is abnormal, one an artifact in the same order; or none.
    bodies : of the body, likewise; all blocks count without.
    normal : artifacts of normal images, for the dataset-level AUROC.

    Raises
    ------
    ConfigError : not as many masks as artifacts, or blocks and window that do not fit.
    UnreadableFileError, GeometryError : a file that cannot be used.
    """
    for name, given in (("masks", masks), ("body masks", bodies)):
        if given and len(given) != len(artifacts):
            raise ConfigError(
                f"There are {len(given)} {name} for {len(artifacts)} artifacts.",
                "Give one for each artifact, in the same order.",
            )
    if bodies and not masks:
        raise ConfigError("Body masks alone tell no AUROC.", "Give --mask too.")
    maps = [score_map(Artifact.load(path), block, window) for path in artifacts]
    lines = [
        f"published score: blocks of {block} pixels, recorded steps {window[0]} to {window[1] - 1}",
        "",
        f"{'largest block':>14}  {'AUROC':>6}  file",
    ]
    per_image = np.full(len(maps), np.nan)
    if masks:
        per_image = image_level(
            maps, [read_mask(p) for p in masks], [read_mask(p) for p in bodies] if bodies else None, block
        ).per_image
    for path, scores, area in zip(artifacts, maps, per_image, strict=True):
        lines.append(f"{image_score(scores):>14.6g}  {_figure(area):>6}  {path.name}")
    if masks:
        valid = per_image[np.isfinite(per_image)]
        lines += [
            "",
            f"image-level AUROC    {_figure(valid.mean() if valid.size else np.nan)}  (mean over {valid.size} "
            "images with both kinds of block)",
        ]
    if normal:
        usual = [score_map(Artifact.load(path), block, window) for path in normal]
        lines += [
            *([] if masks else [""]),
            f"dataset-level AUROC  {_figure(dataset_level(usual, maps))}  ({len(maps)} abnormal against "
            f"{len(usual)} normal images)",
        ]
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "–"
