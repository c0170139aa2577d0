"""What an evaluation is made of: one YAML file, one table.

Three kinds, told by what the file holds. With neither of the last two it is a plain evaluation: real lesions
with masks, or healthy volumes in which ``implants`` are put. ``variations`` changes one setting at a time;
``priors`` measures the same with several networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError
from KLIPCore.lab.evaluation.baselines.registry import baseline
from KLIPCore.lab.evaluation.implants import Implant
from KLIPCore.lab.evaluation.variations import Variation
from KLIPCore.scores import SCORES
from KLIPCore.volume.untrusted import read_yaml


@dataclass(frozen=True)
class Case:
    """One scan with masks.

    Attributes
    ----------
    name : for the table.
    patient : cases of one patient share it; figures are given per patient.
    image, label : files below the data folder, with the same array shape.
    slope, intercept : HU = slope · stored + intercept.
    spacing_mm : (slice, row, column) edges of a voxel, for files that do not know theirs (along the array's own axes).
    slices : first and last-plus-one slice to read, along the array's own axis; all when None. The prior's
        frame is fitted to what is read.
    lesion_values, organ_values : label values of this case, where they differ from the evaluation's.
    """

    name: str
    patient: str
    image: str
    label: str
    slope: float = 1.0
    intercept: float = 0.0
    spacing_mm: tuple[float, float, float] | None = None
    slices: tuple[int, int] | None = None
    lesion_values: tuple[int, ...] | None = None
    organ_values: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Case:
        """Build it from YAML's own types; lists become tuples."""
        return cls(**_tuples(values))


@dataclass(frozen=True)
class EvaluationConfig:
    """One table; one YAML file.

    Attributes
    ----------
    title : of the table.
    cases : what is evaluated.
    name : the file's name without its ending: which table of the documents this is.
    lesion_values, organ_values : label values that are lesion, and that are the organ (lesion included).
    max_slices : lesion slices per case, evenly spread; 0 takes all. With implants: slices that get one.
    clean_slices : slices per case more than ``margin`` slices away from any lesion, for calibration and
        whole-image figures. With implants the same slices without them serve instead.
    margin : that distance in slices.
    scores : names in :data:`KLIPCore.scores.SCORES`.
    baselines : names in :data:`KLIPCore.lab.evaluation.baselines.registry.BASELINES`.
    quality_slices : slices per case whose reconstruction is compared with FBP, CG and TV; 0 leaves that out.
    block_mm : edge of blocks.
    more_blocks_mm : further edges, for which AUROC and precision are given, too.
    reference : healthy scans that baselines which need some are fitted to.
    reference_slices : slices of each with the organ, evenly spread, that are taken.
    lesion_mm : FROC is also given for lesions of at least this diameter.
    implants : what is put into the cases, which must then be healthy; one table row each.
    variations : settings that are changed one at a time.
    priors : names, or files below the data folder, that are compared; ``run.prior`` alone when empty.
    run : settings of the runs.
    """

    title: str
    cases: tuple[Case, ...]
    name: str = ""
    lesion_values: tuple[int, ...] = (2,)
    organ_values: tuple[int, ...] = (1, 2)
    max_slices: int = 10
    clean_slices: int = 2
    margin: int = 5
    scores: tuple[str, ...] = ("surprise", "one-shot", "klip")
    baselines: tuple[str, ...] = ()
    quality_slices: int = 0
    block_mm: float = 12.0
    more_blocks_mm: tuple[float, ...] = ()
    reference: tuple[Case, ...] = ()
    reference_slices: int = 3
    lesion_mm: float = 10.0
    implants: tuple[Implant, ...] = ()
    variations: tuple[Variation, ...] = ()
    priors: tuple[str, ...] = ()
    run: Config = field(default_factory=Config)

    def __post_init__(self) -> None:
        for name in self.scores:
            if name not in SCORES:
                raise ConfigError(f"There is no score '{name}'.", f"Choose from {', '.join(SCORES)}.")
        for name in self.baselines:
            if baseline(name).needs_health and not self.reference:
                raise ConfigError(
                    f"The baseline '{name}' is fitted to healthy scans, and none is named.",
                    "Name some under reference, or leave the baseline out.",
                )
        for variation in self.variations:
            variation.settings(self.run, self.block_mm)  # an unknown setting is refused before the work
        names = [i.name for i in self.implants]
        if len(set(names)) < len(names):
            raise ConfigError("Two implants have the same name.", "Give each its own.")
        if self.variations and (self.implants or len(self.priors) > 1):
            raise ConfigError("Variations go with neither implants nor several priors.", "Write two configurations.")

    @property
    def patients(self) -> list[str]:
        """Each patient once, in the order of the cases."""
        return list(dict.fromkeys(case.patient for case in self.cases))

    def with_priors(self, priors: tuple[str, ...], data: Path) -> EvaluationConfig:
        """Return the same with other priors.

        Those given, or the configuration's own, whose files lie below ``data``.
        """
        own = tuple(str(data / p) if p.endswith(".safetensors") else p for p in self.priors)
        chosen = priors or own
        return replace(self, priors=chosen, run=replace(self.run, prior=chosen[0])) if chosen else self

    @classmethod
    def load(cls, path: Path) -> EvaluationConfig:
        """Read a YAML file.

        Raises
        ------
        ConfigError : unreadable, or with unknown fields.
        """
        try:
            fields = _tuples(read_yaml(path))
            fields["cases"] = tuple(Case.from_dict(case) for case in fields["cases"])
            fields["reference"] = tuple(Case.from_dict(case) for case in fields.get("reference", ()))
            fields["implants"] = tuple(Implant(**_tuples(i)) for i in fields.get("implants", ()))
            fields["variations"] = tuple(Variation(**_tuples(v)) for v in fields.get("variations", ()))
            base = Config.from_preset(fields.pop("preset", "default"))
            fields["run"] = base.updated(fields.pop("run", {}))
            return cls(**{"name": path.stem} | fields)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            why = str(error)[:200]
            raise ConfigError(
                f"The evaluation configuration {path.name} cannot be used ({why}).",
                "Compare it with configs/eval_lits_dev.yaml.",
            ) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """A mapping with its lists made tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
