"""A DICOMweb service that is slow, sends half a series, wants another token or is none: a sentence, and no study."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from small_study import small_study

pytest.importorskip("dicomweb_client", reason="needs dicomweb-client (klipcore[pacs])")

from pacs.servers import free_port

from KLIPCore.errors import ConfigError, EmptyInputError, ResourceError
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.pacs.fetch import Manner
from KLIPCore.pacs.find import Wanted
from KLIPCore.pacs.pace import Pace
from KLIPCore.pacs.send import dicom_files
from KLIPCore.pacs.service import TOKEN, Service
from KLIPCore.pacs.tls import Tls
from KLIPCore.pacs.web import fetch_study_web, send_files_web

STUDY = "1.2.3.4"


class Web:
    """A service on loopback with one CT series.

    :param folder: of the series.
    :param sent: images it really sends; all when None.
    :param find_s: seconds before it answers a query.
    :param each_s: seconds before it sends each image.
    :param status: of each answer; with 200 there is one.
    :param knows: whether it has the study.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sent: int | None = None,
        find_s: float = 0,
        each_s: float = 0,
        status: int = 200,
        knows: bool = True,
    ) -> None:
        self.files = [file.read_bytes() for file in sorted(folder.iterdir())]
        self.series = str(pydicom.dcmread(io.BytesIO(self.files[0])).SeriesInstanceUID)
        self.sent, self.find_s, self.each_s, self.status, self.knows = sent, find_s, each_s, status, knows
        web = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(web.find_s)
                if web.status != 200 or not web.knows:
                    self.send_response(web.status if web.status != 200 else 204)
                    self.end_headers()
                elif self.path.startswith(f"/studies/{STUDY}/series?"):
                    self.say("application/dicom+json", [web.listing()])
                else:
                    self.say('multipart/related; type="application/dicom"; boundary=X', web.parts())

            def say(self, kind: str, pieces: object) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                for piece in pieces:  # type: ignore[attr-defined]
                    self.wfile.write(piece)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def listing(self) -> bytes:
        """The answer of QIDO."""
        fields = {"0020000E": ("UI", self.series), "00080060": ("CS", "CT"), "00201209": ("IS", len(self.files))}
        return json.dumps([{tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in fields.items()}]).encode()

    def parts(self) -> Iterator[bytes]:
        """The answer of WADO."""
        for file in self.files[: self.sent]:
            time.sleep(self.each_s)
            yield b"--X\r\nContent-Type: application/dicom\r\n\r\n" + file + b"\r\n"
        yield b"--X--"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "ct"
    write_dicom_series(small_study(3), folder, seed=1)
    return folder


@pytest.fixture
def web(study: Path) -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def make(**how: object) -> Web:
        made.append(Web(study, **how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def test_a_study_comes_whole(web: Callable[..., Web], tmp_path: Path) -> None:
    fetch_study_web(Service(web().url), Wanted(STUDY), tmp_path / "in", Pace())
    assert len(list((tmp_path / "in").iterdir())) == 3


@pytest.mark.parametrize(
    ("how", "words", "remedy"),
    [
        ({"find_s": 2}, r"could not search \(it fell silent for 0\.5 s\)", "less busy"),
        ({"each_s": 2}, r"could not send a series \(.*(silent|conversation)\)", "again"),
        ({"each_s": 0.2}, "took too long", "less busy"),
        ({"sent": 2}, "Only 2 of 3 images", "still be arriving"),
        ({"sent": 0}, "Only 0 of 3 images|could not send a series", "again"),
        ({"status": 401}, "status 401", TOKEN),
        ({"status": 404}, "status 404", "address"),
        ({"status": 503}, "status 503", "try again"),
    ],
)
def test_a_service_that_behaves_badly(
    web: Callable[..., Web], tmp_path: Path, how: dict, words: str, remedy: str
) -> None:
    service, manner = Service(web(**how).url, timeout_s=0.5), Manner(most_s=0.3)
    with pytest.raises(ResourceError, match=words) as told:
        fetch_study_web(service, Wanted(STUDY), tmp_path / "in", Pace(), manner=manner)
    assert remedy in told.value.remedy
    assert STUDY not in told.value.message
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_knows_nothing_or_is_none(web: Callable[..., Web], study: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match="knows no such study"):
        fetch_study_web(Service(web(knows=False).url), Wanted(STUDY), tmp_path / "in", Pace())
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(ResourceError, match="nobody answers"):
        fetch_study_web(Service(f"http://{nobody}"), Wanted(STUDY), tmp_path / "in", Pace())
    with pytest.raises(ResourceError, match=r"store object 1 of 3 \(nobody answers"):
        send_files_web(Service(f"https://{nobody}"), dicom_files([study]), Pace())
    plain = web().url.replace("http:", "https:")
    with pytest.raises(ResourceError, match="does not speak TLS"):
        fetch_study_web(Service(plain), Wanted(STUDY), tmp_path / "in", Pace())
    with pytest.raises(ConfigError, match="cannot be read"):
        fetch_study_web(Service(plain, tls=Tls(tmp_path / "no.pem")), Wanted(STUDY), tmp_path / "in", Pace())
