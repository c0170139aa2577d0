"""Studies from a PACS come whole or not at all, however it behaves; what is sent to us becomes no path, no flood."""

from __future__ import annotations

import datetime
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from busy import longest
from small_study import small_study

pytest.importorskip("pynetdicom", reason="needs pynetdicom (klipcore[pacs])")

from pacs.servers import CT, Peer
from pydicom.uid import generate_uid

from KLIPCore.archive.entries import read_entries
from KLIPCore.archive.jobs import steps_of
from KLIPCore.archive.plan import ArchiveFolder, Plan
from KLIPCore.errors import ConfigError, EmptyInputError, InputError, NotCTError, ResourceError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.io.fields import quiet_pydicom
from KLIPCore.pacs import peers as addresses
from KLIPCore.pacs.fetch import Manner, fetch_study
from KLIPCore.pacs.find import Wanted, find_series
from KLIPCore.pacs.keep import Keeper, Limits
from KLIPCore.pacs.listen import Listener, Rules
from KLIPCore.pacs.pace import Pace, QuietHours
from KLIPCore.pacs.resolve import finder, resolve, write_lines
from KLIPCore.pacs.send import dicom_files, send_files
from KLIPCore.pacs.uids import short

Make = Callable[..., addresses.Peer]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slices."""
    folder = tmp_path_factory.mktemp("pacs") / "ct"
    write_dicom_series(small_study(4), folder, seed=1)
    return folder


def uids(study: Path) -> tuple[str, str]:
    """Study and series."""
    first = pydicom.dcmread(next(iter(sorted(study.iterdir()))), stop_before_pixels=True)
    return str(first.StudyInstanceUID), str(first.SeriesInstanceUID)


@pytest.fixture
def peer(study: Path) -> Iterator[Make]:
    """Makes peers of some behaviour."""
    made: list[Peer] = []

    def make(timeout_s: float = 20.0, **how: object) -> addresses.Peer:
        made.append(Peer(study, **how))  # type: ignore[arg-type]
        return addresses.Peer.parse(made[-1].address, timeout_s=timeout_s)

    yield make
    for one in made:
        one.stop()


def pixels(folder: Path) -> set[str]:
    return {hashlib.sha256(pydicom.dcmread(file).PixelData).hexdigest() for file in folder.iterdir()}


def test_a_study_comes_whole(peer: Make, study: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    (one,) = fetch_study(
        peer(), Wanted(uids(study)[0]), tmp_path / "in", Pace(), tell=lambda n, of: heard.append((n, of))
    )
    assert (one.series_uid, one.images) == (uids(study)[1], 4)
    assert heard[-1] == (4, 4)
    assert pixels(tmp_path / "in") == pixels(study)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert all(str(uids(study)[0]) not in file.name for file in (tmp_path / "in").iterdir())
    assert fetch_study(peer(), Wanted(uids(study)[0]), tmp_path / "in", Pace()) == []


def test_half_a_series_is_told_and_not_kept(peer: Make, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="Only 2 of 4 images") as told:
        fetch_study(peer(sent=2), Wanted(uids(study)[0]), tmp_path / "in", Pace())
    assert uids(study)[1] not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_peer_that_does_not_count_is_believed(peer: Make, study: Path, tmp_path: Path) -> None:
    fetch_study(peer(counts=False), Wanted(accession="A1"), tmp_path / "in", Pace())
    assert pixels(tmp_path / "in") == pixels(study)


def test_an_archive_from_two_pacs(peer: Make, study: Path, tmp_path: Path) -> None:
    """Each study is taken from the first that has it; its line says which, and it is fetched there."""
    addresses = [f"{one.title}@{one.host}:{one.port}" for one in (peer(knows=False), peer())]
    (tmp_path / "list").write_text("A1\n")
    made = resolve(tmp_path / "list", {address: finder(address, "KLIP") for address in addresses})
    assert [(line["pacs"], line["study_uid"]) for line in made] == [(addresses[1], uids(study)[0])]
    write_lines(made, tmp_path / "index.jsonl")
    (entry,) = (entry for _, entry in read_entries(tmp_path / "index.jsonl"))
    plan = Plan("guard", pacs=("--from", "", "--rate=500"))
    fetch = steps_of(entry, ArchiveFolder(tmp_path / "out"), plan)[0]
    assert fetch.name == "fetch"
    (tmp_path / "out" / "incoming").mkdir(parents=True)
    done = subprocess.run(fetch.command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert pixels(tmp_path / "out" / "incoming" / entry.name) == pixels(study)
    (unknown,) = resolve(tmp_path / "list", {address: finder(address, "KLIP") for address in addresses[:1]})
    assert "no study with that accession" in unknown["note"]
    assert "pacs" not in unknown


def test_a_silent_and_a_slow_peer(peer: Make, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="fell silent"):
        find_series(peer(timeout_s=0.5, find_s=2.0), Wanted(uids(study)[0]))
    began = time.monotonic()
    with pytest.raises(ResourceError, match="took too long"):
        fetch_study(peer(each_s=0.3), Wanted(uids(study)[0]), tmp_path / "in", Pace(), manner=Manner(most_s=0.1))
    assert time.monotonic() - began < longest(15)
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    """By the command: pynetdicom leaves the socket of a failed connection to the garbage collector."""
    words = ("pacs", "fetch", "--from", "NOBODY@127.0.0.1:1", "--study-uid", "1.2", "--to", str(tmp_path / "in"))
    done = subprocess.run([sys.executable, "-m", "KLIPCore.cli", *words], capture_output=True, text=True)
    assert done.returncode == ResourceError.exit_code
    assert "nobody answers" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_such_series_and_no_identifier(peer: Make, study: Path, tmp_path: Path) -> None:
    with pytest.raises(NotCTError, match="no such CT series"):
        fetch_study(peer(), Wanted(uids(study)[0], series_uid="1.2.3"), tmp_path / "in", Pace())
    for wanted in ("1.2*", "../etc", "", "1" * 65):
        with pytest.raises(InputError):
            Wanted(wanted, accession="*" if not wanted else "")


def listener(folder: Path, **rules: object) -> Listener:
    return Listener(folder, Rules(port=0, timeout_s=20, **rules))  # type: ignore[arg-type]


def to(one: Listener, own: str = "KLIP", title: str = "KLIP") -> addresses.Peer:
    return addresses.Peer(title, "127.0.0.1", one.port, own, timeout_s=20)


def test_what_is_sent_lies_bit_by_bit_in_folders_without_names(study: Path, tmp_path: Path) -> None:
    with listener(tmp_path) as one:
        assert send_files(to(one), dicom_files([study]), Pace()) == 4
    (place,) = {path.parent for path in tmp_path.rglob("*.dcm")}
    assert place.relative_to(tmp_path).parts == (short(uids(study)[0], 20), short(uids(study)[1]))
    assert pixels(place) == pixels(study)


def test_only_named_callers_are_heard(study: Path, tmp_path: Path) -> None:
    with listener(tmp_path, callers=("CT1",)) as one:
        with pytest.raises(ResourceError, match="refuses"):
            send_files(to(one), dicom_files([study]), Pace())
        with pytest.raises(ResourceError, match="refuses"):
            send_files(to(one, "CT1", "OTHER"), dicom_files([study]), Pace())
        assert send_files(to(one, "CT1"), dicom_files([study]), Pace()) == 4
    with pytest.raises(ConfigError, match="must be named"):
        Listener(tmp_path, Rules(host="0.0.0.0"))


def test_a_path_for_an_identifier_becomes_no_path(study: Path, tmp_path: Path) -> None:
    data = pydicom.dcmread(next(study.iterdir()))
    with quiet_pydicom():
        data.StudyInstanceUID, data.SeriesInstanceUID = "../../escaped", "/etc/cron.d"
        data.save_as(tmp_path / "hostile.dcm")
    with listener(tmp_path / "in") as one:
        send_files(to(one), [tmp_path / "hostile.dcm"], Pace())
    (file,) = (tmp_path / "in").rglob("*.dcm")
    assert len(file.relative_to(tmp_path / "in").parts) == 3
    assert not (tmp_path / "escaped").exists()


def test_too_much_is_refused_before_it_is_stored(study: Path, tmp_path: Path) -> None:
    with listener(tmp_path / "a", limits=Limits(instance_bytes=1000)) as one, pytest.raises(ResourceError):
        send_files(to(one), dicom_files([study]), Pace())
    with (
        listener(tmp_path / "b", limits=Limits(total_bytes=150_000)) as one,
        pytest.raises(ResourceError, match="3 of 4 objects were stored"),
    ):
        send_files(to(one), dicom_files([study]), Pace())
    with listener(tmp_path / "c", limits=Limits(free_bytes=1 << 60)) as one, pytest.raises(ResourceError):
        send_files(to(one), dicom_files([study]), Pace())
    assert not list((tmp_path / "a").rglob("*.dcm")) + list((tmp_path / "c").rglob("*.dcm"))
    large = pydicom.dcmread(next(study.iterdir()))
    large.SOPInstanceUID = large.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    large.add_new(0x00091001, "OB", bytes(4 << 20))
    large.save_as(tmp_path / "large.dcm")
    with listener(tmp_path / "d", limits=Limits(instance_bytes=100_000)) as one:
        with pytest.raises(ResourceError):
            send_files(to(one), [tmp_path / "large.dcm"], Pace())
        assert send_files(to(one), dicom_files([study]), Pace()) == 4  # it lives on


def test_what_is_no_dicom_is_not_kept(tmp_path: Path) -> None:
    for content in (b"", b"\0" * 200, b"\0" * 128 + b"DICM" + b"\xff" * 30):
        with pytest.raises(InputError):
            Keeper(tmp_path).keep(content)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(EmptyInputError, match="no DICOM file"):
        dicom_files([tmp_path])


def test_addresses() -> None:
    assert addresses.Peer.parse("A B@[::1]:104").host == "::1"
    for wrong in ("host:104", "AE@host", "AE@host:0", "AE@host:99999", "A" * 17 + "@h:1", "\\@h:1"):
        with pytest.raises(ConfigError):
            addresses.Peer.parse(wrong)
    assert addresses.check_url("http://127.0.0.1:1/dicom-web/") == "http://127.0.0.1:1/dicom-web"
    for wrong in ("http://pacs/dicom-web", "https://me:secret@pacs/", "https://"):
        with pytest.raises(ConfigError):
            addresses.check_url(wrong)


def test_pace_and_quiet_hours() -> None:
    began, pace = time.monotonic(), Pace(50)
    for _ in range(6):
        pace.wait()
    assert time.monotonic() - began >= 0.1
    day, night = QuietHours.parse("07:00-19:00"), QuietHours.parse("22:30-06:00")

    def at(hour: int, minute: int = 0) -> datetime.datetime:
        return datetime.datetime(2026, 2, 3, hour, minute)

    assert [day.wait_s(at(h)) for h in (6, 7, 18, 19)] == [0, 12 * 3600, 3600, 0]
    assert [night.wait_s(at(h)) for h in (22, 23, 0, 6)] == [0, 7 * 3600, 6 * 3600, 0]
    assert QuietHours.parse("").wait_s(at(3)) == 0
    for wrong in ("7-19", "07:00-25:00", "07:61-08:00", "00:00-24:00"):
        with pytest.raises(ConfigError):
            QuietHours.parse(wrong)
    assert CT.startswith("1.2.840")
