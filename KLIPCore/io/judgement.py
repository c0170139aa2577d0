"""Whether numbers are Hounsfield units of a body at all: the question that no header answers.

An 8-bit picture of a CT, stored values without their rescale, or an MR volume in a file that does not name its
modality have perfect geometry and would run through everything that follows, to a map that means nothing. The scale of
Hounsfield fixes two points: air at -1000 and soft tissue around 0. Padding outside the field of view, which
scanners set to any value below, must not stand in for that air. So a histogram without padding decides.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import IntensityError, NotCTError
from KLIPCore.io.fixed_points import contradiction
from KLIPCore.io.histogram import (
    AIR_BELOW_HU,
    CLIPPED_FRACTION,
    HIGHEST_BIN,
    LEAST_BODY,
    LOWEST_BIN,
    PADDING_BELOW_HU,
    SOFT_HU,
    STORED_SHIFT,
    Histogram,
    SliceShares,
    counted,
)
from KLIPCore.io.row_length import check_rows
from KLIPCore.io.slice_order import check_order, named_slice
from KLIPCore.volume.volume import Volume

LEAST_AIR = 0.001
"""A volume with a smaller fraction of air was masked or cropped to an organ."""
LEAST_RANGE_HU = 100.0
"""Fat to muscle is about 150 HU; a volume that spans less was normalised."""
HIGHEST_HU = 70000.0
"""Above any metal on an extended 16-bit scale."""
CLIPPED_ABOVE_HU = -900.0
"""A lowest value above this that many voxels share is the edge of a window."""
HIGHEST_WINDOW_HU = 600.0
"""Abdominal and mediastinal windows end below this; real bone does not."""

LEAST_SOFT = 0.2
"""Part of the body that must be soft tissue: a skull in a tight crop leaves more."""
DARK_HU = -40
"""Fat and air are darker; so is the lower edge of every usual window."""
LEAST_DARK = 0.005
"""Part of the voxels that must be darker than water: every body has fat, and every scan air."""

REMEDY = (
    "Export the CT in Hounsfield units (air near -1000, water 0), without normalisation or windowing to grey values."
)
SIGNED_BYTES = (range(-130, -125), range(126, 129))
"""Bounds of 8-bit grey values stored with a sign, one value of padding beside them."""
TURNED_AIR_HU, MUCH_AIR = (900, 1100), 0.05
"""Air with its sign turned, and the least part of all voxels in it."""
LOWEST_PADDED_HU, MOST_BELOW = -1500.0, 0.05
"""Below the former lies padding alone, of very few values: other values fill at most the latter part of all voxels."""
DENSE_HU = 700
"""Bone and metal: less of a body than soft tissue, even of a skull."""
NARROW_HU = (-15, 20)
"""Fat to organs cover ten times this: soft tissue all within was divided."""
MOST_AT_TOP = 0.2
"""Part of the body that may share a highest value above every usual window: bone may, soft tissue may not."""
PEAK_HU, LEAST_PEAK, PEAK_SHARE = 6, 0.02, 0.65
"""Air that was scaled: half the width of its peak (or 4 % of its distance from 0), the least part of all voxels in it,
and its least part of what lies within three times that width. Fat's peak is three times as wide.
"""
BROAD_HU = 60
"""Half the width of a peak of soft tissue that was scaled up to where bone lies."""
OFF_HALF_HU = 0.02
"""Window edges are whole numbers, or halves; a lowest value further from these was computed."""
LEAST_OF_BESIDE = 0.05
"""Part of the soft tissue of both slices beside it that a slice holds at least."""
FEW_VALUES = 100
"""A slice of a patient has more."""
MOST_SAMPLES = 2_500_000


def check_ct(volume: Volume) -> list[str]:
    """Do :func:`checking` at once; see there for errors."""
    steps = checking(volume)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return list(end.value)


def checking(volume: Volume) -> Generator[None, None, list[str]]:
    """Judge in steps whether the numbers can be Hounsfield units of a body.

    Parameters
    ----------
    volume : what was read.

    Yields
    ------
    None, after every slice and every question: a program that has a person to answer does so in between.

    Returns
    -------
    The reader's notes and warnings, each one sentence: "Values are clipped to -160..240 HU.", "There is no air …".

    Raises
    ------
    NotCTError : another modality or unit.
    IntensityError : constant, normalised, 8-bit, not rescaled or otherwise impossible values.
    GeometryError : rows of another length than the header says.
    """
    source = volume.source
    if source.modality != "CT" or volume.unit != "HU":
        problem = f"The volume holds {source.modality} values in {volume.unit}, not CT in HU."
        raise NotCTError(problem, "Give a CT volume in Hounsfield units.")
    array, files, step = volume.array, source.files, _step(volume.array.size)
    order = volume.grid.lps_axes()[0]
    if order[0] != 0:  # stored as coronal or sagittal slices, some of which hold nothing but air
        array, files = array.transpose(order), ()
    lo, hi, counts = np.inf, -np.inf, np.zeros(HIGHEST_BIN - LOWEST_BIN + 1, np.int64)
    sample = np.empty(array[:, ::step, ::step].shape, np.float32)  # looked at many times: a view would cost the whole
    shares: list[SliceShares] = []
    for plane, into in zip(array, sample, strict=True):  # all that one look at a slice tells, while it is in the cache
        lo, hi = min(lo, float(plane.min())), max(hi, float(plane.max()))
        into[:] = plane[::step, ::step]
        of_slice = counted(into)
        counts += of_slice
        shares.append(SliceShares.of(of_slice))
        yield
    span = f"The values run from {lo:g} to {hi:g}"
    _check_range(lo, hi, span)
    seen = Histogram.of(counts, lo, hi)
    if all(end in bounds for end, bounds in zip(seen.ends(), SIGNED_BYTES, strict=True)):
        raise IntensityError(f"{span}: these look like 8-bit grey values, not Hounsfield units.", REMEDY)
    _check_tissue(seen, span)
    yield
    _check_scale(seen, counts, sample, span)
    yield
    _check_clipping(seen, sample, (lo, hi), span)
    doubts = _check_points(counts, (lo, hi), span)
    _check_lost(sample, files, lo)
    _check_slices(shares, files)
    yield
    check_rows(volume)
    yield
    if "synthetic" in source.description.lower():
        doubts.insert(0, "The study calls itself synthetic: it shows no patient.")
    return [*doubts, *check_order(sample, files), *source.notes, *_warnings(counts, sample, (lo, hi))]


def _step(size: int) -> int:
    """Every n-th pixel is looked at: at most about :data:`MOST_SAMPLES`, at least all of a small volume."""
    step = 1
    while size / step**2 > MOST_SAMPLES and step < 6:
        step += 1
    return step


def _check_range(lo: float, hi: float, span: str) -> None:
    """Raise where lowest and highest value alone tell that these are no Hounsfield units."""
    if lo == hi:
        raise IntensityError(f"All voxels have the value {lo:g}.", REMEDY)
    if hi - lo < LEAST_RANGE_HU:
        raise IntensityError(f"{span}: they were normalised and are not Hounsfield units.", REMEDY)
    if lo >= 0:
        kind = "8-bit grey values" if hi <= 255 else "stored values without the rescale to HU, or another modality"
        raise IntensityError(f"{span}, none below 0: these look like {kind}, not Hounsfield units.", REMEDY)
    if hi > HIGHEST_HU or hi < 0 or lo < -HIGHEST_HU:
        raise IntensityError(f"{span}: no CT of a body has such values.", REMEDY)


def _check_tissue(seen: Histogram, span: str) -> None:
    """Raise where air and soft tissue are not where they belong."""
    n = int(seen.counts.sum())
    body = seen.between(-500, HIGHEST_BIN + 1)
    if body < LEAST_BODY * seen.n_all:
        problem = f"{span}, but nearly all voxels are air or padding: there is no soft tissue near 0 HU."
        raise IntensityError(problem, REMEDY)
    soft, air = seen.between(*SOFT_HU), seen.between(PADDING_BELOW_HU, AIR_BELOW_HU)
    shifted = seen.between(STORED_SHIFT + SOFT_HU[0], STORED_SHIFT + SOFT_HU[1])
    fat = seen.between(-300, -50)
    looks_stored = shifted > LEAST_SOFT * body or (shifted > 0.05 * body and fat < 0.3 * shifted)
    padded = "" if seen.padding_hu is None else f" apart from the padding at {seen.padding_hu:g}"
    if looks_stored and air < 0.1 * shifted:
        raise IntensityError(
            f"{span}, but{padded} soft tissue lies near {STORED_SHIFT} and air near 0: these look like stored values"
            " without the rescale to HU, not Hounsfield units.",
            REMEDY,
        )
    if soft < LEAST_SOFT * body:
        problem = (
            f"{span}, but only {soft / body:.0%} of what is denser than air is soft tissue "
            f"({SOFT_HU[0]}..{SOFT_HU[1]} HU)"
        )
        raise IntensityError(f"{problem}: these look like another unit or modality, not Hounsfield units.", REMEDY)
    # a plateau may be the air of a phantom or the edge of a window, where what is brighter looks like a CT
    edge = seen.padding_hu is not None and -1050 <= seen.padding_hu <= DARK_HU
    wide = seen.between(SOFT_HU[1], HIGHEST_BIN + 1) > 0.05 * n
    grey = seen.between(-5, 10) > 0.2 * n and seen.between(80, 256) > 0.2 * n
    if seen.between(PADDING_BELOW_HU, DARK_HU) < LEAST_DARK * n and (not edge or wide or grey):
        raise IntensityError(
            f"{span}, but{padded} hardly any voxel is darker than water, as fat and air are: these look like another"
            " modality such as MR, or a crop of one organ.",
            REMEDY,
        )


def _check_scale(seen: Histogram, counts: NDArray[np.int64], sample: NDArray[np.float32], span: str) -> None:
    """Raise where tissue is found near 0, and yet a unit of the numbers is not 1 HU, or their sign is not."""
    if counts[: int(LOWEST_PADDED_HU) - LOWEST_BIN].sum() > MOST_BELOW * sample.size:
        # several values are filled in at most: the rest varies
        low = np.rint(sample[sample < LOWEST_PADDED_HU])
        _, alike = np.unique(low, return_counts=True)
        if low.size - np.sort(alike)[-3:].sum() > MOST_BELOW * sample.size:
            raise IntensityError(f"{span}, and many different ones lie below air: no CT has such values.", REMEDY)
    turned = seen.counts[TURNED_AIR_HU[0] - LOWEST_BIN : TURNED_AIR_HU[1] - LOWEST_BIN]
    air = seen.counts[int(PADDING_BELOW_HU) - LOWEST_BIN : int(AIR_BELOW_HU) - LOWEST_BIN]
    noisy, air_noisy = int(turned.sum() - turned.max()), int(air.sum() - air.max())  # one value may be filled in
    if noisy > max(MUCH_AIR * seen.n_all, 2 * air_noisy, 2 * (seen.between(400, HIGHEST_BIN + 1) - turned.sum())):
        problem = f"{span}, and what fills most of the volume lies near 1000, where air does with its sign turned"
        raise IntensityError(f"{problem}: these are not Hounsfield units.", REMEDY)
    soft, dense = seen.between(*SOFT_HU), seen.between(DENSE_HU, HIGHEST_BIN + 1)
    if dense > soft and seen.between(PADDING_BELOW_HU, AIR_BELOW_HU) < dense:
        problem = f"{span}, and more voxels are as dense as bone or metal than are soft tissue"
        raise IntensityError(f"{problem}: these look like another unit or modality, not Hounsfield units.", REMEDY)
    tissue = seen.between(NARROW_HU[0] - 50, HIGHEST_BIN + 1)
    if seen.between(LOWEST_BIN, -500) == 0 and seen.between(*NARROW_HU) > 0.8 * tissue:
        problem = f"{span}, and fat, organs and muscle lie within {NARROW_HU[0]}..{NARROW_HU[1]}"
        raise IntensityError(f"{problem}: these were scaled and are not Hounsfield units.", REMEDY)


def _check_clipping(seen: Histogram, sample: NDArray[np.float32], ends: tuple[float, float], span: str) -> None:
    """Raise where what looks like values clipped to a window was scaled instead: their air is not one value.

    Without air near −1000 HU a volume was clipped from below, which makes one value of all air, or it is not in HU.
    Noise and the air of the lungs then lie just above the lowest value, in a peak narrower than fat's, and no bone
    ends at one highest value.
    """
    lo, hi = ends
    n = int(seen.counts.sum())
    top = float(np.mean(sample >= hi))
    wide = hi >= HIGHEST_WINDOW_HU
    body = max(seen.between(-500, HIGHEST_BIN + 1), 1)
    if wide and top * sample.size > MOST_AT_TOP * body:
        problem = f"{span}, and {top * sample.size / body:.0%} of what is denser than air share the highest value"
        raise IntensityError(f"{problem}: these were scaled and are not Hounsfield units.", REMEDY)
    if lo > CLIPPED_ABOVE_HU and abs(2 * lo - round(2 * lo)) > 2 * OFF_HALF_HU:
        shared = float(np.mean(sample == lo))
        if shared > CLIPPED_FRACTION:
            problem = f"{span}, and {shared:.0%} of all voxels share the lowest, which is no edge of a window"
            raise IntensityError(f"{problem}: these were scaled and are not Hounsfield units.", REMEDY)
    if seen.between(PADDING_BELOW_HU, AIR_BELOW_HU) >= LEAST_AIR * n or top > CLIPPED_FRACTION / 2:
        return
    bins = seen.counts[: DARK_HU - LOWEST_BIN].astype(np.float64)
    for plateau in (lo, seen.padding_hu):  # what was clipped or filled in is one value
        if plateau is not None and LOWEST_BIN <= plateau < DARK_HU:
            bins[round(plateau) - LOWEST_BIN] = 0
    sums = np.concatenate([[0.0], np.cumsum(bins)])
    centres = np.arange(len(bins))
    half = np.maximum(PEAK_HU, 0.04 * np.abs(centres + LOWEST_BIN)).astype(int)

    def within(width: NDArray[np.int_]) -> NDArray[np.float64]:
        return sums[np.minimum(centres + width + 1, len(bins))] - sums[np.maximum(centres - width, 0)]

    inner, outer = within(half), within(3 * half)
    at = int(inner.argmax())
    if inner[at] > LEAST_PEAK * n and inner[at] > PEAK_SHARE * outer[at]:
        raise IntensityError(
            f"{span}, and air seems to lie near {at + LOWEST_BIN} instead of -1000: these were scaled and are not "
            "Hounsfield units.",
            REMEDY,
        )
    dense = seen.counts[DENSE_HU - LOWEST_BIN :].astype(np.float64)
    broad = np.convolve(dense, np.ones(2 * BROAD_HU + 1), "same")
    if len(broad) and broad.max() > 0.05 * n and broad.max() > 2 * broad[: 2 * BROAD_HU].max():
        peak = int(broad.argmax()) + DENSE_HU
        problem = f"{span}, and most tissue lies near {peak}, where only bone and metal do"
        raise IntensityError(f"{problem}: these were scaled and are not Hounsfield units.", REMEDY)


def _check_points(counts: NDArray[np.int64], ends: tuple[float, float], span: str) -> list[str]:
    """Raise where air or fat lie elsewhere than in Hounsfield units; return a note where the two disagree."""
    found = contradiction(counts, LOWEST_BIN, ends)
    if found is None:
        return []
    clause, alone = found
    if alone:
        raise IntensityError(f"{span}, and {clause}: these were scaled and are not Hounsfield units.", REMEDY)
    return [f"{clause[0].upper()}{clause[1:]}; check that the values are Hounsfield units."]


def _check_lost(sample: NDArray[np.float32], files: Sequence[str], lo: float) -> None:
    """Raise where a slice, or rows of one, hold a single value, as after a transfer that broke off.

    Air at either end of the stack, and the lowest value in rows beside the patient, are no loss.
    """
    alike = (sample == sample[:, :, :1]).all(2)
    value = sample[:, :, 0]
    whole = alike.all(1) & (value == value[:, :1]).all(1)
    held = np.flatnonzero(~whole)
    if not len(held):
        return
    inside = np.zeros(len(sample), bool)
    inside[held[0] : held[-1]] = True
    lost = (whole & inside) | (alike & (value > AIR_BELOW_HU) & (value != lo)).any(1)
    if lost.any():
        at = int(np.argmax(lost))
        several = "1 slice holds" if lost.sum() == 1 else f"{int(lost.sum())} slices hold"
        what = "nothing but one value" if whole[at] else "rows of one value"
        raise IntensityError(
            f"{several} {what}, first {named_slice(at, len(sample), files)}: pixels were lost.",
            "Copy or export the study again.",
        )


def _check_slices(shares: Sequence[SliceShares], files: Sequence[str]) -> None:
    """Raise where some slices hold stored values among others in HU, as after a rescale lost from a header."""
    stored = [k for k, share in enumerate(shares) if share.look_stored()]
    if stored:
        which = named_slice(stored[0], len(shares), files)
        problem = f"{len(stored)} of {len(shares)} slices look like stored values without the rescale to HU"
        raise IntensityError(f"{problem}, first {which}.", REMEDY)
    soft = np.array([share.soft for share in shares])
    beside = np.minimum(soft[:-2], soft[2:])
    lacking = np.flatnonzero((beside > LEAST_BODY * shares[0].size) & (soft[1:-1] < LEAST_OF_BESIDE * beside)) + 1
    if len(lacking):
        which = named_slice(int(lacking[0]), len(shares), files)
        problem = f"Unlike both slices beside it, {which} holds hardly any soft tissue"
        raise IntensityError(f"{problem}: its numbers were lost, or have another rescale.", REMEDY)


def _is_flat(sample: NDArray[np.float32]) -> bool:
    """Return whether there are but a few values, as in a drawn phantom."""
    return len(np.unique(sample[len(sample) // 2])) < FEW_VALUES


def _share_of(value: float, counts: NDArray[np.int64], sample: NDArray[np.float32], least: float) -> float:
    """Part of the sample that has just this value; 0 where its histogram shows that it is at most ``least``."""
    at = round(min(max(value, LOWEST_BIN), HIGHEST_BIN)) - LOWEST_BIN
    return float(np.mean(sample == value)) if counts[at] > least * sample.size else 0.0


def _warnings(counts: NDArray[np.int64], sample: NDArray[np.float32], ends: tuple[float, float]) -> list[str]:
    lo, hi = ends
    warnings, least = [], CLIPPED_FRACTION / 10  # bone is rarer than air
    low_edge = lo > CLIPPED_ABOVE_HU and _share_of(lo, counts, sample, CLIPPED_FRACTION) > CLIPPED_FRACTION
    high_edge = hi < HIGHEST_WINDOW_HU and _share_of(hi, counts, sample, least) > least
    if low_edge or high_edge:
        warnings.append(f"Values are clipped to {lo:g}..{hi:g} HU.")
    elif (
        hi >= HIGHEST_WINDOW_HU
        and _share_of(hi, counts, sample, CLIPPED_FRACTION) > CLIPPED_FRACTION
        and not _is_flat(sample)
    ):
        warnings.append(f"Many voxels share the highest value, {hi:g}: they were clipped, or a window was stretched.")
    elif counts[: int(AIR_BELOW_HU) - LOWEST_BIN].sum() < LEAST_AIR * sample.size:
        warnings.append("There is no air in the volume: the body's outline may not be found.")
    if lo < PADDING_BELOW_HU:
        warnings.append(f"Values down to {lo:g} HU are padding, not tissue; they count as air.")
    return warnings
