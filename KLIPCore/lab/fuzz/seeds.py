"""Sound inputs of every kind, small enough to be read a thousand times a minute."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.io.projection_series import write_projections
from KLIPCore.io.sinogram import write_sinogram
from KLIPCore.maps.trace import Layer, SliceTrace
from KLIPCore.runs.folder import RunFolder
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.geometry import FanBeam, ParallelBeam
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume

SIZE, CELL = 32, 4
"""Side of the tiny prior's square, and of its cells, in pixels."""


def tiny_study(n_slices: int = 4, side: int = 40) -> Volume:
    """Return the (n_slices, side, side) HU: an ellipse of soft tissue with a spine in air, and noise; 5 × 8 × 8 mm."""
    rows, columns = np.mgrid[:side, :side]
    r = np.hypot((rows - side / 2) / (0.3 * side), (columns - side / 2) / (0.42 * side))
    image = np.where(r < 1, 60.0, -1000.0)
    image[int(0.62 * side) : int(0.7 * side), int(0.46 * side) : int(0.54 * side)] = 400.0
    noise = np.random.default_rng(0).normal(0, 8, (n_slices, side, side))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 8.0], [0, 8.0, 0], [5.0, 0, 0]])
    return Volume(
        np.rint(image + np.where(image > -900, noise, 0)).astype(np.float32), Grid((n_slices, side, side), affine)
    )


def tiny_card(name: str = "seed") -> ModelCard:
    """Return the card of a prior of random weights."""
    return ModelCard(
        name,
        "none: random weights, for tests of faults",
        Window(-160.0, 240.0),
        size=SIZE,
        position_channels=False,
        sigma_min=0.004,
    )


def write_tiny_prior(folder: Path) -> Path:
    """Write a network of a few thousand random weights that denoises a little, and its card."""
    from dataclasses import replace

    import torch

    from KLIPCore.priors.checkpoint import save_prior
    from KLIPCore.priors.networks import build_network, network_fields
    from KLIPCore.priors.unet import UNetConfig

    config = UNetConfig(channels=(16,), positions=False)
    torch.manual_seed(0)
    return save_prior(build_network(config), replace(tiny_card(), network=network_fields(config)), folder)


CONFIG = Config().updated({"regions": {"score": "hypodense"}})
"""Of the tiny run, whose trace has no pushes."""


def write_tiny_run(folder: Path) -> RunFolder:
    """Write a run folder with made-up nats; its map is made in milliseconds."""
    study, card = tiny_study(), tiny_card()
    framed = frame_study(study, card)
    run = RunFolder(folder)
    fields = {"path": "", "series": None, "hash": "", "shape": list(study.grid.shape)}
    slices = list(range(study.grid.shape[0]))
    prior = {key: value for key, value in card.to_dict().items() if key != "training"}
    own = {
        "version": __version__,
        "fingerprint": "seed",
        "study": fields,
        "config": CONFIG.to_dict(),
        "prior": prior,
    }
    run.open(own | {"slices": slices, "warnings": [], "roi": None})
    run.write_framing(framed)
    for k in slices:
        _made_trace(framed, k).save(run.slice_file(k), "seed")
    run.write_json("result.json", {"settings": CONFIG.to_dict()})
    return run


def _made_trace(framed: FramedStudy, k: int) -> SliceTrace:
    rng, n = np.random.default_rng(k), SIZE // CELL
    layers = {}
    for name, edges in (("cold", np.geomspace(0.08, 0.32, 3)), ("hypodense", np.geomspace(0.08, 1.6, 5))):
        nats = np.exp(rng.normal(-4, 0.5, (len(edges) - 1, 2, n, n))).astype(np.float32)
        layers[name] = Layer(name, edges, nats, nats * np.float32(0.8), 2)
    return SliceTrace(
        k, layers, framed.intensity(k, tiny_card()), {"seconds": 1.0, "network_evaluations": 10, "psnr_db": 30.0}
    )


def _dicom(folder: Path) -> list[Path]:
    write_dicom_series(tiny_study(3, 16), folder / "a", seed=1)
    return [folder / "a"]


