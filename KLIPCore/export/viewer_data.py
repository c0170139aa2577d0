"""The study as the report's viewer takes it: four small NIfTI files in text, and the viewer's own code.

CT, reconstruction, map and labels are cropped to the rows and columns that pictures show, keep every slice, and where
a study is large give up pixels within the slice until they fit. They lie where the study lies: the affine is the
study's own, turned from LPS to NIfTI's RAS.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.export.images import kl_colour_map
from KLIPCore.export.scene import Scene
from KLIPCore.volume.grid import Grid

LIMIT = 22_000_000
"""Characters of text that the volumes of one page may take: with code and pictures a page stays below 25 MB."""

FACTORS = (1, 2, 4)
"""Pixels of a slice that are put together along each side, tried in this order."""

MOST_VOXELS = 20_000_000
"""Volumes larger than this would never fit: they are not compressed to find out."""

HU_STEP = 2
"""CT values are rounded to this many HU, well below a scan's noise; that halves what they take."""

HU_RANGE = (-1024, 3071)
"""HU that are kept."""

RIM_MM = 1.5
"""Width of a region's outline."""

NIFTI_TYPES = {"uint8": (2, 8), "int16": (4, 16), "uint16": (512, 16)}
"""NumPy type → NIfTI-1 code and bits."""

FOLDER = Path(__file__).parent / "viewer"


@dataclass(frozen=True)
class Viewer:
    """What a page's viewer needs.

    Attributes
    ----------
    volumes : ``"ct"``, ``"map"``, ``"labels"`` and, if there is one, ``"reconstruction"`` → base64 of a gzipped NIfTI.
    settings : JSON that is safe within a page: colours, scale, windows, regions, the volumes' inverse affine.
    factor : pixels put together along each side of a slice; 1: none.
    """

    volumes: Mapping[str, str]
    settings: str
    factor: int = 1

    @property
    def size(self) -> int:
        """Characters that the volumes take."""
        return sum(map(len, self.volumes.values()))


def viewer_of(scene: Scene, limit: int = LIMIT) -> Viewer | None:
    """Return the viewer of a study, or None where even the coarsest pixels need more than ``limit`` characters."""
    rows, columns = scene.crop
    voxels = scene.slices * (rows.stop - rows.start) * (columns.stop - columns.start)
    for factor in FACTORS:
        if voxels > MOST_VOXELS * factor**2:
            continue
        grid, volumes = _volumes(scene, factor)
        viewer = Viewer(volumes, _settings(scene, grid), factor)
        if viewer.size <= limit:
            return viewer
    return None


def _volumes(scene: Scene, factor: int) -> tuple[Grid, dict[str, str]]:
    """The grid of the embedded volumes, and the volumes as text."""
    box = (slice(0, scene.slices), *scene.crop)
    grid = coarser(scene.grid.cropped(box), factor)

    def pixels(array: NDArray, join: Any = np.mean) -> NDArray:
        return np.nan_to_num(joined(array[box], factor, join))

    ct = np.rint(np.clip(pixels(scene.ct), *HU_RANGE) / HU_STEP).astype(np.int16)
    labels = pixels(scene.labels, np.max)
    labels = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
    arrays = {"ct": (ct, float(HU_STEP), 0.0), "map": quantised(pixels(scene.kl), scene.high - scene.low)}
    if scene.reconstruction is not None:
        hu = np.clip(pixels(scene.reconstruction), scene.window.lo_hu, scene.window.hi_hu)
        arrays["reconstruction"] = quantised(hu, np.inf)
    arrays["labels"] = (labels, 1.0, 0.0)
    return grid, {
        name: packed(nifti(array, grid, slope=slope, intercept=intercept, label=name == "labels"))
        for name, (array, slope, intercept) in arrays.items()
    }


