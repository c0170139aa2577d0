"""How far it is from `detect` to the network: what somebody who reads a traceback walks through."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

from detection.conftest import FAST
from torch.nn.modules.module import register_module_forward_pre_hook

from KLIPCore.detection.detect import detect
from KLIPCore.volume.selection import Part

MOST_FRAMES = 10


def frames_above(frame: FrameType | None) -> list[tuple[str, str]]:
    """(file, function) of a frame and of those that called it, innermost first."""
    found = []
    while frame is not None:
        found.append((frame.f_code.co_filename, frame.f_code.co_name))
        frame = frame.f_back
    return found


def test_few_frames_lie_between_detect_and_the_network(dicom_study: Path, tmp_path: Path) -> None:
    ways = set()

    def look(module: Any, inputs: Any) -> None:
        frames = frames_above(sys._getframe(1))
        modules = [n for n, (_, name) in enumerate(frames) if name == "_call_impl"]
        ours = [n for n, (file, name) in enumerate(frames) if name == "detect" and file.endswith("detect.py")]
        if len(modules) == 1 and ours:  # the network itself, not a layer of it
            between = frames[modules[0] + 1 : ours[0]]
            way = tuple(name for file, name in between if "KLIPCore" in file)
            if "find_organs" not in way:  # a network of its own, before anything is sampled
                ways.add(way)

    hook = register_module_forward_pre_hook(look)
    try:
        config = FAST.updated({"sampling": {"n_samples": 1, "n_steps": 2}, "record": {"n_nodes": 1}})
        detect(dicom_study, tmp_path / "out", config, part=Part(slices="1"))
    finally:
        hook.remove()
    assert {way[-1] for way in ways} == {"sample_slices"}
    assert any("reverse_transitions" in way for way in ways)
    assert max(map(len, ways)) <= MOST_FRAMES, ways
