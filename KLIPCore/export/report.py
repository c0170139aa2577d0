"""What was found, said once: the numbers behind every table, file and page.

A :class:`Report` ties the regions to the settings that made them and to the software and weights that ran
(provenance), because a nat is only comparable with another nat of the same schedule and prior. The command line prints
:meth:`Report.text_table`, the Slicer panel fills its table from :meth:`Report.rows`, the HTML page and ``report.json``
come from the same object.

A report never carries a patient's name, an identifier of a person or a date.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.errors import OutputError
from KLIPCore.export.organ_table import OrganRow
from KLIPCore.maps.regions import Region
from KLIPCore.maps.typicality import StudyFit

DISCLAIMER = (
    "Research software. Not a medical device. It marks where a scan departs from the images its prior was trained on; "
    "it does not diagnose, and an unmarked place is not thereby healthy."
)

BROAD = " (broad)"
"""After the strength of a region that was found over several centimetres."""

UNKNOWN = "unknown"
"""What tables say of the organ of a region where nobody named the organs."""


@dataclass(frozen=True)
class RegionRow:
    """One line of a region table: display-ready text beside the numbers to sort by.

    Attributes
    ----------
    label : the region's label.
    name : its name.
    colour : ``#rrggbb``.
    slices : e.g. ``"12–17"``, counted from the feet starting at 0.
    peak_slice : slice of the strongest block.
    centroid : e.g. ``"-45.2, 12.0, 103.1"``, LPS mm.
    centroid_lps_mm : the same as numbers.
    volume_mm3, volume_ml : volume in mm³ and mL.
    extent : e.g. ``"31 × 24 × 15"``, mm along x, y, z.
    peak_nats : of the strongest block, in the first of ``units``.
    total_nats : of the whole region, in the second.
    p_value, q_value : the region's, as :class:`KLIPCore.maps.regions.Region` explains.
    expected : regions as strong that a healthy study would show; None where no reference of health judged.
    organ : the organ the region lies in, ``"outside"`` of those that are known; None where none is known.
    broad : found over several centimetres, and outlined roughly.
    units : what peak and total are in; nats only where they say so (:data:`KLIPCore.scores.Unit`).
    """

    label: int
    name: str
    colour: str
    slices: str
    peak_slice: int
    centroid: str
    centroid_lps_mm: tuple[float, float, float]
    volume_mm3: float
    volume_ml: float
    extent: str
    peak_nats: float
    total_nats: float
    p_value: float
    q_value: float
    expected: float | None = None
    organ: str | None = None
    broad: bool = False
    units: tuple[str, str] = ("nats", "nats")

    @classmethod
    def of(cls, region: Region, units: tuple[str, str] = ("nats", "nats")) -> RegionRow:
        """Return the row of a region."""
        first, last = region.slices
        return cls(
            label=region.label,
            name=region.name,
            colour=region.hex_colour,
            slices=f"{first}–{last}" if last > first else str(first),
            peak_slice=region.peak_slice,
            centroid=", ".join(f"{x:.1f}" for x in region.centroid_lps_mm),
            centroid_lps_mm=region.centroid_lps_mm,
            volume_mm3=region.volume_mm3,
            volume_ml=region.volume_ml,
            extent=" × ".join(f"{x:.0f}" for x in region.extent_mm),
            peak_nats=region.peak_nats,
            total_nats=region.total_nats,
            p_value=region.p_value,
            q_value=region.q_value,
            expected=region.expected,
            organ=region.organ,
            broad=region.broad,
            units=units,
        )

    def cells(self) -> dict[str, str]:
        """Return column title → text, in the order in which a table shows them."""
        return {
            "Region": self.name,
            "Organ": self.organ or UNKNOWN,
            "Slices": self.slices,
            "Centroid LPS [mm]": self.centroid,
            "Extent [mm]": self.extent,
            "Volume [mL]": f"{self.volume_ml:.2f}",
            f"Peak [{self.units[0]}]": number(self.peak_nats),
            f"Total [{self.units[1]}]": number(self.total_nats),
            **(
                {"p": p_text(self.p_value), "q": p_text(self.q_value)}
                if self.expected is None
                else {"In health": expected_text(self.expected) + (BROAD if self.broad else "")}
            ),
        }


def number(value: float) -> str:
    """Return three significant digits, without an exponent where a person would not use one.

    Examples: 0.0123, 4.56, 78.9, 1230.
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    digits = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(0, min(digits, 6))}f}" if 1e-4 <= abs(rounded) < 1e7 else f"{value:.2e}"


def p_text(p: float) -> str:
    """Return a p- or q-value as journals print it: 0.032, 0.0010, 2.1e-05."""
    if not math.isfinite(p):
        return "–"
    return f"{p:.3f}" if p >= 0.01 else f"{p:.4f}" if p >= 1e-3 else "0" if p == 0 else f"{p:.1e}"


