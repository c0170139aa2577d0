"""Tensors that lie in a pickle: as torch's own bytes, or as a piece of a storage."""

from __future__ import annotations

import io
import math
from typing import Any

import torch

from KLIPCore.errors import PriorError


def tensor_of_bytes(raw: bytes) -> Any:
    """Return what torch's restricted reader makes of bytes.

    Parameters
    ----------
    raw : what ``torch.save`` wrote.

    Raises
    ------
    PriorError : it refuses them.
    """
    try:
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own restricted reader refuses in several ways
        raise PriorError(
            "The pickle holds a tensor whose bytes torch refuses to read.", "Do not load this file otherwise."
        ) from error


def strided_tensor(storage: Any, offset: int, size: Any, stride: Any) -> torch.Tensor:
    """Return a copy of a tensor that lies on a storage.

    Parameters
    ----------
    storage : torch's typed storage.
    offset : first element.
    size, stride : shape, and elements from one entry to the next along each axis.

    Raises
    ------
    ValueError : it reaches beyond the storage.
    """
    whole = torch.empty(0, dtype=storage.dtype).set_(
        storage._untyped_storage
    )  # the public way to it warns of its own removal
    reach = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if (
        offset < 0
        or any(s < 0 for s in (*size, *stride))
        or math.prod(size) > len(whole)
        or (math.prod(size) and reach >= len(whole))
    ):
        raise ValueError("a tensor reaches beyond its storage")
    return whole.as_strided(tuple(size), tuple(stride), offset).clone()
