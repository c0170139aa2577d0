"""Scans with masks, and what one slice of them says about every block.

Blocks that hold a labelled pixel are positive, all others in the region (body, or organ) are negative. Lesion slices are spread evenly
over a scan; *clean* slices are those far from any lesion: same scanner, same patient, so that a detector cannot score a domain
for a disease.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
import yaml
from numpy.typing import NDArray

from KLIPCore.config import SCORES, Config
from KLIPCore.errors import ConfigError, EmptyInputError, GeometryError
from KLIPCore.evaluation.baselines.registry import baseline
from KLIPCore.framing import FramedStudy, frame_study
from KLIPCore.io.images import read_image
from KLIPCore.priors.prior import Prior

MIN_LESION_PIXELS = 20
"""A slice counts as a lesion slice when its label has at least this many pixels in the frame."""


@dataclass(frozen=True)
class Case:
    """One scan with masks.

    Attributes
    ----------
    name : for the table.
    patient : cases of one patient share it; figures are given per patient.
    image, label : files below the data folder, with the same array shape.
    """

    name: str
    patient: str
    image: str
    label: str


@dataclass(frozen=True)
class EvaluationConfig:
    """One table; one YAML file.

    Attributes
    ----------
    title : of the table.
    cases : what is evaluated.
    lesion_values, organ_values : label values that are lesion, and that are the organ (lesion included).
    max_slices : lesion slices per case, evenly spread; 0 takes all.
    clean_slices : slices per case more than ``margin`` slices away from any lesion, for calibration and whole-image figures.
    margin : that distance in slices.
    scores : names in :data:`KLIPCore.config.SCORES`.
    baselines : names in :data:`KLIPCore.evaluation.baselines.registry.BASELINES`.
    quality_slices : slices per case whose reconstruction is compared with FBP, CG and TV; 0 leaves that out.
    block_mm : edge of blocks.
    lesion_mm : FROC is also given for lesions of at least this diameter.
    run : settings of the runs.
    """

    title: str
    cases: tuple[Case, ...]
    lesion_values: tuple[int, ...] = (2,)
    organ_values: tuple[int, ...] = (1, 2)
    max_slices: int = 10
    clean_slices: int = 2
    margin: int = 5
    scores: tuple[str, ...] = ("surprise", "one-shot", "klip")
    baselines: tuple[str, ...] = ()
    quality_slices: int = 0
    block_mm: float = 12.0
    lesion_mm: float = 10.0
    run: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        for name in self.scores:
            if name not in SCORES:
                raise ConfigError(f"There is no score '{name}'.", f"Choose from {', '.join(SCORES)}.")
        for name in self.baselines:
            baseline(name)

    @property
    def patients(self) -> list[str]:
        """Each patient once, in the order of the cases."""
        return list(dict.fromkeys(case.patient for case in self.cases))

    @classmethod
    def load(cls, path: Path) -> EvaluationConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : unreadable, or with unknown fields.
        """
        try:
            fields = yaml.safe_load(path.read_text(encoding="utf-8"))
            fields["cases"] = tuple(Case(**case) for case in fields["cases"])
            for key in ("lesion_values", "organ_values", "scores", "baselines"):
                if key in fields:
                    fields[key] = tuple(fields[key])
            base = Config.from_preset(fields.pop("preset", "default"))
            fields["run"] = base.updated(fields.pop("run", {}))
            return cls(**fields)
        except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"The evaluation configuration {path.name} cannot be used ({error}).", "Compare it with configs/eval_lits_dev.yaml.") from error


@dataclass(frozen=True, eq=False)
class SliceTruth:
    """What is known of one slice, on the prior's frame.

    Attributes
    ----------
    index : slice, counted from the feet.
    has_lesion : whether it is a lesion slice (otherwise a clean one).
    lesion, organ : (size, size) bool.
    positive, inside : (h, w) bool over base cells: the block centred there holds a labelled pixel; the cell lies in the organ.
    pixel_mm : edge of a frame pixel.
    cell : pixels along a base cell.
    """

    index: int
    has_lesion: bool
    lesion: NDArray[np.bool_]
    organ: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    pixel_mm: float
    cell: int


@dataclass(frozen=True, eq=False)
class LabelledStudy:
    """A framed study, its labels, and the slices to evaluate.

    Attributes
    ----------
    case : where it comes from.
    framed : the study.
    label : (D, H, W) int64 on the LPS grid.
    lesion_slices, clean_slices : slice numbers counted from the feet.
    config : of the evaluation.
    """

    case: Case
    framed: FramedStudy
    label: NDArray[np.int64]
    lesion_slices: list[int]
    clean_slices: list[int]
    config: EvaluationConfig

    @property
    def indices(self) -> list[int]:
        """All slices to evaluate, rising."""
        return sorted({*self.lesion_slices, *self.clean_slices})

    @classmethod
    def read(cls, config: EvaluationConfig, case: Case, data: Path, prior: Prior) -> LabelledStudy:
        """Read a case and choose its slices.

        Raises
        ------
        EmptyInputError : a file is missing.
        GeometryError : image and label have different shapes.
        """
        for name in (case.image, case.label):
            if not (data / name).is_file():
                raise EmptyInputError(f"{name} is missing below the data folder.", "Check --data and the evaluation configuration.")
        volume, stored = read_image(data / case.image), read_image(data / case.label)
        if volume.array.shape != stored.array.shape:
            raise GeometryError(f"{case.name}: image and label have different shapes.", "Use the label of that very image.")
        framed = frame_study(volume, prior.card)
        label = framed.orientation.apply(np.round(stored.array).astype(np.int64))
        lesion = np.isin(label, config.lesion_values)
        pixels = lesion.sum((1, 2)) / np.prod(framed.frame.pixel)
        body = framed.body.any((1, 2))
        near = ndi.binary_dilation(lesion.any((1, 2)), iterations=config.margin) if config.margin else lesion.any((1, 2))
        with_lesion = np.flatnonzero((pixels >= MIN_LESION_PIXELS) & body)
        without = np.flatnonzero(~near & body)
        return cls(case, framed, label, spread(with_lesion, config.max_slices or len(with_lesion)), spread(without, config.clean_slices), config)

    def truth(self, index: int, cell: int) -> SliceTruth:
        """What is known of slice ``index`` on base cells of ``cell`` pixels."""
        frame = self.framed.frame_of(index)
        own = self.label[index : index + 1]
        lesion = frame.pull(np.isin(own, self.config.lesion_values).astype(np.float32), order=0)[0] > 0.5
        organ = frame.pull(np.isin(own, self.config.organ_values).astype(np.float32), order=0)[0] > 0.5
        reach = max(1, round(self.config.block_mm / frame.pixel_mm))
        middles = slice(cell // 2, None, cell)
        positive = ndi.maximum_filter(lesion, reach)[middles, middles]
        inside = ndi.uniform_filter(organ.astype(np.float32), cell)[middles, middles] > 0.5
        return SliceTruth(index, index in self.lesion_slices, lesion, organ, positive, inside, frame.pixel_mm, cell)


def spread(indices: NDArray[np.integer], n: int) -> list[int]:
    """At most ``n`` of the indices, evenly spread, both ends included."""
    if len(indices) <= n:
        return [int(k) for k in indices]
    return [int(k) for k in indices[np.linspace(0, len(indices) - 1, n).round().astype(int)]] if n else []
