"""What is computed for one case: traces, baselines and classical reconstructions, each kept on disk so that
a stopped evaluation goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from KLIPCore.detection.detect import Sampling, sample_slices
from KLIPCore.detection.run_precision import precision_mark
from KLIPCore.detection.simulated_scan import Scanner, measure_slice, slice_generator
from KLIPCore.lab.evaluation.baselines.features import Health, shrunk
from KLIPCore.lab.evaluation.baselines.registry import baseline
from KLIPCore.lab.evaluation.baselines.view import SliceView
from KLIPCore.lab.evaluation.cases import LabelledStudy
from KLIPCore.lab.evaluation.quality import psnr, ssim
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.trace import DAMAGE, KLTrace
from KLIPCore.physics.tv import gradient
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import volume_hash

Tell = Callable[[str, float, str], None]

TV_FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Multiples of the automatic TV weight; the best against the truth is reported, which favours TV."""

QUALITY_METHODS = ("posterior mean", "fbp", "cg", "tv")


@dataclass(frozen=True, eq=False)
class BaselineMap:
    """One baseline over a case.

    Attributes
    ----------
    values : (n, h, w) score of the block centred at each base cell.
    images : score of each whole slice, of a method that gives one number an image; None for others.
    seconds, evaluations : per slice.
    """

    values: NDArray[np.floating]
    images: list[float] | None
    seconds: list[float]
    evaluations: list[int]


