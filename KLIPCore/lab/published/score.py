"""The published scores: from an artifact to blocks, an image score, and two kinds of AUROC.

For a block B_i of b × b pixels and a window [t₀, t₁) of recorded steps the reference takes

    KLIP(B_i) = mean over steps and samples of  Σ over channels and pixels of B_i  (update / g)² ,

without the ½ and without the step's width, so it is no number of nats but orders blocks alike as long as steps
and windows are the same. An *image's* score is its largest block, air included. *Image-level* AUROC is one ROC
curve per abnormal image, blocks that hold a labelled pixel against the others among the body's, averaged over
images; *dataset-level* AUROC is one curve over image scores, abnormal images against normal ones. The house's
own counterparts are :mod:`KLIPCore.maps.blocks` and :mod:`KLIPCore.maps.image_score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.published.artifact import Artifact


def score_map(artifact: Artifact, block: int, window: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (H / b, W / b) float32 published scores of the blocks.

    Parameters
    ----------
    artifact : one image's updates.
    block : b in pixels; must divide H and W.
    window : [t₀, t₁) in recorded steps, from noise to image.

    Raises
    ------
    ConfigError : blocks that do not tile the image, or a window outside the record.
    """
    start, end = window
    if not 0 <= start < end <= artifact.n_steps:
        raise ConfigError(
            f"Steps {start} to {end} are not among the {artifact.n_steps} recorded.",
            f"Choose a window inside 0:{artifact.n_steps}.",
        )
    rows, columns = _tiles(artifact.image_shape, block)
    per_pixel = np.zeros(artifact.image_shape)
    for step in artifact.normalized_updates[start:end]:  # one step at a time: a window may be hundreds of megabytes
        per_pixel += np.square(step, dtype=np.float64).sum((0, 1))
    summed = per_pixel.reshape(rows, block, columns, block).sum((1, 3))
    return (summed / ((end - start) * artifact.normalized_updates.shape[1])).astype(np.float32)


def blocks_of(mask: NDArray, block: int) -> NDArray[np.bool_]:
    """Return the (H / b, W / b) bool: blocks that hold any pixel of an (H, W) mask.

    Raises
    ------
    ConfigError : the blocks do not tile the mask.
    """
    rows, columns = _tiles((mask.shape[0], mask.shape[1]), block)
    return np.asarray(np.asarray(mask > 0).reshape(rows, block, columns, block).any((1, 3)))


@dataclass(frozen=True, eq=False)
class ImageLevel:
    """Localization: one AUROC an image.

    Attributes
    ----------
    per_image : (n,) AUROC, NaN where an image has only one kind of block.
    """

    per_image: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """Over the images that have both kinds; NaN without any."""
        valid = self.per_image[np.isfinite(self.per_image)]
        return float(valid.mean()) if valid.size else float("nan")


def image_level(
    maps: Sequence[NDArray[np.floating]], labels: Sequence[NDArray], bodies: Sequence[NDArray] | None, block: int
) -> ImageLevel:
    """Return image-level AUROC of published score maps.

    Parameters
    ----------
    maps : score maps of abnormal images.
    labels : (H, W) masks of what is abnormal, one a map.
    bodies : (H, W) masks of the body, one a map; all blocks when None.
    block : b of the maps.

    Raises
    ------
    ConfigError : maps, labels and bodies are not as many, or blocks that do not tile.
    GeometryError : a mask of another size than its image.
    """
    if len(maps) != len(labels) or (bodies is not None and len(bodies) != len(maps)):
        raise ConfigError("There are not as many masks as images.", "Give one mask for each image, in the same order.")
    found = []
    for n, scores in enumerate(maps):
        positive = blocks_of(labels[n], block)
        inside = np.ones_like(positive) if bodies is None else blocks_of(bodies[n], block)
        if positive.shape != scores.shape or inside.shape != scores.shape:
            raise GeometryError("A mask has another size than its image.", "Give masks on the image's own pixels.")
        found.append(auroc(scores[inside], positive[inside]))
    return ImageLevel(np.array(found, np.float64))


def image_score(scores: NDArray[np.floating]) -> float:
    """Return the published score of an image: its largest block, air included."""
    return float(scores.max())


def dataset_level(normal: Sequence[NDArray[np.floating]], abnormal: Sequence[NDArray[np.floating]]) -> float:
    """Return dataset-level AUROC of the image scores of normal against abnormal images.

    NaN when one kind is missing.
    """
    values = np.array([image_score(m) for m in (*normal, *abnormal)], np.float64)
    return auroc(values, np.arange(len(values)) >= len(normal))


def _tiles(shape: tuple[int, int], block: int) -> tuple[int, int]:
    if block < 1 or shape[0] % block or shape[1] % block:
        raise ConfigError(
            f"Blocks of {block} pixels do not tile an image of {shape[0]} × {shape[1]}.",
            "Choose a divisor of both sides.",
        )
    return shape[0] // block, shape[1] // block
