"""What the precision of the network costs and changes: times on this processor and on one with less, and maps.

A processor that has only AVX2 is simulated: a process of its own in which the libraries keep to such instructions
by their own switches (:data:`AVX2`). Every way is timed there and here, with the choice that
:mod:`KLIPCore.detection.precision` makes. A simulated processor chooses like a real one, but runs at this one's
clock and caches: ratios mean something, seconds less.

Maps are compared by one run per precision with everything else equal, of the same slices.

    python -m KLIPCore.lab.bench.precision                                    times; a minute or two
    python -m KLIPCore.lab.bench.precision --maps STUDY --slices 20:23        pushes, block maps and regions
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.detection.devices import configure_process
from KLIPCore.detection.precision import EXACT, converted, fastest, measure, noisy_body, race, way_name
from KLIPCore.errors import ResourceError
from KLIPCore.lab.bench.table import NOT_MEASURED, Section
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.priors.unet import DTYPES, UNetPrior
from KLIPCore.runs.rerun import Detection, redo_regions
from KLIPCore.volume.selection import Part

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""Switches by which oneDNN and PyTorch keep to AVX2."""

SCORES = ("hypodense", "unexpected")
"""Scores whose regions are compared."""


def way_seconds(prior: UNetPrior) -> dict[str, float]:
    """Return seconds an image of every precision, channels beside each other, and of float32 with channels apart.

    Nothing is left out for being slow.

    Parameters
    ----------
    prior : in float32.
    """
    images, sigma = noisy_body(prior.card.size, prior.device)
    ways = {EXACT: prior, way_name(EXACT, False): converted(prior, EXACT, False)}
    ways |= {name: converted(prior, name) for name in DTYPES if name != EXACT}
    for way in ways.values():
        way.denoise(images[:1], sigma[:1])
    return race(ways, images[:1], sigma[:1])


def here(name: str, every: bool) -> dict[str, Any]:
    """Return what this process measures: the choice, its seconds, and with ``every`` those of every way.

    JSON-ready.
    """
    configure_process()
    prior = load_prior(name, "cpu", EXACT)
    choice = fastest(measure(prior), "processor")
    return {
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "choice": choice.to_dict(),
        "seconds": way_seconds(prior) if every else dict(choice.seconds),
    }


