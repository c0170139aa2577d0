"""What is examined: a slice with a lesion whose place is known, real where real data are at hand, synthetic otherwise.

Time hardly depends on the picture. What a method finds does, so cost and AUROC are measured on the same slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.cases import Case, EvaluationConfig, LabelledStudy, SliceTruth
from KLIPCore.lab.phantoms.abdomen import Abdomen
from KLIPCore.lab.phantoms.lesions import Tumour, implant, place_tumours, tissue_mask
from KLIPCore.lab.phantoms.patient import draw_patient
from KLIPCore.priors.prior import Prior
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

BLOCK_MM = 12.0
"""Edge of the blocks over which AUROC is read, that of the default settings."""

REAL_CASES = ("lits06", "lits00", "lits07", "lits01")
"""LiTS volumes of two patients, one patient and the other in turn."""

PATIENT_OF = {"lits00": "A", "lits01": "A"}
"""The others are patient B."""

LESION = Tumour((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), contrast_hu=-45.0, edge_mm=4.0, texture_hu=6.0, irregularity=0.1)
"""The synthetic lesion but for place and size."""

RADIUS_MM = 12.0


@dataclass(frozen=True, eq=False)
class Subject:
    """One slice to examine, and what is known of it.

    Attributes
    ----------
    name : for the table.
    labelled : its study with labels.
    index : the slice, counted from the feet.
    """

    name: str
    labelled: LabelledStudy
    index: int

    @property
    def study(self) -> FramedStudy:
        """Its study in the prior's frame."""
        return self.labelled.framed

    def truth(self, cell: int) -> SliceTruth:
        """Return where the lesion and the organ are, over base cells of ``cell`` pixels."""
        return self.labelled.truth(self.index, cell)


def subjects(data: Path, prior: Prior, n: int, seed: int = 0) -> list[Subject]:
    """Return ``n`` slices with lesions.

    Of LiTS volumes below ``data`` where they are there, of a synthetic patient otherwise.

    Real slices are taken from two patients in turn, from the middle of each lesion's extent outwards: nobody
    chose them by their result.
    """
    config = EvaluationConfig("bench", (), max_slices=0, clean_slices=0, block_mm=BLOCK_MM)
    files = {name: (f"lits-dev/{name}_hu_win-160_240.nii.gz", f"lits-dev/{name}_label.nii.gz") for name in REAL_CASES}
    there = [name for name, pair in files.items() if all((data / file).is_file() for file in pair)]
    if not there:
        return [synthetic(prior, config, seed + place) for place in range(n)]
    there = there[:n]
    found: list[Subject] = []
    for place, name in enumerate(there):
        labelled = LabelledStudy.read(config, Case(name, PATIENT_OF.get(name, "B"), *files[name]), data, prior)
        wanted = n // len(there) + (place < n % len(there))
        slices = labelled.lesion_slices
        chosen = [slices[int((k + 0.5) / wanted * len(slices))] for k in range(min(wanted, len(slices)))]
        found += [Subject(f"{name}, slice {index}", labelled, index) for index in chosen]
    return found


def synthetic(prior: Prior, config: EvaluationConfig, seed: int) -> Subject:
    """Return one slice of a synthetic patient with one synthetic lesion in its liver."""
    plan = Abdomen.random(seed)
    patient = draw_patient(prior, 1, seed, plan=plan)
    liver = plan.mask("liver", patient.grid) & tissue_mask(patient)
    # one slice has no room above and below: the tumour is placed in a column of copies, and then moved to the slice
    affine = patient.grid.affine.copy()
    affine[2, 3] -= 7 * affine[2, 0]
    column = np.repeat(liver, 15, 0)
    (placed,) = place_tumours(column, Grid(column.shape, affine), [RADIUS_MM], seed, template=LESION)
    x, y, _ = placed.centre_lps_mm
    volume, labels = implant(patient, [replace(placed, centre_lps_mm=(x, y, float(patient.grid.affine[2, 3])))], seed)
    return Subject(f"synthetic, seed {seed}", _labelled(config, prior, volume, liver, labels), 0)


def _labelled(
    config: EvaluationConfig, prior: Prior, volume: Volume, liver: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> LabelledStudy:
    framed = frame_study(volume, prior.card)
    label = framed.orientation.apply(np.where(labels > 0, 2, liver.astype(np.int64)))
    return LabelledStudy(Case("synthetic", "synthetic", "", ""), framed, label, [0], [], config)