def _at_least(false_regions: float) -> str:
    """What it says of a study that no region is among so many of a healthy one: its strongest is weaker than those."""
    share = -100 * math.expm1(-false_regions)
    often = "Most" if share >= 99.5 else f"{share:.0f} or more"
    return f"{often} of 100 healthy studies of this size would show a region stronger than any here."


def expected_text(expected: float) -> str:
    """Return how many regions as strong a healthy study would show, in a reader's words.

    Examples: 0.3 per study, 1 in 25 studies.
    """
    if expected >= 0.2:
        return f"{expected:.1f} per study"
    studies = 1 / max(expected, 1e-3)
    return f"1 in {studies:.0f} studies" if expected >= 1e-3 else "fewer than 1 in 1000 studies"


ORDINARY_SLICE = 0.02
"""Share of healthy slices from which on an unusual slice is not worth a sentence."""

RAREST_SLICE = 0.002
"""A rarer slice is said to be rarer: laws rest on some hundreds of healthy slices."""

VERDICTS = ("", "real", "normal variant", "artefact", "unsure")
"""What a reader can say of a region; the first is nothing."""


@dataclass(frozen=True)
class Reading:
    """What a reader said of a region.

    Attributes
    ----------
    verdict : one of :data:`VERDICTS`.
    note : in the reader's words; may be empty.
    """

    verdict: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of a run.

    Attributes
    ----------
    regions : strongest first.
    settings : everything the user could choose, as it was; nested mappings are fine.
    provenance : versions, prior name and sha256, seed, schedule, what was measured: what is needed to do it again.
    significant_mm3 : volume of all significant voxels, in regions or not; None when unknown.
    tested_mm3 : volume of the body that was tested; None when unknown.
    slices : number of slices in the study; None when unknown.
    false_discovery_rate : the rate that made voxels significant; None when regions were made otherwise.
    warnings : sentences a reader must see before the numbers.
    readings : label of a region → what a reader said of it; empty when nobody has read the scan.
    disclaimer : what this is not.
    false_regions : false regions that were acceptable in a healthy study, where a reference of health judged.
    fit : whether the study as a whole belongs under the prior; None where that could not be judged.
    units : what peaks and totals of regions are in.
    organs : what there is to say by organ, largest first; empty where none are known.
    unusual_slices : by slice number, the share of healthy slices that are at least as unusual; None where no
        reference of health judged.
    """

    regions: tuple[Region, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    significant_mm3: float | None = None
    tested_mm3: float | None = None
    slices: int | None = None
    false_discovery_rate: float | None = None
    warnings: tuple[str, ...] = ()
    readings: Mapping[int, Reading] = field(default_factory=dict)
    disclaimer: str = DISCLAIMER
    false_regions: float | None = None
    fit: StudyFit | None = None
    units: tuple[str, str] = ("nats", "nats")
    unusual_slices: Mapping[int, float] | None = None
    organs: tuple[OrganRow, ...] = ()

    def rows(self) -> list[RegionRow]:
        """Return the table, strongest region first."""
        return [RegionRow.of(region, self.units) for region in self.regions]

    @property
    def omitted_mm3(self) -> float | None:
        """Volume of significant voxels in no region: dropped as too small, or past the largest number of regions."""
        if self.significant_mm3 is None:
            return None
        rest = self.significant_mm3 - sum(region.volume_mm3 for region in self.regions)
        return rest if rest > 1e-6 * max(self.significant_mm3, 1.0) else 0.0

    def summary(self) -> str:
        """Return two or three plain sentences for somebody who reads nothing else.

        The study as a whole comes first.
        """
        whole = f"{self.fit.sentence()} " if self.fit is not None and not self.fit.belongs else ""
        return whole + self.findings()

    def findings(self) -> str:
        """Return what was found, whether or not the study belongs under the prior."""
        n = len(self.regions)
        if n == 0:
            text = "No region stands out from what the prior expects."
        else:
            first = self.regions[0]
            where = (
                f"slice {first.peak_slice}"
                if first.slices[0] == first.slices[1]
                else f"slices {first.slices[0]} to {first.slices[1]}"
            )
            text = f"{n} region{'s stand' if n > 1 else ' stands'} out from what the prior expects"
            text += f"; the strongest, {first.name}, is on {where} and measures {first.volume_ml:.1f} mL"
            total, unit = number(first.total_nats), self.units[1]
            text += f" with {total} {unit}." if unit.endswith("nats") else f" with a {unit} of {total} in all."
        if self.tested_mm3 and self.significant_mm3:
            text += (
                f" In all, {100 * self.significant_mm3 / self.tested_mm3:.2g}\u00a0% of the tested volume is flagged."
            )
        if self.false_discovery_rate is not None and n > 0:
            text += f" At most {100 * self.false_discovery_rate:g}\u00a0% of the flagged regions"
            text += " are expected to be chance, provided the null model holds."
        if self.false_regions is not None:
            text += f" {self.verdict()}"
        text += self._slices_sentence()
        if self.omitted_mm3:
            text += f" {self.omitted_mm3 / 1000:.2f} mL of flagged voxels are too small or too many to be listed."
        return text

    def _slices_sentence(self) -> str:
        """Return a sentence on the most unusual slice, or nothing."""
        if not self.unusual_slices:
            return ""
        index, share = min(self.unusual_slices.items(), key=lambda item: item[1])
        if share > ORDINARY_SLICE:
            return ""
        often = f"1 in {1 / share:.0f}" if share >= RAREST_SLICE else f"fewer than 1 in {1 / RAREST_SLICE:.0f}"
        return f" The most unusual slice is {index}: {often} slices of healthy studies look so unusual."

    def verdict(self) -> str:
        """Return a sentence on the whole study: how many of a hundred healthy ones look as unusual.

        Of the strongest region's E, healthy regions being rare and independent: 1 − exp(−E) of them show one as
        strong.
        """
        known = [region.expected for region in self.regions if region.expected is not None]
        n = self.false_regions
        promise = f"A healthy study of this size shows {n:g} region{'' if n == 1 else 's'} at this setting."
        if not known:
            return promise if n is None or self.omitted_mm3 else f"{_at_least(n)} {promise}"
        share = 100 * -math.expm1(-min(known))
        text = "Fewer than 1" if share < 1 else "Most" if share >= 99.5 else f"{share:.0f}"
        return f"{text} of 100 healthy studies of this size would show one as strong as the strongest here. {promise}"

    def to_dict(self) -> dict[str, Any]:
        """Return fields of JSON's own types; NaN and infinity become None."""
        return {
            "regions": [json_ready(region.to_dict()) | self._reading(region) for region in self.regions],
            "summary": self.summary(),
            "units": {"peak": self.units[0], "total": self.units[1]},
            "significant_mm3": json_ready(self.significant_mm3),
            "omitted_mm3": json_ready(self.omitted_mm3),
            "tested_mm3": json_ready(self.tested_mm3),
            "slices": json_ready(self.slices),
            "false_discovery_rate": json_ready(self.false_discovery_rate),
            **({} if self.false_regions is None else {"false_regions": self.false_regions, "verdict": self.verdict()}),
            "study_fit": None if self.fit is None else json_ready(self.fit) | {"belongs": self.fit.belongs},
            **({} if self.unusual_slices is None else {"slices_as_unusual": _by_slice(self.unusual_slices)}),
            "organs": json_ready(self.organs),
            "settings": json_ready(self.settings),
            "provenance": json_ready(self.provenance),
            "warnings": list(self.warnings),
            "disclaimer": self.disclaimer,
        }

    def _reading(self, region: Region) -> dict[str, Any]:
        """What was said of a region, for JSON; nothing where nothing was said."""
        reading = self.readings.get(region.label)
        return {} if reading is None else {"reading": json_ready(reading)}

    def text_table(self) -> str:
        """Return the summary, and the table as aligned plain text, names left and numbers right.

        Slices are counted from the feet, from 0.
        """
        rows = [row.cells() for row in self.rows()]
        said = self.findings()
        if self.fit is not None and not self.fit.belongs:
            said = f"{self.fit.sentence()}\n\n{said}"
        if not rows:
            return said
        titles = list(rows[0])
        cells = [list(row.values()) for row in rows]
        widths = [max(len(title), *(len(line[c]) for line in cells)) for c, title in enumerate(titles)]
        lines = [titles, ["─" * width for width in widths], *cells]
        table = "\n".join(
            "  ".join(
                text.ljust(w) if c == 0 else text.rjust(w)
                for c, (text, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
        return f"{said}\n\n{table}"

    def write_json(self, path: Path) -> Path:
        """Write :meth:`to_dict`; the file appears only when it is whole.

        Raises
        ------
        OutputError : the folder cannot be written.
        """
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(
                json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(
                f"{path.name} cannot be written ({error.strerror}).",
                "Choose a folder you may write to, with space left.",
            ) from error
        return path


def _by_slice(values: Mapping[int, float]) -> dict[str, Any]:
    """Numbers by slice as JSON has them."""
    return {str(index): json_ready(float(value)) for index, value in values.items()}


def json_ready(value: Any) -> Any:
    """Return numbers, paths, dataclasses and arrays as JSON's own types; what is not a number becomes None."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.ndarray):
        return json_ready(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: json_ready(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [json_ready(item) for item in value]
    return str(value)
