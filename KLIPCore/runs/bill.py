"""The bill of materials that the package carries: what it holds of others, and what it was released with."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import KLIPCore

BILL = "sbom.cdx.json"
"""In the package's own folder, in CycloneDX's format; made by ``docs/make_sbom.py``."""


@cache
def bill_of_materials() -> dict[str, str]:
    """Return the bill's name and SHA-256, for a report's provenance; nothing where a copy of the package has none."""
    file = Path(KLIPCore.__file__).with_name(BILL)
    try:
        content = file.read_bytes()
    except OSError:
        return {}
    return {"bill_of_materials": BILL, "bill_of_materials_sha256": hashlib.sha256(content).hexdigest()}
