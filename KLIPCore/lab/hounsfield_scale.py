"""Are numbers that are not Hounsfield units told, and those that are left alone? (:mod:`KLIPCore.io.judgement`)

    python -m KLIPCore.lab.hounsfield_scale STUDY [STUDY ...]

Reads studies in full Hounsfield units, shifts, scales, standardises and negates each, and prints a table: how many
were refused, noted in a sentence, or passed. A study that is taken for a window, or that a sentence is said of as it
is, is left out and named.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import IntensityError, KlipError
from KLIPCore.io.histogram import PADDING_BELOW_HU
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.outside import air_outside
from KLIPCore.volume.volume import Volume

OFFSETS_HU = (20, 40, 60, 75, 100, 150, 200, 300, 500)
FACTORS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.4, 2.0)
NOISE_HU = (20.0, 60.0)
AIR_HU = -1000.0
FULL_HU = (-900.0, 600.0)
"""A study in full Hounsfield units has darker and brighter voxels than these."""

ASKS = "check that the values are Hounsfield units"
"""What a sentence says that doubts the scale."""

OUTCOMES = ("refused", "noted", "passed")


def outcome(values: NDArray[np.floating], grid: Grid) -> str:
    """Return what is said of values: one of :data:`OUTCOMES`."""
    try:
        array, _ = air_outside(np.asarray(values, np.float32))  # as every reader does
        said = check_ct(Volume(np.asarray(array, np.float32), grid))
    except IntensityError:
        return "refused"
    return "noted" if any(ASKS in sentence for sentence in said) else "passed"


def unspoiled(hu: NDArray[np.float32], rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield what must pass: the values, and noisier ones."""
    yield "as they are", hu
    for noise in NOISE_HU:
        yield f"noise of {noise:g} HU", np.where(hu < PADDING_BELOW_HU, hu, hu + rng.normal(0, noise, hu.shape))


def spoiled(hu: NDArray[np.float32]) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield what should be told, by what is wrong with it."""
    for offset in OFFSETS_HU:
        yield f"{offset} HU too low", hu - offset
        yield f"{offset} HU too high", hu + offset
    for factor in FACTORS:
        yield f"times {factor:g}", factor * hu
        yield f"times {factor:g}, about air", factor * (hu - AIR_HU) + AIR_HU
    yield "sign turned", -hu
    yield "sign turned, air of one value", -np.maximum(hu, AIR_HU)
    for width in (1, 100, 300):
        yield f"less the mean, over the deviation, times {width}", width * (hu - hu.mean()) / hu.std()
    yield "per metre of attenuation (water 20)", 20 * (1 + hu / 1000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, n = np.random.default_rng(arguments.seed), 0
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for path in arguments.studies:
        try:
            stored = read_study(path)
        except KlipError as error:
            print(f"{path.name} is left out: {error.message}")
            continue
        step = max(1, min(stored.grid.shape[1:]) // 256)
        hu, grid = stored.array[:, ::step, ::step], stored.grid
        if hu.min() > FULL_HU[0] or hu.max() < FULL_HU[1] or outcome(hu, Grid(hu.shape, grid.affine)) != "passed":
            print(f"{path.name} is left out: it is a window, or doubted as it is.")
            continue
        n += 1
        for cases in (unspoiled(hu, rng), spoiled(hu)):
            for what, values in cases:
                counts[what][outcome(values, Grid(hu.shape, grid.affine))] += 1
    rows = [[what, *(str(own[name]) for name in OUTCOMES)] for what, own in counts.items()]
    print(f"{n} {'study' if n == 1 else 'studies'}", *lines_of(["values", *OUTCOMES], rows), sep="\n")


if __name__ == "__main__":
    main()
