"""The Python that runs `klip`, and the packages it needs there.

Nothing is looked for before Detect is pressed for the first time, and nothing is installed without a question. There
are three ways, the user's choice under “This computer”:

1. **Slicer's own Python** (PythonSlicer). Missing packages are installed by ``slicer.packaging.pip_ensure``, which
   asks; PyTorch through the PyTorch extension where that is installed, after a question of our own, because it knows
   the computer's graphics driver.
2. **A folder of wheels**, for a computer without a network: the same, from that folder alone.
3. **Another Python** in which klip's packages are installed already. Slicer's Python stays as it is.

In Slicer's testing mode nothing is installed at all.

Whatever is installed, what Slicer itself brings stays: every call of pip gets constraints that pin its
:data:`PROTECTED` packages to the very versions that are there. If a package cannot do with these, pip refuses,
nothing is changed, and the user is sent to way 3. PyTorch, once installed, is pinned as well.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import slicer.util
from slicer.i18n import tr as _

from . import platforms
from .dependency_error import DependencyError
from .other_python import beside, pythonIn
from .output_of import outputOf
from .paths import resourcePath
from .runner import Interpreter

REQUESTER = "KLIPSlicer"

PROTECTED = ("numpy", "scipy", "SimpleITK", "vtk")
"""Packages of Slicer's that pip must not touch: another numpy under a running Slicer breaks other modules."""

PINNED_ONCE_THERE = ("torch", "torchvision")
"""Packages that a later call of pip must not exchange: the PyTorch extension chose their build for this computer."""

ELSEWHERE = ("numpy>=1.26", "scipy>=1.11", "SimpleITK>=2.3")
"""What another Python must have in addition, because there it is not Slicer that brings it."""

PROBE = """
import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({"python": list(sys.version_info[:2]), "versions": {n: version(n) for n in sys.argv[1:]}}))
"""

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Choices:
    """What the user chose under “This computer”; empty texts are the defaults.

    otherPython : a Python executable, `klip` itself, or the folder of an environment.
    wheelFolder : where packages are installed from, instead of the network.
    """

    otherPython: str = ""
    wheelFolder: str = ""


