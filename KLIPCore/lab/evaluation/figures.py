"""From a map and its truth to the figures of one slice, and from slices to those of a method.

Per slice: AUROC and average precision over the body and inside the organ, marks for the FROC, the largest
block (the paper's image score), the overlap of reported regions with the lesion. Over slices: the means of each
patient, and for all the mean of the patients, with an interval over patients where there are enough of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.detection.reconstruct import dice
from KLIPCore.lab.evaluation.auroc import Interval, auroc, mean_of, over_patients
from KLIPCore.lab.evaluation.calibration import LEVELS
from KLIPCore.lab.evaluation.cases import SliceTruth
from KLIPCore.lab.evaluation.froc import ImageMarks, Marks, find_marks, froc, match_marks, region_marks, whole_scan
from KLIPCore.lab.evaluation.precision import average_precision

FROC_RATES = (0.5, 1.0, 2.0, 4.0)
"""False marks a slice at which sensitivity is given."""

SCAN_RATES = (1.0, 2.0, 5.0, 10.0)
"""False marks a scan (of those slices of it that are evaluated) at which sensitivity is given."""


@dataclass(frozen=True, eq=False)
class SliceFigures:
    """One method on one slice.

    Attributes
    ----------
    method, case, patient : what and whose.
    index, has_lesion, lesion_mm2 : which slice.
    body, organ, body_ap, organ_ap : AUROC and average precision; NaN on clean slices.
    largest : the largest tested block.
    marks : for the FROC, over the tested body.
    p : p-values of tested blocks; None for methods without a null.
    regions : reported regions on this slice; None without a null.
    overlap : Dice of reported regions and lesion; None without a null.
    region_marks : all regions, reported or not, as marks for a FROC; None without a null.
    reported_marks : the reported ones alone.
    group : which implant; empty for real lesions, and for healthy slices, which belong to every group.
    """

    method: str
    case: str
    patient: str
    index: int
    has_lesion: bool
    lesion_mm2: float
    body: float
    organ: float
    body_ap: float
    organ_ap: float
    largest: float
    marks: ImageMarks
    p: NDArray[np.float64] | None = None
    regions: int | None = None
    overlap: float | None = None
    region_marks: ImageMarks | None = None
    reported_marks: ImageMarks | None = None
    group: str = ""

    def row(self) -> dict[str, Any]:
        """Return JSON-ready fields of a lesion slice."""
        names = (
            "method",
            "group",
            "case",
            "patient",
            "index",
            "lesion_mm2",
            "body",
            "organ",
            "body_ap",
            "organ_ap",
            "largest",
            "overlap",
        )
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class MapName:
    """Which map a slice's figures are of.

    Attributes
    ----------
    method, case, patient : whose.
    group : which implant; empty where there is none.
    """

    method: str
    case: str
    patient: str
    group: str = ""


def measure_slice(
    name: MapName,
    values: NDArray[np.floating],
    tested: NDArray[np.bool_],
    truth: SliceTruth,
    block_mm: float,
    p: NDArray[np.floating] | None = None,
    labels: NDArray[np.integer] | None = None,
    clusters: tuple[NDArray[np.integer], NDArray[np.floating]] | None = None,
) -> SliceFigures:
    """Return the figures of one map of one slice.

    Parameters
    ----------
    name : which map.
    values : (h, w) score of the block centred at each base cell.
    tested : (h, w) body cells.
    truth : of that slice.
    block_mm : edge of a block: marks keep that distance, and a mark within half of it finds a lesion.
    p : (h, w) p-values, where the method has a null.
    labels : (h, w) numbers of reported regions, 0 outside, where the method reports regions.
    clusters : (h, w) numbers of all regions, and the (n_regions,) figure they are ranked by; ``labels`` are
        numbers of the same.
    """
    found = {}
    for where, region in (("body", tested), ("organ", truth.inside)):
        chosen = region | truth.positive
        found[where] = auroc(values[chosen], truth.positive[chosen])
        found[f"{where}_ap"] = average_precision(values[chosen], truth.positive[chosen])
    marks = find_marks(values, tested, max(1, round(block_mm / (truth.cell * truth.pixel_mm))))

    def matched(marks: Marks) -> ImageMarks:
        return match_marks(
            marks, truth.lesion, truth.cell, 0.5 * block_mm / truth.pixel_mm, truth.pixel_mm, truth.number
        )

    of_regions = of_reported = None
    if clusters is not None:
        of_regions = matched(region_marks(values, *clusters))
        of_reported = matched(region_marks(values, labels, clusters[1])) if labels is not None else None
    overlap = None
    if labels is not None and truth.has_lesion:
        overlap = dice(np.kron(labels > 0, np.ones((truth.cell, truth.cell), bool)), truth.lesion)
    return SliceFigures(
        name.method,
        name.case,
        name.patient,
        truth.index,
        truth.has_lesion,
        float(truth.lesion.sum() * truth.pixel_mm**2),
        **found,
        largest=float(np.max(values[tested], initial=-np.inf)),
        marks=matched(marks),
        p=None if p is None else np.asarray(p, np.float64)[tested],
        regions=None if labels is None else len(np.unique(labels[labels > 0])),
        overlap=overlap,
        region_marks=of_regions,
        reported_marks=of_reported,
        group=name.group,
    )


def summarize(method: str, patient: str, slices: Sequence[SliceFigures], lesion_mm: float) -> dict[str, Any]:
    """Return one method over some slices: the summary's entry, JSON-ready; of several patients the mean of theirs."""
    lesion = [s for s in slices if s.has_lesion]
    clean = [s for s in slices if not s.has_lesion]
    entry: dict[str, Any] = {"score": method, "patient": patient, "n_slices": len(lesion), "n_clean": len(clean)}
    entry["n_patients"] = len({s.patient for s in slices})
    for name in ("body", "organ", "body_ap", "organ_ap"):
        entry[name] = _mean([(getattr(s, name), s.patient) for s in lesion]).rounded()
    entry["image_auroc"] = over_patients(slices, [s.patient for s in slices], image_auroc).rounded()
    for name, smallest in (("froc", 0.0), ("froc_large", lesion_mm)):
        entry[name] = [
            _found([(s.marks, s.patient) for s in lesion], rate, smallest) for rate in (FROC_RATES if lesion else ())
        ]
    entry |= _regions_and_scans(slices, lesion, lesion_mm)
    entry["n_lesions"] = sum(len(s.marks.best) for s in lesion)
    entry["n_large_lesions"] = sum(int((s.marks.diameter_mm >= lesion_mm).sum()) for s in lesion)
    with_null = [s for s in clean if s.p is not None and s.p.size]
    entry["clean_fire_rates"] = (
        {
            f"{level:g}": _mean([(float(np.mean(s.p < level)), s.patient) for s in with_null]).rounded()  # type: ignore[operator]
            for level in LEVELS
        }
        if with_null
        else None
    )
    entry["clean_blocks_below_5_percent"] = entry["clean_fire_rates"]["0.05"][0] if with_null else None
    regions = [(float(s.regions), s.patient) for s in clean if s.regions is not None]
    entry["regions_per_clean_slice"] = _mean(regions).rounded() if regions else None
    overlaps = [(s.overlap, s.patient) for s in lesion if s.overlap is not None]
    entry["dice"] = _mean(overlaps).rounded() if overlaps else None
    return entry


