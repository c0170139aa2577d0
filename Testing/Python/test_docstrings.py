"""Public docstrings: everybody has one, begins it with one imperative line, and leaves no parameter out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from test_imports import MODULES

import KLIPCore as klip

NOT_IMPERATIVE = {
    *("A", "An", "The", "This", "These", "That", "One", "Two", "All", "Each", "Every", "Both", "Some", "Any", "No"),
    *("What", "Which", "Where", "Whether", "How", "Who", "When", "As", "From", "In", "On", "For", "With", "Same"),
    *("Its", "Their", "Nats", "Seconds", "Names", "Returns", "Yields", "Writes", "Reads", "Makes", "Draws"),
}
"""Words that begin a description of the thing instead of an order to make it."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(source: str) -> Iterator[tuple[str, Definition]]:
    """(dotted name, definition) of the public classes and functions of a module, methods included."""

    def below(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, Definition]]:
        for child in node.body:
            if isinstance(child, Definition) and not child.name.startswith("_"):
                if not any("overload" in ast.unparse(d) for d in child.decorator_list):
                    yield prefix + child.name, child
                if isinstance(child, ast.ClassDef):
                    yield from below(child, f"{prefix}{child.name}.")

    yield from below(ast.parse(source), "")


def faults(node: Definition) -> Iterator[str]:
    """What is wrong with a docstring."""
    text = ast.get_docstring(node)
    if not text:
        yield "no docstring"
        return
    lines = text.split("\n")
    if len(lines) > 1 and lines[1]:
        yield "a first paragraph of several lines"
    if lines[0][-1] not in ".:":
        yield "a first line without its full stop"
    if isinstance(node, ast.ClassDef) or any("property" in ast.unparse(d) for d in node.decorator_list):
        return
    word = re.match(r"[A-Z][a-z]+\b", lines[0])
    if not word or word[0] in NOT_IMPERATIVE:
        yield f"not imperative: {lines[0][:40]}"
    if "Parameters\n------" in text:
        yield from (f"{name} is not documented" for name in undocumented(node, text))


def undocumented(node: ast.FunctionDef | ast.AsyncFunctionDef, text: str) -> list[str]:
    """Parameters that a docstring's list leaves out."""
    section = text.split("Parameters\n----------\n")[-1].split("\n\n")[0]
    entries = {name for line in section.split("\n") for name in re.split(r"[ ,]+", line.split(" : ")[0])}
    own = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return [a.arg for a in own if a.arg not in {"self", "cls", *entries}]


@pytest.mark.parametrize("name", [n for n, path in MODULES.items() if path.stat().st_size])
def test_public_docstrings(name: str) -> None:
    found = definitions(MODULES[name].read_text(encoding="utf-8"))
    assert {what: bad for what, node in found if (bad := list(faults(node)))} == {}


@pytest.mark.parametrize("name", sorted(klip._HOMES))
def test_every_parameter_of_the_front_door_is_documented(name: str) -> None:
    source = MODULES[klip._HOMES[name]].read_text(encoding="utf-8")
    node = dict(definitions(source)).get(name)
    if isinstance(node, ast.FunctionDef):
        assert undocumented(node, ast.get_docstring(node) or "") == []


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("def f(): ...", ["no docstring"]),
        ('def f():\n    "The sum."', ["not imperative: The sum."]),
        ('def f():\n    "Return the sum"', ["a first line without its full stop"]),
        (
            'def f():\n    """Return the\n    sum."""',
            ["a first paragraph of several lines", "a first line without its full stop"],
        ),
        (
            'def f(a, b):\n    """Add.\n\n    Parameters\n    ----------\n    a : one.\n    """',
            ["b is not documented"],
        ),
        ('def f(a, b):\n    """Add.\n\n    Parameters\n    ----------\n    a, b : two.\n    """', []),
        ('class A:\n    "The sum."\n    @property\n    def f(self):\n        "The sum."', []),
    ],
)
def test_the_check_itself(source: str, bad: list[str]) -> None:
    assert [fault for _, node in definitions(source) for fault in faults(node)] == bad
