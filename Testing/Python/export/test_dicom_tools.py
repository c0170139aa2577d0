"""DICOM results in other people's hands: dciodvfy, dcmqi, OHIF's adapter and Orthanc, each where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from busy import longest
from export.dicom_example import Example, example

from KLIPCore.export.structured_report import equivalent_diameter_mm

READER = Path(__file__).with_name("read_parametric_map.mjs")
RESULTS = ("regions.dcm", "kl_map.dcm", "report.dcm")


def tool(name: str, source: str) -> str:
    """Path of a program, on the PATH or beside this Python; the test is skipped where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"needs {name} ({source})")
    return found


def run(*command: str | Path) -> str:
    """Output of a program that must succeed within two minutes."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=longest(120), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Results that tests only look at."""
    return example(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Results of a study on which nothing stands out."""
    return example(tmp_path_factory.mktemp("nothing"), with_regions=False)


@pytest.mark.parametrize(("which", "names"), [("made", RESULTS), ("without", RESULTS[1:])])
def test_dciodvfy_finds_no_error(which: str, names: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    program = tool("dciodvfy", "Debian's dicom3tools")
    for name in names:
        lines = run(program, request.getfixturevalue(which).folder / name).splitlines()
        assert not [line for line in lines if line.startswith(("Error", "Abort"))]
        assert any(line in ("Segmentation", "ParametricMap", "EnhancedSR") for line in lines), lines


def test_dcmqi_gives_back_every_number_and_place_of_the_map(made: Example, tmp_path: Path) -> None:
    run(tool("paramap2itkimage", "pip install dcmqi"), "--inputDICOM", made.folder / "kl_map.dcm",
        "--outputDirectory", tmp_path, "--outputType", "nrrd")  # fmt: skip
    image, ours = sitk.ReadImage(tmp_path / "pmap.nrrd"), sitk.ReadImage(made.folder / "kl_map.nrrd")
    same_as(image, ours)
    said = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert said["MeasurementUnitsCode"]["CodeValue"] == "{surprise}"
    assert said["QuantityValueCode"]["CodeValue"] == "SURPRISE"
    assert float(said["RealWorldValueSlope"]) == 1


def same_as(image: sitk.Image, ours: sitk.Image) -> None:
    """Each voxel of our image has the same number at the same place in the other one, whatever its axes."""
    size = np.array(ours.GetSize())
    assert np.prod(image.GetSize()) == np.prod(size)
    array = sitk.GetArrayFromImage(ours)
    for corner in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)):
        index = [int(v) for v in np.array(corner) * (size - 1)]
        there = image.TransformPhysicalPointToContinuousIndex(ours.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(there, np.rint(there), atol=0.02)
    flipped = np.rint(image.TransformPhysicalPointToContinuousIndex(ours.GetOrigin()))[2] != 0
    theirs = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(theirs[::-1] if flipped else theirs, array)


def test_dcmqi_gives_back_every_measurement(made: Example, tmp_path: Path) -> None:
    program = tool("tid1500reader", "pip install dcmqi")
    run(program, "--inputDICOM", made.folder / "report.dcm", "--outputMetadata", tmp_path / "report.json")
    said = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    segments = pydicom.dcmread(made.folder / "regions.dcm").SegmentSequence
    groups = {group["TrackingUniqueIdentifier"]: group for group in said["Measurements"]}
    assert len(groups) == 3
    for n, region in enumerate(sorted(made.report.regions, key=lambda r: r.label), start=1):
        group = groups[segments[n - 1].TrackingUID]
        assert (group["TrackingIdentifier"], group["ReferencedSegment"]) == (segments[n - 1].TrackingID, n)
        assert group["Finding"]["CodeValue"] == "49755003"
        values = {item["quantity"]["CodeValue"]: float(item["value"]) for item in group["measurementItems"]}
        expected = {
            "118565006": region.volume_mm3,
            "EQUIV_DIAMETER": equivalent_diameter_mm(region.volume_mm3),
            "PEAK_STRENGTH": region.peak_nats,
            "TOTAL_STRENGTH": region.total_nats,
            "Q_VALUE": region.q_value,
            "EXPECTED_FALSE": region.expected,
        }
        assert values == pytest.approx(expected, rel=1e-12)  # it shows decimal strings of 16 characters
        said_of_it = json.dumps(group["qualitativeEvaluations"])
        assert "RESEARCH_ONLY" in said_of_it
    (study,) = [group for group in said["Measurements"] if group["TrackingIdentifier"] == "KLIP study"]
    assert {i["quantity"]["CodeValue"]: float(i["value"]) for i in study["measurementItems"]}["REGION_COUNT"] == 2


def test_dcmqi_reads_a_report_without_regions(without: Example, tmp_path: Path) -> None:
    program = tool("tid1500reader", "pip install dcmqi")
    run(program, "--inputDICOM", without.folder / "report.dcm", "--outputMetadata", tmp_path / "report.json")
    (study,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["Measurements"]
    values = {i["quantity"]["CodeValue"]: float(i["value"]) for i in study["measurementItems"]}
    assert (values["REGION_COUNT"], values["ALLOWED_FALSE"]) == (0, 0.2)
    assert "NO_REGION" in json.dumps(study["qualitativeEvaluations"])


def test_dcmqi_gives_back_every_voxel_of_the_segments(made: Example, tmp_path: Path) -> None:
    run(tool("segimage2itkimage", "pip install dcmqi"), "--inputDICOM", made.folder / "regions.dcm",
        "--outputDirectory", tmp_path, "--outputType", "nrrd")  # fmt: skip
    grid = made.study.grid
    for n, region in enumerate(sorted(made.report.regions, key=lambda r: r.label), start=1):
        image = sitk.ReadImage(tmp_path / f"{n}.nrrd")
        inside = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
        points = [image.TransformIndexToPhysicalPoint([int(v) for v in index]) for index in inside]
        found = {tuple(index) for index in np.rint(grid.to_index(np.array(points))).astype(int).tolist()}
        assert found == {tuple(index) for index in np.argwhere(region.full_mask(grid.shape)).tolist()}


def node_modules() -> Path:
    """Where OHIF's adapter is installed."""
    folder = Path(os.environ.get("KLIP_NODE_MODULES", "node_modules"))
    if not (folder / "@cornerstonejs" / "adapters").is_dir():
        pytest.skip(
            "needs @cornerstonejs/adapters (npm install @cornerstonejs/adapters @babel/runtime, then "
            "KLIP_NODE_MODULES=…/node_modules)"
        )
    return folder.resolve()


def viewer_metadata(made: Example) -> dict[str, Any]:
    """What a viewer holds of each image of the CT."""
    known = {}
    for file in made.study.source.files:
        header = pydicom.dcmread(file, stop_before_pixels=True)
        orientation = [float(v) for v in header.ImageOrientationPatient]
        position = [float(v) for v in header.ImagePositionPatient]
        known[f"image:{header.SOPInstanceUID}"] = {
            "imagePlaneModule": {
                "frameOfReferenceUID": header.FrameOfReferenceUID,
                "rows": header.Rows,
                "columns": header.Columns,
                "imageOrientationPatient": orientation,
                "rowCosines": orientation[:3],
                "columnCosines": orientation[3:],
                "imagePositionPatient": position,
                "rowPixelSpacing": float(header.PixelSpacing[0]),
                "columnPixelSpacing": float(header.PixelSpacing[1]),
                "sliceThickness": float(header.SliceThickness),
            },
            "generalImageModule": {"sopInstanceUID": header.SOPInstanceUID},
            "instance": {
                "Rows": header.Rows,
                "Columns": header.Columns,
                "ImagePositionPatient": position,
                "FrameOfReferenceUID": header.FrameOfReferenceUID,
                "SeriesInstanceUID": header.SeriesInstanceUID,
            },
        }
    return known


def test_ohifs_adapter_lays_every_number_over_its_slice(made: Example, tmp_path: Path) -> None:
    node, modules = tool("node", "Debian's nodejs"), node_modules()
    (tmp_path / "images.json").write_text(json.dumps(viewer_metadata(made)), encoding="utf-8")
    told = run(node, READER, modules, made.folder / "kl_map.dcm", tmp_path / "images.json", tmp_path / "out.f32")
    stacked = json.loads(told.splitlines()[-1])
    seen = np.fromfile(tmp_path / "out.f32", "<f4").reshape(made.nats.array.shape)
    ours = sitk.GetArrayFromImage(sitk.ReadImage(made.folder / "kl_map.nrrd"))
    slices = [made.study.source.sop_uids.index(image.removeprefix("image:")) for image in stacked]
    assert sorted(slices) == list(range(len(ours)))
    np.testing.assert_array_equal(seen, ours[slices])


class Orthanc:
    """A server of its own on loopback.

    :param program: its path.
    :param folder: for its storage.
    """

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {
            "Name": "KLIPTEST",
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": False,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")
        self.url = f"http://127.0.0.1:{port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._log = (folder / "orthanc.log").open("wb")
        self._process = subprocess.Popen([program, folder / "orthanc.json"], stdout=self._log, stderr=self._log)

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """GET, or POST where there is a body."""
        with self._open(urllib.request.Request(self.url + path, data=body), timeout=30) as answer:
            return answer.read()

    def wait(self) -> None:
        """Until it answers, half a minute at most."""
        for _ in range(150):
            assert self._process.poll() is None, "Orthanc stopped"
            try:
                self.ask("/system")
            except urllib.error.URLError:
                time.sleep(0.2)
            else:
                return
        pytest.fail("Orthanc does not answer")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running Orthanc, empty."""
    server = Orthanc(tool("Orthanc", "Debian's orthanc"), tmp_path)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def test_orthanc_stores_the_results_in_the_study_and_hands_them_back(made: Example, orthanc: Orthanc) -> None:
    sent = [*(Path(file) for file in made.study.source.files), *(made.folder / name for name in RESULTS)]
    for file in sent:
        answer = json.loads(orthanc.ask("/instances", file.read_bytes()))
        assert answer["Status"] == "Success"
        assert orthanc.ask(f"/instances/{answer['ID']}/file") == file.read_bytes()
    studies = json.loads(orthanc.ask("/studies"))
    assert len(studies) == len(json.loads(orthanc.ask("/patients"))) == 1
    series = json.loads(orthanc.ask(f"/studies/{studies[0]}/series"))
    described = {s["MainDicomTags"]["SeriesDescription"]: s["MainDicomTags"]["Modality"] for s in series}
    assert len(series) == 4
    assert described["KLIP map, surprise (research)"] == "OT"
    assert described["KLIP measurement report (research)"] == "SR"
    assert described["KLIP out-of-distribution regions (research)"] == "SEG"
