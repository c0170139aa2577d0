"""How well the organ network labels patients it has not seen.

python -m KLIPCore.lab.organs.dice configs/organs_abdomen.yaml --data FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from KLIPCore.lab.organs.data import LabelledStudy
from KLIPCore.lab.organs.train import read_sources
from KLIPCore.organs.find import label_slices, tidy
from KLIPCore.organs.network import ORGANS

NOMINAL_PIXEL_MM = 1.56
"""Edge of a frame pixel that is assumed of copies that do not know theirs: a body of 350 mm."""


def dice(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[int, float]:
    """Return twice the overlap over the sum, by label; NaN where neither shows the organ."""
    out = {}
    for number in ORGANS:
        a, b = found == number, truth == number
        total = int(a.sum()) + int(b.sum())
        out[number] = 2 * int((a & b).sum()) / total if total else float("nan")
    return out


def dice_of(study: LabelledStudy) -> dict[int, float]:
    """Return the Dice coefficients of one patient, in the frame, in three dimensions."""
    labels = label_slices(study.slices.float() / 255, list(range(len(study.slices))), study.slice_mm)
    return dice(tidy(labels, NOMINAL_PIXEL_MM**2 * study.slice_mm / 1000), study.labels.numpy())


def table(studies: Sequence[LabelledStudy]) -> str:
    """Return a Markdown table, patients one by one and their mean."""
    rows = {study.case: dice_of(study) for study in studies}
    rows["mean"] = {n: float(np.nanmean([row[n] for row in rows.values()])) for n in ORGANS}
    lines = ["| patient | " + " | ".join(ORGANS.values()) + " |", "|---" * (len(ORGANS) + 1) + "|"]
    for case, row in rows.items():
        cells = [f"{value:.3f}" if value == value else "-" for value in row.values()]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of the patients that the configuration holds out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    print(table(read_sources(config, arguments.data, "test")))


if __name__ == "__main__":
    main()
