"""What the user chose, kept in the scene, and what `klip` makes of it.

:class:`KLIPSlicerParameterNode` holds every choice of the panel, so that a saved scene brings them back. The
functions below translate it, and are the only ones that do: into the configuration that the library checks, into the
command line of `klip detect`, and into the settings that a slider changes afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

from KLIPCore.config import PRESETS, SECTIONS, Config, RegionConfig
from KLIPCore.declare import Setting, settings_of
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


RUN, MEASUREMENT, SAMPLING, REGIONS = (
    settings_of(section) for section in (Config, SECTIONS["measurement"], SECTIONS["sampling"], SECTIONS["regions"])
)
"""The library's declarations by name: defaults and ranges of the controls are theirs."""


def rangeOf(known: Setting) -> tuple[float, float]:
    """What a control offers: the declared range, or the part of it that is declared for the panel."""
    return known.slider or (known.ge, known.le)


@parameterNodeWrapper
class KLIPSlicerParameterNode:
    """Every choice of the panel.

    inputVolume, roi - what to examine.
    organs, segment - a segmentation whose organs regions are named by, and which of its segments are looked within
        (KLIPSlicerLib.organs).
    firstSlice, lastSlice - slices counted from the feet, both included; ALL for no limit.
    prior - name of a shipped prior, or path of a weights file.
    blockSize, blockDepth - edges of a block in mm, in plane and across slices (0: one slice).
    windowName, windowLow, windowHigh - the interval of noise levels; the numbers count when the name is "custom".
    falseRegions, sign, tissue - of the score unexpected: false regions that are acceptable in a healthy study, and
        what is sought where.
    fdr - of the others: part of the flagged regions that may be chance; follows the score unless it was moved by hand.
    opacity - of the overlay. Its threshold lives in the map's display node.
    preset, views, geometry, dose, samples, steps, seed, device, score - the simulated scan and its examination.
    weightsFolder - folder with weights of the user's own.
    outputMap, outputReconstruction, outputRegions, outputTable - nodes that results go into; None for new ones
        (KLIPSlicerLib.outputs).
    auditVolume, auditSlice - the reconstruction that is audited, and its slice counted from the feet.
    auditBy, auditSinogram, auditReference - what it is compared with: the file or the volume.
    auditSegments - whose visible segments are audited; None: structures are looked for.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    roi: vtkMRMLMarkupsROINode
    organs: vtkMRMLSegmentationNode
    segment: str = ""
    firstSlice: int = ALL
    lastSlice: int = ALL
    prior: str = RUN["prior"].default
    blockSize: Annotated[float, WithinRange(*rangeOf(REGIONS["block_mm"]))] = REGIONS["block_mm"].default
    blockDepth: Annotated[float, WithinRange(*rangeOf(REGIONS["depth_mm"]))] = REGIONS["depth_mm"].default
    windowName: str = "recommended"
    windowLow: float = 0.08
    windowHigh: float = 0.32
    fdr: Annotated[float, WithinRange(*rangeOf(REGIONS["fdr"]))] = SCORES[DEFAULT_SCORE].fdr
    falseRegions: Annotated[float, WithinRange(*rangeOf(REGIONS["false_regions"]))] = REGIONS["false_regions"].default
    sign: Annotated[str, Choice(list(REGIONS["sign"].choices))] = REGIONS["sign"].default
    tissue: Annotated[str, Choice(list(REGIONS["tissue"].choices))] = REGIONS["tissue"].default
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    preset: Annotated[str, Choice(list(PRESETS))] = RUN["preset"].default
    views: Annotated[int, WithinRange(*rangeOf(MEASUREMENT["n_views"]))] = MEASUREMENT["n_views"].default
    geometry: Annotated[str, Choice(list(MEASUREMENT["geometry"].choices))] = MEASUREMENT["geometry"].default
    dose: Annotated[str, Choice(list(DOSES))] = "standard noise"
    samples: Annotated[int, WithinRange(AS_PRESET, SAMPLING["n_samples"].le)] = AS_PRESET
    steps: Annotated[int, WithinRange(AS_PRESET, SAMPLING["n_steps"].le)] = AS_PRESET
    seed: Annotated[int, WithinRange(SAMPLING["seed"].ge, 2147483647)] = SAMPLING["seed"].default
    device: Annotated[str, Choice(list(DEVICES))] = RUN["device"].default
    score: Annotated[str, Choice(list(SCORES))] = DEFAULT_SCORE
    weightsFolder: str = ""
    outputMap: vtkMRMLScalarVolumeNode
    outputReconstruction: vtkMRMLScalarVolumeNode
    outputRegions: vtkMRMLSegmentationNode
    outputTable: vtkMRMLTableNode
    auditVolume: vtkMRMLScalarVolumeNode
    auditSlice: int = ALL
    auditBy: Annotated[str, Choice(["sinogram", "volume"])] = "sinogram"
    auditSinogram: str = ""
    auditReference: vtkMRMLScalarVolumeNode
    auditSegments: vtkMRMLSegmentationNode


def windowOf(parameters: KLIPSlicerParameterNode) -> tuple[float, float] | None:
    """The interval of noise levels; None is the score's own."""
    if parameters.windowName in WINDOWS:
        return WINDOWS[parameters.windowName]
    return (parameters.windowLow, parameters.windowHigh)


def judgedByHealth(parameters: KLIPSlicerParameterNode) -> bool:
    """Whether the score states its strength as what healthy studies show, instead of a false-discovery rate."""
    return SCORES[parameters.score].layer == "pushes"


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
        fdr=None if judgedByHealth(parameters) else round(float(parameters.fdr), 4),
        false_regions=round(float(parameters.falseRegions), 2),
        sign=parameters.sign,
        tissue=parameters.tissue,
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
    changes = {
        "prior": parameters.prior,
        "device": parameters.device,
        "measurement": measurement,
        "sampling": sampling,
    }
    return replace(base.updated(changes), regions=regionConfigOf(parameters)).with_layer()


def argumentsOf(config: Config) -> list[str]:
    """Options of `klip detect` that make this configuration out of its preset."""
    options = ["--preset", config.preset]
    for part in (config, config.measurement, config.sampling, config.regions):
        for name, known in settings_of(type(part)).items():
            value = getattr(part, name)
            if known.option and isinstance(value, tuple):
                options.append(f"{known.option}={value[0]!r}:{value[1]!r}")
            elif known.option and value is not None:
                options += [known.option, value if isinstance(value, str) else repr(value)]
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
