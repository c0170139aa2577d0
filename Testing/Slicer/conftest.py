"""Paths and fixtures of the tests on 3D Slicer's own core; without it they are skipped.

``slicer-core`` runs in this very process: it brings the classes of Slicer and uses the environment's VTK.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "Python", HERE.parents[1] / "KLIPSlicer"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("KLIP_TUNING", "off")  # no result depends on how fast this machine is just now

collect_ignore_glob = [] if importlib.util.find_spec("slicer") else ["test_*.py"]

if importlib.util.find_spec("slicer") and importlib.util.find_spec("PySide6"):
    import standins

    standins.install()  # before any test file imports the module's code, whichever is collected first


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how much of Slicer was Slicer's own."""
    if "standins" in sys.modules:
        terminalreporter.write_line("Slicer: " + sys.modules["standins"].in_a_sentence())


@pytest.fixture(autouse=True)
def no_crash_of_slicer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing happened in the test that would end a real Slicer, or write a traceback into its Python console.

    Qt and VTK hand what a slot or an observer raises to ``sys.excepthook``, and go on.
    """
    processes = sys.modules.get("standins.processes")
    if processes is not None:
        processes.crashes.clear()
    tracebacks: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda *raised: tracebacks.append("".join(format_exception(*raised))))
    yield
    assert tracebacks == []
    if processes is not None:
        assert processes.crashes == []


@pytest.fixture
def scene() -> Iterator[Any]:
    """Slicer's scene, empty before and after."""
    import headless

    yield headless.clear()
    headless.clear()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run on a straight study, with two balls of known place (made_run.py)."""
    import made_run

    return made_run.make_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def shown(scene: Any, made: Any) -> Any:
    """The made run in the scene, as SceneResults."""
    from inputs import show_run

    return show_run(made)


@pytest.fixture
def widget(tmp_path: Path) -> Iterator[Any]:
    """The module's panel in an empty scene."""
    from panel_at_work import opened_panel

    with opened_panel(tmp_path) as opened:
        yield opened


@pytest.fixture
def results(widget: Any, made: Any) -> Any:
    """Two regions of known nats, in the panel."""
    from inputs import show_run
    from standins import person

    found = show_run(made)
    widget._parameterNode.score = "hypodense"  # whose nats in a made run are known
    widget._parameterNode.fdr = 0.05
    widget.panel.setResults(found)
    person.events(0.1)
    assert len(found.regions) == 2
    return found
