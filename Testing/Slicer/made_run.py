"""Run folders whose nats are known: what `klip detect` would leave, without sampling.

The study is the small simulated abdomen of the other tests, on any grid; the trace is drawn: log-normal nats
everywhere, as healthy blocks have, and forty times as many in the base cells of a ball of known place.
Everything after the trace is the real code: body masks, frame, KL map, clusters, regions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from small_study import small_study

import KLIPCore
from KLIPCore.config import Config, RegionConfig
from KLIPCore.kl.signed import SCALES_PX
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.pushes import Pushes
from KLIPCore.maps.trace import Layer, SliceTrace
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import volume_hash
from KLIPCore.scores import SCORES
from KLIPCore.volume.framed_study import Framing, frame_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.volume import Volume

BALL_RADIUS_MM = 14.0
BALL_INDEX = (3.0, 68.0, 52.0)
"""(k, j, i) of the ball's centre in the small abdomen's array: in the liver, on its fourth slice."""

SECOND_INDEX = (1.0, 70.0, 114.0)
"""Of a second, weaker ball on the other side."""

CARD = Path(KLIPCore.__file__).with_name("priors") / "zoo" / "abdomen-ct-256.json"
SLICES, CELLS, BANDS, SCALES = 6, 64, 6, len(SCALES_PX)


@dataclass(frozen=True)
class MadeRun:
    """A run folder and what is in it.

    Attributes
    ----------
    folder : as `klip detect -o` leaves it.
    study : what was examined.
    ball_lps : centre of the strong ball, LPS mm.
    second_lps : of the weaker one.
    """

    folder: Path
    study: Volume
    ball_lps: np.ndarray
    second_lps: np.ndarray

    def keep_slices(self, n: int, into: Path) -> MadeRun:
        """The same run when only its first ``n`` slices were done, in another folder."""
        into.mkdir()
        for name in ("run.json", "body.npz"):
            (into / name).write_bytes((self.folder / name).read_bytes())
        (into / "trace").mkdir()
        for index in range(n):
            self.finish_slice(index, into)
        return MadeRun(into, self.study, self.ball_lps, self.second_lps)

    def finish_slice(self, index: int, into: Path) -> None:
        """Copy one slice's trace into another folder, as a running detection adds it."""
        name = f"trace/slice_{index:04d}.npz"
        (into / name).write_bytes((self.folder / name).read_bytes())