def _images(*names: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        for k, name in enumerate(names):
            write_image(tiny_study(3, 16), folder / str(k) / name)
        return [folder / str(k) for k in range(len(names))]

    return make


def _sinograms(folder: Path) -> list[Path]:
    from scipy.io import savemat

    angles = np.linspace(0, np.pi, 12, endpoint=False)
    data = np.hypot(1, np.linspace(-2, 2, 24))[None].repeat(12, 0).max() - np.hypot(1, np.linspace(-2, 2, 24))[
        None
    ].repeat(12, 0)
    for name in "abc":
        (folder / name).mkdir(parents=True)
    write_sinogram(folder / "a" / "scan.npz", data, ParallelBeam(tuple(angles), 24, pitch_mm=2.0))
    write_sinogram(
        folder / "b" / "scan.npz",
        data,
        FanBeam(tuple(angles), 24, pitch_mm=2.0, source_origin_mm=300.0, source_detector_mm=600.0),
    )
    savemat(
        folder / "c" / "scan.mat",
        {"sinogram": data, "angles_deg": np.rad2deg(angles), "pitch_mm": 2.0},
        do_compression=True,
    )
    return [folder / name for name in "abc"]


def _projections(folder: Path) -> list[Path]:
    """A turn around a disc in the middle, and a helix around the same."""
    n, columns = 16, 24
    across = (np.arange(columns) - (columns - 1) / 2) * 20.0
    picture = np.repeat(np.sqrt(np.maximum(1 - (across / 150) ** 2, 0))[None], 2, 0)
    scanner: dict[str, object] = {
        "DetectorElementTransverseSpacing": 20.0,
        "DetectorElementAxialSpacing": 10.0,
        "DetectorShape": "CYLINDRICAL",
        "DetectorFocalCenterRadialDistance": 400.0,
        "ConstantRadialDistance": 700.0,
        "DetectorCentralElement": [12.5, 1.5],
        "NumberofSourceAngularSteps": n,
        "FlyingFocalSpotMode": "FFSNONE",
        "TypeofProjectionGeometry": "FANBEAM",
        "LogFlag": "YES",
        "WaterAttenuationCoefficient": "0.0192",
    }
    for name, kind, views, feed in (("a", "AXIAL", n, 0.0), ("b", "HELICAL", n + 4, 8.0)):
        places = [(2 * np.pi * k / n, feed * k / n) for k in range(views)]
        pictures = np.repeat(picture[None], views, 0)
        write_projections(folder / name, pictures, places, {**scanner, "TypeofProjectionData": kind})
    return [folder / "a", folder / "b"]


def _traces(folder: Path) -> list[Path]:
    run = write_tiny_run(folder / "run")
    (folder / "a").mkdir()
    run.slice_file(1).rename(folder / "a" / "slice.npz")
    return [folder / "a"]


def _runs(folder: Path) -> list[Path]:
    return [write_tiny_run(folder / "a").path]


def _checkpoints(folder: Path) -> list[Path]:
    write_tiny_prior(folder / "a")
    return [folder / "a"]


def _configurations(folder: Path) -> list[Path]:
    source = {"name": "s", "pattern": "*.nii.gz"}
    made = {
        "detect": Config().to_dict(),
        "train": {
            "name": "x",
            "anatomy": "a",
            "window": {"lo_hu": -160, "hi_hu": 240},
            "sources": [source],
            "validation": [source],
            "steps": 10,
        },
        "measured": {
            "title": "t",
            "folder": "f",
            "scans": {"solid": ["a"]},
            "selections": [{"n_views": 60}],
            "scores": ["darker"],
            "region_scores": ["darker"],
            "block_mm": 2.4,
            "run": {"prior": "discs-128"},
        },
        "eval": {
            "title": "t",
            "cases": [{"name": "a", "patient": "A", "image": "a.nii.gz", "label": "b.nii.gz"}],
            "scores": ["darker"],
            "preset": "quick",
        },
    }
    for name, values in made.items():
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(values))), encoding="utf-8")
    return [folder / name for name in made]


def _scenes(folder: Path) -> list[Path]:
    from KLIPCore.runs.live import LiveMap

    run = write_tiny_run(folder / "run")
    (folder / "a").mkdir()
    (folder / "a" / "live.zip").write_bytes(LiveMap.open(run.path).to_bytes())
    return [folder / "a"]


SEEDS: dict[str, Callable[[Path], list[Path]]] = {
    "dicom": _dicom,
    "nifti": _images("ct.nii.gz", "ct.nii"),
    "nrrd": _images("ct.nrrd"),
    "mha": _images("ct.mha"),
    "sinogram": _sinograms,
    "projections": _projections,
    "trace": _traces,
    "run": _runs,
    "checkpoint": _checkpoints,
    "configuration": _configurations,
    "scene": _scenes,
}
"""By the reader's name."""
