"""What the user chose, kept in the scene, and what `klip` makes of it.

:class:`KLIPSlicerParameterNode` holds every choice of the panel, so that a saved scene brings them back. The
functions below translate it, and are the only ones that do: into the configuration that the library checks, into the
command line of `klip detect`, and into the settings that a slider changes afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from KLIPCore.config import PRESETS, Config, RegionConfig
from KLIPCore.scores import DEFAULT_SCORE, SCORES

from .platforms import DEVICES

if TYPE_CHECKING:
    from KLIPCore.volume.selection import Box

AS_PRESET = 0
"""Number of samples or steps that means: what the preset says."""

ALL = -1
"""First or last slice that means: from the lowest, to the highest."""

DOSES = {"standard noise": None, "1e6 photons": 1e6, "1e5 photons": 1e5, "1e4 photons": 1e4}
"""Simulated doses by the names in the panel: photons a ray, or Gaussian noise where None."""

WINDOWS = {
    "recommended": None,
    "fine": (0.08, 0.16),
    "coarse": (0.16, 0.32),
    "large": (0.32, 1.6),
    "wide": (0.02, 0.4),
}
"""σ windows by the names in the panel; None is the score's own.

Only “hypodense” and “hyperdense” answer large, only “klip” wide."""


@parameterNodeWrapper
class KLIPSlicerParameterNode:
    """Every choice of the panel.

    inputVolume, roi - what to examine.
    firstSlice, lastSlice - slices counted from the feet, both included; ALL for no limit.
    prior - name of a shipped prior, or path of a weights file.
    blockSize, blockDepth - edges of a block in mm, in plane and across slices (0: one slice).
    windowName, windowLow, windowHigh - the interval of noise levels; the numbers count when the name is "custom".
    fdr - part of the flagged regions that may be chance; follows the score unless it was moved by hand.
    opacity - of the overlay. Its threshold lives in the map's display node.
    preset, views, geometry, dose, samples, steps, seed, device, score - the simulated scan and its examination.
    weightsFolder - folder with weights of the user's own.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    roi: vtkMRMLMarkupsROINode
    firstSlice: int = ALL
    lastSlice: int = ALL
    prior: str = "abdomen-ct-256"
    blockSize: Annotated[float, WithinRange(4.0, 40.0)] = 12.0
    blockDepth: Annotated[float, WithinRange(0.0, 40.0)] = 0.0
    windowName: str = "recommended"
    windowLow: float = 0.08
    windowHigh: float = 0.32
    fdr: Annotated[float, WithinRange(0.01, 0.9)] = SCORES[DEFAULT_SCORE].fdr
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    preset: Annotated[str, Choice(list(PRESETS))] = "default"
    views: Annotated[int, WithinRange(1, 4000)] = 60
    geometry: Annotated[str, Choice(["parallel", "fan"])] = "parallel"
    dose: Annotated[str, Choice(list(DOSES))] = "standard noise"
    samples: Annotated[int, WithinRange(0, 64)] = AS_PRESET
    steps: Annotated[int, WithinRange(0, 2000)] = AS_PRESET
    seed: Annotated[int, WithinRange(0, 2147483647)] = 0
    device: Annotated[str, Choice(list(DEVICES))] = "auto"
    score: Annotated[str, Choice(list(SCORES))] = DEFAULT_SCORE
    weightsFolder: str = ""


def windowOf(parameters: KLIPSlicerParameterNode) -> tuple[float, float] | None:
    """The interval of noise levels; None is the score's own."""
    if parameters.windowName in WINDOWS:
        return WINDOWS[parameters.windowName]
    return (parameters.windowLow, parameters.windowHigh)


def regionConfigOf(parameters: KLIPSlicerParameterNode) -> RegionConfig:
    """What the live controls say.

    Raises
    ------
    ConfigError : an impossible combination.
    """
    return RegionConfig(
        score=parameters.score,
        window=windowOf(parameters),
        block_mm=round(float(parameters.blockSize), 3),
        depth_mm=round(float(parameters.blockDepth), 3),
        fdr=round(float(parameters.fdr), 4),
    )


def configOf(parameters: KLIPSlicerParameterNode) -> Config:
    """The whole configuration, as `klip detect` will make it from :func:`argumentsOf`.

    Raises
    ------
    ConfigError : an impossible value or combination; its sentences are for the user.
    """
    base = Config.from_preset(parameters.preset)
    measurement = {"geometry": parameters.geometry, "n_views": parameters.views, "photons": DOSES[parameters.dose]}
    sampling = {"seed": parameters.seed}
    if parameters.samples != AS_PRESET:
        sampling["n_samples"] = parameters.samples
    if parameters.steps != AS_PRESET:
        sampling["n_steps"] = parameters.steps
    layers = list(base.record.layers)
    regions = regionConfigOf(parameters)
    if regions.chosen.layer not in layers:
        layers.append(regions.chosen.layer)
    changes = {
        "prior": parameters.prior,
        "device": parameters.device,
        "measurement": measurement,
        "sampling": sampling,
        "record": {"layers": layers},
    }
    return replace(base.updated(changes), regions=regions)


def argumentsOf(config: Config) -> list[str]:
    """Options of `klip detect` that make this configuration out of its preset."""
    m, s, r = config.measurement, config.sampling, config.regions
    options = ["--preset", config.preset, "--prior", config.prior, "--device", config.device]
    options += ["--geometry", m.geometry, "--views", str(m.n_views)]
    options += ["--dose", repr(m.photons)] if m.photons is not None else []
    options += ["--samples", str(s.n_samples), "--steps", str(s.n_steps), "--seed", str(s.seed)]
    options += [
        "--score",
        r.score,
        "--block-size",
        repr(r.block_mm),
        "--block-depth",
        repr(r.depth_mm),
        "--fdr",
        repr(r.fdr),
    ]
    options += [f"--window={r.window[0]!r}:{r.window[1]!r}"] if r.window is not None else []
    return options


def selectionArguments(parameters: KLIPSlicerParameterNode, box: Box | None) -> list[str]:
    """Options of `klip detect` that choose slices and a box (LPS mm)."""
    options = []
    if parameters.firstSlice != ALL or parameters.lastSlice != ALL:
        first = "" if parameters.firstSlice == ALL else str(parameters.firstSlice)
        last = "" if parameters.lastSlice == ALL else str(parameters.lastSlice + 1)
        options.append(f"--slices={first}:{last}")
    if box is not None:
        options.append("--roi=" + ",".join(f"{low:.3f}:{high:.3f}" for low, high in box))
    return options
