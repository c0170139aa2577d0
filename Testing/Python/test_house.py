"""The size of the house: files, functions, parameter lists, floors and wings."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_imports import MODULES, REPOSITORY, UPPER, imports

FOLDERS = ("KLIPCore", "KLIPSlicer", "docs", "examples")
FILES = [path for folder in FOLDERS for path in sorted((REPOSITORY / folder).rglob("*.py"))]

FILE_LINES, FUNCTION_LINES, PARAMETERS, FLOORS = 400, 60, 8, 10

MATHEMATICS = ("physics", "priors", "sampling", "kl", "organs", "detection")
"""The wing of torch; it may use the upper wing. Every other room lies around the two and may use both."""


def too_large(source: str) -> Iterator[str]:
    """What is too long in a file: the file itself, functions, parameter lists that others have to fill in."""
    if source.count("\n") > FILE_LINES:
        yield f"{source.count(chr(10))} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            own = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            n = len(own) - (own[:1] in (["self"], ["cls"]))
            if lines > FUNCTION_LINES:
                yield f"{node.name}: {lines} lines"
            if n > PARAMETERS and (not node.name.startswith("_") or node.name == "__init__"):
                yield f"{node.name}: {n} parameters"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_is_too_large(path: Path) -> None:
    assert list(too_large(path.read_text(encoding="utf-8"))) == []


def test_the_measure_itself() -> None:
    names = ", ".join("abcdefghi")
    assert list(too_large(f"def f({names}): ...\nclass A:\n    def __init__(self, {names}): ...")) == [
        "f: 9 parameters",
        "__init__: 9 parameters",
    ]
    assert list(too_large(f"def _f({names}): ...\nclass A:\n    def f(self, a, *, b): ...")) == []
    assert list(too_large("def f():\n" + "    x = 0\n" * 60)) == ["f: 61 lines"]
    assert list(too_large("\n" * 401)) == ["401 lines"]


def room(module: str) -> str:
    """The folder, or the single file, of the top floor that a module lies in."""
    return module.split(".")[0]


def rooms() -> dict[str, set[str]]:
    """Room → the rooms it imports from, imports inside functions included."""
    found: dict[str, set[str]] = {room(name): set() for name in MODULES}
    for name, path in MODULES.items():
        for imported, _ in imports(path.read_text(encoding="utf-8")):
            if imported.startswith("KLIPCore."):
                found[room(name)].add(room(imported.removeprefix("KLIPCore.")))
    return {name: others - {name} for name, others in found.items()}


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Room → its floor: one above the highest room it imports from."""
    found: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(graph).static_order():  # a circle raises CycleError
        found[name] = 1 + max((found[other] for other in graph[name]), default=0)
    return found


def test_rooms_stand_on_few_floors_and_in_no_circle() -> None:
    found = floors(rooms())
    assert max(found.values()) <= FLOORS, sorted(found.items(), key=lambda item: item[1])


def test_a_circle_of_rooms_is_seen() -> None:
    with pytest.raises(graphlib.CycleError):
        floors({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": 3, "b": 2, "c": 1}


def test_no_arrow_goes_up_between_wings() -> None:
    assert {*UPPER, *MATHEMATICS} <= set(rooms())
    upper, mathematics = set(UPPER), {*UPPER, *MATHEMATICS}
    allowed = dict.fromkeys(UPPER, upper) | dict.fromkeys(MATHEMATICS, mathematics)
    assert {name: extra for name, others in rooms().items() if (extra := others - allowed.get(name, others))} == {}
