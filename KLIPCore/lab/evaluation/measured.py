"""Holes in discs that a scanner measured: `klip evaluate configs/eval_htc.yaml --data FOLDER -o OUT`.

The scans are real fan-beam sinograms of acrylic discs (Helsinki Tomography Challenge 2022) with truth masks.
Each is thinned to some views or cut to an arc (:class:`KLIPCore.detection.measured_scan.Selection`), goes
through the sampler with a prior that has seen solid discs only, and every method scores the same places: base
cells inside the disc's outline, positive where more than half of a cell is hole. The outline is known to all methods.

Scores read the trace. Beside them stand what needs no prior (how dark FBP, CG or TV are there), what needs the
posterior mean alone, and the
*missing material* (:func:`missing`): data are explained by a solid disc less something flat and never
negative. Regions are tested against a simulated solid disc in the same place; the scan of the one real solid
disc says how often that is wrong.

Scans are in groups. Settings were chosen on the group ``develop``; ``report`` was looked at afterwards.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore import __version__
from KLIPCore.config import RegionConfig
from KLIPCore.detection.devices import configure_process
from KLIPCore.detection.measured_scan import MeasuredScan, Selection, material_of, trace_scan
from KLIPCore.detection.precision import load_fastest
from KLIPCore.detection.reconstruct import dice
from KLIPCore.detection.run_precision import precision_mark
from KLIPCore.errors import ConfigError, EmptyInputError, TraceError
from KLIPCore.io.sinogram import read_htc2022
from KLIPCore.kl.bands import cell_sums
from KLIPCore.lab.bench.machine import machine
from KLIPCore.lab.evaluation.auroc import auroc, bootstrap_mean
from KLIPCore.lab.evaluation.measured_config import MeasuredConfig
from KLIPCore.lab.evaluation.measured_table import Picture, measured_markdown, plot_scans
from KLIPCore.lab.evaluation.precision import average_precision
from KLIPCore.lab.evaluation.table import write_files
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.kl_map import KLMap
from KLIPCore.maps.map_maker import make_map
from KLIPCore.maps.trace import KLTrace, SliceTrace
from KLIPCore.physics.disc import Disc, DiscRanges
from KLIPCore.physics.fbp import fbp
from KLIPCore.physics.hardening import Hardening
from KLIPCore.physics.measurement import Measurement
from KLIPCore.physics.projector import Projector
from KLIPCore.physics.solve import least_squares
from KLIPCore.physics.tv import gradient, tv_reconstruction
from KLIPCore.priors.prior import Prior
from KLIPCore.scores import SCORES

Image = NDArray[np.float32]

CG_ITERATIONS, TV_ITERATIONS = 12, 150
"""Of the classical reconstructions, as in :mod:`KLIPCore.detection.reconstruct`."""

RESTORE_SIGMA = 1.0
"""Noise level at which the prior is asked what the reconstruction should be: high enough to forget holes of
any size.
"""

TOLERANCE = 1.0 - DiscRanges().gain[0]
"""Part of the material that a region must lack: less, and it lies within what solid discs differ in
attenuation, to the prior's own knowledge.
"""


@dataclass(frozen=True, eq=False)
class ScanTruth:
    """What is known of a measured disc, over base cells.

    Attributes
    ----------
    inside : (h, w) bool: more than half of the cell lies in the disc's outline.
    hole : (h, w) bool: more than half of it is hole.
    """

    inside: NDArray[np.bool_]
    hole: NDArray[np.bool_]

    @classmethod
    def of(cls, truth: NDArray[np.bool_], scan: MeasuredScan, cell: int) -> ScanTruth:
        """Return the truth from a mask of material over the same square.

        Its grid is a whole number of times finer than the prior's.
        """
        n = scan.image.shape[0] // cell
        side = truth.shape[0] // n
        if truth.shape != (n * side, n * side):
            raise ConfigError(
                f"A truth mask of {truth.shape} does not fit {n} × {n} cells.",
                "Take a prior whose size divides the mask's.",
            )
        material = truth.reshape(n, side, n, side).mean((1, 3))
        inside = scan.mask.reshape(n, cell, n, cell).mean((1, 3)) > 0.5
        return cls(inside, inside & (material < 0.5))


def missing(measurement: Measurement, solid: Image) -> Image:
    """Return the (H, W) material that a solid disc has too much to explain the data.

    Argmin ½ Σ w (A solid − y − A d)² + λ TV(d), d ≥ 0.

    λ is that of a Laplace prior with the mean gradient of the quick least-squares answer
    (:func:`KLIPCore.detection.reconstruct.reconstruct`).
    """
    excess = measurement.A(torch.from_numpy(solid).to(measurement.y)) - measurement.y
    deviation = Measurement(
        excess,
        measurement.A,
        noise=measurement.noise,
        simulated=measurement.simulated,
        description="solid disc less measured one",
    )
    return _tv(deviation).astype(np.float32)


def _tv(measurement: Measurement) -> NDArray[np.float32]:
    quick = least_squares(measurement, CG_ITERATIONS)
    weight = 2.0 / max(float(gradient(quick).square().sum(0).sqrt().mean()), 1e-12)
    return np.asarray(tv_reconstruction(measurement, weight, TV_ITERATIONS, x0=quick.clamp_min(0.0)).cpu().numpy())


def _fitted_disc(scan: MeasuredScan) -> Image:
    """(H, W) windowed intensity of the uniform disc in the scan's outline whose longest free paths it explains."""
    o, m = scan.outline, scan.measurement
    assert isinstance(m.A, Projector)
    value = scan.attenuation
    return (scan.unit * Disc(o.radius_mm, o.x_mm, o.y_mm, Hardening(value / scan.unit)).image(scan.image)).astype(
        np.float32
    )


