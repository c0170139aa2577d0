"""``slicer.packaging`` of Slicer 5.12, as far as the module uses it: the same signatures, the same refusals,
and no pip.

In testing mode ``pip_ensure`` installs nothing and says nothing, as on Slicer's dashboards. ``pip_install`` is
where a test puts what pip would do; left alone, it fails, so no test ever installs anything.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any


def pip_check(requirement: Any) -> bool:
    """Whether a requirement is met by what is installed."""
    try:
        return bool(requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True))
    except importlib.metadata.PackageNotFoundError:
        return False


def pip_ensure(
    requirements: list[Any],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Ask, and install what is missing.

    :raises RuntimeError: the user declined.
    """
    import slicer

    missing = [requirement for requirement in requirements if not slicer.packaging.pip_check(requirement)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return None
    if prompt_install and not slicer.util.confirmOkCancelDisplay(
        f"{len(missing)} Python packages need to be installed.", requester
    ):
        raise RuntimeError("User declined package installation")
    return slicer.packaging.pip_install(
        [str(requirement) for requirement in missing], constraints=constraints, skip_packages=skip_packages
    )


def pip_uninstall(requirements: str | list[str], blocking: bool = True, **callbacks: Any) -> None:
    """Fail: tests remove nothing."""
    raise AssertionError(f"A test would have removed {requirements}.")


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Any = None,
    completedCallback: Any = None,
) -> list[str] | None:
    """Fail: tests install nothing."""
    raise AssertionError(f"A test would have installed {requirements}.")
