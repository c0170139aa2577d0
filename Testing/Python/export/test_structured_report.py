"""Structured reports read back by highdicom: numbers of the regions, identifiers of segments, frames of the map."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from export.dicom_example import LIVER, Example, example
from highdicom import sr
from pydicom.sr.codedict import codes

from KLIPCore.errors import GeometryError, OutputError
from KLIPCore.export import dicom_codes as klip
from KLIPCore.export.dicom_seg import dicom_seg
from KLIPCore.export.organ_codes import organ_code
from KLIPCore.export.parametric_map import parametric_map
from KLIPCore.export.report import VERDICTS
from KLIPCore.export.source_series import SourceSeries
from KLIPCore.export.structured_report import (
    Referenced,
    equivalent_diameter_mm,
    structured_report,
    write_structured_report,
)
from KLIPCore.maps.regions import Region


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Results that tests only look at."""
    return example(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Results of a study on which nothing stands out."""
    return example(tmp_path_factory.mktemp("nothing"), with_regions=False)


def content_of(made: Example) -> sr.MeasurementReport:
    """The report's content, parsed anew from the file."""
    return sr.srread(made.folder / "report.dcm").content


def number_of(group: sr.VolumetricROIMeasurementsAndQualitativeEvaluations, name: klip.Code) -> float | None:
    """The one number of that name."""
    found = group.get_measurements(name=name)
    assert len(found) <= 1
    return found[0].value if found else None


def test_each_region_has_a_group_with_its_numbers(made: Example) -> None:
    groups = content_of(made).get_volumetric_roi_measurement_groups()
    regions = sorted(made.report.regions, key=lambda region: region.label)
    assert len(groups) == len(regions) == 2
    for group, region in zip(groups, regions, strict=True):
        assert number_of(group, klip.VOLUME) == region.volume_mm3
        assert number_of(group, klip.PEAK) == region.peak_nats
        assert number_of(group, klip.TOTAL) == region.total_nats
        assert number_of(group, klip.Q_VALUE) == region.q_value
        assert number_of(group, klip.EXPECTED) == region.expected
        assert number_of(group, klip.DIAMETER) == equivalent_diameter_mm(region.volume_mm3)
        assert group.finding_type == klip.ABNORMAL
        assert group.method == klip.SURPRISE
        units = {m.name.value: m.unit.value for m in group.get_measurements()}
        assert units[klip.VOLUME.value] == "mm3"
        assert units[klip.PEAK.value] == "{surprise}"
        assert klip.RESEARCH_ONLY in [e.value for e in group.get_qualitative_evaluations(name=klip.INTENDED_USE)]
    assert equivalent_diameter_mm(4 / 3 * math.pi * 5**3) == pytest.approx(10)


def test_groups_refer_to_the_segments_and_share_their_identifiers(made: Example) -> None:
    segmentation = hd.seg.segread(made.folder / "regions.dcm")
    for n, group in enumerate(content_of(made).get_volumetric_roi_measurement_groups(), start=1):
        described = hd.seg.SegmentDescription.from_dataset(segmentation.SegmentSequence[n - 1])
        assert (group.tracking_uid, group.tracking_identifier) == (described.tracking_uid, described.tracking_id)
        assert len(group.tracking_identifier) <= 64
        segment = group.referenced_segment
        assert segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert segment.referenced_segment_numbers == [n]
        assert segment.source_series_for_segmentation.value == made.study.source.series_uid


def test_the_peak_refers_to_the_frame_of_the_map_that_shows_it(made: Example) -> None:
    plain = pydicom.dcmread(made.folder / "kl_map.dcm")
    frames = np.frombuffer(plain.FloatPixelData, "<f4").reshape(-1, plain.Rows, plain.Columns)
    regions = sorted(made.report.regions, key=lambda region: region.label)
    for group, region in zip(content_of(made).get_volumetric_roi_measurement_groups(), regions, strict=True):
        (peak,) = group.get_measurements(name=klip.PEAK)
        (image,) = peak.referenced_images
        assert image.referenced_sop_instance_uid == plain.SOPInstanceUID
        (n,) = image.referenced_frame_numbers
        k, row, column = np.rint(made.study.grid.to_index(region.peak_lps_mm)).astype(int)
        assert frames[n - 1][row, column] == made.nats.array[k, row, column]
        position = plain.PerFrameFunctionalGroupsSequence[n - 1].PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, made.study.grid.to_world((k, 0, 0)), atol=1e-3)


def test_organ_and_readers_verdict_stand_where_they_are_known(made: Example) -> None:
    first, second = content_of(made).get_volumetric_roi_measurement_groups()
    assert first.finding_sites == []
    assert [site.value for site in second.finding_sites] == [LIVER]
    (verdict,) = first.get_qualitative_evaluations(name=klip.READER_VERDICT)
    assert verdict.value == klip.READINGS["normal variant"]
    assert second.get_qualitative_evaluations(name=klip.READER_VERDICT) == []
    assert set(klip.READINGS) == set(VERDICTS) - {""}


