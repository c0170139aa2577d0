"""Collects all texts for people into a Qt translation template, as Slicer's translators use it.

    python Resources/Translations/update_template.py [FILE]

Without a file the template is written, and every translation beside it is brought in line with it.

Texts come from ``_("…")`` in Python and from the `.ui` file. Their contexts are those that Slicer looks them up in
(slicer.i18n): a file's name, with its package's name before it where there is one; the class named in the `.ui` file.
Translations are made from the template with Qt Linguist, e.g. as KLIPSlicer_fr-FR.ts.
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("KLIPSlicer_en-US.ts")
TRANSLATED = (
    *("text", "toolTip", "suffix", "specialValueText", "placeholderText", "title", "windowTitle"),
    *("noneDisplay", "baseName"),
)


def context_of(path: Path) -> str:
    """The context in which Slicer looks up the texts of a Python file."""
    package = path.parent.name + "." if (path.parent / "__init__.py").is_file() else ""
    return package + path.stem


def texts_of_python(path: Path) -> list[str]:
    """Arguments of ``_()``."""
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    named = (node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "_" and node.args)
    return [
        node.args[0].value
        for node in named
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    ]


def texts_of_ui(path: Path) -> tuple[str, list[str]]:
    """The class, and the strings of its widgets that are read by people."""
    root = ElementTree.parse(path).getroot()
    strings = (p.find("string") for p in root.iter("property") if p.get("name") in TRANSLATED)
    return str(root.findtext("class")), [
        s.text for s in strings if s is not None and s.text and s.get("notr") != "true"
    ]


def collect() -> dict[str, list[str]]:
    """Context → texts, each once, in order."""
    found: dict[str, list[str]] = {}
    module = ROOT / "KLIPSlicer"
    for path in [module / "KLIPSlicer.py", *sorted((module / "KLIPSlicerLib").glob("*.py"))]:
        found.setdefault(context_of(path), []).extend(texts_of_python(path))
    for path in sorted((ROOT / "Resources" / "UI").glob("*.ui")):
        name, texts = texts_of_ui(path)
        found.setdefault(name, []).extend(texts)
    return {name: list(dict.fromkeys(texts)) for name, texts in sorted(found.items()) if texts}


Messages = dict[tuple[str, str], str]
"""(context, text) → its translation."""


def write(path: Path, language: str = "en_US", known: Messages | None = None) -> None:
    """Write all texts, with those translations that are known; the others are marked as unfinished."""
    known = known or {}
    root = ElementTree.Element("TS", version="2.1", language=language, sourcelanguage="en")
    for name, texts in collect().items():
        context = ElementTree.SubElement(root, "context")
        ElementTree.SubElement(context, "name").text = name
        for text in texts:
            message = ElementTree.SubElement(context, "message")
            ElementTree.SubElement(message, "source").text = text
            translated = known.get((name, text))
            if translated:
                ElementTree.SubElement(message, "translation").text = translated
            else:
                ElementTree.SubElement(message, "translation", type="unfinished")
    ElementTree.indent(root)
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n",
        encoding="utf-8",
    )


def translations(path: Path) -> Messages:
    """The finished translations of a file."""
    found = {}
    for context in ElementTree.parse(path).getroot().iter("context"):
        for message in context.iter("message"):
            made = message.find("translation")
            if made is not None and made.get("type") is None and made.text:
                found[str(context.findtext("name")), str(message.findtext("source"))] = made.text
    return found


def update(path: Path) -> None:
    """Bring a translated file in line with the texts: what is translated stays, new is unfinished, old goes."""
    language = str(ElementTree.parse(path).getroot().get("language"))
    write(path, language, translations(path))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
    else:
        write(TEMPLATE)
        for translated in sorted(TEMPLATE.parent.glob("KLIPSlicer_*.ts")):
            if translated != TEMPLATE:
                update(translated)
