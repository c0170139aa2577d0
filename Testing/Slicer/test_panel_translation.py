"""The German translation: every text is finished, with the placeholders and marks of the original, and fits."""

from __future__ import annotations

import re
import string
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Translations"
GERMAN = FOLDER / "KLIPSlicer_de-DE.ts"


def messages(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """(context, text) → translation, and its type."""
    return {
        (str(context.findtext("name")), str(message.findtext("source"))): (
            message.findtext("translation") or "",
            str(message.find("translation").get("type") or ""),  # type: ignore[union-attr]
        )
        for context in ElementTree.parse(path).getroot().iter("context")
        for message in context.iter("message")
    }


def placeholders(text: str) -> list[str]:
    """What ``str.format`` puts in, with its format."""
    return sorted(
        f"{name}:{form}" for _literal, name, form, _turn in string.Formatter().parse(text) if name is not None
    )


def test_every_text_is_translated() -> None:
    german, template = messages(GERMAN), messages(FOLDER / "KLIPSlicer_en-US.ts")
    assert german.keys() == template.keys(), "run python Resources/Translations/update_template.py"
    assert [key for key, (text, kind) in german.items() if kind or (not text.strip() and key[1].strip())] == []


def test_placeholders_marks_and_spaces_agree() -> None:
    for (context, source), (text, _kind) in messages(GERMAN).items():
        assert placeholders(text) == placeholders(source), (context, source)
        assert sorted(re.findall(r"</?\w+>", text)) == sorted(re.findall(r"</?\w+>", source)), (context, source)
        for edge in (0, -1):
            assert source[edge].isspace() == text[edge].isspace(), (context, source)
        for word in (".dcm", ".stl", ".html", ".json", ".nii.gz", ".seg.nrrd", "PACS", "SEG"):
            assert (word in source) == (word in text), (context, source, word)


def test_labels_of_controls_fit_the_panel() -> None:
    """A label that is much longer than the English one would push its control out of a narrow panel."""
    for (context, source), (text, _kind) in messages(GERMAN).items():
        if context == "KLIPSlicer" and source.endswith(":"):
            assert text.endswith(":")
            assert len(text) <= max(24, 1.6 * len(source)), (source, text)


@pytest.mark.parametrize("change", ["new", "gone"])
def test_updating_keeps_what_is_translated(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "Resources" / "Translations"
    folder.mkdir(parents=True)
    for name in ("KLIPSlicer", "Resources/UI"):
        (tmp_path / name).mkdir()
    for path in (FOLDER / "update_template.py", GERMAN):
        (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "KLIPSlicer" / "KLIPSlicerLib").mkdir()
    texts = ["_('Detect OOD')", "_('A new text')"] if change == "new" else ["_('Detect OOD')"]
    (tmp_path / "KLIPSlicer" / "KLIPSlicer.py").write_text("\n".join(texts), encoding="utf-8")
    subprocess.run([sys.executable, str(folder / "update_template.py")], check=True)
    found = messages(folder / GERMAN.name)
    assert found["KLIPSlicer", "Detect OOD"] == ("Auffälligkeiten suchen", "")
    assert ("KLIPSlicer", "Cancel") not in found
    assert found.get(("KLIPSlicer", "A new text")) == (("", "unfinished") if change == "new" else None)
