"""Regions → a DICOM Segmentation: the form a PACS, OHIF, Slicer or MITK shows over the original series.

One binary segment a region, in the study's own frame of reference, each frame pointing at the very instance it
was drawn on. Patient, study and frame of reference are copied from the source, as the standard demands of
derived objects (PS3.3 C.8.20); series and instance are new. Only slices with something on them become frames.

What a segment claims is kept as small as the truth: category and type are SNOMED CT *morphologically abnormal
structure*, nothing more specific; algorithm type AUTOMATIC, family *artificial intelligence*, name "KLIP" with
its version; the description says what was measured and that it is no diagnosis. Colours are CIELab, as DICOM
wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from KLIPCore.export.dicom_codes import ABNORMAL, ARTIFICIAL_INTELLIGENCE, ascii_text
from KLIPCore.export.files import written
from KLIPCore.export.report import number, p_text
from KLIPCore.export.source_series import SourceSeries, making, new_instance
from KLIPCore.maps.regions import Region, label_volume
from KLIPCore.volume.volume import Volume

SERIES_DESCRIPTION = "KLIP out-of-distribution regions (research)"


def departure(region: Region) -> str:
    """Return what a detection's region says of itself."""
    return (
        f"Departs from the prior: peak {_ascii(number(region.peak_nats))} nats, total "
        f"{_ascii(number(region.total_nats))} nats, "
        f"q = {_ascii(p_text(region.q_value))}. Research result, not a diagnosis."
    )


@dataclass(frozen=True)
class SegmentTexts:
    """What a segmentation says of its regions.

    Attributes
    ----------
    series : description of the series, 64 characters at most.
    label : of the content, a DICOM code string.
    of_region : a region's own sentences, ASCII.
    """

    series: str = SERIES_DESCRIPTION
    label: str = "KLIP_OOD"
    of_region: Callable[[Region], str] = departure


def dicom_seg(
    regions: Sequence[Region],
    study: Volume,
    *,
    version: str,
    parameters: Mapping[str, str] | None = None,
    series: SourceSeries | None = None,
    texts: SegmentTexts | None = None,
) -> hd.seg.Segmentation | None:
    """Return the regions as a DICOM Segmentation object.

    Parameters
    ----------
    regions : regions found on the study's grid (or on its in-plane crop).
    study : the CT; only its grid and source are used. Its files must still be there.
    version : KLIPCore's version.
    parameters : settings worth naming beside the algorithm; ASCII.
    series : the study's series, where its files were opened already.
    texts : what is said of the regions; None: those of a detection.

    Returns
    -------
    The object, ready to be saved; None without regions, because a DICOM Segmentation cannot be empty.

    Raises
    ------
    InputError : the study is not a classic DICOM series (one file per slice), or its header fields cannot be
        carried over.
    UnreadableFileError : a source file is gone or damaged.
    GeometryError : the files are not the slices of this volume, or the regions are not of its grid.
    """
    if not regions:
        return None
    series, texts = series or SourceSeries.of(study), texts or SegmentTexts()
    pixels, ordered = _consecutive(series.on_images(label_volume(regions, study.grid)), regions)
    with making("a DICOM Segmentation"):
        return hd.seg.Segmentation(
            source_images=series.headers,
            pixel_array=pixels,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                segment_description(n, region, version, parameters, texts) for n, region in enumerate(ordered, start=1)
            ],
            series_instance_uid=hd.UID(),
            series_number=9000 + series.number % 1000,  # so that it sorts behind the images
            **new_instance(version),
            content_label=texts.label,
            content_description=texts.series,
            series_description=texts.series,
            omit_empty_frames=True,
        )


def write_dicom_seg(
    regions: Sequence[Region],
    study: Volume,
    path: Path,
    *,
    version: str,
    parameters: Mapping[str, str] | None = None,
    texts: SegmentTexts | None = None,
) -> Path | None:
    """Write :func:`dicom_seg` to ``path``, whole or not at all.

    Returns
    -------
    The path; None, and no file, without regions.

    Raises
    ------
    OutputError : the file cannot be written; else as :func:`dicom_seg`.
    """
    segmentation = dicom_seg(regions, study, version=version, parameters=parameters, texts=texts)
    if segmentation is None:
        return None
    with written(path) as part:
        segmentation.save_as(part)
    return path


def segment_description(
    n: int,
    region: Region,
    version: str,
    parameters: Mapping[str, str] | None = None,
    texts: SegmentTexts | None = None,
) -> hd.seg.SegmentDescription:
    """Return what segment ``n`` (1, 2, …) says of itself."""
    described = hd.seg.SegmentDescription(
        segment_number=n,
        segment_label=region.name,
        segmented_property_category=ABNORMAL,
        segmented_property_type=ABNORMAL,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="KLIP",
            version=version,
            family=ARTIFICIAL_INTELLIGENCE,
            parameters=dict(parameters) if parameters else None,
        ),
        tracking_uid=hd.UID(),
        tracking_id=f"KLIP {region.name}",
        display_color=hd.color.CIELabColor.from_rgb(*(round(255 * c) for c in region.colour)),
    )
    where = f"Organ: {ascii_text(region.organ)}. " if region.organ else ""
    where += "Found over several centimetres; its outline is rough. " if region.broad else ""
    described.SegmentDescription = f"{where}{(texts or SegmentTexts()).of_region(region)}"
    return described


def _ascii(text: str) -> str:
    return text.replace("–", "-")  # the study's character set may hold no dashes


def _consecutive(pixels: NDArray[np.uint16], regions: Sequence[Region]) -> tuple[NDArray[np.uint16], list[Region]]:
    """Labels as the segment numbers 1, 2, … that DICOM wants, in the order of the labels."""
    ordered = sorted(regions, key=lambda region: region.label)
    table = np.zeros(ordered[-1].label + 1, np.uint16)
    for n, region in enumerate(ordered, start=1):
        table[region.label] = n
    return table[pixels], ordered
