"""A factor between the numbers and Hounsfield units: soft tissue is near 0 in all of them, air and fat are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_volumes import AXIAL

from KLIPCore.errors import IntensityError
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.outside import air_outside
from KLIPCore.volume.volume import Volume


def chest(shape: tuple[int, int, int] = (8, 120, 120)) -> np.ndarray:
    """Fat, muscle, aerated lungs, a trachea and a spine in air; noise and the texture of lungs as in a patient."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    rng = np.random.default_rng(0)

    def within(row: float, column: float, height: float, width: float) -> np.ndarray:
        return np.hypot((y - row) / height, (x - column) / width) < 1

    hu = np.full(shape[1:], -1000.0)
    hu[within(60, 60, 48, 56)] = -105
    hu[within(60, 60, 41, 49)] = 50
    lungs = within(58, 38, 30, 19) | within(58, 82, 30, 19)
    hu[within(60, 60, 4, 4)] = -1000
    hu[within(92, 60, 6, 6)] = 350
    volume = np.repeat(hu[None], shape[0], 0)
    volume[:, lungs] = -840 + rng.gamma(2.0, 45, (shape[0], int(lungs.sum())))
    return np.rint(volume + rng.normal(0, 18, shape)).clip(-1024, 3071).astype(np.float32)


def study(array: np.ndarray) -> Volume:
    return Volume(np.ascontiguousarray(array, np.float32), Grid(array.shape, AXIAL))


def padded(array: np.ndarray) -> np.ndarray:
    """With padding outside the round field of view, which halved is as dark as air."""
    rows, columns = np.indices(array.shape[1:])
    half = (array.shape[1] - 1) / 2
    return np.where(np.hypot(rows - half, columns - half) > half, np.float32(-2000), array)


CROP = np.s_[:, 28:92, 20:100]
KINDS = {
    "whole": lambda a: a,
    "padded": padded,
    "no air around the patient": lambda a: a[CROP],
    "clipped to -160..240": lambda a: a.clip(-160, 240),
    "clipped to -500..500": lambda a: a.clip(-500, 500),
    "air filled with one value": lambda a: np.where(a < -940, np.float32(-1000), a),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chest_in_hounsfield_units_passes(kind: str) -> None:
    said = " ".join(check_ct(study(KINDS[kind](chest()))))
    assert "Hounsfield" not in said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [0.5, 0.25, 2])
def test_a_chest_in_another_unit_does_not(kind: str, factor: float) -> None:
    with pytest.raises(IntensityError) as caught:
        check_ct(study(np.rint(factor * KINDS[kind](chest()))))
    assert "-1000" in caught.value.remedy


def test_air_at_three_quarters_with_fat_in_its_place_is_told() -> None:
    said = check_ct(study(np.rint(0.75 * chest())))
    assert said[0].startswith("Air seems to lie near -7")


def test_real_studies_pass_and_their_halves_and_quarters_do_not(shared_data: Path) -> None:
    names = ("volumes/chaos-set3_ct", "volumes/lung1-001_ct_256", "other/lidc0001_ct_256", "other/nbia-0117_ct_256")
    for name in names:
        whole = read_study(shared_data / f"{name}.nii.gz")
        part = whole.array[::3, ::2, ::2]
        assert not any("check that" in said for said in check_ct(study(part)))
        for factor in (0.5, 0.25):
            with pytest.raises(IntensityError, match="not Hounsfield"):
                check_ct(study(np.rint(factor * part)))


@pytest.mark.parametrize("offset", [-150, -100, -60])
def test_an_offset_down_is_refused_or_told(offset: int) -> None:
    """As of an intercept that was typed in, or of a scanner that was never calibrated."""
    assert doubted(chest() + offset)


@pytest.mark.parametrize("offset", [75, 100, 150, 200])
def test_an_offset_up_is_refused(offset: int) -> None:
    """Air *and* fat lie too high: no coincidence."""
    with pytest.raises(IntensityError, match=r"(air|fat) seems to lie near"):
        check_ct(study(chest() + offset))


