"""One setting changed at a time: what the defaults rest on.

A variation names a setting and some values. Everything else stays as in the preset, and the slices stay the
same, so that differences are those of paired slices, averaged by patient. What decides the trace (views, noise,
chain, nodes) is sampled again, once for each run that is different (:meth:`KLIPCore.config.Config.fingerprint`); what
only *reads* it (score, σ window, scale bands, part of the KL, block size) is read from the trace that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from KLIPCore.config import Config, RegionConfig
from KLIPCore.errors import ConfigError
from KLIPCore.maps.trace import Part
from KLIPCore.scores import SCORES, Score

NO_CLUSTERS = 1e-300
"""A block p-value that none has: maps are made without clusters, which would take most of the time and are
not asked for here.
"""

BASE = "preset"
"""Name of the point that nothing was changed in."""


@dataclass(frozen=True)
class Reading(RegionConfig):
    """How a trace is read, with the parts of a score that no user needs to change.

    Attributes
    ----------
    part : of the KL, instead of the score's own: ``mean``, ``energy`` or ``variance``.
    bands : first and last-plus-one band, instead of the score's own.
    """

    part: Part | None = None
    bands: tuple[int, int] | None = None

    @property
    def chosen(self) -> Score:
        """The score with this reading's window, part and bands."""
        score = super().chosen
        return replace(score, part=self.part or score.part, bands=self.bands or score.bands)


@dataclass(frozen=True)
class Setting:
    """One point of the study.

    Attributes
    ----------
    factor, value : what was changed, to what; the value as text.
    run : settings of its run.
    readings : of its trace, one a score.
    """

    factor: str
    value: str
    run: Config
    readings: tuple[Reading, ...]


@dataclass(frozen=True)
class Variation:
    """One factor and its values.

    Attributes
    ----------
    factor : what the table calls it.
    setting : of a :class:`KLIPCore.config.Config` with its section (``measurement.n_views``), or of a
        :class:`Reading` (``regions.block_mm``).
    values : tried one after the other; the preset's own need not be among them.
    score : read with this score alone; with all of the evaluation's when None.
    also : further settings that go with each value.
    """

    factor: str
    setting: str
    values: tuple[Any, ...]
    score: str | None = None
    also: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.factor, str) or not self.factor:
            raise ConfigError(
                f"A variation of '{self.setting}' has no name.",
                "Name its factor; write the word null in quotes, YAML takes it for nothing.",
            )
        if not isinstance(self.values, tuple) or not self.values:
            raise ConfigError(f"The variation '{self.factor}' has no values.", "Give a list.")

    def settings(self, base: Config, block_mm: float, scores: Sequence[str] = ()) -> list[Setting]:
        """Return a point for each value.

        Raises
        ------
        ConfigError : there is no such setting, or a value is impossible.
        """
        return [
            self._point(base, block_mm, (self.score,) if self.score else tuple(scores), value) for value in self.values
        ]

    def _point(self, base: Config, block_mm: float, scores: tuple[str, ...], value: Any) -> Setting:
        run, reading = base, Reading(block_mm=block_mm, forming_p=NO_CLUSTERS)
        for name, wanted in {self.setting: value, **self.also}.items():
            section, _, key = name.partition(".")
            wanted = tuple(wanted) if isinstance(wanted, list) else wanted
            if section == "regions" and key in {f.name for f in fields(Reading)}:
                changed: dict[str, Any] = {key: wanted}
                reading = replace(reading, **changed)
            elif section in ("measurement", "sampling", "record") and key in asdict(getattr(base, section)):
                run = run.updated({section: {key: wanted}})
            else:
                raise ConfigError(
                    f"There is no setting '{name}' to vary.",
                    "Name a section and a setting, e.g. measurement.n_views or regions.block_mm.",
                )
        varied = (reading.score,) if self.setting == "regions.score" else scores
        for score in varied:
            if score not in SCORES:
                raise ConfigError(f"There is no score '{score}'.", f"Choose from {', '.join(SCORES)}.")
        return Setting(self.factor, _text(value), run, tuple(replace(reading, score=score) for score in varied))


def plan(variations: Sequence[Variation], base: Config, block_mm: float, scores: Sequence[str]) -> list[Setting]:
    """Return all points, the preset first."""
    unchanged = Setting(
        BASE, BASE, base, tuple(Reading(block_mm=block_mm, forming_p=NO_CLUSTERS, score=score) for score in scores)
    )
    return [unchanged, *(point for v in variations for point in v.settings(base, block_mm, scores))]


def _text(value: Any) -> str:
    return (
        " to ".join(_text(v) for v in value)
        if isinstance(value, list | tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
