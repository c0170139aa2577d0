"""What is installed where, and that Slicer's own packages are never touched. Real pip where pip decides."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import types
import zipfile
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import panel_at_work
import pytest
from KLIPSlicerLib import dependencies
from KLIPSlicerLib.dependencies import (
    PROTECTED,
    Choices,
    Dependencies,
    DependencyError,
    constraints,
    constraintsFile,
    pythonIn,
    requirements,
    unmet,
)
from panel_at_work import slicer
from PySide6 import QtWidgets

REPOSITORY = Path(__file__).resolve().parents[2]


def wheel(folder: Path, name: str, number: str, needs: str = "") -> None:
    """An empty package as a wheel."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{number}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    members = {
        f"{name}.py": "",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as archive:
        for member, text in members.items():
            archive.writestr(member, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{member},sha256={digest},{len(text)}\n"
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Pip of this Python, off line, asked what it would do."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--dry-run",
        "--no-index",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_requirements_leave_slicers_own_packages_alone() -> None:
    names = {r.name for r in requirements()}
    assert not names & set(PROTECTED)
    assert {"torch", "monai", "highdicom"} <= names
    assert all({s.operator for s in r.specifier} <= {">="} for r in requirements())


def test_requirements_are_those_of_the_library() -> None:
    """Everything that pyproject.toml asks for is either in Slicer already or in the list, with the same bound."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {r.name: str(r.specifier) for r in map(Requirement, project["dependencies"])}
    here = {r.name: str(r.specifier) for r in requirements()}
    assert set(wanted) - set(here) == set(PROTECTED)
    assert {name: wanted.get(name) for name in here} == here


def test_pip_refuses_what_would_replace_numpy(tmp_path: Path) -> None:
    """A package that insists on another numpy is not installed, even where that numpy could be had."""
    wheel(tmp_path / "wheels", "greedy", "1.0", "numpy>=99")
    wheel(tmp_path / "wheels", "modest", "1.0", "numpy")
    wheel(tmp_path / "wheels", "numpy", "99.0")
    found = ("--find-links", str(tmp_path / "wheels"))
    assert "numpy-99.0" in pip(*found, "greedy").stdout  # without constraints pip would do it
    with constraintsFile() as path:
        refused = pip(*found, "-c", str(path), "greedy")
        assert refused.returncode != 0
        assert "numpy" in refused.stderr + refused.stdout
        assert pip(*found, "-c", str(path), "modest").returncode == 0
    assert not path.exists()


def test_pip_never_brings_a_vtk_where_slicer_has_its_own_built_in(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "wantsvtk", "1.0", "vtk>=100")
    wheel(tmp_path / "wheels", "vtk", "100.0")
    lines = constraints({"numpy": "2.0.1", "vtk": None})
    assert lines == ["numpy==2.0.1", "vtk<0"]
    (tmp_path / "c.txt").write_text("vtk<0\n")
    assert pip("--find-links", str(tmp_path / "wheels"), "-c", str(tmp_path / "c.txt"), "wantsvtk").returncode != 0


def test_the_other_python_is_looked_into_not_imported() -> None:
    found = Dependencies(Choices(otherPython=sys.executable))
    assert found.missing() == []
    assert found.interpreter().program == sys.executable
    assert not found.interpreter().ofSlicer
    assert found.ensure().program == sys.executable
    assert "Everything is installed" in found.describe()


def test_what_another_python_lacks_is_named_with_the_command(tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    with pytest.raises(DependencyError) as told:
        Dependencies(Choices(otherPython=str(tmp_path / "bare"))).ensure()
    assert "lacks" in str(told.value)
    assert '-m pip install "numpy>=1.26"' in str(told.value)
    assert "torch" in str(told.value)


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_a_path_that_is_no_python_is_told(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DependencyError, match="There is no Python at"):
        pythonIn(tmp_path / path)


def test_a_file_that_is_no_python_is_told(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(DependencyError, match="no Python that works"):
        Dependencies(Choices(otherPython=str(script))).missing()


def test_klip_or_its_folder_mean_the_python_beside_it() -> None:
    environment = Path(sys.executable).parents[1]
    assert pythonIn(environment).parent == Path(sys.executable).parent
    assert pythonIn(Path(sys.executable).parent / "klip").parent == Path(sys.executable).parent


def test_an_old_version_counts_as_missing() -> None:
    wanted = requirements()
    present = {r.name: version(r.name) for r in wanted}
    assert unmet(wanted, present) == []
    assert [r.name for r in unmet(wanted, {**present, "monai": "0.1", "torch": None})] == ["torch", "monai"]


# ---- Slicer's own Python: which of Slicer's ways is taken. What pip would do is recorded, nothing is installed.


class Slicers:
    """Slicer's Python lacks torch and monai until something is installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.lacks = {"torch", "monai"}
        self.confirmed = True
        self.constraints: list[list[str]] = []
        self.cursors: list[Any] = []
        own = dependencies.ownVersions
        monkeypatch.setattr(
            dependencies,
            "ownVersions",
            lambda names: {n: None if n in self.lacks else v for n, v in own(names).items()},
        )
        monkeypatch.setattr(dependencies.shutil, "which", lambda name: sys.executable)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", self.confirm)
        monkeypatch.setattr(slicer.packaging, "pip_check", lambda requirement, *_: requirement.name not in self.lacks)
        monkeypatch.setattr(slicer.packaging, "pip_install", self.pip_install)
        monkeypatch.setattr(slicer.app, "testing", False)

    def confirm(self, text: str, title: str | None = None, **_: Any) -> bool:
        self.calls.append(("asked", text))
        self.cursors.append(QtWidgets.QApplication.overrideCursor())
        return self.confirmed

    def pip_install(self, arguments: list[str], constraints: Any = None, **_: Any) -> None:
        self.calls.append(("pip", arguments))
        file = Path(constraints or arguments[arguments.index("-c") + 1])
        self.constraints.append(file.read_text().split())
        assert f"numpy=={version('numpy')}" in self.constraints[-1]
        self.lacks.clear()


@pytest.fixture
def slicers(monkeypatch: pytest.MonkeyPatch) -> Slicers:
    return Slicers(monkeypatch)


def test_pip_ensure_asks_and_pip_gets_constraints(slicers: Slicers) -> None:
    assert Dependencies(Choices()).ensure().ofSlicer
    (asked, _question), (way, arguments) = slicers.calls
    assert (asked, way) == ("asked", "pip")
    assert arguments == ["torch>=2.6", "monai>=1.5"]


def test_without_pip_ensure_one_question_of_ours(slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(slicer.packaging, "pip_ensure")
    assert Dependencies(Choices()).ensure().ofSlicer
    (asked, question), (way, arguments) = slicers.calls
    assert (asked, way) == ("asked", "pip")
    assert "torch, monai" in question
    assert "Slicer's own packages are not changed" in question
    assert arguments[2:] == ["torch>=2.6", "monai>=1.5"]


def test_no_means_no(slicers: Slicers) -> None:
    slicers.confirmed = False
    with pytest.raises(DependencyError, match="Nothing was installed"):
        Dependencies(Choices()).ensure()
    assert [kind for kind, _ in slicers.calls] == ["asked"]


@pytest.mark.parametrize("choices", [Choices(), Choices(wheelFolder=".")])
def test_in_testing_mode_nothing_is_asked_or_installed(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch, choices: Choices
) -> None:
    """As on Slicer's dashboards, where questions answer themselves with yes."""
    monkeypatch.setattr(slicer.app, "testing", True)
    with pytest.raises(DependencyError, match="in testing mode nothing is installed"):
        Dependencies(choices).ensure()
    assert slicers.calls == []


# ---- PyTorch through the PyTorch extension


def extension(slicers: Slicers, monkeypatch: pytest.MonkeyPatch, then: Any = lambda: None) -> None:
    """An extension that behaves as the real one: no question in testing mode, pip without arguments of ours,
    and it imports torch.
    """
    module = types.ModuleType("PyTorchUtils")
    module.__spec__ = ModuleSpec("PyTorchUtils", None)

    class PyTorchUtilsLogic:
        def installTorch(  # noqa: N802
            self,
            askConfirmation: bool = False,
            forceComputationBackend: Any = None,
            torchVersionRequirement: Any = None,
            torchvisionVersionRequirement: Any = None,
        ) -> Any:
            slicers.calls.append(("torch", torchVersionRequirement))
            slicers.constraints.append(pip_config_of_a_child())
            slicers.lacks.discard("torch")
            import torch

            slicers.calls.append(("imported", torch.__version__))
            then()
            return torch

    module.PyTorchUtilsLogic = PyTorchUtilsLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    for name in [name for name in sys.modules if name == "torch" or name.startswith("torch.")]:
        monkeypatch.delitem(sys.modules, name)


def pip_config_of_a_child() -> list[str]:
    """What a pip that is started now takes for constraints: it is asked itself."""
    command = (
        "from pip._internal.commands import create_command; "
        "print(*create_command('install').parse_args(['x'])[0].constraints)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    lines = []
    for address in done.stdout.split():
        lines += Path(url2pathname(urlsplit(address).path)).read_text().split()
    return lines


def test_torch_through_the_pytorch_extension(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = tmp_path / "José Müller"
    named.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(named))  # pip splits its variable at spaces
    extension(slicers, monkeypatch)
    Dependencies(Choices()).ensure()
    assert [kind for kind, _ in slicers.calls] == ["asked", "torch", "imported", "asked", "pip"]
    assert "PyTorch" in slicers.calls[0][1]
    assert slicers.calls[1] == ("torch", ">=2.6")
    assert slicers.calls[4][1] == ["monai>=1.5"]
    first, second = slicers.constraints
    assert f"numpy=={version('numpy')}" in first  # the extension's pip keeps to Slicer's packages, too
    assert f"torch=={version('torch')}" in second  # and the next one keeps to the extension's choice of PyTorch
    assert not any(line.startswith("torch==") for line in first)


def test_torch_stays_out_of_slicers_process(slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    extension(slicers, monkeypatch)
    Dependencies(Choices()).ensure()
    assert ("imported", "not imported") in slicers.calls
    assert "torch" not in sys.modules
    assert "PIP_CONSTRAINT" not in os.environ


def test_an_extension_that_uses_torch_after_installing_it_has_installed_it(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use() -> None:
        raise AttributeError("module 'torch' has no attribute 'cuda'")

    extension(slicers, monkeypatch, use)
    assert Dependencies(Choices()).ensure().ofSlicer


def test_declined_torch_is_not_installed(slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    extension(slicers, monkeypatch)
    slicers.confirmed = False
    with pytest.raises(DependencyError, match="PyTorch was not installed"):
        Dependencies(Choices()).ensure()
    assert [kind for kind, _ in slicers.calls] == ["asked"]


def test_real_pip_takes_a_constraints_file_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "José Müller"
    folder.mkdir()
    wheel(folder, "greedy", "1.0")
    (folder / "c.txt").write_text("greedy<0\n")
    with dependencies.pipConstrainedBy(folder / "c.txt"):
        assert pip("--find-links", str(folder), "greedy").returncode != 0
    assert pip("--find-links", str(folder), "greedy").returncode == 0


def test_a_wheel_folder_is_used_alone(slicers: Slicers, tmp_path: Path) -> None:
    Dependencies(Choices(wheelFolder=str(tmp_path))).ensure()
    way, arguments = slicers.calls[-1]
    assert way == "pip"
    assert arguments[:3] == ["--no-index", "--find-links", str(tmp_path)]
    slicers.lacks.add("torch")
    with pytest.raises(DependencyError, match="There is no folder"):
        Dependencies(Choices(wheelFolder=str(tmp_path / "gone"))).ensure()


def test_a_failing_pip_ends_in_a_sentence(slicers: Slicers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.packaging, "pip_install", fail)
    with pytest.raises(DependencyError, match="internet connection or its proxy"):
        Dependencies(Choices()).ensure()


def test_questions_are_asked_without_a_wait_cursor(
    slicers: Slicers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import qt

    slicers.confirmed = False
    with panel_at_work.opened_panel(tmp_path) as widget:
        qt.QSettings().remove("KLIPSlicer/OtherPython")
        widget.ui.pythonPathEdit.currentPath = ""
        widget.panel.onDetect()
        assert "Nothing was installed" in widget.ui.statusLabel.text
    assert slicers.cursors == [None]


def test_another_python_can_be_removed_again(tmp_path: Path) -> None:
    """An emptied ctkPathLineEdit does not say that its path changed."""
    import qt

    with panel_at_work.opened_panel(tmp_path) as widget:
        assert widget.ui.pythonPathEdit.currentPath == sys.executable
        for key, edit in (("OtherPython", widget.ui.pythonPathEdit), ("ResultsFolder", widget.ui.outputPathEdit)):
            edit.currentPath = ""
            assert qt.QSettings().value(f"KLIPSlicer/{key}") == ""
            edit.currentPath = str(tmp_path)
            assert qt.QSettings().value(f"KLIPSlicer/{key}") == str(tmp_path)


def test_loading_the_module_looks_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing heavy at file scope, nothing installed or asked at start-up or when the panel opens."""
    calls: list[Any] = []
    for name in ("ensure", "missing", "interpreter"):
        monkeypatch.setattr(Dependencies, name, lambda self, n=name: calls.append(n))
    with panel_at_work.opened_panel(tmp_path):
        panel_at_work.person.events(0.05)
    assert calls == []
