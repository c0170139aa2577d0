"""docs/settings.md: what docs/make_settings.py makes of the declarations, and nothing older."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from KLIPCore.config import SECTIONS, Config
from KLIPCore.declare import settings_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_up_to_date_and_complete() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", DOCS / "make_settings.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert text == made.page(), "python docs/make_settings.py"
    for section in (Config, *SECTIONS.values()):
        for name, known in settings_of(section).items():
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}`")]
            assert known.help in row
            assert all(str(choice) in row for choice in known.choices)
            assert known.option in row
