"""Files that are meant ill, class by class: each is refused in a sentence, at once, with next to no memory, and
nothing of it runs.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from busy import longest
from fuzz.refusals import SECONDS, edit, refused
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless
from scipy.io import savemat

from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.errors import ConfigError, PriorError, TraceError, UnreadableFileError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.images import write_image
from KLIPCore.io.sinogram import read_htc2022, read_sinogram
from KLIPCore.io.study import read_study
from KLIPCore.lab.evaluation.config import EvaluationConfig
from KLIPCore.lab.evaluation.measured_config import MeasuredConfig
from KLIPCore.lab.fuzz.containers import dicom_bytes, dicom_elements
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior, write_tiny_run
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.report import read_mask
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.checkpoint import file_sha256, load_prior
from KLIPCore.runs.folder import OWN_FILES
from KLIPCore.runs.rerun import redo_regions
from KLIPCore.volume.untrusted import load_npz

ROOM = 1 << 30


@pytest.fixture(autouse=True)
def _at_once_and_in_little_memory() -> Iterator[None]:
    """Half a minute of a quiet machine, and two gigabytes more than are there: an attack that works fails the test,
    not the computer.
    """
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if Path("/proc/self/statm").is_file():
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2 * ROOM, limits[1]))
    began = time.monotonic()
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
    assert time.monotonic() - began < longest(6 * SECONDS)


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Three sound slices."""
    return write_dicom_series(tiny_study(3, 16), tmp_path / "ct", seed=1)


@pytest.mark.parametrize(("rows", "frames"), [(65535, 1), (65535, 2**31 - 1), (16, 2**31 - 1), (0, 1)])
def test_dimensions_that_overflow(rows: int, frames: int, series: list[Path]) -> None:
    def change(dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = rows
        dataset.NumberOfFrames = frames

    for file in series:
        edit(file, change)
    refused(lambda: read_study(series[0].parent))


def test_dimensions_of_another_kind(series: list[Path]) -> None:
    for file in series:
        head, elements = dicom_elements(file.read_bytes())
        wide = [
            (tag, b"UL", struct.pack("<I", 2**31)) if tag in (b"\x28\0\x10\0", b"\x28\0\x11\0") else (tag, vr, value)
            for tag, vr, value in elements
        ]
        file.write_bytes(dicom_bytes(head, wide))
    refused(lambda: read_study(series[0].parent))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGBaseline8Bit])
def test_an_encapsulated_pixel_bomb(syntax: str, series: list[Path]) -> None:
    frame = struct.pack("<16I", 2, 64, 64 + 50_000, *[0] * 13) + b"\x81\0" * 50_000  # every two bytes become 128

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.Rows = dataset.Columns = 30_000
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True

    for file in series:
        edit(file, change)
    refused(lambda: read_study(series[0].parent))


def test_palette_colour(series: list[Path]) -> None:
    for file in series:
        edit(file, lambda dataset: setattr(dataset, "PhotometricInterpretation", "PALETTE COLOR"))
    refused(lambda: read_study(series[0].parent))


def test_a_million_nested_sequences(series: list[Path]) -> None:
    head, elements = dicom_elements(series[1].read_bytes())
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff"
    at = next(
        place
        for place, element in enumerate(elements)
        if element[0] > b"\x08\0\x40\x11" and element[0][:2] >= b"\x08\0"
    )
    series[1].write_bytes(
        dicom_bytes(
            head, [*elements[:at], (b"\x08\0\x40\x11", b"SQ", item * 1_000_000), *elements[at:]], (at, 0xFFFFFFFF)
        )
    )
    refused(lambda: read_study(series[0].parent))


def test_links_to_devices_and_loops_are_no_slices(series: list[Path]) -> None:
    folder = series[0].parent
    (folder / "zero.dcm").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.dcm").symlink_to(folder / "nothing")
    assert read_study(folder).array.shape == (3, 16, 16)


