"""From a framed study to its organs.

What the network says is tidied by what every anatomist knows: an organ is one piece (two crumbs of a liver far apart
are not), and it has no holes. A hole is where a lesion lies: the network has seen healthy organs alone, and what it
takes for something else inside a liver belongs to the liver all the same.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from KLIPCore.errors import PriorError
from KLIPCore.organs.network import ORGANS, OrganNetwork, stack_of
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.organs import FOUND, OrganMap

WEIGHTS = Path(__file__).with_name("zoo") / "abdomen-organs.safetensors"
FRAME = (256, 0.875)
"""Side of the frame in pixels, and the part of it that the median body width takes."""

WINDOW_HU = (-125.0, 275.0)

BATCH = 4
"""Slices at once: more is not faster on a CPU."""

LABELLED_MM = 4.0
"""Slices closer than this take the labels of their neighbour: organs do not change faster."""

LEAST_PART = 0.1
"""Pieces smaller than this part of an organ's largest piece are dropped."""

LEAST_ML = 0.5
"""Organs smaller than this are none."""

CLOSING_PX = 2
"""Frame pixels by which an outline is closed before its holes are filled: a lesion at the rim opens a hole."""


@cache
def organ_network(weights: Path = WEIGHTS) -> OrganNetwork:
    """Return the shipped network, ready to use, in float32.

    Raises
    ------
    PriorError
        The weights are missing or damaged.
    """
    try:
        with safe_open(str(weights), "pt") as stored:
            network = OrganNetwork(tuple(json.loads(stored.metadata()["features"])))
            network.load_state_dict({key: stored.get_tensor(key).float() for key in stored.keys()})  # noqa: SIM118
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise PriorError(
            f"The organ network {weights.name} is missing or damaged ({type(error).__name__}).",
            "Install KLIPCore again.",
        ) from error
    return network.eval()


def suits(card: ModelCard) -> bool:
    """Return whether a prior's frame is the one that the network was trained in: the abdomen's."""
    return (
        "abdomen" in card.anatomy
        and (card.size, card.body_fraction) == FRAME
        and (card.window.lo_hu, card.window.hi_hu) == WINDOW_HU
    )


def find_organs(study: FramedStudy, card: ModelCard, indices: list[int] | None = None) -> OrganMap:
    """Return the organs of a study of the abdomen.

    Parameters
    ----------
    study : FramedStudy
    card : ModelCard
        Of the prior whose frame it is; the network was trained in the same frame and window.
    indices : list of int, optional
        Slices to label, counted from the feet; all by default.

    Raises
    ------
    PriorError
        The shipped network is missing or damaged.
    """
    n = study.body.shape[0]
    framed = np.stack([study.intensity(k, card) for k in range(n)])
    wanted = np.arange(n) if indices is None else np.array(sorted(indices))
    labels = np.zeros(framed.shape, np.uint8)
    step = float(study.lps_grid.spacing[0])
    asked = wanted[:: max(1, int(LABELLED_MM / step))]
    nearest = np.abs(wanted[:, None] - asked).argmin(1)
    labels[wanted] = label_slices(torch.from_numpy(framed), asked.tolist(), step)[nearest]
    tidied = tidy(labels, study.frame.pixel_mm**2 * step / 1000)
    shape = (study.lps_grid.shape[1], study.lps_grid.shape[2])
    on_study = np.zeros((n, *shape), np.uint8)
    for number in ORGANS:  # nearest: a label is no intensity
        where = study.frame.push((tidied == number).astype(np.float32), shape, order=1) > 0.5
        on_study[where & study.body] = number
    return OrganMap(study.orientation.restore(on_study), dict(ORGANS), FOUND)


def label_slices(framed: Tensor, indices: list[int], step_mm: float) -> NDArray[np.uint8]:
    """Return the network's labels (n, S, S) of some slices.

    Parameters
    ----------
    framed : Tensor, (D, S, S)
        Intensity in [0, 1] of all slices, from the feet.
    indices : list of int
        Those to label.
    step_mm : float, mm
        Distance of slices.
    """
    network, out = organ_network(), []
    with torch.inference_mode():
        for start in range(0, len(indices), BATCH):
            stacks = [stack_of(framed, index, step_mm) for index in indices[start : start + BATCH]]
            out.append(network(torch.stack(stacks)).argmax(1).to(torch.uint8))
    return torch.cat(out).numpy() if out else np.zeros((0, *framed.shape[1:]), np.uint8)


def tidy(labels: NDArray[np.uint8], voxel_ml: float) -> NDArray[np.uint8]:
    """Return the labels with crumbs dropped and holes filled.

    Parameters
    ----------
    labels : uint8, (D, S, S)
        Of :data:`KLIPCore.organs.network.ORGANS`.
    voxel_ml : float, mL
        Volume of a voxel.
    """
    out = np.zeros_like(labels)
    disc = np.hypot(*np.mgrid[-CLOSING_PX : CLOSING_PX + 1, -CLOSING_PX : CLOSING_PX + 1]) <= CLOSING_PX + 0.3
    for number in ORGANS:
        pieces, n = ndi.label(labels == number, np.ones((3, 3, 3), bool))
        if not n:
            continue
        sizes = np.bincount(pieces.ravel())[1:]
        kept = (sizes >= LEAST_PART * sizes.max()) & (sizes * voxel_ml >= LEAST_ML)
        own = np.concatenate([[False], kept])[pieces]
        closed = np.zeros_like(own)
        for k in np.flatnonzero(own.any((1, 2))):
            rows, columns = _around(own[k], CLOSING_PX)
            closed[k, rows, columns] = ndi.binary_fill_holes(ndi.binary_closing(own[k, rows, columns], disc))
        out[own | (closed & (labels == 0) & (out == 0))] = number
    return out


def _around(plane: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold whatever a plane marks, with a margin as far as the plane goes."""
    ends = [np.flatnonzero(plane.any(axis))[[0, -1]] for axis in (1, 0)]
    rows, columns = (slice(max(0, int(first) - margin), int(last) + margin + 1) for first, last in ends)
    return rows, columns
