"""Slices that lie where they do not belong: exchanged, foreign, repeated, missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from KLIPCore.errors import IntensityError
from KLIPCore.io.images import write_image
from KLIPCore.io.judgement import check_ct
from KLIPCore.io.slice_order import LEAST_SLICES, check_order
from KLIPCore.io.study import read_study
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

N = 30


@pytest.fixture(scope="module")
def patient() -> np.ndarray:
    """(30, 96, 112) HU: a body that widens, a liver that grows and shrinks, a spine; noise of 12 HU."""
    z, y, x = np.meshgrid(np.arange(N), np.linspace(-160, 160, 96), np.linspace(-190, 190, 112), indexing="ij")
    up = z / N
    hu = np.full(z.shape, -1000.0)

    def ellipse(cx: np.ndarray, cy: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1

    hu[ellipse(0 * up, 0, 140 + 30 * up, 100 + 20 * up)] = -95
    hu[ellipse(0 * up, 0, 128 + 28 * up, 88 + 18 * up)] = 45
    hu[ellipse(-60 - 20 * up, -10, 5 + 60 * np.sin(np.pi * up), 5 + 65 * np.sin(np.pi * up))] = 110
    hu[ellipse(80 - 20 * up, 20, 1 + 40 * up, 1 + 45 * up)] = 130
    hu[ellipse(0 * up, 65, 20 + 0 * up, 20 + 0 * up)] = 250
    return (hu + np.random.default_rng(0).normal(0, 12, hu.shape)).astype(np.float32)


def exchanged(slices: np.ndarray) -> np.ndarray:
    out = slices.copy()
    out[[8, 18]] = out[[18, 8]]
    return out


def with_one(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def changed(slices: np.ndarray) -> np.ndarray:
        out = slices.copy()
        out[15] = change(out)
        return out

    return changed


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "two exchanged": exchanged,
    "in the order of their file names": lambda s: s[sorted(range(N), key=lambda k: str(k + 1))],
    "shuffled": lambda s: s[np.random.default_rng(1).permutation(N)],
    "one repeated elsewhere": with_one(lambda s: s[3]),
    "one shifted": with_one(lambda s: np.roll(s[15], 12, axis=1)),
    "one mirrored": with_one(lambda s: s[15, :, ::-1]),
    "one upside down": with_one(lambda s: s[15, ::-1]),
}


@pytest.mark.parametrize("what", WRONG)
def test_slices_that_lie_where_they_do_not_belong_are_refused(what: str, patient: np.ndarray) -> None:
    with pytest.raises(IntensityError, match="resembles neither of the slices beside it"):
        check_order(WRONG[what](patient), [])


@pytest.mark.parametrize("n", [LEAST_SLICES - 1, N])
def test_a_slice_that_holds_the_pixels_of_its_neighbour_is_told(n: int, patient: np.ndarray) -> None:
    slices = patient[:n].copy()
    assert not check_order(slices, [])
    slices[3] = slices[2]
    (said,) = check_order(slices, [])
    assert said.startswith(
        "In this study slice 2 in the file's order and slice 3 in the file's order hold the same pixels"
    )


def test_empty_slices_are_no_repetition(patient: np.ndarray) -> None:
    slices = patient.copy()
    slices[:3] = -1000
    assert not check_order(slices, [])


def test_the_reader_refuses_them_and_names_one(patient: np.ndarray, tmp_path: Path) -> None:
    grid = Grid.from_itk(patient.shape, (3.4, 3.4, 5.0), (0.0, 0.0, 0.0), np.eye(3))
    path = tmp_path / "x.nrrd"
    write_image(Volume(exchanged(patient), grid), path)
    with pytest.raises(
        IntensityError, match=r"In this study slice (8|18) in the file's order resembles neither.*, and 1 more"
    ):
        check_ct(read_study(path))


@pytest.mark.parametrize(
    "order",
    [np.r_[0:11, 19:N], np.r_[0:N:2, 1:N:2], np.r_[15:N, 0:15]],
    ids=["eight are missing", "even ones, then odd ones", "halves exchanged"],
)
def test_a_jump_is_told(order: np.ndarray, patient: np.ndarray) -> None:
    (note,) = check_order(patient[order], [])
    assert "the anatomy jumps" in note
    at = int(np.abs(np.diff(order)).argmax())
    assert f"Between slice {at} in the file's order and slice {at + 1} in" in note


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s,
        lambda s: s[::-1],
        lambda s: s[::4],
        lambda s: s + np.random.default_rng(2).normal(0, 60, s.shape).astype(np.float32),
        lambda s: np.concatenate([np.full_like(s[:6], -1000), s, np.full_like(s[:6], -1000)]),
        lambda s: np.repeat(s, 2, 0),
        lambda s: s[: LEAST_SLICES - 1][[1, 3, 0, 2, 4]],
    ],
    ids=["as scanned", "from the head", "thick", "noisy", "air at the ends", "thin", "too few to say"],
)
def test_what_is_in_order_passes_without_a_word(
    change: Callable[[np.ndarray], np.ndarray], patient: np.ndarray
) -> None:
    assert check_order(change(patient), []) == []


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["chaos-set3_ct", "crlm-1004_ct", "head-cranium_ct", "lung1-001_ct_256"])
def test_real_studies(name: str, shared_data: Path) -> None:
    slices = read_study(shared_data / "volumes" / f"{name}.nii.gz").array[:, ::4, ::4]
    rng = np.random.default_rng(0)
    for step in (1, 2, 4):
        assert check_order(slices[::step], []) == []
    assert check_order(slices + rng.normal(0, 60, slices.shape).astype(np.float32), []) == []
    for k in rng.integers(2, len(slices) - 13, 10):
        wrong = slices.copy()
        wrong[[k, k + 10]] = wrong[[k + 10, k]]
        with pytest.raises(IntensityError, match="resembles neither"):
            check_order(wrong, [])
