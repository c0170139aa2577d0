"""Certificates for tests, made by openssl: an authority, those it signed, and a stranger."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from KLIPCore.pacs.tls import Tls

SIGNED = {
    "pacs": ("IP:127.0.0.1", "2"),
    "klip": ("IP:127.0.0.1", "2"),
    "elsewhere": ("DNS:pacs.example", "2"),
    "expired": ("IP:127.0.0.1", "-1"),
}
"""Name: the host that its certificate names, and the days that it holds."""


def make_certificates(folder: Path) -> Path:
    """Make NAME.pem and NAME.key of the authority, of those of :data:`SIGNED`, and of a stranger, who signed itself.

    :param folder: where.
    """
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes the certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("authority", "stranger"):
        subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", *subject)
    for name, (host, days) in SIGNED.items():
        (folder / f"{name}.ext").write_text(f"subjectAltName={host}\n")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", days)
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return folder


def of(folder: Path, name: str, ca: bool = True) -> Tls:
    """Return what one of them shows; with the authority as whom it believes."""
    return Tls(folder / "authority.pem" if ca else None, folder / f"{name}.pem", folder / f"{name}.key")
