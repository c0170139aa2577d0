"""Who may import whom: the architecture, held over the import statements themselves.

Data flows one way, study → volume → measurement → posterior transitions → KL trace → KL map → regions → export, and so do
imports. The table below is that architecture; a module that needs something new in its row is a decision, not an accident.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]

# who (a package's row holds for all its modules; a module's own row adds to it)
#                      of KLIPCore                                                        of others
MAY_IMPORT = """
errors               |                                                                  |
progress             |                                                                  | rich
scores               |                                                                  |
config               | scores                                                           | yaml
volume               |                                                                  | numpy scipy
memory               |                                                                  |
selection            | memory volume                                                           | numpy psutil torch

io                   | volume                                                           | numpy SimpleITK pydicom
io.sinogram          | physics.geometry                                                 |
io.results           | kl.trace framing                                                 |

physics              | volume                                                           | numpy scipy torch
phantoms             | physics volume                                                   | numpy scipy
phantoms.patient     | priors sampling.schedule                                         | torch
measured             | config framing kl.trace phantoms physics priors.prior recording volume | numpy torch
reconstruct          | physics io.sinogram                                              | numpy torch

priors               | volume physics                                                   | numpy scipy torch
priors.unet          |                                                                  | monai
priors.ddpm          |                                                                  | monai
priors.diffusers_unet |                                                                 | monai
priors.convert       | extras                                                           | safetensors
priors.checkpoint    |                                                                  | safetensors
framing              | volume priors.prior                                              | numpy

sampling             | physics priors                                                   | numpy torch

kl                   | sampling.transition                                              | numpy scipy torch
kl.map               | config scores framing volume                                        |
kl.landing           | framing volume                                                   |
regions              | volume                                                           | numpy scipy

export               | volume io regions                                                | numpy SimpleITK pydicom matplotlib PIL jinja2
export.dicom_seg     |                                                                  | highdicom
export.mesh          |                                                                  | vtkmodules

reference            | evaluation.auroc export.files kl.trace physics priors sampling     | numpy torch
reference.report     | io                                                               |

extras               |                                                                  |
training             | volume io priors                                                 | numpy torch SimpleITK yaml safetensors
training.data        | phantoms.disc physics.geometry                                   |
training.pictures    | phantoms.patient sampling.schedule                               | PIL matplotlib
training.devices     | extras                                                           |
training.start       |                                                                  | monai
batches              |                                                                  | torch
recording            | config volume.units physics sampling kl                          | numpy torch
scan                 | batches config framing volume physics priors recording sampling kl | numpy torch
crew                 | batches framing kl.trace priors.prior scan                        | torch
tuning               | batches crew priors.prior                                        | psutil torch
outputs              | config framing volume io priors kl regions export                | numpy
mapping              | config framing volume io priors.prior kl regions outputs selection | numpy
live                 | config framing volume io.results kl regions.find selection mapping | numpy
pipeline             | config crew framing volume io priors kl regions scan mapping selection tuning | numpy torch
detect_measured      | config framing io mapping measured physics.solve priors selection  | numpy torch
evaluation           | bench.machine config scores framing volume io priors physics sampling kl regions |
                     | export.files selection phantoms mapping pipeline reconstruct scan | numpy scipy torch yaml matplotlib
evaluation.measured  | io.sinogram measured                                             |
bench                | config scores framing volume io.images physics priors sampling kl       |
                     | evaluation phantoms reference export.files live scan selection   | numpy torch matplotlib psutil
bench.memory         | io.dicom_series io.results scores                                |
commands             | volume io physics regions export reconstruct mapping             | numpy PIL
demo                 | config framing volume io priors kl regions export selection      |
                     | phantoms mapping pipeline demo_folder demo_score                 | numpy scipy
demo_folder          | io.images volume                                                 |
demo_score           | evaluation.auroc framing kl.map mapping regions volume           | numpy scipy
selftest             | physics phantoms priors sampling kl                              | torch
cli                  | commandline                                                      | typer
commandline          | config scores detect_measured io.results selection progress mapping pipeline evaluation |
                     | training priors.checkpoint priors.convert volume.units commands demo reference bench selftest | typer
"""

NEVER = {"slicer", "qt", "ctk", "PythonQt", "pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
"""Slicer's application lives in KLIPSlicer alone; unpickling can run anybody's code."""

LIGHT = (
    "KLIPCore",
    "KLIPCore.cli",
    "KLIPCore.errors",
    "KLIPCore.config",
    "KLIPCore.volume.volume",
    "KLIPCore.io.study",
    "KLIPCore.regions.report",
    "KLIPCore.mapping",
    "KLIPCore.live",
)
"""What Slicer's own process and `klip --help` import: it must not load the heavy ones."""

