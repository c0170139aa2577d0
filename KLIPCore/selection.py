"""Which part of a study: slices counted from the feet, a box in the patient, a device, enough memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, ResourceError
from KLIPCore.memory import keep_freed_memory
from KLIPCore.volume.grid import Grid

if TYPE_CHECKING:
    import torch

Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""LPS mm intervals ((x0, x1), (y0, y1), (z0, z1))."""

BYTES_PER_VOXEL = 40
"""Peak memory of reading, masking and mapping a study, per voxel: five float32 volumes and some masks."""

FIXED_BYTES = 1_500 * 1024**2
"""Memory of the libraries, the network and its activations for one 256² slice with a few samples."""


def parse_slices(text: str | None, n_slices: int) -> list[int]:
    """Slice numbers that a Python-style range means, ``"12:17"`` or ``"-5:"`` or ``"7"``; all when None.

    Raises
    ------
    ConfigError : not such a range, or one that keeps nothing.
    """
    if text is None or text.strip() == "":
        return list(range(n_slices))
    remedy = f"Write --slices 12:17 (12 to 16), counted from the feet; this study has slices 0 to {n_slices - 1}."
    try:
        numbers = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError as error:
        raise ConfigError(f"'{text}' is no range of slices.", remedy) from error
    if len(numbers) == 1 and numbers[0] is not None:
        index = numbers[0]
        chosen = [index % n_slices] if -n_slices <= index < n_slices else []
    elif 2 <= len(numbers) <= 3 and numbers[-1] != 0:
        chosen = list(range(n_slices))[slice(*numbers)]
    else:
        raise ConfigError(f"'{text}' is no range of slices.", remedy)
    if not chosen:
        raise ConfigError(f"The range '{text}' keeps no slice.", remedy)
    return sorted(chosen)


def parse_box(text: str | None) -> Box | None:
    """The box that ``"x0:x1,y0:y1,z0:z1"`` (LPS mm) means; None when no text is given.

    Raises
    ------
    ConfigError : not such a box, or an empty one.
    """
    if not text:
        return None
    try:
        intervals = [tuple(float(bound) for bound in part.split(":")) for part in text.split(",")]
        (x0, x1), (y0, y1), (z0, z1) = intervals
    except ValueError as error:
        raise ConfigError(f"'{text}' is no box.", "Write --roi=x0:x1,y0:y1,z0:z1 in LPS millimetres.") from error
    if not (x0 < x1 and y0 < y1 and z0 < z1):
        raise ConfigError(f"The box '{text}' is empty.", "Give the smaller coordinate first in each interval.")
    return (x0, x1), (y0, y1), (z0, z1)


def box_mask(grid: Grid, box: Box) -> NDArray[np.bool_]:
    """(D, H, W) bool: voxel centres inside the box.

    Raises
    ------
    ConfigError : the box contains no voxel.
    """
    mask = np.zeros(grid.shape, bool)
    rows, columns = np.meshgrid(np.arange(grid.shape[1]), np.arange(grid.shape[2]), indexing="ij")
    lo, hi = np.array(box).T
    for k in range(grid.shape[0]):
        points = grid.to_world(np.stack([np.full(rows.shape, k), rows, columns], axis=-1))
        mask[k] = ((points >= lo) & (points <= hi)).all(-1)
    if not mask.any():
        raise ConfigError(
            "The region of interest lies outside the study.", "Give it in LPS millimetres of this study (x to the patient's left, y to posterior)."
        )
    return mask


ALL_GPUS = "cuda:all"
"""Name of every GPU of the computer together."""


def choose_devices(name: str) -> list[torch.device]:
    """The torch devices that share the slices of a run: all GPUs for ``cuda:all``, and for ``auto`` where there are any; one for other names.

    Raises
    ------
    ResourceError, ConfigError : as :func:`choose_device`.
    """
    import torch

    first = choose_device(name)
    if name not in ("auto", ALL_GPUS) or first.type != "cuda":
        return [first]
    return [torch.device("cuda", n) for n in range(torch.cuda.device_count())]


def choose_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; the first GPU for ``cuda:all``.

    Raises
    ------
    ResourceError : that device is not there.
    ConfigError : no such name.
    """
    import torch  # the rest of this module is used where there is none

    torch.set_num_threads(torch.get_num_threads())  # said aloud, MKL keeps to it too: otherwise it may take fewer, and sums round differently
    keep_freed_memory()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if name == ALL_GPUS else name)
    except RuntimeError as error:
        raise ConfigError(f"There is no device called '{name}'.", "Choose auto, cpu or cuda.") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ResourceError(f"No GPU answers to '{name}' on this computer.", "Use --device cpu, or install a GPU driver and the CUDA build of PyTorch.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("This computer has no Apple GPU.", "Use --device cpu.")
    return device


def check_memory(grid: Grid, extra_bytes: int = 0) -> None:
    """Refuse before the work starts what would not fit.

    Raises
    ------
    ResourceError : the estimate exceeds the free memory; says what to lower.
    """
    import psutil  # box and range are parsed in places that have none

    needed = FIXED_BYTES + BYTES_PER_VOXEL * int(np.prod(grid.shape)) + extra_bytes
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise ResourceError(
            f"This study needs about {needed / 1024**3:.1f} GiB of memory; {free / 1024**3:.1f} GiB are free.",
            "Close other programs, take fewer slices (--slices), views (--views) or samples (--samples), or crop the volume.",
        )
