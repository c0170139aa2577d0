"""Who may import whom: the architecture, held over the import statements themselves.

Three wings: the upper one (study, map, files) needs no torch and is all that Slicer's own process imports; the
lower one is the mathematics; `detection`, `cli` and `lab` stand around both. Data flows one way and so do
imports. The table below is that architecture; a package that needs something new in its row is a decision, not
an accident.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]

# who             of KLIPCore                                            of others
# (a package's row holds for all its modules; a module's own row adds to it)
MAY_IMPORT = """
errors           |                                                      |
progress         |                                                      | rich
scores           |                                                      |
declare          |                                                      | pydantic
settings         | declare scores                                       |
config           | declare settings scores volume                       |

volume           |                                                      | numpy scipy yaml
io               | volume                                               | numpy scipy SimpleITK pydicom
io.segmentation_files |                                                 | highdicom
maps             | volume config scores settings declare                | numpy scipy
export           | maps io volume                                       | numpy SimpleITK pydicom matplotlib PIL jinja2
export.dicom_codes | scores                                             |
export.dicom_seg |                                                      | highdicom
export.parametric_map |                                                 | highdicom
export.source_series |                                                  | highdicom
export.structured_report |                                              | highdicom
export.mesh      |                                                      | vtkmodules
runs             | export maps io volume config scores settings declare | numpy
runs.dicom_results |                                                    | pydicom
pacs             | io export volume                                     | pydicom
archive          | pacs io export config volume                         | psutil

physics          | volume                                               | numpy scipy torch
priors           | physics volume                                       | numpy scipy torch monai einops safetensors
sampling         | priors physics                                       | numpy torch
kl               | priors sampling maps physics                         | numpy scipy torch
organs           | volume                                               | numpy scipy torch monai safetensors
detection        | organs kl sampling priors physics runs maps io       | numpy torch psutil
                 | volume config scores settings declare                |
audit            | kl sampling priors physics export maps io            | numpy scipy torch matplotlib jinja2
                 | volume                                               |
client           |                                                      |
server           | client runs volume config settings declare           | fastapi starlette uvicorn pydantic
lab              | organs detection kl sampling priors physics runs     | numpy scipy torch monai yaml
                 | export maps io volume config scores settings declare | matplotlib PIL psutil safetensors SimpleITK
                 | audit client server archive                          |
cli              | lab detection kl sampling priors physics runs export | typer numpy PIL
                 | client server                                        |
                 | maps io volume config scores settings declare        |
                 | progress audit archive pacs                          |
"""

UPPER = (
    *("errors", "scores", "declare", "settings", "config", "progress", "volume", "io", "maps", "export", "runs"),
    *("pacs", "archive"),
)
"""The wing without torch."""

ABSENT = ("torch", "monai", "typer", "rich", "jinja2")
"""What the upper wing does without when it is imported."""

NEVER = {"slicer", "qt", "ctk", "PythonQt", "pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
"""Slicer's application lives in KLIPSlicer alone; unpickling can run anybody's code."""

LIGHT = (
    "KLIPCore",
    "KLIPCore.cli",
    "KLIPCore.errors",
    "KLIPCore.config",
    "KLIPCore.volume.volume",
    "KLIPCore.io.study",
    "KLIPCore.export.report",
    "KLIPCore.runs.rerun",
    "KLIPCore.runs.live",
)
"""What Slicer's own process and `klip --help` import: it must not load the heavy ones."""

HEAVY = ("torch", "monai", "vtk", "vtkmodules", "highdicom", "matplotlib")

DISTRIBUTION = {
    "starlette": "fastapi",
    "yaml": "pyyaml",
    "vtkmodules": "vtk",
    "PIL": "pillow",
    "simpleitk": "SimpleITK",
}
"""Distributions that are called otherwise than their package."""


def modules() -> dict[str, Path]:
    """Dotted name below KLIPCore → file; packages' empty ``__init__`` files count as modules of the package's name."""
    root = REPOSITORY / "KLIPCore"
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


