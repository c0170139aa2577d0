"""A label map with names: whose organ a region lies in, and what a label is called."""

from __future__ import annotations

import numpy as np
import pytest

from KLIPCore.errors import ConfigError, GeometryError
from KLIPCore.volume.organs import LEAST_SHARE, OUTSIDE, OrganMap


def two_organs() -> OrganMap:
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, :, 4:10] = 3
    labels[:, :, 10:14] = 9
    return OrganMap(labels, {3: "liver", 7: "spleen"}, "drawn.nrrd")


def region(columns: slice, shape: tuple[int, int, int] = (4, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[1:3, 5:15, columns] = True
    return mask


def test_the_organ_that_holds_most_of_a_region_names_it() -> None:
    organs = two_organs()
    assert organs.name_of(region(slice(5, 12))) == "liver"  # five columns of seven
    assert organs.name_of(region(slice(9, 13))) == "label 9"
    assert organs.name_of(region(slice(14, 20))) == OUTSIDE


def test_a_region_that_merely_touches_an_organ_lies_outside() -> None:
    organs = OrganMap(np.pad(np.ones((4, 20, 1), np.uint8), ((0, 0), (0, 0), (0, 19))), {1: "liver"})
    assert organs.name_of(region(slice(0, round(1 / LEAST_SHARE)))) == "liver"
    assert organs.name_of(region(slice(0, round(1 / LEAST_SHARE) + 1))) == OUTSIDE


def test_a_mask_in_its_box_is_the_same_region() -> None:
    organs, whole = two_organs(), region(slice(5, 12))
    box = (slice(1, 3), slice(5, 15), slice(5, 12))
    assert organs.name_of(whole[box], box) == organs.name_of(whole)


def test_a_label_is_meant_by_its_name_or_its_number_and_an_absent_one_lists_those_there_are() -> None:
    organs = two_organs()
    assert organs.number_of("Liver") == organs.number_of(" 3 ") == 3
    assert organs.number_of("9") == 9
    for absent in ("spleen", "7", "kidney"):  # a name without a voxel is no place to look
        with pytest.raises(ConfigError, match=r"drawn\.nrrd") as told:
            organs.number_of(absent)
        assert told.value.remedy == "Choose one of: 3 (liver), 9."


def test_where_is_what_some_labels_cover() -> None:
    organs = two_organs()
    assert organs.where([3]).sum() == 4 * 20 * 6
    assert organs.where().sum() == 4 * 20 * 10


def test_labels_that_are_none_are_refused() -> None:
    with pytest.raises(GeometryError):
        OrganMap(np.zeros((3, 3), np.uint8))
    with pytest.raises(ConfigError):
        OrganMap(np.zeros((3, 3, 3), np.uint8), {0: "background"})
