"""How many more regions healthy organs show than average tissue: :data:`KLIPCore.maps.organ_rates.ORGAN_RATES`.

    python -m KLIPCore.lab.organs.rates --runs FOLDER --labels FOLDER NAME ...

FOLDER/NAME are finished runs of healthy patients, FOLDER/NAME_seg.nii.gz the labels of the network's organs on their
grids. Regions of which a healthy study shows at most :data:`MOST_EXPECTED` are counted, whichever organ holds most of
them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from KLIPCore.config import RegionConfig
from KLIPCore.io.images import read_image
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.organs.network import ORGANS
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import reference_of, window_of
from KLIPCore.volume.organs import LEAST_SHARE

MOST_EXPECTED = 10.0
"""Regions as strong in a whole healthy study up to which one counts; about one of them lies in an organ."""


def count(folder: RunFolder, labels: Path) -> tuple[Counter[int], Counter[int]]:
    """Return regions and cells by organ label, 0 being everything else, and -1 all.

    Parameters
    ----------
    folder : RunFolder
        Of a finished run of a healthy patient.
    labels : Path
        Labels on the study's grid.
    """
    run, framing = folder.run(), folder.read_framing()
    trace = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes"))
    maker = MapMaker(trace, framing, None, reference_of(run), window_of(run))
    made = maker.make(RegionConfig(score="unexpected", false_regions=MOST_EXPECTED))
    assert made.clusters.expected is not None
    n = made.tested.shape[-1]
    framed = framing.frame.pull(framing.orientation.apply(read_image(labels).array.astype(np.float32)), order=0)
    step = framed.shape[-1] // n
    organ = framed[run["slices"], step // 2 :: step, step // 2 :: step].astype(int)
    cells, regions = Counter({-1: int(made.tested.sum())}), Counter[int]()
    for number in ORGANS:
        cells[number] = int(((organ == number) & made.tested).sum())
    for place, expected in enumerate(made.clusters.expected, 1):
        if expected <= MOST_EXPECTED:
            found = np.bincount(organ[made.clusters.labels == place], minlength=len(ORGANS) + 1)
            best = 1 + int(np.argmax(found[1:]))
            regions[best if found[best] >= LEAST_SHARE * max(found.sum(), 1) else 0] += 1
            regions[-1] += 1
    return regions, cells


def main() -> None:
    """Print regions, share of the body and rate of each organ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    arguments = parser.parse_args()
    regions, cells = Counter[int](), Counter[int]()
    for name in arguments.names:
        own = count(RunFolder(arguments.runs / name), arguments.labels / f"{name}_seg.nii.gz")
        regions += own[0]
        cells += own[1]
    print(f"{len(arguments.names)} patients, {regions[-1]} regions")
    print("| organ | regions | part of the body | rate |\n|---|---|---|---|")
    for number, name in ORGANS.items():
        part = cells[number] / cells[-1]
        rate = regions[number] / regions[-1] / part
        print(f"| {name} | {regions[number]} | {100 * part:.2f} % | {rate:.1f} |")


if __name__ == "__main__":
    main()
