"""A real Orthanc on loopback: studies by C-GET, C-MOVE and DICOMweb, an archive out of it, and its own script."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from small_study import small_study

pytest.importorskip("pynetdicom", reason="needs pynetdicom (klipcore[pacs])")
pytest.importorskip("dicomweb_client", reason="needs dicomweb-client (klipcore[pacs])")

from pacs.servers import Orthanc

from KLIPCore.errors import EmptyInputError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior
from KLIPCore.pacs.fetch import Manner, fetch_study
from KLIPCore.pacs.find import Wanted
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.peers import Peer
from KLIPCore.pacs.resolve import finder, resolve, write_lines
from KLIPCore.pacs.send import dicom_files
from KLIPCore.pacs.service import Service
from KLIPCore.pacs.web import fetch_study_web, send_files_web

REPOSITORY = Path(__file__).parents[3]
KLIP = (sys.executable, "-m", "KLIPCore.cli")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slices with an accession number."""
    folder = tmp_path_factory.mktemp("study") / "ct"
    write_dicom_series(small_study(4), folder, seed=7)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.AccessionNumber = "A-0001"
        data.save_as(file)
    return folder


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, study: Path) -> Iterator[Orthanc]:
    """A server with that study."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    try:
        server.wait()
        server.add(study)
        yield server
    finally:
        server.stop()


def pixels(folder: Path) -> set[str]:
    return {hashlib.sha256(pydicom.dcmread(file).PixelData).hexdigest() for file in folder.iterdir()}


def wanted(study: Path) -> Wanted:
    return Wanted(str(pydicom.dcmread(next(study.iterdir())).StudyInstanceUID))


def test_get_and_move_bring_the_same_study(orthanc: Orthanc, study: Path, tmp_path: Path) -> None:
    peer = Peer.parse(orthanc.peer, timeout_s=30)
    fetch_study(peer, Wanted(accession="A-0001"), tmp_path / "get", Pace())
    move = Manner("move", orthanc.our_port)
    fetch_study(peer, wanted(study), tmp_path / "move", Pace(), manner=move)
    assert pixels(tmp_path / "get") == pixels(tmp_path / "move") == pixels(study)
    with pytest.raises(EmptyInputError, match="no study with that accession number"):
        fetch_study(peer, Wanted(accession="nobody"), tmp_path / "no", Pace())


def test_dicomweb_brings_the_same_study_and_takes_results(orthanc: Orthanc, study: Path, tmp_path: Path) -> None:
    if not orthanc.has_web:
        pytest.skip("needs Orthanc's DICOMweb plugin (Debian's orthanc-dicomweb)")
    address = Service(f"{orthanc.url}/dicom-web")
    fetch_study_web(address, Wanted(accession="A-0001"), tmp_path / "web", Pace())
    assert pixels(tmp_path / "web") == pixels(study)
    write_dicom_series(small_study(2), tmp_path / "other", seed=8)
    assert send_files_web(address, dicom_files([tmp_path / "other"]), Pace()) == 2
    assert len(orthanc.ask("/studies")) == 2


def test_a_list_of_accession_numbers_becomes_an_archive(orthanc: Orthanc, tmp_path: Path) -> None:
    names = tmp_path / "list.txt"
    names.write_text("A-0001\nunknown\n", encoding="utf-8")
    lines = resolve(names, {orthanc.peer: finder(orthanc.peer, "KLIP")})
    assert write_lines(lines, tmp_path / "index.jsonl") == 1
    words = ("archive", "run", str(tmp_path / "index.jsonl"), "-o", str(tmp_path / "out"), "--job", "guard")
    done = subprocess.run(
        [*KLIP, *words, "--pacs", orthanc.peer, "--pacs-option=--rate=200", "--progress", "none"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "verdicts.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["accession"]: row for row in csv.DictReader(stream)}
    assert (rows["A-0001"]["status"], rows["A-0001"]["finding"]) == ("done", "look first")
    assert rows["unknown"]["status"] == "failed"
    assert "no study with that accession number" in rows["unknown"]["message"]
    assert list((tmp_path / "out" / "incoming").iterdir()) == []


def test_orthancs_own_script_examines_a_stable_series_and_stores_the_results(tmp_path: Path) -> None:
    """A detection with a tiny prior; then the results are in the study, and nothing goes round in circles."""
    write_dicom_series(tiny_study(4), tmp_path / "ct", seed=1)
    prior = write_tiny_prior(tmp_path / "prior")
    settings = {
        "preset": "quick",
        "prior": str(prior),
        "sampling": {"n_samples": 1, "n_steps": 2},
        "record": {"n_nodes": 2, "layers": ["cold", "path"]},
        "regions": {"score": "surprise"},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    recipe, work = REPOSITORY / "examples" / "orthanc", tmp_path / "work"
    environment = {
        "KLIP_STUDY_SCRIPT": str(recipe / "klip_study.sh"),
        "KLIP_WORK": str(work),
        "KLIP_PACS": "{peer}",
        "KLIP": " ".join(KLIP),
        "KLIP_OPTIONS": f"--config {tmp_path / 'settings.json'} --threads 1",
        "PYTHONPATH": str(REPOSITORY),
    }
    server = Orthanc(tmp_path / "orthanc", environment, LuaScripts=[str(recipe / "klip.lua")])
    try:
        server.wait()
        server.add(tmp_path / "ct")
        for _ in range(4000):  # as long as a busy machine takes for a detection of some seconds
            if list(work.glob("*.stored")) and (work / "klip.log").read_text(encoding="utf-8").endswith("stored\n"):
                break
            time.sleep(0.3)
        log = (work / "klip.log").read_text(encoding="utf-8")
        assert list(work.glob("*.stored")), log + server.log.read_text(errors="replace")[-2000:]
        kinds = sorted(one["MainDicomTags"]["Modality"] for one in server.ask("/series?expand"))
        assert kinds in (["CT", "OT", "SR"], ["CT", "OT", "SEG", "SR"])
        assert len(server.ask("/studies")) == 1
        time.sleep(2.5)  # the results become stable, too
        assert log == (work / "klip.log").read_text(encoding="utf-8")
        assert not list(work.glob("*.ct"))
        uid = pydicom.dcmread(next((tmp_path / "ct").iterdir())).StudyInstanceUID
        assert uid not in log
    finally:
        server.stop()
