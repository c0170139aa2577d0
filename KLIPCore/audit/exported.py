"""What an audit found, for other programs: its regions read back from its folder, with what the data say of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from KLIPCore.audit.colours import rgb_of
from KLIPCore.errors import TraceError
from KLIPCore.export.dicom_codes import ascii_text
from KLIPCore.export.dicom_seg import SegmentTexts
from KLIPCore.io.segmentation_files import read_segmentation
from KLIPCore.maps.regions import KnownRegions, Region, RegionLimits, find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.organs import MOST_LABELS
from KLIPCore.volume.untrusted import read_json
from KLIPCore.volume.volume import Volume

RECORD, SEGMENTS = "audit.json", "audited.seg.nrrd"
"""Files of an audit's folder."""

SERIES_DESCRIPTION = "KLIP audit of a reconstruction (research)"


@dataclass(frozen=True, eq=False)
class Audited:
    """Regions of a finished audit.

    Attributes
    ----------
    regions : list of Region
        On the reconstruction's grid; the name ends with the verdict, the total is the support in nats.
    grid : Grid
        Of the reconstruction.
    sentences : dict
        By a region's name, what the data say of it.
    """

    regions: list[Region]
    grid: Grid
    sentences: dict[str, str]

    def texts(self) -> SegmentTexts:
        """Return what a DICOM Segmentation says of them."""
        return SegmentTexts(
            SERIES_DESCRIPTION,
            "KLIP_AUDIT",
            lambda region: f"{ascii_text(self.sentences[region.name])} Research result, not a diagnosis.",
        )


def is_audit(folder: Path) -> bool:
    """Return whether a folder is what an audit left."""
    return (folder / RECORD).is_file()


def read_audited(folder: Path) -> Audited:
    """Return the regions of a finished audit.

    Parameters
    ----------
    folder : Path
        As ``klip audit -o`` leaves it.

    Raises
    ------
    TraceError : the record is damaged, or tells of other regions than the segmentation.
    InputError : the segmentation is gone or damaged.
    """
    try:
        told = [
            (f"{own['name']}: {own['verdict']}", str(own["verdict"]), str(own["sentence"]), float(own["support_nats"]))
            for own in read_json(folder / RECORD)["regions"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{folder / RECORD} is damaged.", "Run klip audit again.") from error
    read = read_segmentation(folder / SEGMENTS)
    labels, names = read.organs.labels.astype(np.int32), read.organs.names
    if any(not 1 <= n <= len(told) or names.get(n) != told[n - 1][0] for n in np.unique(labels[labels > 0]).tolist()):
        raise TraceError(
            f"{RECORD} and {SEGMENTS} in {folder} are not of the same audit.", "Run klip audit again into one folder."
        )
    nothing, certain = np.zeros(labels.shape, np.float32), np.ones(len(told), np.float32)
    found = find_regions(
        Volume(nothing, read.grid, unit="nats"),
        None,
        certain,
        nothing,
        known=KnownRegions(labels, q_values=certain),
        limits=RegionLimits(maximum_regions=MOST_LABELS),
    )
    numbers = [int(labels[region.box][region.mask][0]) for region in found]
    regions = [
        replace(region, label=number, name=name, total_nats=support, colour=rgb_of(verdict))
        for region, number in zip(found, numbers, strict=True)
        for name, verdict, _, support in [told[number - 1]]
    ]
    return Audited(
        sorted(regions, key=lambda region: region.label), read.grid, {name: text for name, _, text, _ in told}
    )