def joined(array: NDArray, factor: int, join: Any = np.mean) -> NDArray:
    """Return the (D, H, W) → (D, ⌊H / factor⌋, ⌊W / factor⌋): ``join`` over squares of pixels of every slice."""
    if factor == 1:
        return array
    depth, rows, columns = (n if axis == 0 else n // factor for axis, n in enumerate(array.shape))
    whole = array[:, : rows * factor, : columns * factor]
    return np.asarray(join(whole.reshape(depth, rows, factor, columns, factor), axis=(2, 4)))


def coarser(grid: Grid, factor: int) -> Grid:
    """Return the grid of :func:`joined` arrays."""
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world((0, (factor - 1) / 2, (factor - 1) / 2))
    affine[:3, 1:3] *= factor
    depth, rows, columns = grid.shape
    return Grid((depth, rows // factor, columns // factor), affine, grid.frame_uid)


def quantised(array: NDArray[np.floating], shown: float) -> tuple[NDArray[np.unsignedinteger], float, float]:
    """Return values in 256 steps, or in 65 536 where fewer than 64 of the 256 would fall into the ``shown`` range.

    Returns
    -------
    numbers : uint8 or uint16 of the same shape.
    slope, intercept : value = slope · number + intercept.
    """
    low, high = float(array.min()), float(array.max())
    extent = max(high - low, 1e-6)
    levels = 255 if extent / 255 <= shown / 64 else 65535
    numbers = np.rint((array - low) * (levels / extent))
    return numbers.astype(np.uint8 if levels == 255 else np.uint16), extent / levels, low


def nifti(array: NDArray, grid: Grid, *, slope: float = 1.0, intercept: float = 0.0, label: bool = False) -> bytes:
    """Return a NIfTI-1 file.

    Parameters
    ----------
    array : (D, H, W) uint8, int16 or uint16.
    grid : where it lies, in LPS mm; written as RAS.
    slope, intercept : stored number → value.
    label : whether numbers are labels of regions.
    """
    code, bits = NIFTI_TYPES[array.dtype.name]
    depth, rows, columns = array.shape
    k, j, i = grid.spacing
    affine = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine)[:3, [2, 1, 0, 3]]
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, columns, rows, depth, 1, 1, 1, 1)
    struct.pack_into("<3h", head, 68, 1002 if label else 0, code, bits)
    struct.pack_into("<11f", head, 76, 1, i, j, k, 0, 0, 0, 0, 352, slope, intercept)
    struct.pack_into("<b", head, 123, 2)  # mm
    struct.pack_into("<h", head, 254, 1)  # the affine counts, there are no quaternions
    struct.pack_into("<12f", head, 280, *affine.ravel())
    struct.pack_into("<4s", head, 344, b"n+1\0")
    return bytes(head) + np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def packed(data: bytes) -> str:
    """Return Base64 of the gzipped bytes, the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, 5, mtime=0)).decode("ascii")


def _settings(scene: Scene, grid: Grid) -> str:
    """What the viewer's code is told, as JSON in which no tag can begin."""
    colours = np.rint(255 * kl_colour_map()(np.arange(256))).astype(int)
    values = {
        "low": scene.low,
        "high": scene.high,
        "window": [scene.window.lo_hu, scene.window.hi_hu],
        "shape": grid.shape,
        "rim": max(1, round(RIM_MM / float(grid.spacing[2]))),
        "inverse": np.linalg.inv(grid.affine)[:3].tolist(),
        "map_colours": colours.T.tolist(),
        "regions": [
            {"label": r.label, "name": r.name, "colour": r.hex_colour, "place": list(r.peak_lps_mm)}
            for r in scene.regions
        ],
    }
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


@dataclass(frozen=True)
class ViewerCode:
    """The code of the viewer.

    Attributes
    ----------
    library : NiiVue, base64 of the gzipped file.
    script : our own part.
    hashes : of both, as a content policy names them: a page runs these and nothing else.
    licences : what the library's licences want to be said.
    """

    library: str
    script: str
    hashes: tuple[str, str]
    licences: str


@cache
def viewer_code() -> ViewerCode:
    """Read the code once."""
    library = (FOLDER / "niivue.umd.js").read_bytes()
    script = (FOLDER / "viewer.js").read_text(encoding="utf-8")
    first, second = (
        "sha256-" + base64.b64encode(hashlib.sha256(code).digest()).decode("ascii")
        for code in (library, script.encode("utf-8"))
    )
    licences = (FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    return ViewerCode(packed(library), script, (first, second), licences)
