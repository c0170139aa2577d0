"""One number for each slice: which way of adding up its blocks tells slices with lesions from those without?

    python -m KLIPCore.lab.evaluation.slice_aggregates configs/eval_volumes.yaml --data FOLDER --runs OUT

Read from the finished runs of `klip evaluate configs/eval_volumes.yaml --data FOLDER -o OUT`, for the score
``unexpected`` at its default. With z the normal quantile of a block's p-value, negative ones set to 0, under a null

    largest               max z
    sum                   Σ z
    cluster mass          the largest Σ (z − z₀) over blocks that touch and have z > z₀, p = 0.01
    averaged likelihood   ln of the mean of exp(z² / 2)

over the tested blocks of a slice, under both nulls: the prior's reference of health, and the study's own bulk, which
centres pushes on its own medians. And the scan over block sizes that ships (:mod:`KLIPCore.maps.unusual_slices`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from KLIPCore.config import RegionConfig
from KLIPCore.errors import KlipError
from KLIPCore.lab.evaluation.auroc import auroc, mean_of
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.lab.evaluation.volumes.config import VolumesConfig
from KLIPCore.lab.evaluation.volumes.scoring import Examined
from KLIPCore.maps.clusters import z_of_p
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.null import BulkNull
from KLIPCore.maps.unexpected import SIGNS, block_statistics, cell_nats, evidence_of, own_pushes
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import reference_of, window_of

FORMING_P = 0.01
"""Blocks with a smaller p-value form the clusters whose mass is asked for."""

SCAN = ("reference", "scan over sizes")
"""What ships."""

Rows = dict[tuple[str, str], NDArray[np.float64]]


def aggregates(p: NDArray[np.floating], tested: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """Return each aggregate of each slice, (n,), by name.

    Parameters
    ----------
    p : (n, h, w) p-values of blocks.
    tested : (n, h, w) bool, blocks that count.
    """
    z = np.where(tested, np.maximum(z_of_p(p), 0.0), 0.0)
    z0 = float(-ndtri(FORMING_P))
    masses, averaged = [], []
    for own, inside in zip(z, tested, strict=True):
        labels, n = ndi.label(own > z0, np.ones((3, 3), bool))
        masses.append(float(np.max(ndi.sum_labels(own - z0, labels, np.arange(1, n + 1)), initial=0.0)))
        averaged.append(float(logsumexp(own[inside] ** 2 / 2) - np.log(inside.sum())) if inside.any() else 0.0)
    return {
        "largest": z.max((1, 2)),
        "sum": z.sum((1, 2)),
        "cluster mass": np.array(masses),
        "averaged likelihood": np.array(averaged),
    }


def of_run(examined: Examined) -> Rows:
    """Return what each aggregate says of each slice of a finished run, by null and name; larger is more unusual.

    Raises
    ------
    TraceError : the run recorded no pushes.
    """
    run, framing = examined.run, examined.framing
    trace = examined.folder.trace(run["slices"], run["fingerprint"], ("path", "pushes"))
    settings = RegionConfig(score="unexpected")
    maker = MapMaker(trace, framing, None, reference_of(run), window_of(run))
    made, shares = maker.make(settings), maker.unusual_slices(settings)
    rows = {("reference", name): values for name, values in aggregates(made.p, made.tested).items()}
    if shares is not None:
        rows[SCAN] = -np.array([shares[index] for index in made.indices])
    evidence = evidence_of(trace, framing, window_of(run))
    blocks = block_statistics(cell_nats(evidence, own_pushes(evidence), settings.tissue), evidence, settings.block_mm)
    both = np.asarray(np.sum([blocks[settings.tissue, sign] for sign in SIGNS], 0))
    p = np.asarray(ndtr(-BulkNull.fit(both[made.tested]).z(both)))
    return rows | {("study", name): values for name, values in aggregates(p, made.tested).items()}


def ranked(examined: Examined, rows: Rows) -> dict[tuple[str, str], float]:
    """Return the AUROC of the slices with lesions among a scan's slices, by null and aggregate."""
    mask = examined.framing.orientation.apply(examined.lesions.numbers > 0).any((1, 2))
    ill = np.asarray(mask)[examined.run["slices"]]
    return {key: auroc(values, ill) for key, values in rows.items()}


def markdown(found: Sequence[tuple[str, dict[tuple[str, str], float]]]) -> str:
    """Return a table: one row an aggregate, the mean over the scans of each patient, and the mean of the patients.

    Parameters
    ----------
    found : patient and AUROC by aggregate, one entry a scan.
    """
    patients = list(dict.fromkeys(patient for patient, _ in found))
    lines = []
    for null, name in found[0][1]:
        own = [mean_of([values[null, name] for who, values in found if who == patient]) for patient in patients]
        lines.append([null, name, *(f"{value:.3f}" for value in own), f"{mean_of(own):.3f}"])
    return "\n".join(lines_of(["null", "aggregate", *patients, "mean of patients"], lines))


def main() -> None:
    """Print the table of the scans with lesions whose runs are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="what klip evaluate wrote: its folder runs is read")
    arguments = parser.parse_args()
    config = VolumesConfig.load(arguments.config, arguments.data)
    found = []
    for scan in config.studies:
        if scan.healthy:
            continue
        folder = RunFolder(scan.run or arguments.runs / "runs" / scan.name)
        try:
            examined = Examined.read(scan, folder, config.values_of(scan))
            found.append((scan.patient, ranked(examined, of_run(examined))))
        except KlipError as error:
            print(f"{scan.name}: {error.message} {error.remedy}")
    if found:
        print(markdown(found))


if __name__ == "__main__":
    main()
