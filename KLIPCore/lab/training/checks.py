"""Whether a training set is what it should be: whole patients of one anatomy, each on one side of the split.

File names cannot tell that. One patient comes as DICOM and as NIfTI, every folder holds a ``ct.nii.gz``, and a chest
lies among abdomens. So slices themselves are compared:

both sets
    a patient whose slices are found again in a volume of the other set, or a DICOM patient ID that occurs in both.
anatomy
    the quantities of :mod:`KLIPCore.maps.typicality`, each patient against all others. The median and the median
    deviation of the set are the measure, so that one stranger does not hide itself. Refused unless the configuration
    says ``mixed: true``.
contrast
    the same for the brightest soft tissue: another contrast phase. That may be meant, and is noted.
cropped
    the share of an image's rim that lies within the body. A narrow field of view is noted, a cut-out is refused.

Whether a patient is *healthy* none of this knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import SimpleITK as sitk
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.data import DataSource, TrainingSet
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.typicality import LEAST_SLICES, SMALLEST_BODY, body_box_slices, quantities

THUMB = 32
"""Side at which slices of both sets are compared."""

SAME_LEVELS = 0.4
"""Root mean square difference, of 255, below which two slices are one: rounding makes 0.1, other noise of one phantom
0.7, another BTCV patient 17 at least."""

SAME_PART = 0.5
"""A patient is in both sets where so many of the slices of one volume are found in another."""

LEAST_PATIENTS, MOST_SLICES = 5, 30
"""With fewer patients nobody can be called the odd one; how many slices of each are compared."""

FAR = {"anatomy": (5.0, 0.35), "air": (3.0, 0.3), "contrast": (4.0, 0.04)}
"""By quantity: median deviations from the set's median beyond which a patient is odd, and the least deviation. Among
eleven BTCV patients the largest are .9, 2.3 and 3.6; a head's anatomy is 6.0, the air of a chest 3.9 away, and the
soft tissue of two abdomens without contrast medium 5.4 and 6.6."""

CUT_NOTED, CUT_REFUSED = 0.05, 0.4
"""Share of the rim within the body that is noted, and from which a scan is no whole slice any more."""


def refuse_shared_patients(
    root: Path, learned: tuple[Sequence[DataSource], TrainingSet], held_out: tuple[Sequence[DataSource], TrainingSet]
) -> None:
    """Refuse a training whose sets share a patient.

    Parameters
    ----------
    root : folder of the data.
    learned, held_out : sources of a set, and what was read of them.

    Raises
    ------
    ConfigError : a patient is in both.
    """
    ids = _patient_ids(root, learned[0])
    shared = {name for patient, name in _patient_ids(root, held_out[0]).items() if patient in ids}
    known = [(entry["file"], thumbs) for entry, thumbs in _thumbs(learned[1])]
    for entry, thumbs in _thumbs(held_out[1]):
        name = entry["file"]
        if name.startswith("SIMULATED"):  # of one seed: the same discs
            shared |= {name} & {other for other, _ in known}
        elif any(_found_again(thumbs, other) or _found_again(other, thumbs) for _, other in known):
            shared.add(name)
    if shared:
        raise ConfigError(
            f"{', '.join(sorted(shared))} is both learned from and held out.",
            "Give every patient to one of 'sources' and 'validation'.",
        )


def judge_set(learned: TrainingSet, mixed: bool = False) -> list[str]:
    """Return what is to be said about a training set; refuse one with strangers or cut-outs in it.

    Parameters
    ----------
    learned : what was read.
    mixed : whether several anatomies are meant.

    Raises
    ------
    ConfigError : a volume is a cut-out, or of another anatomy than the others.
    """
    notes: list[str] = []
    refused: list[str] = []
    for entry in learned.entries:
        cut = float(entry.get("cut", 0.0))
        if cut > CUT_NOTED:
            told = f"{entry['file']}: the field of view cuts the body over {cut:.0%} of the image's rim"
            (refused if cut > CUT_REFUSED else notes).append(told)
    for name, about, text in _odd_ones(learned):
        (notes if about == "contrast" or mixed else refused).append(f"{name}: {text}")
    if refused:
        raise ConfigError(
            f"These scans do not belong into the training set. {'. '.join(refused)}.",
            "Put them under 'exclude', whole or slice by slice; 'mixed: true' lets several anatomies in.",
        )
    return notes


TEXTS = {
    "anatomy": "its slices resemble none of the others'",
    "air": "it has more slices with much air inside, like lungs, than the others",
    "contrast": "its soft tissue is of another brightness than the others': another contrast phase, or rescaled",
}


def _odd_ones(learned: TrainingSet) -> list[tuple[str, str, str]]:
    """File, quantity and sentence of each patient that is unlike the others."""
    studies = [
        (entry["file"], *study) for entry, study in zip(learned.entries, _studies(learned), strict=True) if study
    ]
    if len(studies) < LEAST_PATIENTS:
        return []
    library = [body_box_slices(images, body) for _, images, body in studies]
    table = []
    for n, (_, images, body) in enumerate(studies):
        others = np.concatenate([own for m, own in enumerate(library) if m != n])
        found = quantities(images, body, others)
        table.append([found[name] for name in FAR])
    values = np.array(table)
    away = values - np.median(values, 0)
    spread = np.maximum(1.4826 * np.median(np.abs(away), 0), [least for _, least in FAR.values()])
    out = []
    for (file, _, _), row in zip(studies, away / spread, strict=True):
        for (name, (far, _)), z in zip(FAR.items(), row, strict=True):
            if (abs(z) if name == "contrast" else z) > far:
                out.append((file, name, TEXTS[name]))
    return out


def _studies(learned: TrainingSet) -> Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]] | None]:
    """Images and bodies of each volume at half the size; None where there is too little to judge."""
    for entry, slices in _volumes(learned):
        some = (
            slices[np.unique(np.linspace(0, len(slices) - 1, MOST_SLICES).round().astype(int))] if len(slices) else []
        )
        images = [halved(own.astype(np.float32) / 255) for own in some]
        body = [ndi.binary_fill_holes(image > 0.02) for image in images]
        seen = [k for k, inside in enumerate(body) if inside.sum() >= SMALLEST_BODY]
        if len(seen) < LEAST_SLICES or str(entry["file"]).startswith("SIMULATED"):
            yield None
        else:
            yield np.stack([images[k] for k in seen]).astype(np.float32), np.stack([body[k] for k in seen])


def _volumes(learned: TrainingSet) -> Iterable[tuple[dict[str, Any], NDArray[np.uint8]]]:
    """Card entry and slices of each volume."""
    start = 0
    for entry in learned.entries:
        yield entry, learned.slices[start : start + entry["n_slices"]]
        start += entry["n_slices"]


def _thumbs(learned: TrainingSet) -> list[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Card entry and small slices (n, THUMB²) of each volume."""
    out = []
    for entry, slices in _volumes(learned):
        step = max(1, slices.shape[-1] // THUMB)
        side = slices.shape[-1] // step
        kept = slices[:, : side * step, : side * step].reshape(len(slices), side, step, side, step)
        out.append((entry, kept.mean((2, 4), dtype=np.float32).reshape(len(slices), -1)))
    return out


def _found_again(own: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether most slices of one volume are in another."""
    if not len(own) or not len(other):
        return False
    squares = (own**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * own @ other.T
    nearest = np.sqrt(np.maximum(squares.min(1), 0.0) / own.shape[1])
    return float((nearest < SAME_LEVELS).mean()) >= SAME_PART


def _patient_ids(root: Path, sources: Sequence[DataSource]) -> dict[str, str]:
    """Names of the DICOM folders of a set, by the hash of their patient's ID; nobody learns the ID itself."""
    found = {}
    for path in (path for source in sources if source.pattern for path in source.files(root) if path.is_dir()):
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
        reader = sitk.ImageFileReader()
        if not names:
            continue
        reader.SetFileName(names[0])
        reader.ReadImageInformation()
        told = reader.GetMetaData("0010|0020").strip() if reader.HasMetaDataKey("0010|0020") else ""
        if told:
            found[hashlib.sha256(told.encode()).hexdigest()] = path.name
    return found
