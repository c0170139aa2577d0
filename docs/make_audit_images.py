"""The pictures of docs/audit.md: `python docs/make_audit_images.py`.

The plan of a synthetic patient (seed 2) with a lesion of -60 HU in its liver is scanned along 60 views, simulated, and
reconstructed by total variation with a tenth of the usual weight; a second lesion of the same contrast is then painted
into the reconstruction only. Writes docs/images/audit_maps.png and docs/images/audit_regions.png.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from KLIPCore.audit.against import Subject
from KLIPCore.audit.audit import AuditSettings, audit_subject
from KLIPCore.audit.pictures import maps_figure, regions_figure
from KLIPCore.lab.audit_cases import CONTRAST_HU, SIZE, Scanner, Slice, disc, finer
from KLIPCore.lab.phantoms.abdomen import WIDTH_MM, Abdomen
from KLIPCore.physics.solve import least_squares
from KLIPCore.physics.tv import gradient, tv_reconstruction
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.units import MU_WATER_PER_MM, hu_to_mu

HERE = Path(__file__).resolve().parent
SEED = 2


def plan() -> Slice:
    """One slice of the plan, with its liver."""
    pixel = WIDTH_MM / (0.875 * SIZE)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, pixel], [0, pixel, 0], [5.0, 0, 0]])
    affine[:3, 3] = -pixel * (SIZE - 1) / 2, -pixel * (SIZE - 1) / 2, 0.0
    grid = Grid((1, SIZE, SIZE), affine)
    patient = Abdomen.random(SEED)
    mu = torch.from_numpy(hu_to_mu(patient.hu(grid)[0]))
    return Slice("plan", f"seed {SEED}", mu, pixel, patient.mask("liver", grid)[0])


def save(figure: Figure, name: str) -> None:
    """A small PNG."""
    figure.savefig(HERE / "images" / name, dpi=70, facecolor=figure.get_facecolor())


@dataclass(frozen=True, eq=False)
class Case:
    """A reconstruction with a measured and a painted lesion.

    Attributes
    ----------
    subject, scanner : image and data.
    masks : the measured one, then the painted one.
    """

    subject: Subject
    scanner: Scanner
    masks: list[NDArray[np.bool_]]


def case() -> Case:
    """Scan, reconstruct, paint."""
    own = plan()
    rows, columns = np.nonzero(own.room)
    middle = float(np.median(rows)), float(np.median(columns))
    real, painted = (middle[0] - 9, middle[1], 3.5), (middle[0] + 9, middle[1] + 2, 3.5)
    contrast = 1.2 * CONTRAST_HU / 1000 * MU_WATER_PER_MM
    scanner = Scanner.of(own.grid, 60)
    measured = scanner.scan(finer(own.mu) + contrast * disc(real, 2 * SIZE), SEED)
    quick = least_squares(measured, 15)
    weight = 0.2 / float(gradient(quick).square().sum(0).sqrt().mean())
    image = tv_reconstruction(measured, weight, 150, x0=quick.clamp_min(0.0)) + contrast * disc(painted, SIZE)
    subject = Subject(image, own.pixel_mm, measured, False, (), {"slice": 0})
    return Case(subject, scanner, [(disc(replace_radius(spot), SIZE) > 0.5).numpy() for spot in (real, painted)])


def main() -> None:
    """Audit and draw."""
    own = case()
    found = audit_subject(own.subject, own.masks, replace(AuditSettings(), seed=SEED))
    print(found.summary())
    for warning in found.warnings():
        print(warning)
    for region in found.regions:
        print(region.name, region.removal.sentence())
    save(maps_figure(found), "audit_maps.png")
    save(regions_figure(found), "audit_regions.png")


def replace_radius(spot: tuple[float, float, float]) -> tuple[float, float, float]:
    """The outline that a reader would draw: half a pixel around."""
    return spot[0], spot[1], spot[2] + 0.5


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
