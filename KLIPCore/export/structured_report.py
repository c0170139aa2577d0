"""The numbers of a report → a DICOM Structured Report by template TID 1500, *Imaging Measurement Report*.

It ties the segments and the map together and says what was measured where, for programs rather than for people:

- the image library names the CT's images and the map;
- a measurement group a region (TID 1411) bears the tracking identifier and UID of its segment, refers to that
  segment and to the frame of the map with its peak, and holds volume, strength, equivalent diameter and, where a
  reference of health judged, how many regions as strong a healthy study would show. An organ is named only where one
  is known;
- a group for the whole study (TID 1501) holds how many regions stand out, so that a study without any has a report,
  too;
- every group and the document say *research use only; not for diagnosis*; the document's qualitative evaluations also
  hold the summary, the verdict and the warnings as text.

The observer is the software; nobody has verified what it says, and the document says that as well. SOP class is
Enhanced SR, which has all that is needed here and is the one that most systems read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import highdicom as hd
from highdicom import sr
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from KLIPCore.errors import GeometryError
from KLIPCore.export import dicom_codes as klip
from KLIPCore.export.files import written
from KLIPCore.export.parametric_map import frame_numbers
from KLIPCore.export.report import Report
from KLIPCore.export.source_series import SourceSeries, making, new_instance
from KLIPCore.maps.regions import Region

SERIES_DESCRIPTION = "KLIP measurement report (research)"
CONTAINS = sr.RelationshipTypeValues.CONTAINS


@dataclass(frozen=True, eq=False)
class Referenced:
    """What a structured report refers to: objects that were made for the same study and are stored with it.

    Attributes
    ----------
    series : the CT.
    kl_map : the map.
    segmentation : its regions; None without any.
    quantity : what the map holds (:func:`KLIPCore.export.dicom_codes.quantity_of`).
    organs : label of a region → code of the organ it lies in, where that is known.
    """

    series: SourceSeries
    kl_map: hd.pm.ParametricMap
    segmentation: hd.seg.Segmentation | None
    quantity: Code = klip.KL_BLOCK
    organs: Mapping[int, Code] = field(default_factory=dict)

    def frame_of(self, region: Region) -> int:
        """Return the number of the map's frame with the region's peak, from 1."""
        return self._frames[round(float(self.series.grid.to_index(region.peak_lps_mm)[0]))]

    @cached_property
    def _frames(self) -> dict[int, int]:
        return frame_numbers(self.kl_map, self.series)


def structured_report(
    report: Report, referenced: Referenced, *, version: str, parameters: Mapping[str, str] | None = None
) -> sr.EnhancedSR:
    """Return the report as a DICOM Structured Report object.

    Parameters
    ----------
    report : regions and what was said of them.
    referenced : CT, map and segments of the same regions.
    version : KLIPCore's version.
    parameters : settings worth naming beside the algorithm; ASCII.

    Returns
    -------
    The object, ready to be saved.

    Raises
    ------
    GeometryError : the segments are not those of the regions.
    InputError : the study's header fields cannot be carried over.
    """
    segments = 0 if referenced.segmentation is None else len(referenced.segmentation.SegmentSequence)
    if segments != len(report.regions):
        raise GeometryError(
            f"The segmentation has {segments} segments, the report {len(report.regions)} regions.",
            "Pass the segmentation that was made of these regions.",
        )
    ordered = sorted(report.regions, key=lambda region: region.label)  # as the segments are
    algorithm = _algorithm(version, parameters)
    groups = [_region_group(n, r, report, referenced, algorithm) for n, r in enumerate(ordered, start=1)]
    with making("a DICOM Structured Report"):
        content = sr.MeasurementReport(
            observation_context=_observer(version),
            procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=[*groups, _study_group(report, referenced, algorithm)],
            title=codes.DCM.ImagingMeasurementReport,
            referenced_images=referenced.series.headers,
        )
        _library_of(content).ContentSequence.append(_map_in_library(referenced.kl_map))
        content[0].ContentSequence.append(_evaluations(report))
        segmentation = [] if referenced.segmentation is None else [referenced.segmentation]
        made = sr.EnhancedSR(
            evidence=[*referenced.series.headers, referenced.kl_map, *segmentation],
            content=content,
            series_instance_uid=hd.UID(),
            series_number=11000 + referenced.series.number % 1000,  # behind the map
            **new_instance(version),
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description=SERIES_DESCRIPTION,
        )
    made.CodingSchemeIdentificationSequence = klip.scheme_identification()
    return made


def write_structured_report(
    report: Report,
    referenced: Referenced,
    path: Path,
    *,
    version: str,
    parameters: Mapping[str, str] | None = None,
) -> Path:
    """Write :func:`structured_report` to ``path``, whole or not at all.

    Raises
    ------
    OutputError : the file cannot be written; else as :func:`structured_report`.
    """
    made = structured_report(report, referenced, version=version, parameters=parameters)
    with written(path) as part:
        made.save_as(part)
    return path


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Return the diameter of the sphere of that volume."""
    return math.cbrt(6 * volume_mm3 / math.pi)