def reference_methods(scan: MeasuredScan, prior: Prior, trace: SliceTrace) -> dict[str, Image]:
    """Return the (H, W) scores that are not read from the trace, all the larger the more something is missing."""
    m = scan.measurement
    assert isinstance(m.A, Projector)
    cg = least_squares(m, CG_ITERATIONS)
    with torch.no_grad():
        sigma = torch.full((1,), RESTORE_SIGMA, device=cg.device)
        restored = (
            prior.denoise(torch.from_numpy(trace.reconstruction)[None, None].to(cg.device), sigma)[0, 0].cpu().numpy()
        )
    return {
        "missing (prior)": missing(m, restored),
        "missing (fitted disc)": missing(m, _fitted_disc(scan)),
        "dark in posterior mean": -trace.reconstruction,
        "dark in FBP": -fbp(m.y.cpu(), m.A.geometry, m.A.image, "hann").numpy(),
        "dark in CG": -cg.cpu().numpy(),
        "dark in TV": -_tv(m),
        "CG less posterior mean, squared": np.square(cg.cpu().numpy() - trace.reconstruction),
    }


class ScanRun:
    """One disc under one selection."""

    def __init__(
        self,
        config: MeasuredConfig,
        data: Path,
        out: Path,
        prior: Prior,
        device: torch.device,
        name: str,
        selection: Selection,
    ) -> None:
        self.config, self.prior = config, prior
        path = data / config.folder / f"htc2022_{name}.npz"
        sinogram, geometry, truth = read_htc2022(path)
        if truth is None:
            raise EmptyInputError(
                f"{path.name} holds no truth mask.", "Use the challenge's discs with their segmentation."
            )
        start = selection.start_deg
        if selection.arc_deg < 360 and not start:
            start = own_arc_start(path)
        chosen = Selection(selection.n_views, selection.arc_deg, start)
        views = chosen.of(geometry)
        self.scan = MeasuredScan.prepare(
            sinogram[views], geometry.views(views), prior.card, material_of(prior.card), device=device
        )
        self.truth = ScanTruth.of(truth, self.scan, config.run.record.cell)
        digest = hashlib.blake2b(np.ascontiguousarray(sinogram[views]).data, digest_size=8).hexdigest()
        self.fingerprint = config.run.fingerprint("measured", prior.card.sha256, digest, *precision_mark(prior))
        self.file = out / "scans" / name / f"{chosen.name.replace(' ', '-').replace('°', '').replace(',', '')}.npz"

    def trace(self) -> SliceTrace:
        """Return the trace, sampled or read back."""
        try:
            return SliceTrace.load(self.file, self.fingerprint)
        except (TraceError, OSError):  # absent, damaged or of other settings: sampled again
            self.file.parent.mkdir(parents=True, exist_ok=True)
            made = trace_scan(self.scan, self.prior, self.config.run)
            made.save(self.file, self.fingerprint)
            return made

    def settings(self, score: str) -> RegionConfig:
        """Return how regions of a score are made: tested against the simulated solid disc."""
        r = self.config.run.regions
        return RegionConfig(score=score, block_mm=self.config.block_mm, null="twin", forming_p=r.forming_p, fdr=r.fdr)

    def map(self, trace: SliceTrace, score: str) -> KLMap:
        """Return the map: blocks, p-values, clusters."""
        return make_map(
            KLTrace((trace,)), self.scan.framed(trace.reconstruction, self.prior.card), self.settings(score)
        )

    def nats(self, trace: SliceTrace, score: str) -> NDArray[np.float32]:
        """Return the (h, w) nats of the block centred at each cell."""
        s = SCORES[score]
        return block_nats(KLTrace((trace,)).nats(s.layer, s.part, s.window, s.bands), self._block_cells)[0]

    def deficit(self, trace: SliceTrace) -> NDArray[np.float32]:
        """Return the (h, w) part of the material that the posterior mean lacks at each cell."""
        cell = self.config.run.record.cell
        held = cell_sums(torch.from_numpy(trace.reconstruction), cell).numpy() / (cell**2 * self.scan.attenuation)
        return np.asarray(1.0 - held, np.float32)

    @property
    def _block_cells(self) -> float:
        return self.config.block_mm / (self.config.run.record.cell * self.scan.image.pixel_mm)

    def block(self, image: Image) -> NDArray[np.float32]:
        """Return an image's mean over the block centred at each cell."""
        cell = self.config.run.record.cell
        sums = cell_sums(torch.from_numpy(np.ascontiguousarray(image, np.float32)), cell).numpy()
        return block_nats(sums[None], self._block_cells)[0]


