"""Slices, boxes, devices, memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from KLIPCore.detection import devices as selection
from KLIPCore.detection.devices import check_memory, choose_device, choose_devices, configure_process
from KLIPCore.errors import ConfigError, ResourceError
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.selection import box_mask, parse_box, parse_slices


@given(st.integers(1, 60), st.integers(-70, 70), st.integers(-70, 70))
def test_slices_mean_what_python_means(n: int, start: int, stop: int) -> None:
    expected = list(range(n))[start:stop]
    if expected:
        assert parse_slices(f"{start}:{stop}", n) == expected
    else:
        with pytest.raises(ConfigError):
            parse_slices(f"{start}:{stop}", n)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, [0, 1, 2, 3]), ("2", [2]), ("-1", [3]), ("::2", [0, 2]), ("1:", [1, 2, 3]), ("::-1", [0, 1, 2, 3])],
)
def test_slices_by_example(text: str | None, expected: list[int]) -> None:
    assert parse_slices(text, 4) == expected


@pytest.mark.parametrize("text", ["7", "x", "1:2:3:4", "::0", "3:1"])
def test_impossible_slices_are_explained(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_slices(text, 4)
    assert "--slices 12:17" in caught.value.remedy


def test_a_box_keeps_the_voxels_inside_it() -> None:
    affine = np.diag([3.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]]
    affine[:3, 3] = (-10, -20, 5)
    grid = Grid((4, 10, 12), affine)
    mask = box_mask(grid, ((-8.5, -1.0), (-20.0, -15.0), (7.0, 12.0)))
    points = grid.to_world(np.argwhere(mask))
    assert mask.sum() == 4 * 3 * 2
    assert points[:, 0].min() >= -8.5
    assert points[:, 2].max() <= 12


@pytest.mark.parametrize("text", ["1:2", "a:b,1:2,3:4", "5:1,0:1,0:1"])
def test_impossible_boxes_are_explained(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_box(text)


def test_too_large_a_study_is_refused_before_the_work() -> None:
    huge = Grid((200_000, 4096, 4096), np.eye(4))
    with pytest.raises(ResourceError, match="GiB") as caught:
        check_memory(huge)
    assert "--slices" in caught.value.remedy
    check_memory(Grid((4, 64, 64), np.eye(4)))


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError):
        choose_device("warp")


def test_choosing_a_device_leaves_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.setattr(selection, "keep_freed_memory", lambda: told.append("memory"))
    choose_device("cpu")
    choose_devices("auto")
    assert told == []
    configure_process()
    assert told == [torch.get_num_threads(), "memory"]