@pytest.mark.parametrize("factor", [0.7, 0.8, 0.9, 1.1, 1.25, 1.4])
def test_a_factor_about_air_is_refused_or_told(factor: float) -> None:
    """Air stays where it belongs, so fat and muscle have to tell."""
    assert doubted((chest() + 1000) * factor - 1000)


@pytest.mark.parametrize("width", [100, 300])
@pytest.mark.parametrize("kind", ["whole", "air filled with one value"])
def test_standardised_values_are_refused(kind: str, width: int) -> None:
    hu = KINDS[kind](chest())
    with pytest.raises(IntensityError):
        check_ct(study(width * (hu - hu.mean()) / hu.std()))


def test_a_window_with_an_edge_at_a_half_is_one() -> None:
    said = check_ct(study(chest().clip(-157.5, 242.5)))
    assert said == ["Values are clipped to -157.5..242.5 HU."]


def doubted(array: np.ndarray) -> bool:
    """Whether numbers are refused, or a sentence asks for their unit."""
    try:
        return any("check that the values are Hounsfield units" in said for said in check_ct(study(array)))
    except IntensityError:
        return True


def test_a_stretched_window_is_refused_or_told() -> None:
    """−160..240 HU on −1000..1000: air is right by chance, and bone and contrast share the highest value."""
    stretched = (chest().clip(-160, 240) + 160) * 5 - 1000
    try:
        said = " ".join(check_ct(study(stretched)))
    except IntensityError:
        return
    assert "a window was stretched" in said


@pytest.mark.parametrize("lowest", [-128, -127])
def test_grey_values_around_zero_are_no_window(lowest: int) -> None:
    grey = np.rint((chest().clip(-160, 240) + 160) * (255 / 400)) + lowest
    with pytest.raises(IntensityError, match="8-bit grey values"):
        check_ct(study(grey))


@pytest.mark.parametrize("padding", [None, -129, -1024, -2000, -32768])
def test_signed_bytes_are_refused_whatever_pads_them(padding: int | None) -> None:
    grey = np.rint((chest() + 160) / 400 * 255).clip(0, 255) - 128
    if padding is not None:
        grey[padded(chest()) == -2000] = padding
    with pytest.raises(IntensityError, match="8-bit"):
        check_ct(study(grey))


@pytest.mark.parametrize("air", [900, 1000, 1024])
def test_air_of_a_turned_sign_is_no_filling(air: int) -> None:
    """One value around the patient, in all corners: bright, and beside skin."""
    turned = np.where(chest() < -700, np.float32(air), -chest())
    array, notes = air_outside(turned)
    assert array is turned
    assert not notes
    with pytest.raises(IntensityError):
        check_ct(study(turned))


@pytest.mark.parametrize("filling", [0, 300, 1000, 3071])
def test_filling_becomes_air_however_bright_it_is(filling: int) -> None:
    hu = padded(chest())
    array, notes = air_outside(np.where(hu == -2000, np.float32(filling), hu))
    np.testing.assert_array_equal(array, np.where(hu == -2000, np.float32(-1024), hu))
    assert f"were filled with {filling} HU" in notes[0]


@pytest.mark.parametrize("padding", [None, -1024, -2000, 4095])
def test_a_turned_sign_is_refused_whatever_pads_it(padding: int | None) -> None:
    turned = -chest()
    if padding is not None:
        turned[padded(chest()) == -2000] = padding
    with pytest.raises(IntensityError):
        check_ct(study(turned))


@pytest.mark.parametrize("rescale", [(2.0, 1024), (0.5, -512), (1.0, -1024), (1.0, 1024)])
def test_one_slice_of_another_rescale_is_named(rescale: tuple[float, int]) -> None:
    array = chest()
    array[4] = (array[4] * rescale[0] + rescale[1]).clip(-1024, 3071)
    with pytest.raises(IntensityError, match="slice 4"):
        check_ct(study(array))
