"""The picture of docs/guard.md: `python docs/make_guard_images.py`.

The plan of a synthetic patient (seed 0) with noise of 10 HU, as it is and made wrong in eleven ways at the middle
severity of the evidence's table; above each is what `klip guard` says. Writes docs/images/guard_verdicts.png.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from KLIPCore.export.images import FOREGROUND, new_figure
from KLIPCore.export.overlay import bare
from KLIPCore.lab.evaluation.spoiled import KINDS
from KLIPCore.lab.phantoms.abdomen import WIDTH_MM, Abdomen
from KLIPCore.runs.guard import DOES_NOT_FIT, FITS, LOOK_FIRST, Verdict, klip_guard
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

IMAGES = Path(__file__).resolve().parent / "images"
SLICES, SIZE, SPACING_MM, NOISE_HU = 40, 256, 5.0, 10.0
COLOURS = {FITS: "#4fd17c", LOOK_FIRST: "#ffd23f", DOES_NOT_FIT: "#ff5a4f"}
LEFT_OUT = ("stored values", "few slices", "head and feet exchanged")
"""What leaves the picture as it is; head and feet cannot be told of a plan that has no lungs."""

ALONG = ("gap in the slices", "motion")
"""What shows from the front only, feet below."""


def patient(seed: int = 0) -> Volume:
    """(40, 256, 256) HU: the plan, with noise in the body."""
    pixel = WIDTH_MM / (0.875 * SIZE)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, pixel], [0, pixel, 0], [SPACING_MM, 0, 0]])
    affine[:3, 3] = -pixel * (SIZE - 1) / 2, -pixel * (SIZE - 1) / 2, -SPACING_MM * (SLICES - 1) / 2
    grid = Grid((SLICES, SIZE, SIZE), affine)
    hu = Abdomen.random(seed).hu(grid)
    noise = np.random.default_rng(seed).normal(0, NOISE_HU, hu.shape)
    return Volume((hu + noise * (hu > -900)).astype(np.float32), grid)


def cases(study: Volume) -> list[tuple[str, Volume]]:
    """Title and volume of each tile."""
    out = [("as it is", study)]
    for kind in KINDS:
        if kind.name not in LEFT_OUT:
            by = kind.severities[1]
            title = f"{kind.name} ({by:g} {kind.unit})" if kind.unit else kind.name
            out.append((title, kind.make(study, by)))
    return out


def view(title: str, volume: Volume) -> tuple[np.ndarray, float]:
    """A slice, or a frontal plane, and the height of its pixels over their width."""
    dz, dy, dx = volume.grid.spacing
    if title.split(" (")[0] in ALONG:
        return volume.array[::-1, round(0.45 * volume.array.shape[1])], dz / dx
    plane = volume.array[len(volume.array) // 2]
    return plane[40:-40] if len(plane) == SIZE else plane, dy / dx


def figure(study: Volume) -> tuple[Figure, dict[str, Verdict]]:
    """The tiles, and the verdict of each."""
    made = cases(study)
    out, verdicts = new_figure(13.5, 9.0), {}
    out.subplots_adjust(left=0.01, right=0.99, top=0.96, bottom=0.07, hspace=0.36, wspace=0.04)
    for place, (title, volume) in enumerate(made, 1):
        found = verdicts[title] = klip_guard(volume)
        axes = out.add_subplot(3, 4, place)
        plane, aspect = view(title, volume)
        lo, hi = (0, 900) if title == "like MR" else (-160, 240)
        axes.imshow(plane, cmap="gray", vmin=lo, vmax=hi, aspect=aspect)
        bare(axes)
        about = ", ".join(dict.fromkeys(reason.about for reason in found.reasons))
        axes.set_title(title, fontsize=10, color=FOREGROUND)
        axes.set_xlabel(f"{found.verdict}\n{about}", fontsize=9, color=COLOURS[found.verdict])
    return out, verdicts


def main() -> None:
    """Draw."""
    made, verdicts = figure(patient())
    made.savefig(IMAGES / "guard_verdicts.png", dpi=70, facecolor=made.get_facecolor())
    for title, found in verdicts.items():
        print(f"{title}: {found.text()}")


if __name__ == "__main__":
    main()