def own_arc_start(path: Path) -> float:
    """Return degrees from a disc's first view to where the challenge's limited arc of it begins.

    0 for discs without one.
    """
    _, whole, _ = read_htc2022(path)
    try:
        _, part, _ = read_htc2022(path, limited=True)
    except ConfigError:
        return 0.0
    return abs(math.degrees(part.angles_rad[0] - whole.angles_rad[0]))


def evaluate_measured(
    config: MeasuredConfig,
    data: Path,
    out: Path,
    progress: Callable[[str, float, str], None] | None = None,
    prior_name: str | None = None,
) -> dict[str, Any]:
    """Run all discs and write ``table.json``, ``table.md`` and ``scans.png`` into ``out``.

    Finished scans are read back.

    Raises
    ------
    EmptyInputError : a disc's file is missing.
    ConfigError, PriorError : the settings do not fit the data or the prior.
    """
    tell = progress or (lambda stage, fraction, detail: None)
    configure_process()
    prior = load_fastest(prior_name or config.run.prior, config.run.device, config.run.precision)
    device = prior.device
    todo = [(group, name, s) for s in config.selections for group, names in config.scans.items() for name in names]
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    pictures: list[Picture] = []
    for n, (group, name, selection) in enumerate(todo):
        tell("evaluate", n / len(todo), f"{name}, {selection.name}")
        run = ScanRun(config, data, out, prior, device, name, selection)
        trace = run.trace()
        labels = {"group": group, "scan": name, "selection": selection.name}
        rows += _rows(run, trace, labels)
        first = config.scores[0]
        pictures.append((name, selection.name, trace.reconstruction, run.nats(trace, first), run.truth.hole))
    table = {
        "title": config.title,
        "name": config.name,
        "kind": "measured",
        "software": f"KLIPCore {__version__}",
        "prior": prior.card.name,
        "prior_sha256": prior.card.sha256,
        "run": config.run.to_dict() | {"prior": prior.card.name},
        "block_mm": config.block_mm,
        "groups": {group: list(names) for group, names in config.scans.items()},
        "selections": [s.name for s in config.selections],
        "machine": machine(prior.card, device),
        "wall_seconds": round(time.monotonic() - started, 1),
        "summary": _summary(rows),
        "rows": rows,
    }
    write_files(table, measured_markdown(table), out)
    plot_scans(pictures, out / "scans.png")
    tell("done", 1.0, f"{len(todo)} scans")
    return table


