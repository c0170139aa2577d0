"""This computer or a server: which of them examines the volume, and how the server is reached.

Address, token file and certificate belong to the computer and not to the scene: nothing of them is saved with it. The
token itself is never shown, and never on a command line; the run reads its file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import qt
from slicer.i18n import tr as _

from .failures import sentenceOf
from .path_edit import onPathChanged
from .steps import aside
from .styles import NOTE
from .turns import Task, Turns

if TYPE_CHECKING:
    from KLIPCore.client.connection import Server
    from KLIPCore.config import Config

SETTINGS = "KLIPSlicer/"
"""Prefix of the settings."""

HERE, THERE = 0, 1
"""Places of the choices."""


class ServerControls:
    """The lower rows of “This computer”: where the work is done.

    Attributes
    ----------
    placeSelector, addressEdit, tokenPathEdit, certificatePathEdit, testButton, label : the controls.
    """

    def __init__(self, ui: Any) -> None:
        form = ui.computerButton.layout()
        self.placeSelector = qt.QComboBox()
        for name in (_("This computer"), _("Server")):
            self.placeSelector.addItem(name)
        self.placeSelector.toolTip = _("Who examines the volume. A server needs nothing to be installed here.")
        self.addressEdit = qt.QLineEdit()
        self.addressEdit.placeholderText = "https://gpu.example:8443"
        self.tokenPathEdit, self.certificatePathEdit = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit()
        self.tokenPathEdit.toolTip = _("File with the token that the server's administrator gave you.")
        self.certificatePathEdit.toolTip = _("Optional. Certificate of a server that made its own, a PEM file.")
        self.testButton = qt.QPushButton(_("Test connection"))
        self.testButton.toolTip = _("Say hello to the server. Nothing of the study is sent.")
        self.label = qt.QLabel("")
        self.label.wordWrap = True
        self.label.setStyleSheet(NOTE)
        for name, widget in (
            (_("Examine on:"), self.placeSelector),
            (_("Server:"), self.addressEdit),
            (_("Token file:"), self.tokenPathEdit),
            (_("Certificate:"), self.certificatePathEdit),
        ):
            form.addRow(qt.QLabel(name), widget)
        self._ofServer = (self.addressEdit, self.tokenPathEdit, self.certificatePathEdit, self.testButton)
        form.addRow(self.testButton, self.label)
        before = ui.checkButton  # Tab goes on from the rows above, not from what was made last
        for widget in (self.placeSelector, *self._ofServer):
            qt.QWidget.setTabOrder(before, widget)
            before = widget
        self._turns = Turns()
        self._remember()
        self._refresh()

    def _remember(self) -> None:
        """Begin with what was chosen last, and keep what will be."""
        stored = qt.QSettings()
        self.placeSelector.currentIndex = THERE if str(stored.value(SETTINGS + "Place") or "") == "server" else HERE
        self.addressEdit.text = str(stored.value(SETTINGS + "Server") or "")
        for edit, key in ((self.tokenPathEdit, "TokenFile"), (self.certificatePathEdit, "ServerCertificate")):
            edit.filters = ctk.ctkPathLineEdit.Files
            edit.currentPath = stored.value(SETTINGS + key) or ""
            onPathChanged(edit, lambda path, k=key: qt.QSettings().setValue(SETTINGS + k, path))
        self.placeSelector.connect("currentIndexChanged(int)", self._onPlace)
        self.addressEdit.connect("textChanged(QString)", self._onAddress)
        self.testButton.connect("clicked(bool)", self.onTest)

    @property
    def chosen(self) -> bool:
        """Whether a server does the work."""
        return int(self.placeSelector.currentIndex) == THERE

    def server(self) -> Server:
        """The server as the controls name it.

        :raises KlipError: its address or token file cannot be used; the sentence is for the user.
        """
        from KLIPCore.client.connection import Server
        from KLIPCore.client.token import read_token

        paths = [str(edit.currentPath or "") for edit in (self.tokenPathEdit, self.certificatePathEdit)]
        token, certificate = (Path(path) if path else None for path in paths)
        return Server(str(self.addressEdit.text or "").strip(), read_token(token, {}), certificate)

    def arguments(self) -> tuple[str, ...]:
        """Options that name the server for the run; none where this computer does the work.

        :raises KlipError: the server cannot be named so; the sentence is for the user.
        """
        if not self.chosen:
            return ()
        server = self.server()
        token = str(self.tokenPathEdit.currentPath or "")
        return (
            f"--server={server.url}",
            *((f"--token-file={token}",) if token else ()),
            *((f"--server-ca={server.ca_file}",) if server.ca_file else ()),
        )

    def onTest(self, *_clicked: Any) -> None:
        """Say how the server answers; it may take some seconds, in which events go on."""
        from KLIPCore.client.remote import RemoteDetector
        from KLIPCore.errors import KlipError

        try:
            server = self.server()
        except KlipError as error:
            self.label.text = str(error)
            return
        self.testButton.enabled = False
        self.label.text = _("Asking the server…")
        self._turns.add(
            Task(
                "hello",
                lambda: aside(lambda: RemoteDetector(server).handshake()),
                self._onAnswer,
                lambda error: self._onAnswer(sentenceOf(error)),
            )
        )

    def _onAnswer(self, sentence: str) -> None:
        self._refresh()
        self.label.text = sentence

    def cleanUp(self) -> None:
        """Wait for no answer any more."""
        self._turns.clear()

    def _onPlace(self, *_index: Any) -> None:
        qt.QSettings().setValue(SETTINGS + "Place", "server" if self.chosen else "here")
        self._refresh()

    def _onAddress(self, text: str) -> None:
        qt.QSettings().setValue(SETTINGS + "Server", str(text).strip())

    def _refresh(self) -> None:
        for widget in self._ofServer:
            widget.enabled = self.chosen
        self.label.text = ""


def remoteSettings(config: Config, folder: Path) -> list[str]:
    """Options of the client that carry a configuration: its file, below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "server-settings.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    return [f"--settings={path}"]
