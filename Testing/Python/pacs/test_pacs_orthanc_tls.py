"""A real Orthanc that speaks TLS, by DICOM and DICOMweb: studies come, results go; what is not believed is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from small_study import small_study
from typer.testing import CliRunner

pytest.importorskip("pynetdicom", reason="needs pynetdicom (klipcore[pacs])")
pytest.importorskip("dicomweb_client", reason="needs dicomweb-client (klipcore[pacs])")

from pacs.certificates import of
from pacs.servers import Front, Orthanc

from KLIPCore.cli import app
from KLIPCore.errors import KlipError, ResourceError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.pacs.listen import Listener, Rules


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices."""
    folder = tmp_path_factory.mktemp("study") / "ct"
    write_dicom_series(small_study(2), folder, seed=7)
    return folder


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Orthanc]:
    """An empty server with a certificate, which wants to see ours by DICOM."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), tls=of(certificates, "pacs"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def options(certificates: Path, name: str = "klip", ca: str = "authority") -> list[str]:
    """What a command is told of certificates."""
    files = {"ca": f"{ca}.pem", "certificate": f"{name}.pem", "key": f"{name}.key"}
    return [f"--tls-{option}={certificates / file}" for option, file in files.items()]


def klip(*words: str | Path) -> str:
    """Run a command of klip, and return what it says."""
    answer = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(answer.exception, KlipError):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return str(answer.output)


def pixels(folder: Path) -> set[bytes]:
    return {pydicom.dcmread(file).PixelData for file in folder.rglob("*") if file.is_file()}


def test_a_study_goes_and_comes_by_tls(orthanc: Orthanc, study: Path, certificates: Path, tmp_path: Path) -> None:
    """C-STORE there, C-GET and C-MOVE back; C-ECHO and C-STORE of Orthanc to our listener."""
    tls, uid = ["--tls", *options(certificates)], pydicom.dcmread(next(study.iterdir())).StudyInstanceUID
    assert "2 objects" in klip("pacs", "send", study, "--to", orthanc.peer, *tls)
    fetch = ["pacs", "fetch", "--from", orthanc.peer, "--study-uid", uid, *tls, "--timeout", "60"]
    klip(*fetch, "--to", tmp_path / "get")
    klip(*fetch, "--to", tmp_path / "move", "--move", f"127.0.0.1:{orthanc.our_port}")
    assert pixels(tmp_path / "get") == pixels(tmp_path / "move") == pixels(study)
    rules = Rules(port=orthanc.our_port, callers=("ORTHANC",), tls=of(certificates, "klip"))
    with Listener(tmp_path / "sent", rules):
        orthanc.ask("/modalities/klip/echo", b"{}")
        (known,) = orthanc.ask("/studies")
        assert orthanc.ask("/modalities/klip/store", known.encode())["FailedInstancesCount"] == 0
    assert pixels(tmp_path / "sent") == pixels(study)


def test_a_study_goes_and_comes_by_https(orthanc: Orthanc, study: Path, certificates: Path, tmp_path: Path) -> None:
    if not orthanc.has_web:
        pytest.skip("needs Orthanc's DICOMweb plugin (Debian's orthanc-dicomweb)")
    front = Front(orthanc.port, of(certificates, "pacs").listening())  # which wants our certificate
    url, uid = f"{front.url}/dicom-web", pydicom.dcmread(next(study.iterdir())).StudyInstanceUID
    tls = options(certificates)
    try:
        assert "2 objects" in klip("pacs", "send", study, "--to", url, *tls)
        klip("pacs", "fetch", "--from", url, "--study-uid", uid, "--to", tmp_path / "web", *tls)
        assert pixels(tmp_path / "web") == pixels(study)
        (tmp_path / "list").write_text(f"{uid}\n", encoding="utf-8")
        index = ("archive", "index", "--accessions", tmp_path / "list", "--pacs", url, "-o", tmp_path / "index")
        assert "1 of 1 studies" in klip(*index, *tls)
    finally:
        front.stop()


@pytest.mark.parametrize(
    ("shows", "ours", "ca", "words"),
    [
        ("stranger", "klip", "authority", "not trusted .*self-signed"),
        ("elsewhere", "klip", "authority", "not trusted .*IP address mismatch"),
        ("expired", "klip", "authority", "not trusted .*expired"),
        ("pacs", "klip", "stranger", "not trusted"),
        ("pacs", "stranger", "authority", "wants a certificate of ours, or does not take this one"),
    ],
)
def test_what_is_not_believed_gets_nothing(
    study: Path, certificates: Path, tmp_path: Path, shows: str, ours: str, ca: str, words: str
) -> None:
    """Certificates of the wrong authority, for another host and out of date: by DICOM and by DICOMweb."""
    server, front = Orthanc(tmp_path / "orthanc", tls=of(certificates, shows)), None
    addresses = {server.peer: ["--tls"]}
    try:
        if server.has_web:
            front = Front(server.port, of(certificates, shows).listening())
            addresses[f"{front.url}/dicom-web"] = []
        server.wait()
        for address, more in addresses.items():
            with pytest.raises(ResourceError, match=words) as told:
                klip("pacs", "send", study, "--to", address, *more, *options(certificates, ours, ca))
            assert "--tls-" in told.value.remedy
        assert server.ask("/instances") == []
        assert front is None or front.sent == 0
    finally:
        server.stop()
        if front:
            front.stop()
