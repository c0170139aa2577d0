"""Anatomies between two patients: a slice deformed part of the way to that of another patient.

Scaling and turning a slice leaves its shapes what they were. Between two patients lie others: each slice of a
patient is registered to the slice of another patient that is most like it, and is shown deformed a quarter to three
quarters of the way. With e the field for which A(y + e(y)) looks like B(y),

    A_t(y) = A(y + t e(y)),        t in :data:`WAY`

keeps every intensity of A (no two patients are mixed, so nothing is bright that was dark), and its outlines lie
between A's and B's. Fields are found once, at :data:`GRID` pixels a side by diffeomorphic demons with a coarse start,
and kept in the run's folder.

References
----------
T. Vercauteren, X. Pennec, A. Perchant, N. Ayache: Diffeomorphic demons: efficient non-parametric image registration.
NeuroImage 45, 2009. (`SimpleITK.DiffeomorphicDemonsRegistrationFilter`)
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from KLIPCore.errors import ConfigError
from KLIPCore.export.files import write_bytes

GRID, COARSE = 64, 32
"""Sides at which slices are registered, the latter first."""

PARTNERS = 2
"""To how many other patients each is registered."""

WAY = (0.25, 0.75)
"""How far a slice may be deformed: 0 leaves it as it is, 1 gives it the other's shape."""

ITERATIONS, SMOOTH_PX = 40, 1.5
"""Of the demons at each resolution, and standard deviation of what smooths their field."""

LEAST_JACOBIAN = 0.2
"""The deformation of the whole way must nowhere shrink areas to less; its field is halved until it does not."""

CACHE = "halfway.npz"
"""File of the fields in the run's folder."""


def halfway_fields(slices: NDArray[np.uint8], counts: Sequence[int], folder: Path | None = None) -> Tensor:
    """Return the fields of all slices.

    Parameters
    ----------
    slices : uint8, (N, S, S)
        Framed slices, patient by patient.
    counts : sequence of int
        Slices of each patient.
    folder : Path, optional
        Where fields are kept, and taken from when they are of these slices.

    Returns
    -------
    (N, PARTNERS, 2, GRID, GRID) float16, displacement of row and column in pixels of :data:`GRID`.

    Raises
    ------
    ConfigError : there are not two patients.
    OutputError : they cannot be written.
    """
    patients = [n for n in counts if n]
    if len(patients) < 2:
        raise ConfigError(
            "Between patients there is something only where there are two at least.",
            "Name more sources, or set halfway_probability: 0.",
        )
    key = hashlib.sha256(slices.tobytes() + repr((patients, GRID, PARTNERS, ITERATIONS)).encode()).hexdigest()
    kept = _kept(folder / CACHE, key) if folder is not None else None
    if kept is not None:
        return kept
    small = _small(slices)
    ends = np.cumsum([0, *patients])
    own = [small[a:b] for a, b in pairwise(ends)]
    fields = np.zeros((len(small), PARTNERS, 2, GRID, GRID), np.float16)
    for p, images in enumerate(own):
        for m in range(PARTNERS):
            other = own[(p + 1 + m % (len(own) - 1)) % len(own)]
            nearest = ((images[:, None] - other[None]) ** 2).mean((2, 3)).argmin(1)
            for k, image in enumerate(images):
                fields[ends[p] + k, m] = field_to(image, other[nearest[k]])
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        np.savez_compressed(stream, fields=fields, key=np.array(key))
        write_bytes(folder / CACHE, stream.getvalue())
    return torch.from_numpy(fields)


def field_to(image: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the field (2, S, S) that gives an image (S, S) another's shape, in pixels, row and column."""
    fixed = sitk.GetImageFromArray(np.asarray(other, np.float32))
    moving = sitk.HistogramMatching(sitk.GetImageFromArray(np.asarray(image, np.float32)), fixed)
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfIterations(ITERATIONS)
    demons.SetStandardDeviations(SMOOTH_PX)
    start = demons.Execute(_coarse(fixed), _coarse(moving))
    found = demons.Execute(fixed, moving, sitk.Resample(start, fixed, sitk.Transform(), sitk.sitkLinear))
    field = np.moveaxis(sitk.GetArrayFromImage(found), -1, 0)[::-1].astype(np.float32)
    for _ in range(5):
        if _least_jacobian(field) >= LEAST_JACOBIAN:
            return field
        field = (field / 2).astype(np.float32)
    return np.zeros_like(field)


def warped(image: Tensor, field: Tensor, way: float, mode: str = "bilinear") -> Tensor:
    """Return an image (S, S) deformed so much of the way.

    Parameters
    ----------
    image : Tensor, (S, S)
    field : Tensor, (2, GRID, GRID), as :func:`halfway_fields` returns them.
    way : float, 0 to 1.
    mode : ``bilinear``, or ``nearest`` for labels.
    """
    side = image.shape[-1]
    fine = F.interpolate(field[None].float(), size=(side, side), mode="bilinear", align_corners=False)[0]
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    step = 2 * way / field.shape[-1]
    grid = torch.stack([columns + step * fine[1], rows + step * fine[0]], -1)[None]
    return F.grid_sample(image[None, None].float(), grid, mode=mode, padding_mode="border", align_corners=False)[0, 0]


def draw_way(generator: torch.Generator) -> tuple[int, float]:
    """Return which partner, and how far."""
    which, far = torch.rand(2, generator=generator).tolist()
    return int(which * PARTNERS), WAY[0] + (WAY[1] - WAY[0]) * far


def _coarse(image: sitk.Image) -> sitk.Image:
    """The image at :data:`COARSE` pixels a side, on the same place."""
    return sitk.BinShrink(image, [max(1, n // COARSE) for n in image.GetSize()])


def _least_jacobian(field: NDArray[np.floating]) -> float:
    """Smallest determinant of y ↦ y + field(y)."""
    (rr, rc), (cr, cc) = (np.gradient(part) for part in field)
    return float(((1 + rr) * (1 + cc) - rc * cr).min())


def _small(slices: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Slices at :data:`GRID` pixels a side, intensity."""
    size = (GRID, GRID)
    return F.interpolate(torch.from_numpy(slices)[:, None].float() / 255, size=size, mode="area")[:, 0].numpy()


def _kept(file: Path, key: str) -> Tensor | None:
    """Fields that were found before, if they are of these slices; a damaged file counts as none."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            fields = stored["fields"] if str(stored["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return None if fields is None else torch.from_numpy(fields)