@cache
def imports(source: str) -> tuple[tuple[str, bool], ...]:
    """(dotted module, whether it happens on import) of every import statement, those inside functions included."""
    return tuple(_imports(source))


def _imports(source: str) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(source)
    inside = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        at_once = id(node) not in inside
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            for alias in node.names:  # `from KLIPCore.kl import trace` means the module trace
                below = f"{node.module}.{alias.name}"
                yield (below if below.removeprefix("KLIPCore.") in MODULES else str(node.module)), at_once


@cache
def rules() -> dict[str, tuple[set[str], set[str]]]:
    """Row → (own modules and packages, other packages) of the table."""
    table: dict[str, tuple[set[str], set[str]]] = {}
    who = ""
    for line in MAY_IMPORT.splitlines():
        if line.strip():
            name, ours, theirs = (cell.strip() for cell in line.split("|"))
            who = name or who  # a row without a name goes on with the one above
            own, others = table.setdefault(who, (set(), set()))
            own.update(ours.split())
            others.update(theirs.split())
    return table


def within(name: str, group: str) -> bool:
    """Whether a module is, or lies in, a package."""
    return name == group or name.startswith(group + ".")


def violations(name: str, source: str) -> list[str]:
    """What a module of KLIPCore imports without a row that lets it."""
    rows = [cells for group, cells in rules().items() if within(name, group)]
    if not rows:
        return ["there is no row for it"]
    ours = {own for cells in rows for own in cells[0]} | {"errors", name.split(".")[0]}
    theirs = {other for cells in rows for other in cells[1]}
    bad = []
    for imported, _ in imports(source):
        top = imported.split(".")[0]
        if top in NEVER:
            bad.append(f"{imported} is imported nowhere in KLIPCore")
        elif imported == "KLIPCore":
            continue  # the version
        elif top == "KLIPCore":
            if not any(within(imported.removeprefix("KLIPCore."), own) for own in ours):
                bad.append(imported)
        elif top not in theirs and top not in sys.stdlib_module_names:
            bad.append(imported)
    return bad


@pytest.mark.parametrize("name", [n for n, path in MODULES.items() if path.stat().st_size and n])
def test_module_imports_what_its_row_allows(name: str) -> None:
    assert violations(name, MODULES[name].read_text(encoding="utf-8")) == []


def test_the_package_itself_imports_nothing_of_its_own() -> None:
    """Its names are loaded when they are asked for."""
    source = (REPOSITORY / "KLIPCore" / "__init__.py").read_text(encoding="utf-8")
    assert {name.split(".")[0] for name, _ in imports(source)} <= sys.stdlib_module_names | {"__future__"}
    assert not re.search(r"^(from|import) KLIPCore", source, re.MULTILINE)


def test_every_row_names_something_that_exists() -> None:
    for who, (ours, _) in rules().items():
        for name in {who, *ours}:
            assert any(within(module, name) for module in MODULES), f"{name} is in the table but not in KLIPCore"


@pytest.mark.parametrize(
    ("name", "source", "n"),
    [
        ("volume.grid", "import torch", 1),
        ("volume.grid", "from KLIPCore.maps import trace", 1),
        ("maps.regions", "def f():\n    import qt", 1),
        ("io.dicom", "import pickle", 1),
        ("sampling.dps", "from KLIPCore.maps.trace import KLTrace", 1),
        ("maps.trace", "import torch", 1),
        ("kl.path", "from KLIPCore.detection import workers", 1),
        ("export.html", "import vtkmodules.vtkCommonCore", 1),
        ("nowhere", "", 1),
        ("export.mesh", "import vtkmodules.vtkCommonCore\nimport math", 0),
        ("kl.path", "from KLIPCore.kl.bands import cell_sums\nfrom KLIPCore import __version__", 0),
    ],
)
def test_the_check_itself(name: str, source: str, n: int) -> None:
    assert len(violations(name, source)) == n