def elsewhere(name: str, switches: Mapping[str, str], every: bool = True) -> dict[str, Any]:
    """Return :func:`here` in a process of its own with some environment variables more.

    Raises
    ------
    ResourceError : it failed.
    """
    command = [sys.executable, "-m", "KLIPCore.lab.bench.precision", "--here", "--prior", name]
    done = subprocess.run(
        command if every else [*command, "--choice-only"],
        env={**os.environ, **switches},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ResourceError(f"The measurement failed: {done.stderr.strip()[-300:]}", "Free memory, or try again.")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def times_section(name: str, tell: Callable[[str], None]) -> Section:
    """Return seconds an image of every way, natively and on the simulated processor, each in a process of its own."""
    tell("this processor")
    native = elsewhere(name, {})
    tell("the same with AVX2 alone")
    simulated = elsewhere(name, AVX2)
    rows: list[dict[str, Any]] = [
        {
            "name": way,
            "native_seconds": native["seconds"].get(way, NOT_MEASURED),
            "avx2_seconds": simulated["seconds"].get(way, NOT_MEASURED),
        }
        for way in native["seconds"]
    ]
    rows.append({"name": "the choice", "native_seconds": _chosen(native), "avx2_seconds": _chosen(simulated)})
    note = (
        f"`{name}`, one image at a time, {native['threads']} threads; PyTorch calls the processor {native['isa']} and "
        f"the simulated one {simulated['isa']}. The choice is made as a run makes it, with batches of two."
    )
    return Section("precision", ("native_seconds", "avx2_seconds"), tuple(rows), (note,), heading="an image")


def _chosen(measured: Mapping[str, Any]) -> str:
    choice = measured["choice"]
    return way_name(choice["precision"], choice["channels_last"])


def maps_section(study: Path, slices: str, names: Sequence[str], tell: Callable[[str], None]) -> Section:
    """Return how far runs in other precisions are from one in float32, by the preset quick, beside another seed's.

    Parameters
    ----------
    study : what :func:`KLIPCore.detection.detect.detect` reads.
    slices : which of it.
    names : precisions.
    tell : called with what is being done.
    """
    runs: dict[str, dict[str, Any]] = {name: {"precision": name} for name in (EXACT, *names)}
    runs["float32, another seed"] = {"precision": EXACT, "sampling": {"seed": 1}}  # what chance does anyway
    with tempfile.TemporaryDirectory(prefix="klip-precision-") as scratch:
        found: dict[str, dict[str, tuple[NDArray, NDArray, int]]] = {}
        for name, changes in runs.items():
            tell(f"klip detect: {name}")
            config = Config.from_preset("quick").updated(changes)
            found[name] = _scores(detect(study, Path(scratch) / str(len(found)), config, part=Part(slices=slices)))
    rows = [{"name": name, **_differences(found[EXACT], found[name])} for name in runs if name != EXACT]
    columns = ("pushes", *(f"{what}, {score}" for score in SCORES for what in ("block map", "regions", "overlap")))
    note = (
        f"Slices {slices}, preset quick. Pushes and block maps: root mean square difference from the run in float32 "
        "over the root mean square of that run's. Regions: how many in float32 and in the other; overlap: Dice "
        "coefficient of their voxels."
    )
    return Section("precision maps", columns, tuple(rows), (note,), heading="precision")


def _scores(found: Detection) -> dict[str, tuple[NDArray, NDArray, int]]:
    """Score → its values, the voxels in regions, and the number of regions; and the pushes, under their name."""
    run = found.folder.run()
    trace = found.folder.trace(run["slices"], run["fingerprint"])
    pushes = np.stack([s.pushes.push for s in trace.slices if s.pushes is not None])
    made: dict[str, tuple[NDArray, NDArray, int]] = {"pushes": (pushes, np.zeros(0, bool), 0)}
    for score in SCORES:
        settings = replace(Config.from_dict(run["config"]).regions, score=score)
        again = redo_regions(found.folder.path, settings)
        inside = np.zeros(again.volumes.kl_map.array.shape, bool)
        for region in again.report.regions:
            inside[region.box] |= region.mask
        made[score] = (again.volumes.kl_map.array.copy(), inside, len(again.report.regions))
    return made


def _differences(exact: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """One row of :func:`maps_section`."""
    row: dict[str, Any] = {"pushes": relative(other["pushes"][0], exact["pushes"][0])}
    for score in SCORES:
        (a, inside_a, n_a), (b, inside_b, n_b) = exact[score], other[score]
        both = int(inside_a.sum() + inside_b.sum())
        row[f"block map, {score}"] = relative(b, a)
        row[f"regions, {score}"] = f"{n_a}, {n_b}"
        row[f"overlap, {score}"] = 2 * int((inside_a & inside_b).sum()) / both if both else None
    return row


def relative(values: NDArray, exact: NDArray) -> float:
    """Return the root mean square difference over the exact values' root mean square, where both are finite."""
    finite = np.isfinite(values) & np.isfinite(exact)
    a, b = values[finite].astype(np.float64), exact[finite].astype(np.float64)
    return float(np.sqrt(np.square(a - b).mean() / np.square(b).mean()))


def main() -> None:
    """Run the command of this module."""
    parser = argparse.ArgumentParser(description="Times and maps of the network in every precision.")
    parser.add_argument("--prior", default=DEFAULT_PRIOR)
    parser.add_argument("--maps", type=Path, metavar="STUDY", help="compare maps of this study instead of times")
    parser.add_argument("--slices", default=":", help="of the study, counted from the feet")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    parser.add_argument("--choice-only", action="store_true", help="with --here: only the ways a run would try")
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(here(chosen.prior, not chosen.choice_only)))
        return

    def tell(detail: str) -> None:
        print(detail, file=sys.stderr, flush=True)

    if chosen.maps is None:
        section = times_section(chosen.prior, tell)
    else:
        section = maps_section(chosen.maps, chosen.slices, ("bfloat16",), tell)
    print(section.markdown())


if __name__ == "__main__":
    main()
