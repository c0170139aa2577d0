"""Are slices that lie where they do not belong told, and those in order left alone? (:mod:`KLIPCore.io.slice_order`)

    python -m KLIPCore.lab.slice_order FOLDER [FOLDER ...]

Reads every volume file in the folders, whose slices must be in order, spoils each in several ways, and prints a table:
how many were refused, noted in a sentence, or passed. Only differences of HU matter, so volumes of 8-bit grey values
serve, too, as windows of 400 HU.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import IntensityError, KlipError
from KLIPCore.io.images import FORMATS, read_image
from KLIPCore.io.slice_order import LEAST_SLICES, check_order
from KLIPCore.lab.evaluation.table import lines_of

Slices = NDArray[np.float32]

EACH = 6
"""Slices of a volume that are spoiled, one at a time."""

GREY_HU = 400.0 / 255.0
"""HU of a grey value of 8 bits."""

OUTCOMES = ("refused", "noted", "passed")


def outcome(slices: Slices) -> str:
    """Return what is said of slices: one of :data:`OUTCOMES`."""
    try:
        return "noted" if check_order(slices, []) else "passed"
    except IntensityError:
        return "refused"


def in_order(slices: Slices, rng: np.random.Generator) -> Iterator[tuple[str, Slices]]:
    """Yield what must pass: the slices themselves, thicker and noisier ones."""
    yield "in order", slices
    for step in (2, 4, 8):
        yield f"one slice of {step}", slices[::step]
    for noise in (20.0, 60.0):
        yield f"noise of {noise:g} HU", np.asarray(slices + rng.normal(0, noise, slices.shape), np.float32)


def spoiled(slices: Slices, foreign: Slices, rng: np.random.Generator) -> Iterator[tuple[str, Slices]]:
    """Yield what must be told, by what is wrong with it.

    Parameters
    ----------
    slices : (n, h, w) HU, in order.
    foreign : (h, w) of another patient.
    rng : draws the slices that are spoiled.
    """
    n, width = len(slices), slices.shape[2]
    for apart in (3, 5, 10, 20):
        for k in rng.integers(2, max(3, n - apart - 2), EACH):
            if k + apart + 2 < n:
                order = np.arange(n)
                order[[k, k + apart]] = order[[k + apart, k]]
                yield f"two exchanged, {apart} apart", slices[order]
    for k in rng.integers(2, max(3, n - 3), EACH):
        own = slices[k]
        for what, other in {
            "one shifted by a tenth": np.roll(own, width // 10, 1),
            "one mirrored": own[:, ::-1],
            "one upside down": own[::-1],
            "one of another patient": foreign,
            "one repeated from afar": slices[(k + n // 2) % n],
        }.items():
            changed = slices.copy()
            changed[k] = other
            yield what, changed
    yield "even ones, then odd ones", np.concatenate([slices[::2], slices[1::2]])
    yield "halves exchanged", np.roll(slices, n // 2, 0)
    yield "in the order of file names", slices[sorted(range(n), key=lambda k: str(k + 1))]
    yield "shuffled", slices[rng.permutation(n)]
    for gap in (2, 4, 8) if n > 30 else ():
        yield f"{gap} missing in a row", np.delete(slices, range(n // 2, n // 2 + gap), 0)


def volumes(folders: list[Path]) -> Iterator[tuple[str, Slices]]:
    """Yield name and HU of every volume in some folders, labels and unreadable files left out."""
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if not path.is_file() or not path.name.lower().endswith(FORMATS):
            continue
        try:
            array = np.asarray(read_image(path).array, np.float32)
        except KlipError:
            continue
        if array.ndim != 3 or len(array) < LEAST_SLICES or np.ptp(array) < 200:
            continue
        step = max(1, min(array.shape[1:]) // 128)
        yield path.name, array[:, ::step, ::step] * (GREY_HU if array.min() >= 0 and array.max() <= 255 else 1.0)


def fitted(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the nearest pixels of an image on another number of rows and columns."""
    rows, columns = (
        np.linspace(0, had - 1, wanted).astype(int) for had, wanted in zip(image.shape, shape, strict=True)
    )
    return image[np.ix_(rows, columns)]


def asked(description: str | None) -> tuple[np.random.Generator, list[tuple[str, Slices]]]:
    """Return the generator and the volumes that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    return np.random.default_rng(arguments.seed), list(volumes(arguments.folders))


def main() -> None:
    """Print the table."""
    rng, read = asked(__doc__)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for n, (_, slices) in enumerate(read):
        other = read[(n + 1 + int(rng.integers(max(1, len(read) - 1)))) % len(read)][1]
        foreign = fitted(other[len(other) // 2], slices.shape[1:])
        for cases in (in_order(slices, rng), spoiled(slices, foreign, rng)):
            for what, changed in cases:
                counts[what][outcome(changed)] += 1
    rows = [[what, str(own.total()), *(str(own[name]) for name in OUTCOMES)] for what, own in counts.items()]
    print(f"{len(read)} volumes", *lines_of(["slices", "inputs", *OUTCOMES], rows), sep="\n")


if __name__ == "__main__":
    main()