def _observer(version: str) -> sr.ObservationContext:
    """The software as the observer; its UID is the same for all results of a version."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=["KLIPCore", version]),
        name="KLIP",
        manufacturer_name="KLIPSlicer",
        model_name=f"KLIPCore {version}",
    )
    context = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return sr.ObservationContext(observer_device_context=context)


def _algorithm(version: str, parameters: Mapping[str, str] | None) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name="KLIP",
        version=version,
        parameters=[f"{name}={value}" for name, value in (parameters or {}).items()],
        family=klip.ARTIFICIAL_INTELLIGENCE,
    )


def _region_group(
    n: int, region: Region, report: Report, referenced: Referenced, algorithm: sr.AlgorithmIdentification
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """What is said of segment ``n`` (1, 2, …)."""
    segmentation = referenced.segmentation
    assert segmentation is not None  # there is a region
    described = hd.seg.SegmentDescription.from_dataset(segmentation.SegmentSequence[n - 1])
    organ = referenced.organs.get(region.label)
    reading = report.readings.get(region.label)
    evaluations = [sr.QualitativeEvaluation(klip.INTENDED_USE, klip.RESEARCH_ONLY)]
    if reading is not None and reading.verdict in klip.READINGS:
        evaluations.append(sr.QualitativeEvaluation(klip.READER_VERDICT, klip.READINGS[reading.verdict]))
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=described.tracking_uid, identifier=described.tracking_id),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=n,
            source_series=sr.SourceSeriesForSegmentation(referenced.series.series_uid),
        ),
        finding_type=klip.ABNORMAL,
        method=referenced.quantity,
        finding_sites=None if organ is None else [sr.FindingSite(organ)],
        algorithm_id=algorithm,
        measurements=list(_measurements(region, referenced)),
        qualitative_evaluations=evaluations,
    )


def _measurements(region: Region, referenced: Referenced) -> Iterator[sr.Measurement]:
    """The numbers of a region; those that are none are left out."""
    on_map = sr.SourceImageForMeasurement(
        referenced_sop_class_uid=referenced.kl_map.SOPClassUID,
        referenced_sop_instance_uid=referenced.kl_map.SOPInstanceUID,
        referenced_frame_numbers=[referenced.frame_of(region)],
    )
    yield sr.Measurement(klip.VOLUME, float(region.volume_mm3), klip.MM3)
    yield sr.Measurement(klip.DIAMETER, equivalent_diameter_mm(region.volume_mm3), klip.MM)
    of_block, of_total = klip.units_of(referenced.quantity)
    yield sr.Measurement(klip.PEAK, float(region.peak_nats), of_block, referenced_images=[on_map])
    further: Sequence[tuple[Code, float | None, Code]] = (
        (klip.TOTAL, region.total_nats, of_total),
        (klip.Q_VALUE, region.q_value, klip.ONE),
        (klip.EXPECTED, region.expected, klip.REGION_COUNT),
    )
    for name, value, unit in further:
        if value is not None and math.isfinite(value):
            yield sr.Measurement(name, float(value), unit)


def _study_group(
    report: Report, referenced: Referenced, algorithm: sr.AlgorithmIdentification
) -> sr.MeasurementsAndQualitativeEvaluations:
    """What is said of the study as a whole, measured on the whole map."""
    numbers: Sequence[tuple[Code, float | None, Code]] = (
        (klip.COUNT, len(report.regions), klip.REGION_COUNT),
        (klip.FLAGGED, report.significant_mm3, klip.MM3),
        (klip.TESTED, report.tested_mm3, klip.MM3),
        (klip.ALLOWED, report.false_regions, klip.REGION_COUNT),
    )
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=hd.UID(), identifier="KLIP study"),
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name, float(value), unit)
            for name, value, unit in numbers
            if value is not None and math.isfinite(value)
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(klip.INTENDED_USE, klip.RESEARCH_ONLY),
            sr.QualitativeEvaluation(klip.RESULT, klip.REGIONS_FOUND if report.regions else klip.NO_REGION),
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=referenced.kl_map.SOPClassUID,
                referenced_sop_instance_uid=referenced.kl_map.SOPInstanceUID,
            )
        ],
    )


def _library_of(content: sr.MeasurementReport) -> sr.ContainerContentItem:
    """The container *Image Library* of a report's content."""
    return next(item for item in content[0].ContentSequence if item.name == codes.DCM.ImageLibrary)


