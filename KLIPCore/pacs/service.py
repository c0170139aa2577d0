"""A DICOMweb service: its address, who is believed there, and its errors as sentences.

A token is read from the environment variable :data:`TOKEN`, never from the command line, which other users can see.
Of the service's certificate the same is believed as of a DICOM peer's (:mod:`KLIPCore.pacs.tls`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from KLIPCore.errors import KlipError, ResourceError, optional
from KLIPCore.pacs.peers import check_url, is_loopback
from KLIPCore.pacs.tls import Tls, why_not

TOKEN = "KLIP_DICOMWEB_TOKEN"


@dataclass(frozen=True)
class Service:
    """A DICOMweb service.

    Attributes
    ----------
    url : its address.
    timeout_s : seconds of silence after which it is given up.
    tls : who is believed, and our certificate; None: the authorities that requests knows.

    Raises
    ------
    ConfigError : the address is none, or not safe.
    """

    url: str
    timeout_s: float = 60.0
    tls: Tls | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", check_url(self.url))

    def client(self) -> Any:
        """Return a client of dicomweb-client.

        Raises
        ------
        ConfigError : certificates cannot be read.
        ResourceError : dicomweb-client is not installed.
        """
        package, requests = optional("dicomweb_client", "pacs"), optional("requests", "pacs")
        logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
        session, here = requests.Session(), is_loopback(urlsplit(self.url).hostname or "")
        session.trust_env = not here  # no proxy for this computer
        if self.tls is not None:
            self.tls.calling()  # refuses files that cannot be used
            own = self.tls.certificate
            session.cert = None if own is None else (str(own), str(self.tls.key or own))
            session.verify = str(self.tls.ca_file) if self.tls.ca_file else True
            session.proxies = {} if here else requests.utils.get_environ_proxies(self.url)
            session.trust_env = False  # its authorities would come before those that were asked for
        token = os.environ.get(TOKEN, "")
        headers = {"Authorization": f"Bearer {token}"} if token else None
        found = package.DICOMwebClient(self.url, session=session, headers=headers, timeout=self.timeout_s)
        found.set_http_retry_params(retry=False)  # five tries of whatever fails, a wrong certificate too, else
        return found

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Say errors of the network and of the service as a sentence.

        Parameters
        ----------
        what : the service is asked to do.
        """
        try:
            yield
        except KlipError:
            raise
        except Exception as error:
            exceptions = optional("requests", "pacs").exceptions
            remedy = "Check its address; try again."
            if isinstance(error, exceptions.Timeout):
                why, remedy = f"it fell silent for {self.timeout_s:g} s", "Try again when it is less busy."
            elif isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
                insecure = self._insecure()
                if insecure:
                    raise insecure from error
                why = "nobody answers, or it ended the conversation"
            else:
                code = getattr(getattr(error, "response", None), "status_code", None)
                why = f"status {code}" if code else type(error).__name__
                remedy = f"Set {TOKEN} to a token that is valid." if code in (401, 403) else remedy
            raise ResourceError(f"The DICOMweb service could not {what} ({why}).", remedy) from error

    def _insecure(self) -> ResourceError | None:
        """Why TLS fails, where it does."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname:
            return None
        known = self.tls or Tls(Path(optional("requests", "pacs").certs.where()))
        return why_not(parts.hostname, parts.port or 443, known.calling(), self.timeout_s)
