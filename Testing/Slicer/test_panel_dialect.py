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
SPEAKING = {
    "runner", "panel", "status", "study_controls", "detect_button", "live_controls", "results_list",
    "detection", "export_menu", "region_table", "cards", "dependencies", "sample_study", "server_controls",
}  # fmt: skip
"""Sources whose sentences are for people."""
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
    """Sentences in code pass through _(); a plain string of several words outside of it is a mistake."""
    forgotten = []
    for path in SOURCES:
        if path.stem in SPEAKING:
            forgotten += [f"{path.stem}: {text}" for text in untranslated(path.read_text(encoding="utf-8"))]
    assert forgotten == []


def untranslated(source: str) -> list[str]:
    tree = ast.parse(source)
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.match(r"[A-Z][a-z]+ [a-z]+ .*\.$", node.value)
        ):
            continue
        above = parents[id(node)]
        translated = isinstance(above, ast.Call) and dotted(above.func) in ("_", "RuntimeError")
        if not translated and not isinstance(above, ast.Expr):  # an expression of its own is a docstring
            found.append(node.value)
    return found


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
