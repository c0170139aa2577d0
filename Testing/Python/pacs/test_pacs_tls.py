"""DICOM by TLS on loopback, with certificates made here: who is believed, who must show one, what is said if not."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from busy import longest
from small_study import small_study
from typer.testing import CliRunner

pytest.importorskip("pynetdicom", reason="needs pynetdicom (klipcore[pacs])")

from pacs.certificates import of
from pacs.servers import Peer, free_port

from KLIPCore.cli import app
from KLIPCore.errors import ConfigError, KlipError, ResourceError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.pacs import peers as addresses
from KLIPCore.pacs.fetch import Manner, fetch_study
from KLIPCore.pacs.find import Wanted, find_series
from KLIPCore.pacs.listen import Listener, Rules
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.send import dicom_files, send_files
from KLIPCore.pacs.tls import Tls

Make = Callable[..., addresses.Peer]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pacs") / "ct"
    write_dicom_series(small_study(4), folder, seed=1)
    return folder


@pytest.fixture
def pacs(study: Path, certificates: Path) -> Iterator[Make]:
    """A PACS that shows a certificate, and wants one where it is given authorities."""
    made: list[Peer] = []

    def make(name: str = "pacs", wants_ours: bool = False, **how: object) -> addresses.Peer:
        tls = of(certificates, name, ca=wants_ours)
        made.append(Peer(study, tls=tls.listening(), **how))  # type: ignore[arg-type]
        return addresses.Peer.parse(made[-1].address, timeout_s=10, tls=Tls(certificates / "authority.pem"))

    yield make
    for one in made:
        one.stop()


def test_a_study_comes_and_results_go_by_tls(pacs: Make, study: Path, certificates: Path, tmp_path: Path) -> None:
    peer = replace(pacs(wants_ours=True), tls=of(certificates, "klip"))
    assert [found.images for found in find_series(peer, Wanted(accession="A1"))] == [4]
    fetch_study(peer, Wanted(accession="A1"), tmp_path / "in", Pace())
    assert len(list((tmp_path / "in").iterdir())) == 4
    rules = Rules(port=0, callers=("KLIP",), tls=of(certificates, "pacs"))
    with Listener(tmp_path / "sent", rules) as listener:
        to = addresses.Peer.parse(f"KLIP@127.0.0.1:{listener.port}", timeout_s=10, tls=of(certificates, "klip"))
        assert send_files(to, dicom_files([study]), Pace()) == 4
    assert sum(file.is_file() for file in (tmp_path / "sent").rglob("*")) == 4


def test_a_pacs_sends_to_our_port_by_tls(pacs: Make, certificates: Path, tmp_path: Path) -> None:
    port = free_port()
    peer = replace(pacs(moves_to=port, move_tls=of(certificates, "pacs")), tls=of(certificates, "klip"))
    fetch_study(peer, Wanted(accession="A1"), tmp_path / "in", Pace(), manner=Manner("move", port))
    assert len(list((tmp_path / "in").iterdir())) == 4
    without = replace(peer, tls=Tls(certificates / "authority.pem"))
    with pytest.raises(ConfigError, match="needs a certificate"):
        fetch_study(without, Wanted(accession="A1"), tmp_path / "again", Pace(), manner=Manner("move", port))


@pytest.mark.parametrize(
    ("server", "wants_ours", "ours", "words"),
    [
        ("stranger", False, ("authority.pem", None), "not trusted"),
        ("elsewhere", False, ("authority.pem", None), "not trusted .*127.0.0.1"),
        ("expired", False, ("authority.pem", None), "not trusted .*expired"),
        ("pacs", False, (None, None), "not trusted"),
        ("pacs", True, ("authority.pem", None), "wants a certificate of ours"),
        ("pacs", True, ("authority.pem", "stranger"), "wants a certificate of ours, or does not take"),
    ],
)
def test_what_is_not_believed(
    pacs: Make, certificates: Path, server: str, wants_ours: bool, ours: tuple, words: str
) -> None:
    ca, name = ours
    mine = Tls(ca and certificates / ca, name and certificates / f"{name}.pem", name and certificates / f"{name}.key")
    peer = replace(pacs(server, wants_ours), tls=mine)
    with pytest.raises(ResourceError, match=words) as told:
        find_series(peer, Wanted(accession="A1"))
    assert told.value.remedy


def test_one_side_alone_speaks_tls(pacs: Make, study: Path, certificates: Path) -> None:
    with pytest.raises(ResourceError, match="nobody answers, or it ended"):
        find_series(replace(pacs(), tls=None, timeout_s=2.0), Wanted(accession="A1"))
    plain = Peer(study)
    try:
        peer = addresses.Peer.parse(plain.address, timeout_s=2.0, tls=Tls(certificates / "authority.pem"))
        with pytest.raises(ResourceError, match="does not speak TLS"):
            find_series(peer, Wanted(accession="A1"))
    finally:
        plain.stop()


def test_a_silent_caller_keeps_nobody_out_for_long(
    study: Path, certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("KLIPCore.pacs.tls.HANDSHAKE_S", 0.5)
    with Listener(tmp_path / "sent", Rules(port=0, tls=of(certificates, "pacs"))) as listener:
        with socket.create_connection(("127.0.0.1", listener.port)):
            began = time.monotonic()
            to = addresses.Peer.parse(f"KLIP@127.0.0.1:{listener.port}", timeout_s=10, tls=of(certificates, "klip"))
            assert send_files(to, dicom_files([study]), Pace()) == 4
        assert time.monotonic() - began < longest(8)
        unnamed = replace(to, tls=Tls(certificates / "authority.pem"))
        with pytest.raises(ResourceError, match="wants a certificate of ours"):
            send_files(unnamed, dicom_files([study]), Pace())


def test_files_that_are_no_certificates(certificates: Path, tmp_path: Path) -> None:
    for wrong in (
        lambda: Tls(key=certificates / "pacs.key"),
        lambda: Tls(tmp_path / "nowhere.pem").calling(),
        lambda: Tls(certificates / "pacs.key").calling(),
        lambda: Tls(None, certificates / "pacs.pem", certificates / "klip.key").calling(),
        lambda: Tls(None, certificates / "pacs.pem").listening(),
        lambda: Tls(certificates / "authority.pem").listening(),
    ):
        with pytest.raises(ConfigError) as told:
            wrong()
        assert told.value.remedy
    openssl = (
        "openssl",
        "ec",
        "-aes256",
        "-passout",
        "pass:secret",
        "-in",
        "pacs.key",
        "-out",
        tmp_path / "locked.key",
    )
    subprocess.run(openssl, cwd=certificates, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="cannot be used together"):
        Tls(None, certificates / "pacs.pem", tmp_path / "locked.key").calling()


def test_options_of_the_commands(pacs: Make, study: Path, certificates: Path, tmp_path: Path) -> None:
    peer = pacs(wants_ours=True)
    address = f"{peer.title}@{peer.host}:{peer.port}"
    names = ("ca", "authority.pem"), ("certificate", "klip.pem"), ("key", "klip.key")
    files = [word for name, file in names for word in (f"--tls-{name}", str(certificates / file))]
    fetch = ["pacs", "fetch", "--from", address, "--accession", "A1", "--to", str(tmp_path / "in")]
    answer = CliRunner().invoke(app, [*fetch, "--tls", *files])
    assert answer.exit_code == 0, answer.output
    assert "4 images" in answer.output
    (tmp_path / "list").write_text("A1\n")
    index = ["archive", "index", "--accessions", str(tmp_path / "list"), "--pacs", address, "-o", str(tmp_path / "i")]
    answer = CliRunner().invoke(app, [*index, "--tls", *files])
    assert answer.exit_code == 0, answer.output
    assert "1 of 1 studies" in answer.output
    answer = CliRunner().invoke(app, [*fetch, *files])
    assert isinstance(answer.exception, KlipError)
    assert "not --tls" in answer.exception.message