def requirements() -> list:
    """What Slicer's Python must have in addition, as ``packaging`` requirements."""
    Requirement = requirementClass()
    lines = resourcePath("requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def requirementClass() -> type:
    """``packaging.requirements.Requirement``, from pip's own copy where Slicer is older than that."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement
    return Requirement


def unmet(wanted: list, versions: dict[str, str | None]) -> list:
    """Those of some requirements that installed versions (None: absent) do not meet."""
    return [
        r
        for r in wanted
        if versions.get(r.name) is None or not r.specifier.contains(versions[r.name], prereleases=True)
    ]


def ownVersions(names: list[str]) -> dict[str, str | None]:
    """Installed versions in Slicer's Python, without importing anything."""
    importlib.invalidate_caches()
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


class Dependencies:
    """Finds or makes a Python that can run `klip`."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices

    def interpreter(self) -> Interpreter:
        """The chosen Python, whatever is installed in it.

        :raises DependencyError: there is none.
        """
        if self.choices.otherPython:
            return Interpreter(str(pythonIn(Path(self.choices.otherPython))), ofSlicer=False)
        own = shutil.which("PythonSlicer") or beside(Path(sys.executable), platforms.slicersOwn(sys.platform))
        if not own:
            raise DependencyError(_("Slicer's Python was not found. Choose another Python under “This computer”."))
        return Interpreter(str(own))

    def environment(self) -> dict[str, str] | None:
        """Environment variables for the chosen Python: another one must not see Slicer's."""
        return dict(slicer.util.startupEnvironment()) if self.choices.otherPython else None

    def missing(self) -> list:
        """Requirements that the chosen Python does not meet.

        :raises DependencyError: the chosen Python is none, or too old.
        """
        wanted = requirements()
        if not self.choices.otherPython:
            return unmet(wanted, ownVersions([r.name for r in wanted]))
        wanted = [*map(requirementClass(), ELSEWHERE), *wanted]
        return unmet(wanted, self._probe([r.name for r in wanted]))

    def ensure(self) -> Interpreter:
        """A Python in which everything is there; asks and installs where that is Slicer's own.

        :raises DependencyError: something is missing in another Python, or was not installed.
        """
        interpreter = self.interpreter()
        missing = self.missing()
        if not missing:
            return interpreter
        if self.choices.otherPython:
            command = f'"{interpreter.program}" -m pip install ' + " ".join(f'"{r}"' for r in missing)
            raise DependencyError(
                _(
                    "The chosen Python lacks {names}. Install it there with:\n{command}\n"
                    "or leave “Other Python” empty."
                ).format(names=_names(missing), command=command)
            )
        self._install(missing)
        left = self.missing()
        if left:
            raise DependencyError(
                _(
                    "{names} is still missing. Install it when asked, or choose another Python under “This computer”."
                ).format(names=_names(left))
            )
        return interpreter

    def describe(self) -> str:
        """Whether everything is there, in a sentence; changes nothing."""
        try:
            interpreter, missing = self.interpreter(), self.missing()
        except DependencyError as error:
            return str(error)
        if missing:
            return (
                _("{names} will be asked for when you press Detect OOD.").format(names=_names(missing))
                if interpreter.ofSlicer
                else _("The chosen Python lacks {names}.").format(names=_names(missing))
            )
        return _("Everything is installed: {program}").format(program=interpreter.program)

    def _probe(self, names: list[str]) -> dict[str, str | None]:
        """Installed versions in the other Python."""
        program = str(pythonIn(Path(self.choices.otherPython)))
        try:
            told = outputOf(
                [program, "-c", PROBE, *names], {**(self.environment() or {}), "PYTHONIOENCODING": "utf-8"}
            )
            seen = json.loads(told.strip().splitlines()[-1])
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise DependencyError(
                _("{program} is no Python that works ({error}).").format(program=program, error=type(error).__name__)
            ) from error
        if tuple(seen["python"]) < OLDEST_PYTHON:
            old, new = (".".join(map(str, v)) for v in (seen["python"], OLDEST_PYTHON))
            raise DependencyError(
                _("{program} is Python {old}; klip needs {new} or newer.").format(program=program, old=old, new=new)
            )
        return seen["versions"]

    def _install(self, missing: list) -> None:
        """Ask, and install into Slicer's Python.

        :raises DependencyError: declined, or pip failed.
        """
        if slicer.app.testingEnabled():
            raise DependencyError(
                _("{names} is missing, and in testing mode nothing is installed.").format(names=_names(missing))
            )
        with failuresInWords():
            if self.choices.wheelFolder:
                with constraintsFile() as constraints:
                    self._installFromFolder(missing, constraints)
                return
            torch = [r for r in missing if r.name == "torch"]
            if torch and installTorch(torch[0]):
                missing = [r for r in missing if r.name != "torch"]
            if missing:
                with constraintsFile() as constraints:  # anew: they pin the PyTorch that is there now
                    installOthers(missing, constraints)

    def _installFromFolder(self, missing: list, constraints: Path) -> None:
        folder = self.choices.wheelFolder
        wheelsOnly(folder)
        question = _("{names} will be installed into Slicer's Python from {folder}.").format(
            names=_names(missing), folder=folder
        )
        if not slicer.util.confirmOkCancelDisplay(question, REQUESTER):
            raise DependencyError(_("Nothing was installed."))
        installFromFolder(missing, folder, constraints)


def wheelsOnly(folder: str) -> list[str]:
    """Options of pip that take packages from a folder of wheels and from nowhere else.

    :raises DependencyError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise DependencyError(_("There is no folder {folder}. Choose the one with the wheels.").format(folder=folder))
    return ["--no-index", "--find-links", folder]


def installFromFolder(wanted: list, folder: str, constraints: Path) -> None:
    """Install requirements from a folder of wheels, without a question.

    :raises DependencyError: there is no such folder.
    """
    slicer.util.pip_install([*wheelsOnly(folder), "-c", str(constraints), *map(str, wanted)])


@contextmanager
def failuresInWords() -> Iterator[None]:
    """What goes wrong with pip inside becomes a :class:`DependencyError` with a sentence."""
    try:
        yield
    except RuntimeError as error:  # pip_ensure's word for “no”
        raise DependencyError(_("Nothing was installed ({error}).").format(error=error)) from error
    except DependencyError:
        raise
    except Exception as error:  # pip's, and whatever the PyTorch extension raises
        logging.error("KLIPSlicer: packages could not be installed", exc_info=error)
        raise DependencyError(
            _(
                "The packages could not be installed. Check the internet connection or its proxy; "
                "or choose a folder of wheels, "
                "or another Python, under “This computer”. Slicer's own packages were not changed."
            )
        ) from error


def installTorch(requirement) -> bool:
    """PyTorch through the PyTorch extension; False where that is not installed.

    The extension chooses the build for this computer's graphics driver. Three things it does not do are done here:
    the user is asked, Slicer's own packages are pinned, and torch is not imported into Slicer's process.

    :raises DependencyError: the user declined.
    """
    if importlib.util.find_spec("PyTorchUtils") is None:
        return False
    import PyTorchUtils

    question = _(
        "PyTorch will be downloaded and installed into Slicer's Python (0.2 to 3 GB). "
        "Slicer's own packages are not changed. Continue?"
    )
    if not slicer.util.confirmOkCancelDisplay(question, REQUESTER):
        raise DependencyError(_("PyTorch was not installed. It is needed; press Detect OOD again when you want it."))
    with constraintsFile() as constraints, pipConstrainedBy(constraints), torchKeptOut():
        try:
            PyTorchUtils.PyTorchUtilsLogic().installTorch(
                askConfirmation=False, torchVersionRequirement=str(requirement.specifier)
            )
        except (AttributeError, ImportError) as error:  # it looked into torch after it was installed
            logging.info("KLIPSlicer: the PyTorch extension wanted to import torch (%s).", error)
    return True


@contextmanager
def pipConstrainedBy(constraints: Path) -> Iterator[None]:
    """Let every pip that is started inside keep to a constraints file.

    pip splits the variable at spaces, and a user's name may have one, so the file is named by its address.
    """
    before = os.environ.get("PIP_CONSTRAINT")
    os.environ["PIP_CONSTRAINT"] = constraints.resolve().as_uri()
    try:
        yield
    finally:
        if before is None:
            del os.environ["PIP_CONSTRAINT"]
        else:
            os.environ["PIP_CONSTRAINT"] = before


@contextmanager
def torchKeptOut() -> Iterator[None]:
    """``import torch`` inside finds an empty module: the real one must not enter Slicer's process.

    Where another extension has imported it already, it stays what it is.
    """
    if "torch" in sys.modules:
        yield
        return
    empty = types.ModuleType("torch")
    empty.__version__ = "not imported"  # type: ignore[attr-defined]
    sys.modules["torch"] = empty
    try:
        yield
    finally:
        if sys.modules.get("torch") is empty:
            del sys.modules["torch"]


def slicerAsksItself() -> bool:
    """Whether ``slicer.packaging`` can ask, install and advise a restart (5.12)."""
    if importlib.util.find_spec("slicer.packaging") is None:
        return False
    import slicer.packaging

    return hasattr(slicer.packaging, "pip_ensure")


def installOthers(missing: list, constraints: Path, ask: bool = True) -> None:
    """Packages from the network, asked for once."""
    if slicerAsksItself():
        from slicer.packaging import pip_ensure

        # an update asks itself, before and after
        pip_ensure(missing, constraints=str(constraints), prompt_install=ask, prompt_restart=ask, requester=REQUESTER)
        return
    question = _(
        "{names} will be downloaded and installed into Slicer's Python (PyTorch alone is 0.2 to 3 GB). "
        "Slicer's own packages are not changed. Continue?"
    ).format(names=_names(missing))
    if ask and not slicer.util.confirmOkCancelDisplay(question, REQUESTER):
        raise DependencyError(_("Nothing was installed."))
    slicer.util.pip_install(["-c", str(constraints), *map(str, missing)])


@contextmanager
def constraintsFile() -> Iterator[Path]:
    """A pip constraints file that keeps Slicer's own packages as they are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slicer-constraints.txt"
        pinned = {name: version for name, version in ownVersions(list(PINNED_ONCE_THERE)).items() if version}
        lines = constraints({**ownVersions(list(PROTECTED)), **pinned})
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        yield path


def constraints(versions: dict[str, str | None]) -> list[str]:
    """Lines of the constraints file. A package without metadata (Slicer's vtk is built in) must not come from pip."""
    return [f"{name}=={version}" if version else f"{name}<0" for name, version in versions.items()]


def _names(missing: list) -> str:
    return ", ".join(r.name for r in missing)
