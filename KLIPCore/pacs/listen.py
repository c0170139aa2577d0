"""A C-STORE listener: what a PACS or a scanner sends lies in folders, one a study.

By default it hears this computer alone. Towards a network the AE titles that may send must be named, which keeps
mistakes out, not attackers: DICOM titles are no passwords, so the port speaks TLS and asks for the callers'
certificates, or belongs behind a firewall.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore.errors import ConfigError, KlipError, OutputError, ResourceError
from KLIPCore.pacs.dimse import SYNTAXES, application, pynetdicom
from KLIPCore.pacs.fetch import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from KLIPCore.pacs.keep import Keeper, Limits
from KLIPCore.pacs.peers import check_title, is_loopback
from KLIPCore.pacs.tls import Tls
from KLIPCore.pacs.uids import short

log = logging.getLogger(__name__)

STORED = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
)
"""CT, Enhanced CT, Legacy Converted Enhanced CT; Segmentation, Parametric Map, Enhanced and Comprehensive SR."""

SLACK = 1 << 20
"""Bytes of a message besides its instance."""


@dataclass(frozen=True)
class Rules:
    """Who may send what.

    Attributes
    ----------
    title : our AE title; a caller must use it.
    host, port : where it listens; port 0 takes a free one.
    callers : AE titles that may send; empty: any, on this computer alone.
    limits : how much is taken.
    most_associations : conversations at once.
    timeout_s : seconds of silence after which one is ended.
    tls : our certificate, where the port speaks TLS; with authorities, callers must show one that these signed.
    """

    title: str = "KLIP"
    host: str = "127.0.0.1"
    port: int = 11112
    callers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    most_associations: int = 8
    timeout_s: float = 60.0
    tls: Tls | None = None

    def check(self) -> None:
        """Refuse to be open to everybody.

        Raises
        ------
        ConfigError : a title is none, or none was named towards a network.
        """
        for title in (self.title, *self.callers):
            check_title(title)
        if not self.callers and not is_loopback(self.host):
            raise ConfigError(
                "Towards a network the AE titles that may send must be named.", "Give each with --allow TITLE."
            )


class Listener:
    """A running listener; a context manager.

    Parameters
    ----------
    folder : for the studies.
    rules : who may send what.
    heard : told of each instance: short names of study and series, and how many instances there are by now.

    Raises
    ------
    ConfigError : the rules are open to everybody, or certificates cannot be used.
    ResourceError : the port is taken, or pynetdicom is missing.
    """

    def __init__(self, folder: Path, rules: Rules, heard: Callable[[str, str, int], None] | None = None) -> None:
        rules.check()
        self.rules, self.keeper, self.heard = rules, Keeper(folder, rules.limits, sorted_by_study=True), heard
        self.last = time.monotonic()
        self._lock, self._open = threading.Lock(), {}  # type: ignore[var-annotated]
        secured = None if rules.tls is None else rules.tls.listening()
        events = pynetdicom().evt
        entity = application(rules.title, rules.timeout_s)
        entity.require_called_aet, entity.require_calling_aet = True, list(rules.callers)
        entity.maximum_associations = rules.most_associations
        for sop_class in STORED:
            entity.add_supported_context(sop_class, list(SYNTAXES))
        entity.add_supported_context("1.2.840.10008.1.1")  # C-ECHO: "test connection"
        handlers = [
            (events.EVT_C_STORE, self._store),
            (events.EVT_DATA_RECV, self._measure),
            (events.EVT_DIMSE_RECV, self._whole),
            (events.EVT_CONN_CLOSE, self._whole),
        ]
        try:
            self.server = entity.start_server(
                (rules.host, rules.port), block=False, evt_handlers=handlers, ssl_context=secured
            )
        except OSError as error:
            raise ResourceError(
                f"The port {rules.port} at {rules.host} cannot be listened on ({error.strerror}).",
                "Choose another --port.",
            ) from error

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server.server_address[1])

    def close(self) -> None:
        """Stop listening; conversations are ended."""
        self.server.shutdown()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _measure(self, event: Any) -> None:
        """End a conversation whose message grows beyond an instance: it would fill the memory before it is whole."""
        so_far = self._open.get(id(event.assoc), 0) + len(event.data)
        self._open[id(event.assoc)] = so_far
        if so_far > self.rules.limits.instance_bytes + SLACK:
            log.warning("A message of more than %d bytes was cut off.", self.rules.limits.instance_bytes)
            with contextlib.suppress(OSError, AttributeError):
                event.assoc.dul.socket.close()

    def _whole(self, event: Any) -> None:
        self._open.pop(id(event.assoc), None)

    def _store(self, event: Any) -> int:
        """Write an instance, and return the status of its C-STORE."""
        with self._lock:
            self.last = time.monotonic()
            try:
                kept = self.keeper.keep(event.encoded_dataset())
            except KlipError as error:
                log.warning("An instance was refused: %s", error.message)
                return OUT_OF_RESOURCES if isinstance(error, ResourceError | OutputError) else CANNOT_UNDERSTAND
            if self.heard:
                self.heard(short(kept.study), short(kept.series), len(self.keeper.kept))
        return 0x0000