@pytest.mark.parametrize("suffix", ["", ".dcm", ".nii", ".nii.gz", ".hdr", ".nrrd", ".mha", ".npz", ".mat"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_not_waited_for(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    read = read_sinogram if suffix in (".npz", ".mat") else read_study
    refused(lambda: read(path))


def test_a_gzip_bomb(tmp_path: Path) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 1000, 1000, 200, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    with gzip.open(tmp_path / "ct.nii.gz", "wb", 1) as file:
        file.write(bytes(header))
        for _ in range(100):  # 800 MB are claimed, a ninth is there: the claim is enough
            file.write(bytes(1 << 20))
    refused(lambda: read_study(tmp_path / "ct.nii.gz"), UnreadableFileError)


@pytest.mark.parametrize(
    "line", ["sizes: 100000 100000 100000", "sizes: 4294967297 16 3", "sizes: 2147483647 2147483647 2147483647"]
)
def test_an_nrrd_bomb(line: str, tmp_path: Path) -> None:
    write_image(tiny_study(3, 16), tmp_path / "ct.nrrd")
    data = (tmp_path / "ct.nrrd").read_bytes().replace(b"sizes: 16 16 3", line.encode())
    assert line.encode() in data
    (tmp_path / "ct.nrrd").write_bytes(data)
    refused(lambda: read_study(tmp_path / "ct.nrrd"), UnreadableFileError)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../ct/secret.raw", "/dev/zero", "LIST", "x%03d.raw 1 999999 1", "linked.raw", "sub/x.raw"]
)
def test_numbers_from_elsewhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "secret.raw").write_bytes(bytes(16 * 16 * 3 * 4))
    (tmp_path / "own" / "sub").mkdir(parents=True)
    (tmp_path / "own" / "sub" / "x.raw").write_bytes(bytes(16 * 16 * 3 * 4))
    (tmp_path / "own" / "linked.raw").symlink_to(tmp_path / "ct" / "secret.raw")
    write_image(tiny_study(3, 16), tmp_path / "own" / "ct.nrrd")
    head = (
        (tmp_path / "own" / "ct.nrrd").read_bytes().partition(b"\n\n")[0].replace(b"encoding: gzip", b"encoding: raw")
    )
    (tmp_path / "own" / "ct.nrrd").write_bytes(head + b"\ndata file: " + name.encode() + b"\n\n")
    refused(lambda: read_study(tmp_path / "own" / "ct.nrrd"), UnreadableFileError)
    text = f"NDims = 3\nDimSize = 16 16 3\nElementType = MET_FLOAT\nElementSpacing = 8 8 5\nElementDataFile = {name}\n"
    (tmp_path / "own" / "ct.mhd").write_text(text)
    refused(lambda: read_study(tmp_path / "own" / "ct.mhd"), UnreadableFileError)


@pytest.mark.parametrize(
    ("name", "line"),
    [("ct.nrrd", "klip_unit:" + "x" * 5000), ("ct.nrrd", 'space units: "' + "x" * 5000), ("ct.mha", "NDims = 255")],
)
def test_lines_that_end_itk(name: str, line: str, tmp_path: Path) -> None:
    write_image(tiny_study(3, 16), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    old, new = (b"NDims = 3", line.encode()) if name == "ct.mha" else (b"\n\n", b"\n" + line.encode() + b"\n\n")
    (tmp_path / name).write_bytes(data.replace(old, new, 1))
    refused(lambda: read_study(tmp_path / name), UnreadableFileError)


def npz_bomb(path: Path, name: str) -> None:
    """200 MB of zeros in 200 kB."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (50, 1 << 20)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name + ".npy", "w") as member,
    ):
        member.write(header.getvalue())
        for _ in range(50):
            member.write(bytes(4 << 20))


def test_npz_bombs(tmp_path: Path) -> None:
    npz_bomb(tmp_path / "a.npz", "sinogram")
    refused(lambda: read_sinogram(tmp_path / "a.npz"), UnreadableFileError)
    npz_bomb(tmp_path / "b.npz", "normalized_updates")
    refused(lambda: Artifact.load(tmp_path / "b.npz"), UnreadableFileError)
    with pytest.raises(ValueError, match="would unpack"):
        load_npz(tmp_path / "a.npz")


def test_a_header_that_claims_a_terabyte(tmp_path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)
    with zipfile.ZipFile(tmp_path / "scan.npz", "w") as archive:
        archive.writestr("sinogram.npy", member)
    refused(lambda: read_sinogram(tmp_path / "scan.npz"), UnreadableFileError)
    (tmp_path / "mask.npy").write_bytes(member)
    refused(lambda: read_mask(tmp_path / "mask.npy"), UnreadableFileError)


class Payload:
    """Unpickled, it makes a folder: the proof that something ran."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.proof),)


def test_no_object_of_anybody_ever_runs(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    objects = np.array([Payload(proof)], object)
    run = write_tiny_run(tmp_path / "run")
    names = (
        "sinogram",
        "angles_rad",
        "angles_deg",
        "geometry",
        "meta",
        "bits",
        "affine",
        "fields",
        "normalized_updates",
        "g_values",
        "reconstruction",
    )
    np.savez(tmp_path / "all.npz", **dict.fromkeys(names, objects))
    refused(lambda: read_sinogram(tmp_path / "all.npz"), UnreadableFileError)
    refused(lambda: read_htc2022(tmp_path / "all.npz"), UnreadableFileError)
    refused(lambda: SliceTrace.load(tmp_path / "all.npz"), TraceError)
    refused(lambda: Artifact.load(tmp_path / "all.npz"), UnreadableFileError)
    (tmp_path / "all.npz").replace(run.file("body.npz"))
    refused(run.read_framing, TraceError)
    np.save(tmp_path / "mask.npy", objects)
    refused(lambda: read_mask(tmp_path / "mask.npy"), UnreadableFileError)
    savemat(
        tmp_path / "scan.mat", {"sinogram": np.array([["x", 1]], object), "angles_rad": np.zeros(2), "pitch_mm": 1.0}
    )
    refused(lambda: read_sinogram(tmp_path / "scan.mat"), UnreadableFileError)
    for name in ("prior.safetensors", "scan.npz", "ct.nrrd"):
        (tmp_path / name).write_bytes(pickle.dumps(Payload(proof)))
    (tmp_path / "prior.json").write_text("{}")
    refused(lambda: load_prior(tmp_path / "prior.safetensors"), PriorError)
    refused(lambda: read_sinogram(tmp_path / "scan.npz"), UnreadableFileError)
    refused(lambda: read_study(tmp_path / "ct.nrrd"), UnreadableFileError)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Payload(proof)))
    assert proof.exists(), "the payload itself is harmless, and the test can fail"


LOADERS = (Config.load, TrainingConfig.load, EvaluationConfig.load, MeasuredConfig.load)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "text",
    [
        "name: !!python/object/apply:os.mkdir [PROOF]",
        "name: !!python/name:os.system",
        "a: &a [1, 1]\nb: &b [*a, *a]\nname: [*b, *b]",
        "[" * 50_000,
        "name: " + "x" * 3_000_000,
        "name: !!int ''",
        "\0",
    ],
)
def test_settings_that_are_programs(load: Callable[[Path], object], text: str, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    (tmp_path / "settings.yaml").write_text(text.replace("PROOF", str(proof)))
    refused(lambda: load(tmp_path / "settings.yaml"), ConfigError)
    assert not proof.exists()


@pytest.mark.parametrize("length", [2**63, 2**40, 2**31, 10**9, 0])
def test_headers_of_gigabytes(length: int, tmp_path: Path) -> None:
    path = write_tiny_prior(tmp_path)
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**card, "sha256": file_sha256(path)}))
    refused(lambda: load_prior(path), PriorError)


