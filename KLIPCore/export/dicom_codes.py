"""Codes of DICOM results, standard ones and our own.

What DICOM, SNOMED CT and UCUM have a code for takes theirs. The rest is private and belongs to the coding scheme
``99KLIP``; docs/dicom_results.md says what each means. A code's meaning never changes: a new meaning gets a new code.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from KLIPCore.scores import Score, Unit

SCHEME = "99KLIP"

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ARTIFICIAL_INTELLIGENCE = codes.cid7162.ArtificialIntelligence
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

NATS = Code("{nat}", "UCUM", "nats")
"""UCUM's unity with an annotation: the natural unit of information has no unit of its own there."""
WEIGHTED_NATS = Code("{weighted_nat}", "UCUM", "weighted nats")
EQUIVALENT_NATS = Code("{equivalent_nat}", "UCUM", "equivalent nats")
SURPRISE_UNIT = Code("{surprise}", "UCUM", "surprise")
ONE = Code("1", "UCUM", "no units")
REGION_COUNT = Code("{regions}", "UCUM", "regions")
MM, MM3 = codes.UCUM.Millimeter, codes.UCUM.CubicMillimeter
VOLUME = codes.SCT.Volume

KL_BLOCK = Code("KL_BLOCK", SCHEME, "KL divergence of a block from the prior")
EQUIVALENT = Code("EQUIVALENT_NATS", SCHEME, "Equivalent KL of a block over jointly judged windows")
WEIGHTED = Code("WEIGHTED_NATS", SCHEME, "KL of a block, weighted by what the scan informs")
SURPRISE = Code("SURPRISE", SCHEME, "Minus log of how rare a block is in health")

PEAK = Code("PEAK_STRENGTH", SCHEME, "Peak strength: largest block of the region")
TOTAL = Code("TOTAL_STRENGTH", SCHEME, "Total strength: integral of the density")
DIAMETER = Code("EQUIV_DIAMETER", SCHEME, "Diameter of the sphere of equal volume")
Q_VALUE = Code("Q_VALUE", SCHEME, "False-discovery rate at which region is kept")
EXPECTED = Code("EXPECTED_FALSE", SCHEME, "Regions as strong expected in a healthy study")
ALLOWED = Code("ALLOWED_FALSE", SCHEME, "False regions allowed in a healthy study")
COUNT = Code("REGION_COUNT", SCHEME, "Regions that stand out")
FLAGGED = Code("FLAGGED_VOLUME", SCHEME, "Volume of all flagged voxels")
TESTED = Code("TESTED_VOLUME", SCHEME, "Volume that was tested")

INTENDED_USE = Code("INTENDED_USE", SCHEME, "Intended use")
RESEARCH_ONLY = Code("RESEARCH_ONLY", SCHEME, "Research use only; not for diagnosis")
RESULT = Code("STUDY_RESULT", SCHEME, "Result of the study")
REGIONS_FOUND = Code("REGIONS_FOUND", SCHEME, "Regions stand out from the prior")
NO_REGION = Code("NO_REGION", SCHEME, "No region stands out from the prior")
VERDICT = Code("VERDICT", SCHEME, "Verdict on the study")
SUMMARY = Code("SUMMARY", SCHEME, "Summary")
WARNING = Code("WARNING", SCHEME, "Warning")
DISCLAIMER = Code("DISCLAIMER", SCHEME, "Disclaimer")

READER_VERDICT = Code("READER_VERDICT", SCHEME, "Reader's verdict on the region")
READINGS = {
    "real": Code("READER_REAL", SCHEME, "Real"),
    "normal variant": Code("READER_VARIANT", SCHEME, "Normal variant"),
    "artefact": Code("READER_ARTEFACT", SCHEME, "Artefact"),
    "unsure": Code("READER_UNSURE", SCHEME, "Unsure"),
}
"""What a reader can say of a region (:data:`KLIPCore.export.report.VERDICTS`)."""


QUANTITIES: dict[Unit, Code] = {
    "nats": KL_BLOCK,
    "weighted nats": WEIGHTED,
    "equivalent nats": EQUIVALENT,
    "surprise": SURPRISE,
}
UNITS = {
    KL_BLOCK.value: (NATS, NATS),
    WEIGHTED.value: (WEIGHTED_NATS, WEIGHTED_NATS),
    EQUIVALENT.value: (EQUIVALENT_NATS, WEIGHTED_NATS),
    SURPRISE.value: (SURPRISE_UNIT, SURPRISE_UNIT),
}
"""Unities, annotated, of a quantity's blocks and of its totals: only the first are nats."""


def quantity_of(score: Score) -> Code:
    """Return what the map of a score holds."""
    return QUANTITIES[score.unit]


def units_of(quantity: Code) -> tuple[Code, Code]:
    """Return the units of a map of this quantity, and of totals over it."""
    return UNITS[quantity.value]


def scheme_identification() -> list[Dataset]:
    """Return the item of the Coding Scheme Identification Sequence: whose codes ``99KLIP`` are."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "KLIP: out-of-distribution detection in CT"
    item.CodingSchemeResponsibleOrganization = "KLIPSlicer"
    return [item]


PLAIN = {ord(a): b for a, b in zip("–—−\u00a0³×σ", ("-", "-", "-", " ", "3", "x", "sigma"), strict=True)}


def ascii_text(text: str) -> str:
    """Return text that every study's character set holds.

    Plain dashes, blanks and superscripts, ``?`` for the rest.
    """
    plain = text.translate(PLAIN)
    return plain.encode("ascii", "replace").decode("ascii")
