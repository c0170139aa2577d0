"""Are rows of a wrong length or beginning told, and right ones left alone? (:mod:`KLIPCore.io.row_length`)

    python -m KLIPCore.lab.row_length FOLDER [FOLDER ...]

Reads every volume file in the folders, gives the same numbers rows of other lengths, turns slices and adds noise, and
prints how many were refused and how many passed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.errors import GeometryError
from KLIPCore.io.row_length import PLACES, check_rows
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.lab.slice_order import Slices, asked
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

TURNED_DEGREES, NOISE_HU = (10.0, 45.0), 60.0
OTHER_LENGTHS = (-20, -5, -2, -1, 1, 2, 5, 20)
"""Pixels more than a row has."""

BEGINNINGS = (0.25, 0.4, 0.5, 0.6)
"""Parts of a row, and of a slice, that are left out at the beginning of a file."""

OUTCOMES = ("refused", "passed")


def outcome(slices: NDArray[np.floating]) -> str:
    """Return what is said of slices: one of :data:`OUTCOMES`."""
    grid = Grid.from_itk(slices.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    try:
        check_rows(Volume(np.ascontiguousarray(slices, np.float32), grid))
    except GeometryError:
        return "refused"
    return "passed"


def cases(slices: Slices, rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield slices whose rows have their length, then those whose rows have not, by what they are."""
    looked_at = slices[[int(place * len(slices)) for place in PLACES]]
    for degrees in (0.0, *TURNED_DEGREES):
        lowest = float(slices.min())
        turned = ndi.rotate(looked_at, degrees, (1, 2), reshape=False, order=1, cval=lowest) if degrees else looked_at
        yield f"turned by {degrees:g}°", turned
        yield f"turned by {degrees:g}°, with noise of {NOISE_HU:g} HU", turned + rng.normal(0, NOISE_HU, turned.shape)
    _, height, width = slices.shape
    for more in (*OTHER_LENGTHS, -width // 4, width // 3):
        n = slices.size // (height * (width + more))
        name = {-width // 4: "a quarter too short", width // 3: "a third too long"}.get(more, f"{more:+d} pixels")
        yield f"rows {name}", slices.ravel()[: n * height * (width + more)].reshape(n, height, width + more)
    for part in BEGINNINGS:
        for name, pixels in (("row", width), ("slice", height * width)):
            yield f"read from {part:g} of a {name} on", np.roll(slices, -int(part * pixels))


def main() -> None:
    """Print the table."""
    rng, read = asked(__doc__)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for _, slices in read:
        for what, changed in cases(slices, rng):
            counts[what][outcome(changed)] += 1
    rows = [[what, *(str(own[name]) for name in OUTCOMES)] for what, own in counts.items()]
    print(f"{len(read)} volumes", *lines_of(["slices", *OUTCOMES], rows), sep="\n")


if __name__ == "__main__":
    main()