HEAVY = ("torch", "monai", "vtk", "vtkmodules", "highdicom", "matplotlib")

DISTRIBUTION = {"yaml": "pyyaml", "vtkmodules": "vtk", "PIL": "pillow", "simpleitk": "SimpleITK"}
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


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """(dotted module, whether it happens on import) of every import statement, those inside functions included."""
    tree = ast.parse(source)
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        at_once = id(node) not in inside
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            for alias in node.names:  # `from KLIPCore.kl import trace` means the module trace
                below = f"{node.module}.{alias.name}"
                yield (below if below.removeprefix("KLIPCore.") in MODULES else str(node.module)), at_once


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


def test_the_package_itself_imports_nothing() -> None:
    assert list(imports((REPOSITORY / "KLIPCore" / "__init__.py").read_text(encoding="utf-8"))) == []


def test_every_row_names_something_that_exists() -> None:
    for who, (ours, _) in rules().items():
        for name in {who, *ours}:
            assert any(within(module, name) for module in MODULES), f"{name} is in the table but not in KLIPCore"


@pytest.mark.parametrize(
    ("name", "source", "n"),
    [
        ("volume.grid", "import torch", 1),
        ("volume.grid", "from KLIPCore.kl import trace", 1),
        ("regions.find", "def f():\n    import qt", 1),
        ("io.dicom", "import pickle", 1),
        ("sampling.dps", "from KLIPCore.kl.trace import KLTrace", 1),
        ("export.html", "import vtkmodules.vtkCommonCore", 1),
        ("nowhere", "", 1),
        ("export.mesh", "import vtkmodules.vtkCommonCore\nimport math", 0),
        ("kl.trace", "from KLIPCore.kl.bands import cell_sums\nfrom KLIPCore import __version__", 0),
    ],
)
def test_the_check_itself(name: str, source: str, n: int) -> None:
    assert len(violations(name, source)) == n


def test_no_cycles() -> None:
    graph = {}
    for name, path in MODULES.items():
        graph[name] = {i.removeprefix("KLIPCore.") for i, at_once in imports(path.read_text(encoding="utf-8")) if at_once and i.startswith("KLIPCore.")}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_light_modules_load_nothing_heavy() -> None:
    code = f"import {', '.join(LIGHT)}, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


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


@pytest.mark.parametrize("source", ["torch.load(p)", "torch.load(p, weights_only=False)", "np.load(p, allow_pickle=True)", "yaml.load(s)", "eval(s)"])
def test_unsafe_reads_are_seen(source: str) -> None:
    assert unsafe_reads(source)


def test_reading_a_file_never_runs_it() -> None:
    assert not unsafe_reads("torch.load(p, weights_only=True); np.load(p); model.eval()")
    assert {name: bad for name, path in MODULES.items() if (bad := unsafe_reads(path.read_text(encoding="utf-8")))} == {}


def project() -> dict:
    """The ``[project]`` table of pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_imported_package_is_declared() -> None:
    declared = {Requirement(text).name.lower() for text in project()["dependencies"]}
    others = {theirs for _, row in rules().values() for theirs in row}
    assert {DISTRIBUTION.get(name, name).lower() for name in others} <= declared


PINNED = {"slicer-core": {"=="}, "PySide6-Essentials": {">=", "<"}}
"""Used by tests alone, and held for a reason that stands in pyproject.toml."""


def asked_for(*extras: str) -> list[str]:
    """Requirements of the package and of some of its extras, without those that name an extra of its own."""
    optional = project()["optional-dependencies"]
    return [*project()["dependencies"], *(text for extra in extras for text in optional[extra] if not text.startswith("klipcore["))]


@pytest.mark.parametrize("text", asked_for("train", "convert", "test"))
def test_lower_bounds_only_and_met(text: str) -> None:
    requirement = Requirement(text)
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == PINNED.get(requirement.name, {">="}), "a bound from above keeps people from newer releases"
    if requirement.marker is None or requirement.marker.evaluate():
        assert requirement.specifier.contains(version(requirement.name), prereleases=True)


def test_python_version_is_said_once_and_the_same() -> None:
    assert project()["requires-python"] == ">=3.11"
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "sys.version_info < (3, 11)" in makefile
    assert re.search(r"^TORCH \?= torch==\d+\.\d+\.\d+$", makefile, re.MULTILINE)
