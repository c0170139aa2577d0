"""Make docs/images/htc_holes.png from measured scans: `python docs/make_disc_images.py FOLDER OUT`, after
`klip evaluate configs/eval_htc.yaml --data FOLDER -o OUT`, whose traces it reads (what is missing there is
sampled again).

Data: Helsinki Tomography Challenge 2022 (Zenodo 6984868, CC BY 4.0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from KLIPCore.detection.measured_scan import Selection
from KLIPCore.lab.evaluation.measured import ScanRun, reference_methods
from KLIPCore.lab.evaluation.measured_config import MeasuredConfig
from KLIPCore.priors.checkpoint import load_prior

SHOWN = (
    ("01b", Selection(60)),
    ("03b", Selection(24)),
    ("02a", Selection(None, 90.0)),
    ("03c", Selection(None, 90.0)),
    ("solid_disc", Selection(None, 90.0)),
)
HERE = Path(__file__).resolve().parent


def main(data: Path, out: Path) -> None:
    """One row a scan: sinogram, posterior mean, KL map with the holes' true outlines, missing material."""
    config = MeasuredConfig.load(HERE.parent / "configs" / "eval_htc.yaml")
    prior = load_prior(config.run.prior)
    figure = Figure(figsize=(9.6, 2.45 * len(SHOWN)), layout="constrained")
    axes = figure.subplots(len(SHOWN), 4)
    for row, (name, selection) in zip(axes, SHOWN, strict=True):
        run = ScanRun(config, data, out, prior, torch.device("cpu"), name, selection)
        trace = run.trace()
        nats = run.nats(trace, "darker")
        lacking = reference_methods(run.scan, prior, trace)["missing (fitted disc)"]
        row[0].imshow(run.scan.measurement.y.numpy(), aspect="auto", cmap="gray", interpolation="nearest")
        row[0].set_ylabel(f"{name}, {selection.name}", fontsize=9)
        row[1].imshow(trace.reconstruction, cmap="gray", vmin=0, vmax=0.9)
        row[2].imshow(nats, cmap="inferno", vmin=0, vmax=max(20.0, float(np.quantile(nats, 0.99))))
        row[3].imshow(lacking, cmap="viridis", vmin=0, vmax=run.scan.attenuation)
        if run.truth.hole.any():
            row[2].contour(run.truth.hole, levels=[0.5], colors="cyan", linewidths=0.8)
            fine = np.kron(run.truth.hole, np.ones((config.run.record.cell, config.run.record.cell)))
            row[3].contour(fine, levels=[0.5], colors="white", linewidths=0.8)
        for place in row:
            place.set_xticks([])
            place.set_yticks([])
    titles = (
        "measured sinogram",
        "posterior mean",
        "KL map (darker), truth in cyan",
        "missing material, truth in white",
    )
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=9)
    path = HERE / "images" / "htc_holes.png"
    figure.savefig(path, dpi=100)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(192)
    small.save(path, optimize=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
