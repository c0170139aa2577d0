"""The module's code keeps to PythonQt's dialect and Slicer's rules, as far as reading it can tell."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    [REPOSITORY / "KLIPSlicer" / "KLIPSlicer.py", *(REPOSITORY / "KLIPSlicer" / "KLIPSlicerLib").glob("*.py")]
)
UI = REPOSITORY / "Resources" / "UI" / "KLIPSlicer.ui"
FOR_PROGRAMMERS = ("RuntimeError", "FileNotFoundError", "self.delayDisplay")
"""What is said with these is for whoever writes a script, or tests."""
IN_THE_REPORT = {"Left out by hand: {} of {} regions."}
"""Said in the page that KLIPCore writes, which is in English."""
HEAVY = {"torch", "monai", "matplotlib", "highdicom", "pandas", "nibabel", "typer", "rich"}


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def faults(source: str) -> list[str]:
    """Constructs that PySide6 takes and PythonQt does not, or that Slicer forbids."""
    bad = []
    tree = ast.parse(source)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and dotted(node).startswith(("qt.", "ctk."))
            and dotted(node).count(".") > 2
        ):
            bad.append(f"scoped enum or chain: {dotted(node)}")
        if (
            isinstance(node, ast.Call)
            and re.fullmatch(r"(qt|ctk)\.\w+|slicer\.qMRML\w+", dotted(node.func))
            and node.keywords
        ):
            bad.append(f"keyword for a Qt constructor: {dotted(node.func)}")
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            top = {name.split(".")[0] for name in names}
            if top & HEAVY:
                bad.append(f"heavy import: {sorted(top & HEAVY)}")
            if "PySide6" in top or "PyQt5" in top:
                bad.append("another binding of Qt")
            if id(node) not in inside and top & {"SimpleITK", "pydicom"}:
                bad.append(f"import at file scope: {sorted(top)}")
    return bad


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_sources_keep_to_the_dialect(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert faults(text) == []
    assert max(len(line) for line in text.splitlines()) < 160


@pytest.mark.parametrize(
    "line",
    [
        "qt.Qt.ItemFlag.ItemIsEnabled",
        "qt.QPushButton(text='x')",
        "import torch",
        "from PySide6 import QtCore",
        "import SimpleITK",
        "ctk.ctkSliderWidget(value=3)",
    ],
)
def test_the_check_itself(line: str) -> None:
    assert faults(line)


def test_what_is_fine_is_let_through() -> None:
    assert faults("import qt\nx = qt.QPushButton('x')\ny = qt.Qt.Checked\ndef f():\n    import SimpleITK") == []


def test_every_selector_of_the_ui_file_gets_the_scene() -> None:
    """A node selector that the file does not connect stays empty in Slicer."""
    root = ElementTree.parse(UI).getroot()
    selectors = {w.get("name") for w in root.iter("widget") if str(w.get("class")).startswith("qMRMLNode")}
    wired = {
        c.findtext("receiver")
        for c in root.iter("connection")
        if c.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
    }
    assert selectors == wired


def test_custom_widgets_are_declared() -> None:
    root = ElementTree.parse(UI).getroot()
    used = {str(w.get("class")) for w in root.iter("widget")}
    declared = {c.findtext("class") for c in root.iter("customwidget")}
    assert {name for name in used if not name.startswith("Q")} == declared


def test_all_texts_for_people_can_be_translated() -> None:
    """Sentences in code pass through _(); a plain or formatted string of several words outside of it is a mistake."""
    forgotten = [
        f"{path.stem}: {text}"
        for path in SOURCES
        for text in untranslated(path.read_text(encoding="utf-8"))
        if text not in IN_THE_REPORT
    ]
    assert forgotten == []


def untranslated(source: str) -> list[str]:
    tree = ast.parse(source)
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        text, above = sentence(node), parents.get(id(node))
        if not re.match(r"[A-Z{][\w']*\}? [\w{].*\.$", text) or isinstance(above, ast.Expr | ast.JoinedStr):
            continue  # an expression of its own is a docstring
        if not (isinstance(above, ast.Call) and dotted(above.func) in ("_", *FOR_PROGRAMMERS)):
            found.append(text)
    return found


def sentence(node: ast.AST) -> str:
    """A string's text, with {} for what is put in; nothing for what is no string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize("line", ["say('It is not there.')", "raise KlipError(f'{x} is not there.', _('Look.'))"])
def test_a_forgotten_text_is_found(line: str) -> None:
    assert len(untranslated(line)) == 1
    assert untranslated("say(_('It is not there.'))") == []


def test_the_translation_template_is_up_to_date(tmp_path: Path) -> None:
    script = REPOSITORY / "Resources" / "Translations" / "update_template.py"
    made = tmp_path / "KLIPSlicer_en-US.ts"
    subprocess.run([sys.executable, str(script), str(made)], check=True)
    kept = REPOSITORY / "Resources" / "Translations" / "KLIPSlicer_en-US.ts"
    assert made.read_text(encoding="utf-8") == kept.read_text(encoding="utf-8"), (
        "run python Resources/Translations/update_template.py"
    )
    contexts = {
        c.findtext("name"): [m.findtext("source") for m in c.iter("message")]
        for c in ElementTree.parse(kept).getroot().iter("context")
    }
    assert "Cancel" in contexts["KLIPSlicerLib.detect_button"]
    assert "Detect OOD" in contexts["KLIPSlicer"]  # the .ui file's class, and the module's file