def _rows(run: ScanRun, trace: SliceTrace, labels: dict[str, str]) -> list[dict[str, Any]]:
    """One row a method of one scan, the last with what is known of the sampling."""
    inside, hole = run.truth.inside, run.truth.hole
    common = {**labels, "holes_share": round(float(hole.sum() / inside.sum()), 4)}
    rows: list[dict[str, Any]] = []
    for score in run.config.scores:
        row = {**common, "method": score, **_figures(run.nats(trace, score), inside, hole)}
        if score in run.config.region_scores:
            row |= _regions(run.map(trace, score), hole, run.settings(score).rate, run.deficit(trace))
        rows.append(row)
    for method, image in reference_methods(run.scan, run.prior, trace).items():
        rows.append({**common, "method": method, **_figures(run.block(image), inside, hole)})
    rows[-1]["info"] = trace.info
    return rows


def _figures(
    values: NDArray[np.floating], inside: NDArray[np.bool_], hole: NDArray[np.bool_]
) -> dict[str, float | None]:
    """AUROC and average precision over the cells of the disc; None without holes."""
    if not hole.any():
        return {"auroc": None, "ap": None}
    return {
        "auroc": round(auroc(values[inside], hole[inside]), 4),
        "ap": round(average_precision(values[inside], hole[inside]), 4),
    }


def _regions(made: KLMap, hole: NDArray[np.bool_], fdr: float, deficit: NDArray[np.floating]) -> dict[str, Any]:
    """Reported regions: how many, how much of the disc, how they lie on the holes, and how often p < 0.05
    where there is none.

    ``unusual`` counts what differs from the simulated solid disc beyond chance; of these ``regions`` lack more
    material than solid discs differ among themselves (:data:`TOLERANCE`).
    """
    labels, q = made.clusters.labels[0], made.clusters.q
    unusual = [k for k in range(1, len(q) + 1) if q[k - 1] <= fdr]
    kept = [k for k in unusual if deficit[labels == k].mean() > TOLERANCE]
    reported = np.isin(labels, kept)
    solid = made.tested[0] & ~hole
    return {
        "rate": fdr,
        "unusual": len(unusual),
        "regions": len(kept),
        "reported_share": round(float(reported[made.tested[0]].mean()), 4),
        "dice": round(dice(reported, hole), 4) if hole.any() else None,
        "fires_at_5_percent": round(float((made.p[0][solid] < 0.05).mean()), 4),
    }


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the discs of a group, with bootstrap intervals over discs where there are enough."""
    out = []
    keys = dict.fromkeys((r["selection"], r["group"], r["method"]) for r in rows)
    for selection, group, method in keys:
        own = [r for r in rows if (r["selection"], r["group"], r["method"]) == (selection, group, method)]
        entry: dict[str, Any] = {"selection": selection, "group": group, "method": method, "n": len(own)}
        for name in ("auroc", "ap", "dice", "unusual", "regions", "fires_at_5_percent"):
            values = [float(r[name]) for r in own if r.get(name) is not None]
            entry[name] = bootstrap_mean(values).rounded() if values else None
        worst = [r["auroc"] for r in own if r["auroc"] is not None]
        entry["worst_auroc"] = min(worst) if worst else None
        out.append(entry)
    return out
