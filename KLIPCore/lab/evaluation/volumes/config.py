"""What an evaluation on whole volumes is made of: scans and masks, in a folder or a YAML file of ``kind: volumes``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError
from KLIPCore.io.images import image_format
from KLIPCore.scores import SCORES
from KLIPCore.volume.untrusted import read_yaml

EXAMPLE = "configs/eval_volumes.yaml"


@dataclass(frozen=True)
class Scan:
    """One whole scan.

    Attributes
    ----------
    name : for the table, and of its run's folder.
    patient : scans of one patient share it; figures are given per patient. The scan's own name when empty.
    image : file or DICOM folder; None where there is a finished run.
    mask : file of labels; None for a healthy study.
    run : folder that ``klip detect`` wrote, instead of an image.
    series : which DICOM series, where there are several: its UID, number or place in the listing.
    healthy : it shows no lesion: whatever is reported is false.
    lesion_values : labels that are lesion; empty takes those of the evaluation.
    slope, intercept : HU = slope · stored + intercept.
    spacing_mm : (slice, row, column) edges of a voxel, for files that do not know theirs (along the array's own axes).
    slices : first and last-plus-one slice to read, along the array's own axis; all when None.
    every : only every so many slices are read, from the first.
    """

    name: str
    patient: str = ""
    image: Path | None = None
    mask: Path | None = None
    run: Path | None = None
    series: str | None = None
    healthy: bool = False
    lesion_values: tuple[int, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    spacing_mm: tuple[float, float, float] | None = None
    slices: tuple[int, int] | None = None
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient", self.patient or self.name)
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ConfigError(f"'{self.name}' cannot name a folder.", "Give each study a name of plain letters.")
        if (self.image is None) == (self.run is None):
            raise ConfigError(f"{self.name}: give an image or a finished run, one of them.", f"Compare {EXAMPLE}.")
        if self.run is not None and self.changed:
            raise ConfigError(
                f"{self.name}: a finished run's image cannot be changed.", "Give the image, or the run alone."
            )
        self._check_values()

    def _check_values(self) -> None:
        """Refuse numbers of the wrong kind, see :class:`KLIPCore.errors.ConfigError`."""
        _check_labels(self.lesion_values)
        if type(self.every) is not int or self.every < 1:
            raise ConfigError(f"{self.name}: every {self.every} slices is impossible.", "Give a whole number from 1.")
        if not isinstance(self.healthy, bool):
            raise ConfigError(f"{self.name}: healthy is true or false.", f"Compare {EXAMPLE}.")
        if not _numbers(self.slope, self.intercept):
            raise ConfigError(f"{self.name}: slope and intercept are numbers.", "HU = slope · stored + intercept.")
        edges = self.spacing_mm
        if edges is not None and (len(edges) != 3 or not _numbers(*edges) or min(edges) <= 0):
            raise ConfigError(
                f"{self.name}: a voxel of {edges} mm is impossible.", "Give three edges above 0: slice, row, column."
            )
        if self.slices is not None and (len(self.slices) != 2 or any(type(k) is not int for k in self.slices)):
            raise ConfigError(
                f"{self.name}: {self.slices} is not a range of slices.", "Give the first and the last-plus-one."
            )

    @property
    def changed(self) -> bool:
        """Whether the image is not to be examined as it is stored."""
        plain = (1.0, 0.0, None, None, 1)
        return (self.slope, self.intercept, self.spacing_mm, self.slices, self.every) != plain


@dataclass(frozen=True)
class VolumesConfig:
    """One table of whole volumes.

    Attributes
    ----------
    title : of the table.
    studies : what is evaluated.
    scores : names in :data:`KLIPCore.scores.SCORES`.
    lesion_values : labels that are lesion; empty takes every label above 0.
    lesion_mm : lesions of more than this diameter are counted.
    organ_values : labels of the organ in which blocks are ranked apart, its lesions' among them; none where empty.
    run : settings of the runs.
    name : the file's or folder's name without its ending.
    notes : sentences about what was given and is not evaluated.
    """

    title: str
    studies: tuple[Scan, ...]
    scores: tuple[str, ...] = ()
    lesion_values: tuple[int, ...] = ()
    lesion_mm: float = 10.0
    organ_values: tuple[int, ...] = ()
    run: Config = field(default_factory=Config)
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_labels(self.lesion_values)
        _check_labels(self.organ_values)
        if not _numbers(self.lesion_mm) or self.lesion_mm < 0:
            raise ConfigError(f"Lesions of {self.lesion_mm} mm are impossible.", "Give a diameter in mm, 0 or more.")
        object.__setattr__(self, "scores", tuple(dict.fromkeys(self.scores)) or (self.run.regions.score,))
        for score in self.scores:
            if score not in SCORES:
                raise ConfigError(f"There is no score '{score}'.", f"Choose from {', '.join(SCORES)}.")
        if not self.studies:
            raise ConfigError("There is no study to evaluate.", f"List them under studies, as {EXAMPLE} does.")
        names = [scan.name for scan in self.studies]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ConfigError(f"Two studies are called {', '.join(double)}.", "Give each study a name of its own.")
        mixed = {s.patient for s in self.studies if s.healthy} & {s.patient for s in self.studies if not s.healthy}
        if mixed:
            raise ConfigError(
                f"Patient {', '.join(sorted(mixed))} is healthy in one study and not in another.",
                "Give different people different names; the healthy ones are counted apart.",
            )

    @property
    def patients(self) -> list[str]:
        """Each patient once, in the order of the studies."""
        return list(dict.fromkeys(scan.patient for scan in self.studies))

    @property
    def recorded(self) -> Config:
        """The runs' settings, with the layers that the scores read recorded."""
        layers = list(self.run.record.layers)
        layers += [layer for s in self.scores if (layer := SCORES[s].layer) not in layers]
        return self.run.updated({"record": {"layers": list(dict.fromkeys(layers))}})

    def values_of(self, scan: Scan) -> tuple[int, ...]:
        """Return labels that are lesion in a scan; empty for every label above 0."""
        return scan.lesion_values or self.lesion_values

    def changed(
        self, scores: tuple[str, ...] = (), preset: str | None = None, prior: str | None = None
    ) -> VolumesConfig:
        """Return the same with what a command line says instead."""
        run = self.run
        if preset is not None:
            kept = run.to_dict()
            run = Config.from_preset(preset).updated({key: kept[key] for key in ("prior", "device", "regions")})
        if prior is not None:
            run = replace(run, prior=prior)
        return replace(self, scores=scores or self.scores, run=run)

    @classmethod
    def load(cls, path: Path, data: Path) -> VolumesConfig:
        """Read a YAML file.

        Parameters
        ----------
        path : the file.
        data : folder below which its images, masks and runs lie.

        Raises
        ------
        ConfigError : unreadable, or with unknown or impossible fields.
        """
        try:
            fields: dict[str, Any] = dict(read_yaml(path))
            fields.pop("kind")
            fields["studies"] = tuple(_scan(values, data) for values in fields["studies"])
            for key in ("scores", "lesion_values", "organ_values"):
                fields[key] = tuple(fields.get(key, ()))
            fields["run"] = Config.from_preset(fields.pop("preset", "default")).updated(fields.pop("run", {}))
            return cls(**({"title": path.stem, "name": path.stem} | fields))
        except ConfigError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            why = str(error)[:200]
            raise ConfigError(
                f"The evaluation configuration {path.name} cannot be used ({why}).", f"Compare it with {EXAMPLE}."
            ) from error


def _numbers(*values: Any) -> bool:
    """Whether all are finite numbers."""
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _check_labels(values: Any) -> None:
    """Refuse what is not a list of labels.

    Raises
    ------
    ConfigError : it is none.
    """
    if not isinstance(values, tuple) or any(type(value) is not int or value == 0 for value in values):
        raise ConfigError(
            f"{values} is not a list of labels.", "Write whole numbers, e.g. lesion_values: [2]; 0 is none."
        )


def is_volumes(path: Path) -> bool:
    """Return whether a folder is given, or a configuration of whole volumes; an unreadable one is not."""
    if path.is_dir():
        return True
    try:
        values = read_yaml(path)
        return isinstance(values, dict) and values.get("kind") == "volumes"
    except (ValueError, TypeError):
        return False


def _scan(values: dict[str, Any], data: Path) -> Scan:
    """A study as YAML holds it; its name is that of its image where it has none."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key in ("image", "mask", "run"):
        if fields.get(key) is not None:
            fields[key] = data / str(fields[key])
    if "name" not in fields:
        where = Path(fields.get("image") or fields.get("run") or "")
        fields["name"] = where.name.removesuffix(image_format(where)) if image_format(where) else where.name
    for key in ("name", "patient", "series"):
        if fields.get(key) is not None:
            fields[key] = str(fields[key])
    return Scan(**fields)