def _map_in_library(kl_map: hd.pm.ParametricMap) -> sr.ContainerContentItem:
    """A group of the image library that holds the map alone: highdicom's own class takes acquired images only."""
    context = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
    pixels = Code("{pixels}", "UCUM", "Pixels")
    image = sr.ImageContentItem(
        name=Code("260753009", "SCT", "Source"),
        referenced_sop_class_uid=kl_map.SOPClassUID,
        referenced_sop_instance_uid=kl_map.SOPInstanceUID,
        relationship_type=CONTAINS,
    )
    image.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(codes.DCM.Modality, codes.DCM.OtherModality, context),
            sr.UIDRefContentItem(codes.DCM.FrameOfReferenceUID, kl_map.FrameOfReferenceUID, context),
            sr.NumContentItem(codes.DCM.PixelDataRows, kl_map.Rows, pixels, relationship_type=context),
            sr.NumContentItem(codes.DCM.PixelDataColumns, kl_map.Columns, pixels, relationship_type=context),
        ]
    )
    group = sr.ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=CONTAINS)
    group.ContentSequence = sr.ContentSequence([image])
    return group


def _evaluations(report: Report) -> sr.ContainerContentItem:
    """The document's own container of qualitative evaluations (TID 1500, row 12), which highdicom has no class for."""
    container = sr.ContainerContentItem(name=klip.QUALITATIVE_EVALUATIONS, relationship_type=CONTAINS)
    texts = [(klip.SUMMARY, report.summary())]
    if report.false_regions is not None:
        texts.append((klip.VERDICT, report.verdict()))
    texts += [(klip.WARNING, warning) for warning in report.warnings]
    texts.append((klip.DISCLAIMER, report.disclaimer))
    container.ContentSequence = sr.ContentSequence(
        [
            sr.CodeContentItem(klip.INTENDED_USE, klip.RESEARCH_ONLY, CONTAINS),
            sr.CodeContentItem(klip.RESULT, klip.REGIONS_FOUND if report.regions else klip.NO_REGION, CONTAINS),
            *(sr.TextContentItem(name, klip.ascii_text(text), CONTAINS) for name, text in texts),
        ]
    )
    return container
