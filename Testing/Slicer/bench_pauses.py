"""The event loop's longest pauses: `python Testing/Slicer/bench_pauses.py [SLICES] [SIZE] [--without-results]`.

A study is chosen and its examination is started, as a person does it; then results of a made run (made_run.py) are
brought into the scene, and the block-size slider is moved. Nothing is sampled. On stand-ins for Qt's dialect and
Slicer's widgets, with the module's own code and a real scene; three slice views show it, but drawing is not counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [
    str(p)
    for p in (HERE, HERE.parent / "Python", HERE.parents[1] / "KLIPSlicer", HERE.parents[1])
    if str(p) not in sys.path
]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import panel_at_work  # noqa: E402
from bench_live import large_study  # noqa: E402
from heartbeat import Heartbeat, listening  # noqa: E402
from made_run import MadeRun, make_run  # noqa: E402
from panel_at_work import klip_processes, slicer  # noqa: E402
from standins import person  # noqa: E402


def thick_node(n_slices: int, size: int) -> Any:
    """A study of so many slices in the scene, as whole HU, which is how DICOM studies are held."""
    from inputs import node_of

    study = large_study(n_slices, size)
    node = node_of(study)
    slicer.util.updateVolumeFromArray(node, study.array.astype("int16"))
    return node


def choose_and_start(widget: Any, node: Any) -> tuple[Heartbeat, Heartbeat]:
    """Pauses while a study is chosen and checked, and while its examination is started; it is cancelled then."""
    check = widget.panel.study.check
    with listening() as choosing:
        widget.ui.inputSelector.setCurrentNode(node)
        person.wait(lambda: not check.working and choosing.beats > 3, 300, "the study is checked")
        person.events(0.05)  # the last of it counts, too
    panel_at_work.fast_choices(widget)
    person.wait(lambda: widget.ui.detectButton.enabled, 10, widget.ui.detectButton.toolTip)
    with listening() as starting:
        person.click(widget.ui.detectButton)
        person.wait(klip_processes, 300, "klip runs")
        person.events(0.05)
    person.click(widget.ui.detectButton)
    person.wait(lambda: not klip_processes() and not widget.panel.detection.running, 10, "it is gone")
    return choosing, starting


def load_and_move(widget: Any, run: MadeRun, node: Any) -> tuple[Heartbeat, Heartbeat]:
    """Pauses while the results of a run that has ended come into the scene, and while the slider is moved twice."""
    from KLIPSlicerLib.outputs import Outputs

    panel, detection, parameters = widget.panel, widget.panel.detection, widget._parameterNode
    parameters.inputVolume = node
    parameters.score, parameters.fdr = "hypodense", 0.05  # whose nats in a made run are known
    person.wait(lambda: not panel.study.check.working, 300, "the study is checked")
    detection.results, detection.runFolder = None, run.folder
    detection._parameters, detection._input, detection._outputs = parameters, node.GetID(), Outputs()
    with listening() as loading:
        detection._onFinished()
        person.wait(lambda: panel.results is not None and not detection.running, 600, widget.ui.statusLabel.text)
        person.events(0.05)
    with listening() as moving:
        for block in (22.0, 16.0):
            parameters.blockSize = block
            person.wait(lambda b=block: panel.results.settings.block_mm == b, 600, "the map follows")
            person.events(0.05)
    return loading, moving


def say(what: str, heart: Heartbeat) -> None:
    """Print the longest pause of one action, and how often the loop was free meanwhile."""
    clock, cpu = 1000 * heart.seconds, 1000 * heart.cpu_seconds
    print(f"{what}: {clock:.0f} ms, of the processor {cpu:.0f} ms, {heart.beats} beats", flush=True)


def main() -> None:
    """Print the pauses, of the second study: the first one also waits for Python to import what is needed."""
    parser = argparse.ArgumentParser(description="Measure the longest pauses of the panel's event loop.")
    parser.add_argument("slices", type=int, nargs="?", default=300)
    parser.add_argument("size", type=int, nargs="?", default=512, help="side of a slice in pixels")
    parser.add_argument("--without-results", action="store_true", help="only choose a study and start")
    given = parser.parse_args()
    n_slices, size = given.slices, given.size
    with tempfile.TemporaryDirectory() as folder, panel_at_work.opened_panel(Path(folder)) as widget:
        for what, slices, side in (("first study, with imports", 4, 64), ("study", n_slices, size)):
            pauses = choose_and_start(widget, thick_node(slices, side))
            for name, heart in zip(("choosing", "starting"), pauses, strict=True):
                say(f"{what} of {slices} × {side} × {side}, {name}", heart)
        if given.without_results:
            return
        middle, of = n_slices / 2, f"study of {n_slices} × {size} × {size}"
        balls = ((middle, 0.47 * size, 0.32 * size), (middle - 2, 0.49 * size, 0.71 * size))
        run = make_run(Path(folder) / "run", large_study(n_slices, size), balls=balls)
        pauses = load_and_move(widget, run, thick_node(n_slices, size))
        for name, heart in zip(("results come", "the slider moves"), pauses, strict=True):
            say(f"{of}, {name}", heart)


if __name__ == "__main__":
    main()
