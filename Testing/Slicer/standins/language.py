"""The language that Slicer speaks: English, or that of one of the module's translation files.

Slicer compiles those files with Qt's `lrelease`; what is looked up, and under which context, is the same: the name of
the file a text stands in, with its package's before it, and the class that a `.ui` file names.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UI_TEXTS = ("text", "toolTip", "suffix", "specialValueText", "placeholderText", "title", "noneDisplay", "baseName")

_texts: dict[tuple[str, str], str] = {}
"""(context, English) → the language that is spoken; empty for English."""


def read(path: Path) -> dict[tuple[str, str], str]:
    """(context, English) → translation, of a translation file."""
    return {
        (str(context.findtext("name")), str(message.findtext("source"))): str(message.findtext("translation") or "")
        for context in ElementTree.parse(path).getroot().iter("context")
        for message in context.iter("message")
    }


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Slicer was started in the language of a translation file. Texts that a module reads once, when it is imported,
    are not asked for again.
    """
    _texts.update(read(path))
    try:
        yield
    finally:
        _texts.clear()


def translate(context: str, text: str) -> str:
    """A text in the language that is spoken; as it is where that has none."""
    return _texts.get((context, text), "") or text


def tr(text: str) -> str:
    """The same, of the file that asks."""
    path = Path(sys._getframe(1).f_code.co_filename)
    package = path.parent.name + "." if (path.parent / "__init__.py").is_file() else ""
    return translate(package + path.stem, text)


def translate_ui(root: ElementTree.Element) -> None:
    """Put texts of a `.ui` file into the language that is spoken, as Qt's own loader does."""
    context = str(root.findtext("class"))
    for one in root.iter("property"):
        words = one.find("string")
        if one.get("name") in UI_TEXTS and words is not None and words.text and words.get("notr") != "true":
            words.text = translate(context, words.text)
