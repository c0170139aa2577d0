"""The document's tables are those that the example prints, and can be replaced by them."""

from __future__ import annotations

import ast
import importlib.util
import types
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def maker() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", REPOSITORY / "docs" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_examples_headings_are_those_of_the_document(maker: types.ModuleType) -> None:
    source, document = maker.EXAMPLE.read_text(encoding="utf-8"), maker.DOCUMENT.read_text(encoding="utf-8")
    printed = [
        node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and node.args
    ]
    headings = [text for text in printed if text.startswith("| ") and "---" not in text]
    assert len(headings) == 2
    for heading in headings:
        (kept,) = [table for table in maker.tables(document) if table[0] == heading]
        new = [*kept[:2], "| new |"]
        changed = maker.with_table(document, new)
        assert [table for table in maker.tables(changed) if table[0] == heading] == [new]
        assert maker.with_table(changed, kept) == document


def test_a_table_without_a_place_is_an_error(maker: types.ModuleType) -> None:
    with pytest.raises(SystemExit, match="0 tables"):
        maker.with_table("text\n", ["| a |", "| --- |"])


def test_numbers_are_typeset(maker: types.ModuleType) -> None:
    assert (
        maker.typeset("| ve-projection | -0 % | -3 % | -0.5 | 0.05-0.2 |")
        == "| ve-projection | 0 % | −3 % | −0.5 | 0.05-0.2 |"
    )


def test_make_runs_it() -> None:
    recipe = (REPOSITORY / "Makefile").read_text(encoding="utf-8").split("docs-images:", 1)[1].split("\n\n", 1)[0]
    assert "docs/make_tables.py" in recipe