def _mean(values: Sequence[tuple[float, str]]) -> Interval:
    """Of (value, patient) of slices: the mean of the patients' means."""
    return over_patients([value for value, _ in values], [patient for _, patient in values], mean_of)


def _found(images: Sequence[tuple[ImageMarks, str]], rate: float, min_diameter_mm: float) -> list[float | None]:
    """Sensitivity at ``rate`` false marks an image, of (marks, patient): the mean of the patients'."""
    return over_patients(
        [marks for marks, _ in images],
        [patient for _, patient in images],
        lambda own: float(froc(own, min_diameter_mm).at(rate)),
    ).rounded()


def _regions_and_scans(
    slices: Sequence[SliceFigures], lesion: Sequence[SliceFigures], lesion_mm: float
) -> dict[str, Any]:
    """FROC of regions instead of marks, and of whole scans instead of slices, for large lesions; what is
    reported at the default rate.
    """
    entry: dict[str, Any] = {
        "froc_regions_large": [],
        "froc_scan_large": [],
        "froc_scan_regions_large": [],
        "n_scans": 0,
        "n_large_in_scans": 0,
        "reported": None,
    }
    of_regions = [(s.region_marks, s.patient) for s in lesion if s.region_marks is not None]
    if of_regions:
        entry["froc_regions_large"] = [_found(of_regions, rate, lesion_mm) for rate in FROC_RATES]
    for name, regions in (("froc_scan_large", False), ("froc_scan_regions_large", True)):
        scans = [
            (scan, patient)
            for patient in dict.fromkeys(s.patient for s in slices)
            for scan in scans_of([s for s in slices if s.patient == patient], regions)
        ]
        if scans:
            entry[name] = [_found(scans, rate, lesion_mm) for rate in SCAN_RATES]
            entry["n_scans"] = len(scans)
            entry["n_large_in_scans"] = sum(int((scan.diameter_mm >= lesion_mm).sum()) for scan, _ in scans)
    outlined = [(s.reported_marks, s.patient) for s in lesion if s.reported_marks is not None]
    if outlined:

        def touched(own: list[ImageMarks]) -> float:
            return mean_of(np.concatenate([np.isfinite(o.best[o.diameter_mm >= lesion_mm]) for o in own]).tolist())

        entry["reported"] = {
            "large_found": over_patients([o for o, _ in outlined], [who for _, who in outlined], touched).rounded()[0],
            "false_a_lesion_slice": _mean([(float(len(o.false)), who) for o, who in outlined]).rounded(),
        }
    return entry


def scans_of(slices: Sequence[SliceFigures], regions: bool = False) -> list[ImageMarks]:
    """Return the marks (or regions) of each scan with lesions, all its evaluated slices together.

    Empty where lesions are not told apart.
    """
    scans = []
    for case in dict.fromkeys(s.case for s in slices if s.has_lesion):
        own = [s.region_marks if regions else s.marks for s in slices if s.case == case]
        known = [m for m in own if m is not None]
        if known and all(m.number is not None for m in known):
            scans.append(whole_scan(known))
    return scans


def image_auroc(slices: Sequence[SliceFigures]) -> float:
    """Return the paper's dataset-level figure: ROC of the slices' largest blocks, lesion slices against clean ones.

    NaN without either.
    """
    return auroc(np.array([s.largest for s in slices]), np.array([s.has_lesion for s in slices], bool))
