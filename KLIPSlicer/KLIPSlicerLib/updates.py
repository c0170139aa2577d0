"""Newer packages for Slicer's Python: what there is, its installation after consent, and the restart that it needs.

What is newer is asked of pip itself, which says without changing anything what it would install: from the index that
Slicer's pip uses, or from the folder of wheels. Nothing but the names of packages goes out. What Slicer brings stays
as it is (dependencies.PROTECTED), and so does PyTorch, whose build the PyTorch extension has chosen for this computer.

KLIPCore itself comes with the module. One that was installed into Slicer's Python with pip hides it; when that one is
older than the module, it is taken out, and the module's own is used after a restart. It is never looked for in an
index, where anybody could offer a package of that name.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import slicer.util
from slicer.i18n import tr as _

from .dependencies import (
    PINNED_ONCE_THERE,
    PROTECTED,
    REQUESTER,
    Dependencies,
    DependencyError,
    constraintsFile,
    failuresInWords,
    installFromFolder,
    installOthers,
    ownVersions,
    requirementClass,
    requirements,
    wheelsOnly,
)
from .output_of import outputOf
from .paths import PLACES
from .version import KLIPCORE

LONGEST_SECONDS = 300.0
"""For pip to say what it would install."""


@dataclass(frozen=True)
class Change:
    """A package that would be exchanged.

    name : of the package.
    installed : its present version; empty for one that newly comes with another.
    offered : the version it would have.
    """

    name: str
    installed: str
    offered: str

    def __str__(self) -> str:
        return f"{self.name} {self.installed or '–'} → {self.offered}"


class Updates:
    """Newer packages for the Python that runs `klip`.

    :param dependencies: the user's choices of Python and wheels.
    """

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies
        self._wheels = dependencies.choices.wheelFolder

    def find(self) -> list[Change]:
        """What pip would exchange; changes nothing, and events go on meanwhile.

        :raises DependencyError: nothing can be updated here, or pip cannot say.
        """
        if self._dependencies.choices.otherPython:
            program = self._dependencies.interpreter().program
            raise DependencyError(
                _(
                    "Another Python is chosen, and nothing is changed there from here. Update it with:\n{command}"
                ).format(command=f'"{program}" -m pip install --upgrade ' + " ".join(f'"{r}"' for r in _asked()))
            )
        if slicer.app.testingEnabled():
            raise DependencyError(_("In testing mode nothing is updated."))
        missing = self._dependencies.missing()
        if missing:
            raise DependencyError(
                _("{names} will be asked for when you press Detect OOD; what is installed then is new.").format(
                    names=", ".join(r.name for r in missing)
                )
            )
        with constraintsFile() as constraints:
            command = [self._dependencies.interpreter().program, "-m", "pip", "install", "--dry-run", "--quiet"]
            command += ["--disable-pip-version-check", "--report", "-", "--upgrade", "-c", str(constraints)]
            found = _changesIn(
                _reportOf([*command, *(wheelsOnly(self._wheels) if self._wheels else []), *map(str, _asked())])
            )
        kept = [change.name for change in found if change.name.lower() in _untouched()]
        if kept:  # constraints forbid it: a pip that does it all the same is not to be trusted
            raise DependencyError(
                _("The update was given up: pip would exchange {names}, which must stay.").format(
                    names=", ".join(kept)
                )
            )
        return found

    def install(self, changes: list[Change]) -> None:
        """Install exactly what was found, without another question.

        :raises DependencyError: pip failed; the sentence is for the user.
        """
        exact = [requirementClass()(f"{change.name}=={change.offered}") for change in changes]
        with failuresInWords(), constraintsFile() as constraints:
            if self._wheels:
                installFromFolder(exact, self._wheels, constraints)
            else:
                installOthers(exact, constraints, ask=False)


def _asked() -> list:
    """Requirements that pip is asked about; PyTorch is the PyTorch extension's."""
    return [r for r in requirements() if r.name not in PINNED_ONCE_THERE]


def _untouched() -> set[str]:
    """Packages that an update must not exchange, in small letters."""
    there = ownVersions(list(PINNED_ONCE_THERE))
    return {name.lower() for name in (*PROTECTED, *(name for name, version in there.items() if version))}


def _reportOf(command: list[str]) -> str:
    """What pip says it would do.

    :raises DependencyError: it says nothing.
    """
    try:
        return outputOf(command, dict(os.environ), LONGEST_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise DependencyError(
            _(
                "It is not known what is newer ({error}). Check the internet connection or its proxy, or choose a "
                "folder of wheels. Nothing was changed."
            ).format(error=type(error).__name__)
        ) from error


def _changesIn(report: str) -> list[Change]:
    """The packages of a report of pip's.

    :raises DependencyError: it is none.
    """
    try:
        offered = {
            str(one["metadata"]["name"]): str(one["metadata"]["version"]) for one in json.loads(report)["install"]
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DependencyError(
            _("Slicer's pip did not say what is newer ({error}). Nothing was changed.").format(
                error=type(error).__name__
            )
        ) from error
    present = ownVersions(list(offered))
    return [Change(name, present[name] or "", version) for name, version in sorted(offered.items())]


# ---- KLIPCore itself


def parts(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: `"0.10.2.dev1"` → (0, 10, 2)."""
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def reasonAgainstKlipCore(version: str) -> str:
    """Why the module cannot work with this KLIPCore, in a sentence; empty when it can."""
    if parts(version) >= parts(KLIPCORE):
        return ""
    return _(
        "KLIPCore {version} is installed in Slicer's Python and hides the one that came with this module, which needs "
        "{needed} or newer. Take the old one out and restart Slicer."
    ).format(version=version, needed=KLIPCORE)


def ownKlipCore() -> bool:
    """Whether a KLIPCore came with the module: it is used when no other one is installed."""
    return any((place / "KLIPCore" / "__init__.py").is_file() for place in PLACES)


def removeOldKlipCore() -> None:
    """Take KLIPCore out of Slicer's Python, after a question.

    :raises DependencyError: declined, impossible, or pip failed.
    """
    if slicer.app.testingEnabled():
        raise DependencyError(_("In testing mode nothing is updated."))
    if not ownKlipCore():
        raise DependencyError(_("No KLIPCore came with this module. Install the KLIPSlicer extension again."))
    if not slicer.util.confirmOkCancelDisplay(
        _("KLIPCore will be taken out of Slicer's Python. Continue?"), REQUESTER
    ):
        raise DependencyError(_("Nothing was changed."))
    with failuresInWords():
        slicer.util.pip_uninstall("klipcore")


# ---- the restart


def offerRestart(confirm: Callable[[str, str], bool] | None = None) -> str:
    """Ask whether Slicer shall restart now, and let it; the sentence to show when it does not.

    :param confirm: asks a question; Slicer's own dialog when None.
    """
    ask = confirm or slicer.util.confirmYesNoDisplay
    later = _("Restart Slicer before the next detection.")
    if not ask(
        _("What was updated is used after a restart. Restart Slicer now? What is not saved in the scene is lost."),
        REQUESTER,
    ):
        return later
    try:
        slicer.util.restart()
    except Exception as error:  # whatever keeps it from starting again, the user can do it
        return _("Slicer could not restart itself ({error}). Close it and start it again.").format(
            error=type(error).__name__
        )
    return later
