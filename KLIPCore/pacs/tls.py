"""TLS for DICOM associations: who is believed, and how we show who we are.

A PACS that speaks TLS has a certificate; it is checked against a file with the hospital's authority (or the system's
authorities), and must name the host that was asked for. Many PACS want a certificate of the caller, too, which AE
titles cannot replace. TLS 1.2 is the oldest that is spoken (BCP 195, DICOM PS3.15, B.9).
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from KLIPCore.errors import ConfigError, ResourceError

HANDSHAKE_S = 5.0
"""A caller that does not finish its greeting is dropped: until then nobody else is heard."""


@dataclass(frozen=True)
class Tls:
    """Certificates of an association, in PEM files.

    Attributes
    ----------
    ca_file : authorities, or the other side's own certificate, that are believed; None: the system's.
    certificate : ours with its chain; None where the other side asks for none.
    key : its private key; None where it is in the certificate's file.
    """

    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ConfigError("A private key alone is no certificate.", "Give the certificate, too.")

    def calling(self) -> ssl.SSLContext:
        """Return what an association is opened with.

        Raises
        ------
        ConfigError : a file cannot be read, or certificate and key do not belong together.
        """
        return self._with_files(ssl.create_default_context(cafile=self._ca()))

    def listening(self) -> ssl.SSLContext:
        """Return what callers are heard with; they must show a certificate where authorities were named.

        Raises
        ------
        ConfigError : there is no certificate of ours, a file cannot be read, or the two do not belong together.
        """
        if self.certificate is None:
            raise ConfigError("A port that speaks TLS needs a certificate.", "Give --tls-certificate and --tls-key.")
        context = _Listening(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is not None:
            context.load_verify_locations(self._ca())
            context.verify_mode = ssl.CERT_REQUIRED
        return self._with_files(context)

    def _ca(self) -> str | None:
        if self.ca_file is None:
            return None
        try:
            ssl.create_default_context().load_verify_locations(self.ca_file)
        except OSError as error:
            raise ConfigError(
                f"The certificates in {self.ca_file.name} cannot be read.", "Give a PEM file with --tls-ca."
            ) from error
        return str(self.ca_file)

    def _with_files(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password=_no_password)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    "Our certificate and private key cannot be used together.",
                    "Give PEM files that belong together, the key without a password.",
                ) from error
        return context


class _Listening(ssl.SSLContext):
    """Greets callers within a time limit, in which pynetdicom hears no other."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock.settimeout(HANDSHAKE_S)
        try:
            wrapped = super().wrap_socket(sock, *arguments, **options)
        except (OSError, ValueError) as error:
            sock.close()
            raise OSError("no TLS") from error  # which ends this caller alone
        wrapped.settimeout(None)
        return wrapped


def _no_password() -> str:
    raise ValueError("the key has a password")  # instead of asking for it at a terminal


def why_not(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> ResourceError | None:
    """Return why TLS with a host fails; None where it does not, or nobody is there.

    Parameters
    ----------
    host, port : where it was tried.
    context : with what.
    timeout_s : seconds that are waited.
    """
    try:
        raw = socket.create_connection((host, port), min(timeout_s, HANDSHAKE_S))
    except OSError:
        return None
    with raw:
        try:
            with context.wrap_socket(raw, server_hostname=host) as link:
                link.settimeout(0.3)
                with suppress(TimeoutError):
                    link.recv(1)  # TLS 1.3 tells of a missing certificate after the greeting
            return None
        except ssl.SSLCertVerificationError as error:
            return ResourceError(
                f"The certificate of {host}:{port} is not trusted ({error.verify_message}).",
                "Check the address; give the authority that signed it with --tls-ca FILE.",
            )
        except OSError as error:
            reason = str(getattr(error, "reason", None)).upper()
            if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
                return ResourceError(
                    f"The PACS at {host}:{port} wants a certificate of ours, or does not take this one.",
                    "Give one that it knows with --tls-certificate and --tls-key.",
                )
            return ResourceError(
                f"{host}:{port} does not speak TLS with us.", "Check the port: PACS often have one for TLS, 2762."
            )
