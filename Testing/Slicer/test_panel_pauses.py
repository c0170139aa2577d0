"""Nothing on the main thread that a person can feel: a study of many slices is chosen and its examination started."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_pauses import choose_and_start, thick_node
from busy import longest
from heartbeat import listening
from KLIPSlicerLib.nodes import volumeFromNode, volumeInSteps
from KLIPSlicerLib.output_of import outputOf
from KLIPSlicerLib.suitability import checkInSteps
from panel_at_work import slicer
from test_panel_within import finish

from KLIPCore.errors import GeometryError, IntensityError
from KLIPCore.io.study import check_ct
from KLIPCore.volume.framed_study import frame_study

LONGEST_SECONDS = 0.05
SLICES = 300
"""Looked through at once, so many hold the event loop for several times as long."""


@pytest.mark.slow
def test_choosing_and_starting_a_long_study_never_holds_the_event_loop(
    widget: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    choose_and_start(widget, thick_node(4, 64))  # what has to be imported is imported once
    pauses = choose_and_start(widget, thick_node(SLICES, 256))
    with capsys.disabled():
        for name, heart in zip(("choosing", "starting"), pauses, strict=True):
            clock, cpu = 1000 * heart.seconds, 1000 * heart.cpu_seconds
            print(f"\n[panel] {name} {SLICES} slices: longest pause {clock:.0f} ms, of the processor {cpu:.0f} ms")
    assert max(heart.cpu_seconds for heart in pauses) <= LONGEST_SECONDS
    by_clock = max(heart.seconds for heart in pauses)
    assert by_clock <= longest(2 * LONGEST_SECONDS)  # waiting for a file or a lock takes no processor time
    assert min(heart.beats for heart in pauses) > 5


@pytest.mark.slow
def test_results_come_and_follow_the_slider_without_holding_the_event_loop(capsys: pytest.CaptureFixture[str]) -> None:
    """At once, all of it takes seconds. In a process of its own: what other tests have left in theirs slows it."""
    bench = Path(__file__).with_name("bench_pauses.py")
    done = subprocess.run(
        [sys.executable, str(bench), "40", "256"], capture_output=True, text=True, timeout=900, check=True
    )
    told = re.findall(
        r"^study of 40 × 256 × 256, (.*): (\d+) ms, of the processor (\d+) ms$", done.stdout, re.MULTILINE
    )
    with capsys.disabled():
        for name, clock, cpu in told:
            print(f"\n[panel] {name}, 40 slices: longest pause {clock} ms, of the processor {cpu} ms")
    assert [name for name, *_ms in told] == ["choosing", "starting", "results come", "the slider moves"]
    assert max(int(cpu) for *_name, cpu in told) <= 1000 * LONGEST_SECONDS


def test_another_python_is_asked_while_events_go_on(widget: Any) -> None:
    with listening() as heart:
        assert outputOf([sys.executable, "-c", "import time; time.sleep(0.5); print(1)"], {}).strip() == "1"
    assert heart.beats > 5


def test_the_check_in_steps_says_what_the_library_says_at_once(widget: Any) -> None:
    node = thick_node(12, 128)
    card = next(iter(widget.panel.study.cards.values()))
    volume = volumeFromNode(node)
    expected = [*check_ct(volume), *frame_study(volume, card).warnings]
    steps = checkInSteps(lambda: volumeInSteps(node), card)
    assert finish(steps) == expected
    assert expected


def test_what_is_no_volume_is_refused_in_steps_too(scene: Any) -> None:
    node = thick_node(3, 32)
    voxels = slicer.util.arrayFromVolume(node).astype("float32")
    voxels[1, 2, 3] = float("nan")
    slicer.util.updateVolumeFromArray(node, voxels)
    with pytest.raises(IntensityError, match="NaN"):
        list(volumeInSteps(node))
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(GeometryError, match="empty"):
        list(volumeInSteps(empty))