def test_no_cycles() -> None:
    graph = {}
    for name, path in MODULES.items():
        graph[name] = {
            i.removeprefix("KLIPCore.")
            for i, at_once in imports(path.read_text(encoding="utf-8"))
            if at_once and i.startswith("KLIPCore.")
        }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_light_modules_load_nothing_heavy() -> None:
    code = f"import {', '.join(LIGHT)}, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_the_client_needs_python_alone() -> None:
    """With none of the distribution's packages on the path, every module of it loads: it is whole in any Python."""
    names = [f"KLIPCore.{name}" for name in MODULES if within(name, "client")]
    assert len(names) > 10
    code = f"""
import importlib, sys
sys.path[:] = [{str(REPOSITORY)!r}, *(p for p in sys.path if p and "site-packages" not in p)]
for name in {names!r}:
    importlib.import_module(name)
third = {{name.split(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
print(sorted(name for name in third if not name.startswith("_")))
try:
    import numpy
except ImportError:
    print("alone")
"""
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["['KLIPCore']", "alone"]


def test_the_upper_wing_needs_no_torch() -> None:
    """Imported where torch, monai, typer, rich and jinja2 cannot be, every module of it loads."""
    names = [f"KLIPCore.{name}" for name in MODULES if name and any(within(name, wing) for wing in UPPER)]
    assert len(names) > 40
    code = f"""
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ImportError(f"{{name}} is absent")
sys.meta_path.insert(0, Absent())
for name in {names!r}:
    importlib.import_module(name)
try:
    importlib.import_module("KLIPCore.physics.projector")
except ImportError:
    print("the wall stands")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[0] == "the wall stands"


def unsafe_reads(source: str) -> list[str]:
    """Calls that may run what a file says: unpickling, eval, YAML's full loader."""
    bad = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        call = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if (
            (call == "torch.load" and options.get("weights_only") != "True")
            or (call.split(".")[-1] == "load" and options.get("allow_pickle") == "True")
            or call in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load")
        ):
            bad.append(f"line {node.lineno}: {ast.unparse(node)}")
    return bad


@pytest.mark.parametrize(
    "source",
    ["torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)", "yaml.load(s)", "eval(s)"],
)
def test_unsafe_reads_are_seen(source: str) -> None:
    assert unsafe_reads(source)


def test_reading_a_file_never_runs_it() -> None:
    assert not unsafe_reads("torch.load(p, weights_only=True); np.load(p); model.eval()")
    assert {
        name: bad for name, path in MODULES.items() if (bad := unsafe_reads(path.read_text(encoding="utf-8")))
    } == {}


def project() -> dict:
    """The ``[project]`` table of pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_imported_package_is_declared() -> None:
    declared = {Requirement(text).name.lower() for text in asked_for("server")}
    others = {theirs for _, row in rules().values() for theirs in row}
    assert {DISTRIBUTION.get(name, name).lower() for name in others} <= declared


PINNED = {"slicer-core": {"=="}, "PySide6-Essentials": {">=", "<"}}
"""Used by tests alone, and held for a reason that stands in pyproject.toml."""


def asked_for(*extras: str) -> list[str]:
    """Requirements of the package and of some of its extras, without those that name an extra of its own."""
    optional = project()["optional-dependencies"]
    return [
        *project()["dependencies"],
        *(text for extra in extras for text in optional[extra] if not text.startswith("klipcore[")),
    ]


@pytest.mark.parametrize("text", asked_for("train", "convert", "server", "test"))
def test_lower_bounds_only_and_met(text: str) -> None:
    requirement = Requirement(text)
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == PINNED.get(requirement.name, {">="}), "a bound from above keeps people from newer releases"
    if requirement.marker is None or requirement.marker.evaluate():
        assert requirement.specifier.contains(version(requirement.name), prereleases=True)


@pytest.mark.parametrize("text", asked_for("docs"))
def test_what_builds_the_site_has_lower_bounds_only(text: str) -> None:
    """It need not be installed where the tests run."""
    assert {specifier.operator for specifier in Requirement(text).specifier} == {">="}


def test_python_version_is_said_once_and_the_same() -> None:
    assert project()["requires-python"] == ">=3.11"
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "sys.version_info < (3, 11)" in makefile
    assert re.search(r"^TORCH \?= torch==\d+\.\d+\.\d+$", makefile, re.MULTILINE)
