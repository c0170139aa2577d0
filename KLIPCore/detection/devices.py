"""What a run computes on: a device, or several, and enough memory."""

from __future__ import annotations

import numpy as np
import psutil
import torch

from KLIPCore.detection.allocator import keep_freed_memory
from KLIPCore.errors import ConfigError, ResourceError
from KLIPCore.volume.grid import Grid

BYTES_PER_VOXEL = 40
"""Peak memory of reading, masking and mapping a study, per voxel: five float32 volumes and some masks."""

FIXED_BYTES = 1_500 * 1024**2
"""Memory of the libraries, the network and its activations for one 256² slice with a few samples."""


def configure_process() -> None:
    """Set this process up for long arithmetic: PyTorch's number of threads said aloud, and freed memory kept.

    For whoever owns the process, once, before the work begins: the commands and
    :func:`KLIPCore.detection.detect.detect` do it. No part of the library needs it, and choosing a device or
    loading a prior changes nothing of the process.
    """
    torch.set_num_threads(
        torch.get_num_threads()
    )  # MKL keeps to it then: otherwise it may take fewer, and sums round differently
    keep_freed_memory()


ALL_GPUS = "cuda:all"
"""Name of every GPU of the computer together."""


APPLE = "mps"
"""Name of Apple's graphics processor. A run's sparse matrices cannot lie there: only its network does."""


def choose_devices(name: str) -> list[torch.device]:
    """Return the torch devices that share the slices of a run.

    All GPUs for ``cuda:all``, and for ``auto`` where there are any; one for other names. That of ``mps`` is the
    processor: only the network computes elsewhere (:func:`network_places`).

    Raises
    ------
    ResourceError, ConfigError : as :func:`choose_device`.
    """
    first = choose_device(name)
    if first.type == APPLE:
        return [torch.device("cpu")]
    if name not in ("auto", ALL_GPUS) or first.type != "cuda":
        return [first]
    return [torch.device("cuda", n) for n in range(torch.cuda.device_count())]


def network_places(name: str) -> tuple[str, ...]:
    """Return where the network of a run may compute: empty for the run's own device, names of others.

    Which of several is the fastest is measured (:mod:`KLIPCore.detection.precision`): on a Mac with ``auto``.

    Parameters
    ----------
    name : as for :func:`choose_devices`.
    """
    if name.split(":")[0] == APPLE:
        return (APPLE,)
    if name == "auto" and choose_device(name).type == "cpu" and torch.backends.mps.is_available():
        return ("", APPLE)
    return ("",)


def choose_device(name: str) -> torch.device:
    """Return the torch device of a network alone, one that is trained, say.

    The first GPU for ``cuda:all`` and, where there is one, ``auto``; else what the name says: ``cpu``, ``cuda``,
    ``cuda:1``, ``mps``.

    Raises
    ------
    ResourceError : that device is not there.
    ConfigError : no such name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if name == ALL_GPUS else name)
    except RuntimeError as error:
        raise ConfigError(f"There is no device called '{name}'.", "Choose auto, cpu or cuda.") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ResourceError(
            f"No GPU answers to '{name}' on this computer.",
            "Use --device cpu, or install a GPU driver and the CUDA build of PyTorch.",
        )
    if device.type == APPLE and not torch.backends.mps.is_available():
        raise ResourceError("This computer has no Apple GPU.", "Use --device cpu.")
    return device


def check_memory(grid: Grid, extra_bytes: int = 0) -> None:
    """Refuse before the work starts what would not fit.

    Raises
    ------
    ResourceError : the estimate exceeds the free memory; says what to lower.
    """
    needed = FIXED_BYTES + BYTES_PER_VOXEL * int(np.prod(grid.shape)) + extra_bytes
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise ResourceError(
            f"This study needs about {needed / 1024**3:.1f} GiB of memory; {free / 1024**3:.1f} GiB are free.",
            "Close other programs, take fewer slices (--slices), views (--views) or samples (--samples), or crop "
            "the volume.",
        )