@pytest.mark.parametrize("which", ["made", "without"])
def test_the_study_as_a_whole(which: str, request: pytest.FixtureRequest) -> None:
    made: Example = request.getfixturevalue(which)
    content = content_of(made)
    (group,) = content.get_image_measurement_groups()
    n = len(made.report.regions)
    assert number_of(group, klip.COUNT) == n
    assert number_of(group, klip.TESTED) == made.report.tested_mm3
    assert number_of(group, klip.FLAGGED) == made.report.significant_mm3
    assert number_of(group, klip.ALLOWED) == 0.2
    (result,) = group.get_qualitative_evaluations(name=klip.RESULT)
    assert result.value == (klip.REGIONS_FOUND if n else klip.NO_REGION)
    assert len(content.get_volumetric_roi_measurement_groups()) == n
    (container,) = [i for i in content[0].ContentSequence if i.name == klip.QUALITATIVE_EVALUATIONS]
    texts = {i.name.value: i.value for i in container.ContentSequence if i.ValueType == "TEXT"}
    assert texts["VERDICT"] == made.report.verdict()
    assert texts["SUMMARY"].startswith("2 regions stand out" if n else "No region stands out")
    assert texts["WARNING"] == "Slices 3-4 are noisy."
    assert "Not a medical device" in texts["DISCLAIMER"]
    assert all(text.isascii() for text in texts.values())
    coded = {i.name.value: i.value for i in container.ContentSequence if i.ValueType == "CODE"}
    assert coded["INTENDED_USE"] == klip.RESEARCH_ONLY
    assert (made.folder / "regions.dcm").exists() == bool(n)


def test_who_observed_and_how_final_it_is(made: Example) -> None:
    document = sr.srread(made.folder / "report.dcm")
    assert isinstance(document, sr.EnhancedSR)
    assert (document.CompletionFlag, document.PreliminaryFlag, document.VerificationFlag) == (
        "COMPLETE",
        "PRELIMINARY",
        "UNVERIFIED",
    )
    assert (document.SoftwareVersions, document.ManufacturerModelName) == ("0.1.0", "KLIP")
    assert "research" in document.SeriesDescription
    (context,) = document.content.get_observer_contexts()
    assert context.observer_type == codes.DCM.Device
    device = context.observer_identifying_attributes
    assert (device.name, device.manufacturer_name, device.model_name) == ("KLIP", "KLIPSlicer", "KLIPCore 0.1.0")
    assert context.observer_identifying_attributes.uid.startswith("1.2.826.0.1.3680043.8.498.")


def test_all_that_is_referred_to_is_evidence_and_in_the_library(made: Example) -> None:
    document = sr.srread(made.folder / "report.dcm")
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    others = {pydicom.dcmread(made.folder / f).SOPInstanceUID for f in ("kl_map.dcm", "regions.dcm")}
    assert evidence == set(made.study.source.sop_uids) | others
    library = next(i for i in document.content[0].ContentSequence if i.name == codes.DCM.ImageLibrary)
    images = [
        entry.referenced_sop_instance_uid
        for group in library.ContentSequence
        for entry in group.ContentSequence
        if entry.ValueType == "IMAGE"
    ]
    assert sorted(images) == sorted(
        {*made.study.source.sop_uids, pydicom.dcmread(made.folder / "kl_map.dcm").SOPInstanceUID}
    )


def test_every_code_fits_its_field() -> None:
    own = [v for v in vars(klip).values() if isinstance(v, klip.Code)] + list(klip.READINGS.values())
    assert all(len(code.value) <= 16 and len(code.meaning) <= 64 and code.meaning.isascii() for code in own)
    assert len({code.value for code in own}) == len(own)


def test_every_code_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "dicom_results.md").read_text(encoding="utf-8")
    own = [v for v in vars(klip).values() if isinstance(v, klip.Code)] + list(klip.READINGS.values())
    missing = [code.value for code in own if code.scheme_designator == "99KLIP" and f"`{code.value}`" not in page]
    assert missing == []


def test_numbers_that_are_none_are_left_out(made: Example, tmp_path: Path) -> None:
    odd = [replace(r, q_value=math.nan, expected=None, total_nats=math.inf) for r in made.report.regions]
    report = replace(made.report, regions=tuple(odd), false_regions=None, tested_mm3=None)
    path = write_structured_report(report, referenced(made, odd), tmp_path / "report.dcm", version="0")
    document = sr.srread(path)
    group = document.content.get_volumetric_roi_measurement_groups()[0]
    assert {m.name.value for m in group.get_measurements()} == {"118565006", "EQUIV_DIAMETER", "PEAK_STRENGTH"}
    container = document.content[0].ContentSequence[-1]
    assert "VERDICT" not in {item.name.value for item in container.ContentSequence}


def referenced(made: Example, regions: list[Region]) -> Referenced:
    """New objects for the example's study."""
    series = SourceSeries.of(made.study)
    segmentation = dicom_seg(regions, made.study, version="0", series=series)
    return Referenced(series, parametric_map(made.nats, made.study, version="0", series=series), segmentation)


def test_reports_of_other_segments_and_bad_targets_are_refused(made: Example, tmp_path: Path) -> None:
    of_one = referenced(made, list(made.report.regions[:1]))
    with pytest.raises(GeometryError, match="1 segments, the report 2 regions"):
        structured_report(made.report, of_one, version="0")
    (tmp_path / "occupied").mkdir()
    with pytest.raises(OutputError):
        write_structured_report(
            made.report, referenced(made, list(made.report.regions)), tmp_path / "occupied", version="0"
        )
    assert not list(tmp_path.glob("*.part"))


def test_names_of_organs_have_codes_whatever_their_side() -> None:
    assert organ_code("Left Kidney") == organ_code("kidney_right") == codes.SCT.Kidney
    assert organ_code("liver") == codes.SCT.Liver
    assert organ_code("outside") is None
    assert organ_code("label 7") is None
    assert organ_code(None) is None
