"""How many images go through a network at once: as many as fit, and fewer when they turn out not to.

A device is filled by images from several samples and slices together. Too few leave it idle, too many do not
fit; how many do is measured (:func:`images_that_fit`), and since other programs share the device, what fitted
a minute ago may fail now. Then the batch is halved and the work done again (:class:`Batches`). Images of a
batch do not see each other, so parts give what the whole gives, up to the rounding of other kernels that a
library may choose for another batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from KLIPCore.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")

MOST_IMAGES = 256
"""More at once fill no device better."""

USED_SHARE = 0.8
"""Part of the free memory that a batch may take: some is lost between its blocks."""


@dataclass
class Batches:
    """A batch in parts that fit.

    Attributes
    ----------
    most : images that go together; None tries all of them. Halved whenever memory is short, and kept.
    """

    most: int | None = None

    def run(self, function: Callable[..., Tensor], *arrays: Tensor) -> Tensor:
        """Return ``function(*arrays)``, part by part.

        Parameters
        ----------
        function : its results for an image (first dimension) depend on that image alone.
        arrays : equally long along the first dimension.

        Raises
        ------
        ResourceError : one image alone does not fit.
        """
        done: list[Tensor] = []
        start, n = 0, len(arrays[0])
        while start < n:
            size = min(self.most or n, n - start)
            try:
                done.append(function(*(array[start : start + size] for array in arrays)))
                start += size
                continue
            except torch.OutOfMemoryError:
                pass  # leaving this block drops the traceback, and with it the tensors of every frame in it
            _give_back()
            self.most = _half(size)
        return torch.cat(done) if len(done) > 1 else done[0]


def run_in_halves(function: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
    """Return ``function(items)``, in halves of halves where memory is short.

    Parameters
    ----------
    function : one result an item, each depending on its item alone.
    items : at least one.

    Raises
    ------
    ResourceError : one item alone does not fit.
    """
    try:
        return function(items)
    except torch.OutOfMemoryError:
        pass  # as above
    _give_back()
    middle = _half(len(items))
    return [*run_in_halves(function, items[:middle]), *run_in_halves(function, items[middle:])]


def _give_back() -> None:
    """Free what a failed attempt held."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _half(size: int) -> int:
    if size == 1:
        raise ResourceError(
            "The device has too little free memory for a single image.",
            "Close other programs that use it, or take --device cpu.",
        )
    return size // 2


def images_that_fit(evaluate: Callable[[int], object], device: torch.device) -> int | None:
    """Return how many images a GPU's free memory holds during one evaluation.

    None where the device does not tell (a CPU pages instead of failing).

    Parameters
    ----------
    evaluate : runs the network on so many images.
    device : where it runs.

    The memory of one more image is the difference between the peaks of four images and of two: what one call
    needs anyway cancels.
    """
    if device.type != "cuda":
        return None
    peaks = []
    for n in (2, 4):
        torch.cuda.reset_peak_memory_stats(device)
        evaluate(n)
        torch.cuda.synchronize(device)
        peaks.append(torch.cuda.max_memory_allocated(device))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return images_for(free, (peaks[1] - peaks[0]) / 2)


def images_for(free_bytes: float, bytes_per_image: float) -> int:
    """Return for how many images this much memory suffices, at least one."""
    return int(max(1, min(MOST_IMAGES, USED_SHARE * free_bytes / max(bytes_per_image, 1.0))))