class CaseRun:
    """The computations of one case.

    Parameters
    ----------
    study : the case.
    prior, device : what scores it.
    folder : where traces and baselines are kept.
    health : what healthy slices look like, where a baseline needs to know.
    """

    def __init__(
        self, study: LabelledStudy, prior: Prior, device: torch.device, folder: Path, health: Health | None = None
    ) -> None:
        self.study, self.prior, self.device, self.health = study, prior, device, health
        self.config = study.config.run
        self.folder = RunFolder(folder)
        identity = (prior.card.sha256, volume_hash(study.framed.study), *precision_mark(prior))
        self.fingerprint = self.config.fingerprint(*identity)
        self._scanner: Scanner | None = None

    @property
    def scanner(self) -> Scanner:
        """Built when first needed: an evaluation that only reads traces does without."""
        if self._scanner is None:
            self._scanner = Scanner.build(self.config, self.prior, self.study.framed.frame.pixel_mm, self.device)
        return self._scanner

    def trace(self, tell: Tell) -> KLTrace:
        """Sample what is not sampled yet, and return the trace."""
        indices = self.study.indices
        run = {
            "fingerprint": self.fingerprint,
            "case": self.study.case.name,
            "slices": indices,
            "config": self.config.to_dict(),
            "prior": self.prior.card.to_dict(),
            "study": {
                "path": self.study.case.image,
                "series": None,
                "hash": "",
                "shape": list(self.study.framed.grid.shape),
            },
            "warnings": [],
        }
        self.folder.open(run, overwrite=True)
        what = Sampling(self.config, self.study.framed, tuple(indices), self.fingerprint)
        sample_slices(self.folder, what, self.prior, self.device, tell)
        return self.folder.trace(indices, self.fingerprint)

    def view(self, trace: KLTrace, n: int, scan: bool) -> SliceView:
        """Return what a baseline sees of the n-th slice; with the measurement only where it is asked for."""
        own, framed = trace.slices[n], self.study.framed
        measurement = (
            measure_slice(self.scanner, framed, own.index, slice_generator(self.config.sampling.seed, own.index))
            if scan
            else None
        )
        truth = self.study.truth(own.index, self.config.record.cell)
        window = self.scanner.prior.card.window
        none, full = ((hu - window.lo_hu) / window.width_hu for hu in self.config.record.soft_hu)
        return SliceView(
            own,
            self.scanner.denoise,
            framed.mask(own.index) > 0.5,
            truth.organ,
            truth.pixel_mm,
            self.config.sampling.seed,
            measurement,
            self.health,
            (none, full),
            self.scanner.prior.card.sigma_max,
        )

    def baseline(self, name: str, trace: KLTrace, block_mm: float) -> BaselineMap:
        """Return one baseline over all slices, in blocks of that size; finished slices are read back."""
        asked, cell = baseline(name), self.config.record.cell
        mark = self.fingerprint
        if asked.needs_health and self.health is not None:
            mark = f"{mark}-{self.health.mark}"
        cells, bodies, seconds, evaluations = [], [], [], []
        for n, own in enumerate(trace.slices):
            path = self.folder.path / "baselines" / asked.kept / f"slice_{own.index:04d}.npz"
            kept = _read(path, mark)
            if kept is None:
                started, before = time.monotonic(), self.scanner.n_evaluations
                made = asked.cells(self.view(trace, n, asked.needs_scan), cell)
                kept = (made, time.monotonic() - started, self.scanner.n_evaluations - before)
                _write(path, mark, *kept)
            cells.append(kept[0])
            seconds.append(kept[1])
            evaluations.append(kept[2])
            bodies.append(shrunk(self.study.framed.mask(own.index) > 0.5, kept[0].shape[-2:]))
        edge = block_mm / (cell * self.study.framed.frame.pixel_mm)
        maps = np.stack(cells)  # (n, P, h, w)
        sums = np.stack([block_nats(maps[:, part], edge) for part in range(maps.shape[1])], 1)
        images = None
        if asked.per_image:
            whole = (maps * np.stack(bodies)[:, None]).sum((-2, -1), keepdims=True)
            images = [float(value) for value in asked.read(whole)[:, 0, 0]]
        return BaselineMap(asked.read(sums), images, seconds, evaluations)

    def quality(self, trace: KLTrace, n_slices: int) -> list[dict[str, Any]]:
        """Return PSNR and SSIM over the body of the posterior mean and of classical reconstructions.

        Taken are the first lesion slices.
        """
        rows = []
        chosen = [n for n, own in enumerate(trace.slices) if own.index in self.study.lesion_slices][:n_slices]
        factor: float | None = None
        for n in chosen:
            view = self.view(trace, n, scan=True)
            truth = self.study.framed.intensity(trace.slices[n].index, self.prior.card)
            cg = view.classical("cg")
            automatic = 2.0 / max(float(gradient(torch.from_numpy(cg)).square().sum(0).sqrt().mean()), 1e-12)
            if factor is None:  # tuned on the case's first slice
                factor = max(TV_FACTORS, key=lambda f: psnr(view.classical("tv", f * automatic), truth, view.body))
            images = {
                "posterior mean": trace.slices[n].reconstruction,
                "fbp": view.fbp,
                "cg": cg,
                "tv": view.classical("tv", factor * automatic),
            }
            for method, image in images.items():
                clipped = np.clip(image, 0, 1)
                rows.append(
                    {
                        "case": self.study.case.name,
                        "patient": self.study.case.patient,
                        "index": trace.slices[n].index,
                        "method": method,
                        "psnr_db": round(psnr(clipped, truth, view.body), 3),
                        "ssim": round(ssim(clipped, truth, view.body), 4),
                    }
                )
        return rows


def _read(path: Path, fingerprint: str) -> tuple[NDArray[np.float32], float, int] | None:
    """A finished slice of a baseline; None when there is none of this run, or an older version kept it."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != fingerprint or stored["cells"].ndim != 3:
                return None
            return stored["cells"], float(stored["seconds"]), int(stored["evaluations"])
    except DAMAGE:
        return None


def _write(path: Path, fingerprint: str, cells: NDArray[np.float32], seconds: float, evaluations: int) -> None:
    """Keep a slice of a baseline; the file appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".npz.part")
    with part.open("wb") as stream:
        np.savez(stream, cells=cells, seconds=seconds, evaluations=evaluations, fingerprint=np.array(fingerprint))
    part.replace(path)
