"""A study with known lesions, made on the spot, examined like any other, and scored: `klip demo`.

    synthetic patient → synthetic lesions → DICOM → KLIPCore.pipeline.detect → what was found of what is there

The patient is drawn from the shipped prior (:mod:`KLIPCore.phantoms.patient`), the lesions are those of
:mod:`KLIPCore.phantoms.lesions`; from the DICOM files on, everything is done as for a real study, with the preset *quick*.

::

    OUT/                       the run, as `klip detect` leaves it: report.html, kl_map.nrrd, regions.seg.nrrd, …
    OUT/synthetic/ct/          the synthetic study, one DICOM file a slice
    OUT/synthetic/truth.seg.nrrd   where its lesions are
    OUT/synthetic/demo.json    seed, prior and lesions; after the run the score

A second run with the same seed and prior takes up what is there. The score tells that the parts work together. It is no
evidence about patients: the prior finds its own drawings more ordinary than any scan.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import PRESETS, Config
from KLIPCore.errors import OutputError, TraceError
from KLIPCore.evaluation.auroc import auroc
from KLIPCore.export.segmentation import write_segmentation
from KLIPCore.framing import Framing
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import read_image
from KLIPCore.kl.map import KLMap
from KLIPCore.mapping import Detection
from KLIPCore.phantoms.abdomen import Abdomen
from KLIPCore.phantoms.lesions import Tumour, implant, place_tumours, tissue_mask
from KLIPCore.phantoms.patient import N_STEPS, draw_patient
from KLIPCore.pipeline import detect
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.regions.find import Region, label_volume, region_colour
from KLIPCore.regions.report import number
from KLIPCore.selection import choose_device
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

Progress = Callable[[str, float, str], None]

RECIPE = 1
"""Raised when the study is made differently, so that an old one is not taken for it."""

RADII_MM = (12.0, 10.0, 8.0, 6.0)
"""Mean radii of the lesions: from plain to see, to the smallest that 5 mm slices show on more than one slice."""

LIVER_LESION = Tumour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), contrast_hu=-45.0, edge_mm=4.0, texture_hu=6.0, irregularity=0.1)
"""What all of them are but for place and size: darker than the liver, ill-defined and uneven, as metastases often are."""

GAP_MM = 12.0
"""Between two lesions, so that one block does not see both."""

DRAWING = 0.4
"""Part of the progress bar that making the study takes."""


@dataclass(frozen=True)
class LesionScore:
    """What became of one lesion.

    Attributes
    ----------
    label : its number in ``truth.seg.nrrd``.
    radius_mm : mean of its semi-axes.
    volume_ml : of its mask.
    slices : first and last slice, counted from the feet.
    beats : fraction of the lesion-free blocks of the body that have fewer nats than the lesion's strongest block.
    covered : fraction of it that lies in flagged regions.
    regions : names of those regions.
    """

    label: int
    radius_mm: float
    volume_ml: float
    slices: tuple[int, int]
    beats: float
    covered: float
    regions: tuple[str, ...]


@dataclass(frozen=True)
class DemoScore:
    """How well known lesions were found.

    Attributes
    ----------
    auroc : mean over slices with a lesion of the AUROC of body blocks, those that hold a lesion's pixel against all others.
    n_slices : how many slices that are.
    lesions : one entry a lesion.
    n_regions : flagged regions.
    false_regions : names of those that touch no lesion.
    """

    auroc: float
    n_slices: int
    lesions: tuple[LesionScore, ...]
    n_regions: int
    false_regions: tuple[str, ...]

    @property
    def n_found(self) -> int:
        """Lesions that a region touches."""
        return sum(bool(lesion.regions) for lesion in self.lesions)


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
    n_slices, n_steps : size of the patient, and steps of the draw (:func:`KLIPCore.phantoms.patient.draw_patient`).
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
    prior = load_prior(config.prior, choose_device(config.device))
    folder = DemoFolder(Path(out))
    recipe = {"recipe": RECIPE, "seed": seed, "prior": prior.card.name, "prior_sha256": prior.card.sha256, "n_slices": n_slices, "n_steps": n_steps}
    recipe["radii_mm"] = [float(r) for r in radii_mm]
    if not folder.holds(recipe):
        folder.clear()
        make_study(folder, recipe, prior, tell)
    truth = folder.truth()
    found = detect(folder.ct, folder.path, config, overwrite=True, progress=lambda stage, f, detail: tell(stage, DRAWING + (1 - DRAWING) * f, detail))
    score = score_demo(found, truth)
    folder.write_record({**folder.record(), "score": asdict(score)})
    return summary(folder, prior, score, found)


@dataclass(frozen=True)
class DemoFolder:
    """Where the demo keeps things.

    Attributes
    ----------
    path : the folder given by the user, which is also the run's.
    """

    path: Path

    @property
    def own(self) -> Path:
        """What belongs to the demo and not to the run."""
        return self.path / "synthetic"

    @property
    def ct(self) -> Path:
        """The DICOM series."""
        return self.own / "ct"

    @property
    def truth_file(self) -> Path:
        """The lesions' masks."""
        return self.own / "truth.seg.nrrd"

    @property
    def record_file(self) -> Path:
        """Recipe, lesions, score."""
        return self.own / "demo.json"

    def record(self) -> dict[str, Any]:
        """``demo.json``; empty when there is none, or a damaged one."""
        try:
            return dict(json.loads(self.record_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return {}

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``demo.json``, whole or not at all."""
        part = self.record_file.with_name("demo.json.part")
        try:
            self.own.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            part.replace(self.record_file)
        except OSError as error:
            raise OutputError(f"The demo cannot be written to {self.path} ({error.strerror}).", "Choose a folder you may write to with -o.") from error

    def holds(self, recipe: dict[str, Any]) -> bool:
        """Whether the very study is there, whole: the series comes last and takes its name when it is complete."""
        return self.record().get("recipe") == recipe and self.truth_file.is_file() and self.ct.is_dir()

    def clear(self) -> None:
        """Make room for another study; only what an earlier demo left is removed.

        Raises
        ------
        OutputError : the folder holds something that is no demo.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file.", "Choose a new or empty folder with -o.")
        if not self.record_file.is_file():
            if self.path.is_dir() and any(self.path.iterdir()):
                raise OutputError(f"{self.path} is not empty and holds no earlier demo.", "Choose a new or empty folder with -o.")
            return
        shutil.rmtree(self.ct, ignore_errors=True)
        self.truth_file.unlink(missing_ok=True)

    def truth(self) -> Volume:
        """The lesions' labels on the study's grid.

        Raises
        ------
        UnreadableFileError : damaged.
        """
        return read_image(self.truth_file)


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
        n_steps=int(recipe["n_steps"]),
        progress=lambda done: tell("draw", 0.95 * DRAWING * done, "drawing a synthetic patient"),
    )
    liver = plan.mask("liver", patient.grid) & tissue_mask(patient)
    lesions = place_tumours(liver, patient.grid, recipe["radii_mm"], seed, template=LIVER_LESION, gap_mm=GAP_MM)
    study, labels = implant(patient, lesions, seed)
    folder.write_record({**folder.record(), "lesions": [asdict(lesion) for lesion in lesions]})
    write_segmentation(truth_regions(labels, study.grid), study.grid, folder.truth_file)
    # another prior draws another patient: its instances must not share UIDs with this one's
    uids = int.from_bytes(hashlib.blake2b(json.dumps(recipe, sort_keys=True).encode(), digest_size=6).digest())
    write_dicom_series(study, folder.ct, study_description="Synthetic study (klip demo)", series_description="Synthetic CT, synthetic lesions", seed=uids)


def truth_regions(labels: NDArray[np.integer], grid: Grid) -> list[Region]:
    """Labelled voxels (D, H, W) as named regions, for writing; nats and p-values are NaN because nothing was measured."""
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
        regions.append(Region(n, name, box, mask, (x, y, z), volume, extent, nan, (x, y, z), nan, nan, nan, slices, slices[0], region_colour(n)))
    return regions


def score_demo(found: Detection, truth: Volume) -> DemoScore:
    """Compare what was found with what is there.

    Parameters
    ----------
    found : a finished run.
    truth : (D, H, W) labels 1, 2, … of the lesions, 0 elsewhere, on the study's voxels in any order of axes.

    Raises
    ------
    TraceError : the labels lie on other voxels than the study.
    """
    framing = found.study
    turned, _ = truth.oriented_lps()
    if not turned.grid.same_as(framing.lps_grid):
        raise TraceError("The truth does not lie on the voxels of the study.", "Remove the demo's folder and run it again.")
    labels = np.rint(turned.array).astype(np.int64)
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    flagged = framing.orientation.apply(label_volume(found.report.regions, framing.grid))
    names = {region.label: region.name for region in found.report.regions}
    in_cell, in_block = lesion_cells(found.kl_map, framing, labels)
    healthy = np.sort(found.kl_map.nats[found.kl_map.tested & ~in_block.any(0)])
    lesions = []
    for n, cells in zip(numbers, in_cell, strict=True):
        mask = labels == n
        peak = float(found.kl_map.nats[cells].max(initial=0.0))
        touched = [int(label) for label in np.unique(flagged[mask]) if label > 0]
        slices = np.flatnonzero(mask.any((1, 2)))
        volume = float(mask.sum() * framing.grid.voxel_volume_mm3)
        lesions.append(
            LesionScore(
                label=n,
                radius_mm=(3 * volume / (4 * math.pi)) ** (1 / 3),
                volume_ml=volume / 1000,
                slices=(int(slices[0]), int(slices[-1])),
                beats=float(np.searchsorted(healthy, peak) / max(len(healthy), 1)),
                covered=float((flagged[mask] > 0).mean()),
                regions=tuple(names[label] for label in touched),
            )
        )
    positive, tested = np.asarray(in_block.any(0)), found.kl_map.tested
    with_lesion = [s for s in range(len(positive)) if (positive[s] & tested[s]).any()]
    curves = [auroc(found.kl_map.nats[s][tested[s]], positive[s][tested[s]]) for s in with_lesion]
    true = {name for lesion in lesions for name in lesion.regions}
    return DemoScore(
        auroc=float(np.mean(curves)) if curves else float("nan"),
        n_slices=len(curves),
        lesions=tuple(lesions),
        n_regions=len(names),
        false_regions=tuple(name for name in names.values() if name not in true),
    )


def lesion_cells(kl_map: KLMap, framing: Framing, labels: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which base cells of a map belong to which lesion.

    Parameters
    ----------
    kl_map : of n slices, h × w cells each.
    framing : of its study.
    labels : (D, H, W) on the LPS grid.

    Returns
    -------
    in_cell : (n_lesions, n, h, w) bool, the cell holds a pixel of the lesion; lesions in rising order of label.
    in_block : likewise for the block centred at the cell.
    """
    numbers = [int(n) for n in np.unique(labels) if n > 0]
    n_cells = kl_map.nats.shape[-1]
    step = framing.frame.size // n_cells
    reach = max(1, round(kl_map.block_mm / framing.frame.pixel_mm / step))
    in_cell = np.zeros((len(numbers), *kl_map.nats.shape), bool)
    for place, k in enumerate(kl_map.indices):
        for m, n in enumerate(numbers):
            if (labels[k] == n).any():
                pixels = framing.frame_of(k).pull((labels[k : k + 1] == n).astype(np.float32), order=0)[0] > 0.5
                in_cell[m, place] = pixels.reshape(n_cells, step, n_cells, step).any((1, 3))
    return in_cell, ndi.maximum_filter(in_cell, (1, 1, reach, reach))


def summary(folder: DemoFolder, prior: Prior, score: DemoScore, found: Detection) -> str:
    """The text that ends the demo."""
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
    table = ["  ".join(text.ljust(w) if c in (0, 6) else text.rjust(w) for c, (text, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
    table.insert(1, "  ".join("─" * w for w in widths))
    n, false = len(score.lesions), len(score.false_regions)
    regions = f"{score.n_regions} region{'s' * (score.n_regions != 1)} flagged, {false} of them where no synthetic lesion is"
    files = (
        ("report.html", "pictures, regions and settings: open this one"),
        ("synthetic/ct", "the synthetic study (DICOM)"),
        ("synthetic/truth.seg.nrrd", "where the synthetic lesions are"),
        ("kl_map.nrrd", "nats on the study's voxels"),
    )
    width = max(len(str(folder.path / name)) for name, _ in files)
    return "\n".join(
        [
            f"Synthetic patient drawn from the prior {prior.card.name}, with {n} synthetic lesion{'s' * (n != 1)} in its liver; nobody's images.",
            "",
            *table,
            "",
            f"{score.n_found} of {n} synthetic lesions found; {regions}.",
            f"AUROC of {found.kl_map.block_mm:.0f} mm blocks over the body: {score.auroc:.3f} (mean of {score.n_slices} slices; 0.5 is chance).",
            "Beats: the part of lesion-free blocks that are weaker than the lesion's strongest. Covered: the part of the lesion inside a region.",
            "A prior finds its own drawings more ordinary than any scan: this shows that everything works, not how well on patients.",
            "",
            *(f"{str(folder.path / name).ljust(width)}  {what}" for name, what in files),
        ]
    )
