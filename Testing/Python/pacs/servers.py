"""PACS for tests: Debian's Orthanc, and peers by pynetdicom that are slow, silent, or send half a series."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from KLIPCore.pacs.tls import Tls

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND, GET, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3", "1.2.840.10008.5.1.4.1.2.2.2"


def free_port() -> int:
    """A port of this computer on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Orthanc:
    """A server of its own on loopback, by DICOM, REST and, where its plugin is installed, DICOMweb.

    :param folder: for its storage.
    :param environment: of its process; ``{peer}`` in it becomes its address.
    :param tls: what it shows by DICOM; it wants to see a certificate of the same authority.
    :param settings: further ones.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str] | None = None, tls: Tls | None = None, **settings: Any
    ) -> None:
        program = shutil.which("Orthanc")
        if program is None:
            pytest.skip("needs Orthanc (Debian's orthanc)")
        self.port, self.dicom_port, self.our_port = free_port(), free_port(), free_port()
        plugins = list(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb*.so"))
        self.has_web = bool(plugins)
        known = {
            "Name": "KLIPTEST",
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": True,
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom_port,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": {"klip": ["KLIP", "127.0.0.1", self.our_port]},
            "StableAge": 1,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(p) for p in plugins],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        folder.mkdir(parents=True, exist_ok=True)
        known |= {} if tls is None else self._secured(tls)
        (folder / "orthanc.json").write_text(json.dumps(known | settings), encoding="utf-8")
        self.url, self.peer = f"http://127.0.0.1:{self.port}", f"ORTHANC@127.0.0.1:{self.dicom_port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.log = folder / "orthanc.log"
        self._log = self.log.open("wb")
        given = {name: value.format(peer=self.peer) for name, value in (environment or {}).items()}
        self._process = subprocess.Popen(
            [program, folder / "orthanc.json"], stdout=self._log, stderr=self._log, env=os.environ | given
        )

    def _secured(self, tls: Tls) -> dict[str, Any]:
        """Settings of TLS."""
        klip = {"AET": "KLIP", "Host": "127.0.0.1", "Port": self.our_port, "UseDicomTls": True}
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(tls.certificate),
            "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.ca_file),
            "DicomTlsRemoteCertificateRequired": True,
            "DicomModalities": {"klip": klip},
        }

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """GET, or POST where there is a body; the JSON of the answer."""
        with self._open(urllib.request.Request(self.url + path, data=body), timeout=30) as answer:
            return json.loads(answer.read())

    def wait(self) -> None:
        """Until it answers, a minute at most."""
        for _ in range(300):
            assert self._process.poll() is None, self.log.read_text(errors="replace")[-2000:]
            try:
                self.ask("/system")
            except OSError:  # also while its TLS is not ready
                time.sleep(0.2)
            else:
                return
        pytest.fail("Orthanc does not answer")

    def add(self, folder: Path) -> None:
        """Store all files of a folder."""
        for file in sorted(folder.iterdir()):
            assert self.ask("/instances", file.read_bytes())["Status"] == "Success"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


class Front:
    """What ends TLS before a server of HTTP, as nginx does.

    Debian's Orthanc 1.10.1 ends with a segmentation fault when anybody speaks HTTPS to it.

    :param port: of the server on this computer.
    :param tls: what callers are shown.
    """

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        front = self

        class Caller(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as behind:
                    try:
                        ours = tls.wrap_socket(self.request, server_side=True)
                    except OSError:
                        return
                    with ours:
                        back = threading.Thread(target=front.pump, args=(behind, ours), daemon=True)
                        back.start()
                        front.pump(ours, behind)
                        back.join()

        socketserver.ThreadingTCPServer.daemon_threads = True
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Caller)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        self.sent = 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def pump(self, one: socket.socket, other: socket.socket) -> None:
        """Hand on what comes, until it ends."""
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self.sent += len(data)
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()


class Peer:
    """A DICOM peer on loopback that answers about one folder, as badly as it is told.

    :param study: folder of one CT series.
    :param sent: images it really sends; all when None.
    :param find_s: seconds before it answers a query.
    :param each_s: seconds before it sends each image.
    :param counts: whether it says how many images there are.
    :param knows: whether it has the study at all.
    :param tls: what it is heard with by TLS.
    :param moves_to: port of this computer to which it sends on C-MOVE, with the certificates of ``move_tls``.
    """

    def __init__(
        self,
        study: Path,
        *,
        sent: int | None = None,
        find_s: float = 0,
        each_s: float = 0,
        counts: bool = True,
        knows: bool = True,
        tls: ssl.SSLContext | None = None,
        moves_to: int | None = None,
        move_tls: Any = None,
    ) -> None:
        from pynetdicom import AE, build_context, evt

        self.files = [pydicom.dcmread(file) for file in sorted(study.iterdir())]
        self.sent, self.find_s, self.each_s, self.counts = sent, find_s, each_s, counts
        entity = AE(ae_title="SLOW")
        entity.add_supported_context(FIND)
        entity.add_supported_context(GET)
        entity.add_supported_context(CT, scp_role=True, scu_role=True)
        self.moves_to, self.move_tls, self.knows = moves_to, move_tls, knows
        entity.add_supported_context(MOVE)
        entity.requested_contexts = [build_context(CT)]
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
        self.address = f"SLOW@127.0.0.1:{self.server.server_address[1]}"

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        time.sleep(self.find_s)
        if not self.knows:
            return
        first = self.files[0]
        answer = Dataset()
        answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
        answer.StudyInstanceUID = first.StudyInstanceUID
        if event.identifier.QueryRetrieveLevel == "SERIES":
            answer.SeriesInstanceUID, answer.Modality = first.SeriesInstanceUID, "CT"
            if self.counts:
                answer.NumberOfSeriesRelatedInstances = len(self.files)
        yield 0xFF00, answer

    def _get(self, event: Any) -> Iterator[Any]:
        files = self.files[: self.sent]
        yield len(files)
        for file in files:
            time.sleep(self.each_s)
            yield 0xFF00, file

    def _move(self, event: Any) -> Iterator[Any]:
        yield "127.0.0.1", self.moves_to, {"ae_title": "KLIP", "tls_args": (self.move_tls.calling(), "127.0.0.1")}
        yield from self._get(event)

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()
