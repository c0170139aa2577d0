"""A volume as an uncompressed NRRD file, written a slice at a time: Slicer answers its user between two slices.

For the one reader that is started next (KLIPCore reads it through ITK), so speed counts and size does not.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from slicer.i18n import tr as _

if TYPE_CHECKING:
    from KLIPCore.volume.grid import Grid
    from KLIPCore.volume.volume import Volume


def header(grid: Grid, segments: Mapping[int, str] | None = None) -> bytes:
    """The text before the numbers: float32, little-endian, LPS, to the last digit; and what labels are called."""
    sizes = " ".join(str(n) for n in reversed(grid.shape))
    columns = grid.affine[:3, [2, 1, 0]].T  # of i, j, k: the fastest first
    directions = " ".join("(" + ",".join(repr(float(x)) for x in column) + ")" for column in columns)
    origin = "(" + ",".join(repr(float(x)) for x in grid.affine[:3, 3]) + ")"
    lines = (
        "NRRD0004",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {sizes}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {origin}",
    )
    fields = [
        f"Segment{n}_{key}:={value}"
        for n, (label, name) in enumerate((segments or {}).items())
        for key, value in (("LabelValue", label), ("Name", " ".join(name.split())))
    ]
    return ("\n".join([*lines, *fields]) + "\n\n").encode("utf-8")


def writeRawNrrd(
    volume: Volume, path: Path, segments: Mapping[int, str] | None = None
) -> Generator[float, None, None]:
    """Write a volume; yields the part that is done after each slice. The file appears when it is whole.

    :param segments: of a volume of labels, what each is called.

    Raises
    ------
    GeometryError : axes that are not at right angles, which the reader would not understand.
    OutputError : the file cannot be written.
    """
    from KLIPCore.errors import OutputError
    from KLIPCore.io.images import image_on
    from KLIPCore.volume.grid import Grid

    image_on(np.zeros((1, 1, 1), np.float32), Grid((1, 1, 1), volume.grid.affine))
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(header(volume.grid, segments))
            for k, picture in enumerate(volume.array):
                file.write(np.ascontiguousarray(picture, "<f4").data)
                yield (k + 1) / len(volume.array)
        part.replace(path)
    except OSError as error:
        raise OutputError(
            _("{path} cannot be written ({reason}).").format(path=path, reason=error.strerror),
            _("Choose another results folder under “This computer”, with space left."),
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def digestOf(volume: Volume) -> Generator[float, None, str]:
    """Hash of a volume's numbers and places; yields the part that is done after each slice."""
    digest = hashlib.blake2b(np.ascontiguousarray(volume.grid.affine).data, digest_size=16)
    for k, picture in enumerate(volume.array):
        digest.update(np.ascontiguousarray(picture).data)
        yield (k + 1) / len(volume.array)
    return digest.hexdigest()
