"""Who is spoken to, and as whom: a DICOM peer ``AE@HOST:PORT``, or the address of a DICOMweb service."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from KLIPCore.errors import ConfigError
from KLIPCore.pacs.tls import Tls

PEER = re.compile(r"(?P<title>[^@]{1,16})@(?P<host>\[[0-9a-fA-F:.]+\]|[^:@\s]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Peer:
    """A DICOM application elsewhere.

    Attributes
    ----------
    title : its AE title.
    host, port : where it listens.
    own_title : what we call ourselves there.
    timeout_s : seconds of silence after which it is given up.
    tls : certificates, where it is spoken to by TLS.
    """

    title: str
    host: str
    port: int
    own_title: str = "KLIP"
    timeout_s: float = 60.0
    tls: Tls | None = None

    @classmethod
    def parse(cls, text: str, own_title: str = "KLIP", timeout_s: float = 60.0, tls: Tls | None = None) -> Peer:
        """Return the peer of ``AE@HOST:PORT``.

        Raises
        ------
        ConfigError : it is none, or a title is none.
        """
        found = PEER.fullmatch(text.strip())
        if not found or not 0 < int(found["port"]) < 65536:
            raise ConfigError(f"'{text}' is no DICOM peer.", "Write AE@HOST:PORT, e.g. ORTHANC@127.0.0.1:4242.")
        return cls(check_title(found["title"]), found["host"].strip("[]"), int(found["port"]), check_title(own_title),
                   timeout_s, tls)  # fmt: skip


def check_title(text: str) -> str:
    """Return an AE title as it is.

    Raises
    ------
    ConfigError : it is none.
    """
    if not text.strip() or len(text) > 16 or "\\" in text or not (text.isascii() and text.isprintable()):
        raise ConfigError(f"'{text}' is no AE title.", "AE titles have 1 to 16 plain letters.")
    return text


def is_web(text: str) -> bool:
    """Return whether an address is one of a DICOMweb service."""
    return text.startswith(("http://", "https://"))


def check_url(text: str) -> str:
    """Return the address of a DICOMweb service without a slash at its end.

    Raises
    ------
    ConfigError : it is none, holds a password, or sends studies unencrypted over a network.
    """
    parts = urlsplit(text)
    if not parts.hostname:
        raise ConfigError(f"'{text}' is no address of a DICOMweb service.", "Write https://HOST/dicom-web.")
    if parts.username or parts.password:
        raise ConfigError(
            "The address holds a name or a password, which other users of the computer could read.",
            "Put a token into the environment variable KLIP_DICOMWEB_TOKEN.",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError("Studies would cross the network unencrypted.", "Write https://, or use a tunnel.")
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this computer."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
