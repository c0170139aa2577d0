"""Whole things: a slice by each preset, the published score, a study from file to report in a process of its own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from KLIPCore.config import PRESETS, Config
from KLIPCore.detection.simulated_scan import trace_slice
from KLIPCore.io.images import write_image
from KLIPCore.lab.bench.child import ChildRun, run_klip
from KLIPCore.lab.bench.clock import ClockedScanner
from KLIPCore.lab.bench.measure import Timing, timed, timed_runs
from KLIPCore.lab.bench.subject import Subject
from KLIPCore.lab.bench.table import NOT_MEASURED, Section, figures
from KLIPCore.lab.phantoms.patient import draw_patient
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.live import LiveMap

Tell = Callable[[str], None]

REAL_STUDY = "crlm-1006-dicom"
"""Folder of a DICOM study below the data folder: 51 slices of 512²."""

PUBLISHED_SAMPLES = 8
"""Of the published score."""

GOALS = {"preset default": 4.0, "published score": 10.0, "klip detect, quick": 75.0}
"""Seconds aimed at on two CPU cores."""


def published_score(n_samples: int = PUBLISHED_SAMPLES) -> Config:
    """Return the settings that record the published score and nothing else: the guided chain's whole KL."""
    return Config().updated(
        {"sampling": {"n_samples": n_samples}, "record": {"layers": ["path"]}, "regions": {"score": "klip"}}
    )


def slice_row(
    name: str, config: Config, prior: Prior, subject: Subject, device: torch.device, runs: int
) -> dict[str, Any]:
    """Return one slice by one configuration: seconds, evaluations, and where the seconds went."""
    scanner = ClockedScanner.build(config, prior, subject.study.frame.pixel_mm, device)
    before = scanner.n_evaluations
    timing = timed_runs(lambda: trace_slice(scanner, subject.study, subject.index), runs, device)
    spent = timing.seconds * runs
    return {
        "name": name,
        **figures(timing),
        "samples": config.sampling.n_samples,
        "evaluations": (scanner.n_evaluations - before) // runs,
        "network_share": min(1.0, scanner.clock.network / spent),
        "projection_share": min(1.0, scanner.clock.projections / spent),
    }


def slice_section(prior: Prior, subject: Subject, device: torch.device, runs: int, quick: bool = False) -> Section:
    """Return every preset, and the published score."""
    rows = []
    for name, config in PRESETS.items():
        if quick and name == "full":
            continue
        row = slice_row(f"preset {name}", config, prior, subject, device, 1 if quick or name == "full" else runs)
        rows.append({**row, "goal_seconds": GOALS.get(row["name"])})
    row = slice_row(f"published score, {PUBLISHED_SAMPLES} samples", published_score(), prior, subject, device, 1)
    rows.append({**row, "goal_seconds": GOALS["published score"]})
    if device.type != "cuda":
        rows.append({"name": "published score on a GPU", "samples": PUBLISHED_SAMPLES, "seconds": NOT_MEASURED})
    views = PRESETS["default"].measurement.n_views
    note = (
        f"One {prior.card.size}² slice ({subject.name}), {views} views: simulating the scan, sampling, recording. "
        "Goals are for two CPU cores."
    )
    columns = ("samples", "evaluations", "seconds", "spread", "goal_seconds", "network_share", "projection_share")
    return Section("slices", columns, tuple(rows), (note,), heading="one slice")


def study_section(data: Path, prior: Prior, device: torch.device, quick: bool, tell: Tell) -> Section:
    """Return a study from file to report, regions again, and a slider's move on its trace.

    Each in its own process but the last.
    """
    with tempfile.TemporaryDirectory(prefix="klip-bench-") as name:
        scratch = Path(name)
        study = data / REAL_STUDY
        described = "TCIA CRLM-CT-1006 (512², 5 mm)"
        if not study.is_dir() or quick:
            tell("drawing a synthetic study")
            study = scratch / "synthetic.nii.gz"
            n_slices = 3 if quick else 20
            write_image(draw_patient(prior, n_slices), study)
            described = f"a synthetic patient of {n_slices} slices"
        out = scratch / "out"
        tell("klip detect --preset quick in a process of its own")
        found = run_klip(
            ["detect", str(study), "-o", str(out), "--preset", "quick", "--device", str(device), "--progress", "none"],
            scratch,
            torch.get_num_threads(),
        )
        provenance = json.loads((out / "result.json").read_text(encoding="utf-8"))["provenance"]
        tell("klip regions")
        again = run_klip(["regions", str(out), "--block-size", "16"], scratch, torch.get_num_threads())
        live = LiveMap.open(out)
        sizes = [live.settings.__class__(**{**vars(live.settings), "block_mm": edge}) for edge in (10.0, 12.0, 16.0)]
        count = {"n": 0}

        def move() -> object:
            count["n"] += 1
            return live.update(sizes[count["n"] % len(sizes)])

        slider = timed(move, 0.5)
        voxels = "×".join(str(v) for v in live.framing.grid.shape)
    rows = _study_rows(found, again, slider, provenance, described.startswith("TCIA"))
    note = (
        f"The study is {described}, {voxels} voxels. Commands run in their own process and are timed with its "
        "imports; memory is its largest resident set."
    )
    return Section(
        "study",
        ("evaluations", "seconds", "spread", "goal_seconds", "sampling_seconds", "slice_seconds", "peak_gib"),
        tuple(rows),
        (note,),
        heading="whole study",
    )


def _study_rows(
    found: ChildRun, again: ChildRun, slider: Timing, provenance: dict[str, Any], is_real: bool
) -> list[dict[str, Any]]:
    """Rows of :func:`study_section`; the goal is one for the real study."""
    gib, n = 1024**3, int(provenance["slices_sampled"])
    return [
        {
            "name": f"`klip detect STUDY -o OUT --preset quick`, {n} slices",
            "seconds": found.seconds,
            "evaluations": round(n * provenance["network_evaluations_per_slice"]),
            "goal_seconds": GOALS["klip detect, quick"] if is_real else None,
            "slice_seconds": found.seconds / n,
            "sampling_seconds": provenance["seconds_sampling"],
            "peak_gib": None if found.peak_bytes is None else found.peak_bytes / gib,
        },
        {
            "name": "`klip regions OUT --block-size 16`",
            "seconds": again.seconds,
            "peak_gib": None if again.peak_bytes is None else again.peak_bytes / gib,
        },
        {"name": "a slider's move on its trace (`KLIPCore.runs.live.LiveMap.update`)", **figures(slider)},
    ]