def tilted_affine(
    base: np.ndarray, rotation_deg: tuple[float, float, float] = (0, 0, 0), shear: float = 0.0
) -> np.ndarray:
    """A grid's affine turned about its origin, slices sheared along rows as a tilted gantry shifts them (mm a mm)."""
    x, y, z = np.radians(rotation_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    out = base.copy()
    out[:3, :3] = rz @ ry @ rx @ base[:3, :3]
    out[:3, 0] += shear * np.linalg.norm(out[:3, 0]) * out[:3, 1] / np.linalg.norm(out[:3, 1])
    return out


def made_study(
    rotation_deg: tuple[float, float, float] = (0, 0, 0), shear: float = 0.0, n_slices: int = SLICES
) -> Volume:
    """The small abdomen, laid obliquely or sheared."""
    plain = small_study(n_slices, lesion=False)
    return Volume(plain.array, Grid(plain.grid.shape, tilted_affine(plain.grid.affine, rotation_deg, shear)))


def make_run(
    folder: Path,
    study: Volume | None = None,
    *,
    study_path: str = "",
    series: str = "",
    seed: int = 0,
    balls: tuple[tuple[float, float, float], tuple[float, float, float]] = (BALL_INDEX, SECOND_INDEX),
) -> MadeRun:
    """Write a run folder for a study, with a strong and a weaker ball at these places in its array."""
    study = study or made_study()
    card = ModelCard.from_dict(json.loads(CARD.read_text(encoding="utf-8")))
    framed = frame_study(study, card)
    centers = [study.grid.to_world(index) for index in balls]
    run_folder = RunFolder(folder)
    config = replace(
        Config.from_preset("quick"), regions=RegionConfig(score="hypodense", fdr=0.05)
    )  # the default reports chance clusters, too
    run = {
        "version": KLIPCore.__version__,
        "fingerprint": "made",
        "study": {"path": study_path, "series": series, "hash": volume_hash(study), "shape": list(study.grid.shape)},
        "config": config.to_dict(),
        "prior": card.to_dict(),
        "slices": list(range(study.grid.shape[0])),
        "warnings": [],
        "roi": None,
    }
    run_folder.open(run)
    run_folder.write_framing(framed)
    rng = np.random.default_rng(seed)
    for k in run["slices"]:
        _slice_trace(rng, framed, k, card, centers).save(run_folder.slice_file(k), "made")
    return MadeRun(folder, study, *centers)


def _slice_trace(
    rng: np.random.Generator, framed: Framing, k: int, card: ModelCard, centers: list[np.ndarray]
) -> SliceTrace:
    """Nats of one slice: log-normal, larger in the balls."""
    where = _cell_lps(framed, k)
    factor = np.ones((CELLS, CELLS), np.float32)
    for center, times in zip(centers, (40.0, 25.0), strict=True):
        factor[np.linalg.norm(where - center, axis=-1) <= BALL_RADIUS_MM] = times
    layers = {}
    for name, bins in (("cold", 2), ("path", 4)):
        nats = (np.exp(rng.normal(-4.0, 0.5, (bins, BANDS, CELLS, CELLS))) * factor).astype(np.float32)
        edges = np.geomspace(0.08, 0.32, bins + 1) if name == "cold" else np.geomspace(0.02, 0.4, bins + 1)
        layers[name] = Layer(name, edges, nats, (nats * 0.8).astype(np.float32), 2)
    cold = layers["cold"]
    coarse = cold.energy[:, slice(*SCORES["surprise"].bands or ())].sum(1, keepdims=True).repeat(SCALES, axis=1)
    for name, share in (("darker", 1.0), ("brighter", 0.1)):  # the balls are dark: all of the surprise is
        layers[name] = Layer(name, cold.edges, coarse * share, (coarse * (0.8 * share)).astype(np.float32), 1)
    edges = np.concatenate([cold.edges, np.geomspace(0.32, 1.6, 3)[1:]])  # the small noise levels, and two larger ones
    soft = np.concatenate([coarse, np.exp(rng.normal(-4.0, 0.5, coarse.shape)).astype(np.float32) * factor])
    layers["hypodense"] = Layer("hypodense", edges, soft, soft * np.float32(0.8), 1)
    layers["hyperdense"] = Layer("hyperdense", edges, soft * np.float32(0.1), soft * np.float32(0.08), 1)
    intensity = (
        framed.intensity(k, card) if hasattr(framed, "intensity") else np.zeros((card.size, card.size), np.float32)
    )
    info = {"seconds": 1.0, "network_evaluations": 10, "psnr_db": 30.0}
    return SliceTrace(k, layers, intensity, info, _pushes(k, intensity, factor))


def _pushes(k: int, intensity: np.ndarray, factor: np.ndarray) -> Pushes:
    """Mean pushes of a slice: noise, and darker than expected where nats are larger."""
    sigma = np.array([0.107, 0.239, 0.48, 1.1])
    expectation = halved(intensity).astype(np.float32)
    noise = np.random.default_rng(1000 + k).normal(0.0, 0.002, (len(sigma), *expectation.shape))
    darker = np.where(factor > 1, 0.02, 0.0).repeat(2, 0).repeat(2, 1)
    return Pushes(sigma, (noise - darker).astype(np.float32), expectation)


def _cell_lps(framed: Framing, k: int) -> np.ndarray:
    """(CELLS, CELLS, 3) LPS mm of the middle of every base cell of slice k, counted from the feet."""
    frame = framed.frame
    step = frame.size / CELLS
    row, column = np.mgrid[0:CELLS, 0:CELLS]
    pixel = np.stack([row, column], -1) * step + (step - 1) / 2
    in_slice = frame.centres[k] + (pixel - (frame.size - 1) / 2) * frame.pixel
    return framed.lps_grid.to_world(np.concatenate([np.full((CELLS, CELLS, 1), float(k)), in_slice], -1))
