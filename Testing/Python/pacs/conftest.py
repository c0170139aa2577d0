"""What tests of PACS share."""

from __future__ import annotations

from pathlib import Path

import pytest
from pacs.certificates import make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the certificates of :mod:`pacs.certificates`."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
