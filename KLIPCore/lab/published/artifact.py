"""The published artifact: what the reference implementation of KLIP keeps of one image, read and written.

The reference (`voilalab/KLIP`) stores every recorded update of every sample, divided by a diffusion
coefficient g(t), in one ``.npz``:

    normalized_updates   (T, B, C, H, W) float32    update / g, step by step from noise to image
    g_values             (T,) float32               g itself
    reconstruction       optional, (H, W), (C, H, W) or (H, W, C)
    source_image         optional

Nothing in it says which sampler it came from, or what its noise levels were: see
:mod:`KLIPCore.lab.published.recipe`. The house's own trace (:mod:`KLIPCore.maps.trace`) keeps sums instead, a
thousandth of the size. Nothing is ever unpickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import UnreadableFileError
from KLIPCore.export.files import written
from KLIPCore.maps.trace import DAMAGE

REMEDY = (
    "Give an .npz with normalized_updates (T, B, C, H, W) and g_values (T,), as the reference code or "
    "KLIPCore.lab.published writes it."
)


@dataclass(frozen=True, eq=False)
class Artifact:
    """One image's recorded updates.

    Attributes
    ----------
    normalized_updates : (T, B, C, H, W) float32, update over g; B is 1 where runs were averaged before.
    g_values : (T,) float32, what the updates were divided by.
    reconstruction : float32 mean of the samples, or None.
    source_image : the image that was measured, or None.

    Raises
    ------
    UnreadableFileError : shapes that do not belong together, nothing in it, or values that are not finite.
    """

    normalized_updates: NDArray[np.float32]
    g_values: NDArray[np.float32]
    reconstruction: NDArray[np.float32] | None = None
    source_image: NDArray | None = None

    def __post_init__(self) -> None:
        updates, g = self.normalized_updates, self.g_values
        if updates.ndim != 5 or updates.size == 0:
            raise UnreadableFileError(f"Updates of shape {updates.shape} are not (T, B, C, H, W).", REMEDY)
        if g.shape != updates.shape[:1]:
            raise UnreadableFileError(
                f"There are {updates.shape[0]} steps of updates, but g has the shape {g.shape}.", REMEDY
            )
        if updates.dtype.kind not in "fiu" or g.dtype.kind not in "fiu":
            raise UnreadableFileError("The updates or g are not real numbers.", REMEDY)
        if not (np.isfinite(updates).all() and np.isfinite(g).all()):
            raise UnreadableFileError(
                "The updates or g hold values that are not finite.",
                "The chain that made them diverged: make them again with smaller steps.",
            )

    @property
    def n_steps(self) -> int:
        """T, recorded steps."""
        return self.normalized_updates.shape[0]

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.normalized_updates.shape[3], self.normalized_updates.shape[4]

    def save(self, path: Path) -> None:
        """Write one ``.npz``, whole or not at all.

        Not compressed: that takes longer than the sampling and gains a tenth.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        arrays = {
            "normalized_updates": self.normalized_updates.astype(np.float32, copy=False),
            "g_values": self.g_values.astype(np.float32, copy=False),
        }
        arrays |= {
            name: value for name in ("reconstruction", "source_image") if (value := getattr(self, name)) is not None
        }
        with written(path) as part, part.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Artifact:
        """Read one back.

        Raises
        ------
        UnreadableFileError : missing, damaged, or something else.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                if "normalized_updates" not in stored.files or "g_values" not in stored.files:
                    raise UnreadableFileError(
                        f"{path.name} holds {', '.join(stored.files) or 'nothing'}: no published artifact.", REMEDY
                    )
                found = {
                    name: stored[name]
                    for name in ("normalized_updates", "g_values", "reconstruction", "source_image")
                    if name in stored.files
                }
        except FileNotFoundError as error:
            raise UnreadableFileError(f"There is no file {path.name}.", REMEDY) from error
        except (*DAMAGE, AttributeError) as error:  # AttributeError: a lone .npy is no archive
            raise UnreadableFileError(
                f"{path.name} cannot be read as an artifact ({type(error).__name__}).", REMEDY
            ) from error
        return cls(**found)
