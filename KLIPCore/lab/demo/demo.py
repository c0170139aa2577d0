"""A study with known lesions, made on the spot, examined like any other, and scored: `klip demo`.

    synthetic patient → synthetic lesions → DICOM → KLIPCore.detection.detect.detect → what was found of what is there

The patient is drawn from the shipped prior (:mod:`KLIPCore.lab.phantoms.patient`), the lesions are those of
:mod:`KLIPCore.lab.phantoms.lesions`; from the DICOM files on, everything is done as for a real study, with the
preset *quick*.

::

    OUT/                       the run, as `klip detect` leaves it: report.html, kl_map.nrrd, regions.seg.nrrd, …
    OUT/synthetic/ct/          the synthetic study, one DICOM file a slice
    OUT/synthetic/truth.seg.nrrd   where its lesions are
    OUT/synthetic/demo.json    seed, prior and lesions; after the run the score

A second run with the same seed and prior takes up what is there. The score tells that the parts work together.
It is no evidence about patients: the prior finds its own drawings more ordinary than any scan.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import PRESETS, Config
from KLIPCore.detection.detect import detect
from KLIPCore.detection.devices import configure_process
from KLIPCore.detection.precision import load_fastest
from KLIPCore.export.report import number
from KLIPCore.export.segmentation import write_segmentation
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.demo.folder import DemoFolder
from KLIPCore.lab.demo.score import DemoScore, score_demo
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.lab.phantoms.lesions import Tumour, implant, place_tumours, tissue_mask
from KLIPCore.lab.phantoms.patient import N_STEPS, Drawing, draw_patient
from KLIPCore.maps.regions import Region, region_colour
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.rerun import Detection
from KLIPCore.volume.grid import Grid

Progress = Callable[[str, float, str], None]

RECIPE = 1
"""Raised when the study is made differently, so that an old one is not taken for it."""

RADII_MM = (12.0, 10.0, 8.0, 6.0)
"""Mean radii of the lesions: from plain to see, to the smallest that 5 mm slices show on more than one slice."""

LIVER_LESION = Tumour(
    (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), contrast_hu=-45.0, edge_mm=4.0, texture_hu=6.0, irregularity=0.1
)
"""What all of them are but for place and size: darker than the liver, ill-defined and uneven, as metastases
often are.
"""

GAP_MM = 12.0
"""Between two lesions, so that one block does not see both."""

DRAWING = 0.4
"""Part of the progress bar that making the study takes."""


def run_demo(
    out: Path,
    progress: Progress | None = None,
    seed: int = 0,
    *,
    config: Config | None = None,
    n_slices: int = 14,
    n_steps: int = N_STEPS,
    radii_mm: Sequence[float] = RADII_MM,
) -> str:
    """Make a synthetic patient, examine it, and say how well the known lesions were found.

    Parameters
    ----------
    out : folder for everything; a stopped demo is continued there.
    progress : called with (stage, fraction, detail).
    seed : of the patient and the lesions.
    config : settings of the run; the preset *quick* when None.
    n_slices, n_steps : size of the patient, and steps of the draw
        (:func:`KLIPCore.lab.phantoms.patient.draw_patient`).
    radii_mm : mean radii of the lesions.

    Returns
    -------
    The text to print.

    Raises
    ------
    OutputError : ``out`` holds something else, or cannot be written.
    ConfigError : the lesions do not fit into the patient's liver.
    Cancelled : stopped from the keyboard; what is finished is kept.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    config = config or PRESETS["quick"]
    configure_process()
    prior = load_fastest(config.prior, config.device, config.precision)
    folder = DemoFolder(Path(out))
    recipe = {
        "recipe": RECIPE,
        "seed": seed,
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "n_slices": n_slices,
        "n_steps": n_steps,
    }
    recipe["radii_mm"] = [float(r) for r in radii_mm]
    if not folder.holds(recipe):
        folder.clear()
        make_study(folder, recipe, prior, tell)
    truth = folder.truth()
    found = detect(
        folder.ct,
        folder.path,
        config,
        overwrite=True,
        progress=lambda stage, f, detail: tell(stage, DRAWING + (1 - DRAWING) * f, detail),
    )
    score = score_demo(found, truth)
    folder.write_record({**folder.record(), "score": asdict(score)})
    return summary(folder, prior, score, found)