@pytest.mark.parametrize(
    "change",
    [
        {"size": 10**6},
        {"network": {"kind": "EDMUNet", "channels": [8 * 10**4] * 5}},
        {"network": {"n_res_blocks": 10**9}},
    ],
)
def test_cards_of_networks_that_fill_the_memory(change: dict, tmp_path: Path) -> None:
    path = write_tiny_prior(tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    network = {**card["network"], **change.get("network", {})}
    path.with_suffix(".json").write_text(json.dumps({**card, **change, "network": network}))
    refused(lambda: load_prior(path), PriorError)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"fingerprint": 1e999, "slices": [1e999]}',
        "9" * 10_000,
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_json_that_is_too_deep_or_none(text: str | bytes, tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path / "run")
    run.file("run.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(lambda: redo_regions(run.path), TraceError)


def test_hostile_names_neither_leave_the_folder_nor_run_in_the_report(series: list[Path], tmp_path: Path) -> None:
    script = "<script>alert(1)</script><img src=x onerror=alert(2)>"

    def change(dataset: Dataset) -> None:
        dataset.PatientName = script
        dataset.PatientID = "../../../" + script
        dataset.SeriesDescription = script
        dataset.StudyDescription = "../../../../tmp/x"
        dataset.SeriesInstanceUID = "../../../../evil"
        dataset.FrameOfReferenceUID = "/etc/evil"

    with pydicom.config.disable_value_validation():
        for file in series:
            edit(file, change)
    study, out = tmp_path / script.replace("/", "_"), tmp_path / "a" / "b" / "out"
    series[0].parent.rename(study)
    prior = write_tiny_prior(tmp_path / "prior")
    values = {
        "prior": str(prior),
        "sampling": {"n_steps": 2},
        "record": {"n_nodes": 1, "cell": 2, "layers": ["cold"]},
        "regions": {"score": "surprise"},
    }
    found = detect(study, out, Config.from_preset("quick").updated(values))
    page = out.joinpath("report.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>", page)
    ours = r'<script( type="(text/plain|application/json)" id="v-[a-z-]+")?>'
    assert [tag for tag in scripts if not re.fullmatch(ours, tag)] == []
    assert scripts.count("<script>") == 1, "the viewer's own"
    assert "onerror" not in page
    assert "alert(1)" not in json.dumps(found.report.to_dict())
    assert {item.name for item in out.iterdir()} <= {*OWN_FILES, "trace"}
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([study.name, "a", "prior"])
    assert [item.name for item in (tmp_path / "a").rglob("*") if item.parent != out and out not in item.parents] == [
        "b",
        "out",
    ]