def make_study(folder: DemoFolder, recipe: dict[str, Any], prior: Prior, tell: Progress) -> None:
    """Draw the patient, implant the lesions, write everything below ``folder.own``."""
    seed = int(recipe["seed"])
    plan = Abdomen.random(seed)
    folder.write_record({"note": "synthetic patient with synthetic lesions", "recipe": recipe})
    tell("draw", 0.0, "drawing a synthetic patient")
    patient = draw_patient(
        prior,
        int(recipe["n_slices"]),
        seed,
        plan=plan,
        drawing=Drawing(n_steps=int(recipe["n_steps"])),
        progress=lambda done: tell("draw", 0.95 * DRAWING * done, "drawing a synthetic patient"),
    )
    liver = plan.mask("liver", patient.grid) & tissue_mask(patient)
    lesions = place_tumours(liver, patient.grid, recipe["radii_mm"], seed, template=LIVER_LESION, gap_mm=GAP_MM)
    study, labels = implant(patient, lesions, seed)
    folder.write_record({**folder.record(), "lesions": [asdict(lesion) for lesion in lesions]})
    write_segmentation(truth_regions(labels, study.grid), study.grid, folder.truth_file)
    # another prior draws another patient: its instances must not share UIDs with this one's
    uids = int.from_bytes(hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=6).digest())
    write_dicom_series(
        study,
        folder.ct,
        study_description="Synthetic study (klip demo)",
        series_description="Synthetic CT, synthetic lesions",
        seed=uids,
    )


def truth_regions(labels: NDArray[np.integer], grid: Grid) -> list[Region]:
    """Return labelled voxels (D, H, W) as named regions, for writing.

    Nats and p-values are NaN because nothing was measured.
    """
    regions = []
    nan = float("nan")
    for n, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == n
        corner = np.array([part.start for part in box])
        x, y, z = (float(v) for v in grid.to_world(corner + np.argwhere(mask).mean(0)))
        size = np.array(mask.shape) * grid.spacing
        slices = (int(box[0].start), int(box[0].stop) - 1)
        volume = float(mask.sum() * grid.voxel_volume_mm3)
        extent = (float(size[2]), float(size[1]), float(size[0]))
        name = f"synthetic lesion {n}"
        regions.append(
            Region(
                n,
                name,
                box,
                mask,
                (x, y, z),
                volume,
                extent,
                nan,
                (x, y, z),
                nan,
                nan,
                nan,
                slices,
                slices[0],
                region_colour(n),
            )
        )
    return regions


def summary(folder: DemoFolder, prior: Prior, score: DemoScore, found: Detection) -> str:
    """Return the text that ends the demo."""
    rows = [["Synthetic lesion", "Radius", "Volume", "Slices", "Beats", "Covered", "Region"]]
    for lesion in score.lesions:
        first, last = lesion.slices
        rows.append(
            [
                f"{lesion.label}",
                f"{lesion.radius_mm:.0f} mm",
                f"{number(lesion.volume_ml)} mL",
                f"{first}–{last}" if last > first else f"{first}",
                f"{math.floor(1e4 * lesion.beats) / 100:.2f} %",  # rounded down: 100 % must mean all
                f"{100 * lesion.covered:.0f} %",
                ", ".join(lesion.regions) or "not found",
            ]
        )
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    table = [
        "  ".join(
            text.ljust(w) if c in (0, 6) else text.rjust(w)
            for c, (text, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    table.insert(1, "  ".join("─" * w for w in widths))
    n, false = len(score.lesions), len(score.false_regions)
    regions = (
        f"{score.n_regions} region{'s' * (score.n_regions != 1)} flagged, {false} of them where no synthetic lesion is"
    )
    files = (
        ("report.html", "pictures, regions and settings: open this one"),
        ("synthetic/ct", "the synthetic study (DICOM)"),
        ("synthetic/truth.seg.nrrd", "where the synthetic lesions are"),
        ("kl_map.nrrd", "nats on the study's voxels"),
    )
    width = max(len(str(folder.path / name)) for name, _ in files)
    return "\n".join(
        [
            f"Synthetic patient drawn from the prior {prior.card.name}, with {n} synthetic lesion{'s' * (n != 1)} "
            "in its liver; nobody's images.",
            "",
            *table,
            "",
            f"{score.n_found} of {n} synthetic lesions found; {regions}.",
            f"AUROC of {found.kl_map.block_mm:.0f} mm blocks over the body: {score.auroc:.3f} (mean of "
            f"{score.n_slices} slices; 0.5 is chance).",
            "Beats: the part of lesion-free blocks that are weaker than the lesion's strongest. Covered: the part "
            "of the lesion inside a region.",
            "A prior finds its own drawings more ordinary than any scan: this shows that everything works, not how "
            "well on patients.",
            "",
            *(f"{str(folder.path / name).ljust(width)}  {what}" for name, what in files),
        ]
    )
