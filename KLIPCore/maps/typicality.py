"""Whether a study as a whole belongs under a prior: how typical it is among the studies the prior was trained on.

A map compares each place with what the prior expects there. A chest under an abdominal prior passes that test almost
everywhere: the network denoises lungs and ribs well enough. So five plain quantities of the whole study are compared
with their laws over the training patients, each left out of the slices it is compared with, and over some healthy
patients outside training:

    anatomy       mean over slices of ln min_j ‖c − c_j‖², c being the slice scaled to its body's box, 16 × 16, in
                  whitened principal components, and c_j those of other patients' slices
    air           ln(ε + part of the slices whose inner body is more than a fifth air)
    contrast      ln of the median over slices of the brightest plain soft tissue
    left–right    ⟨a, ā⟩ / ‖a‖‖ā‖, a being the odd part of the slices under exchange of left and right, and ā that of
                  the training slices whose even part is nearest
    front–back    the same for front and back

Each has a one-sided p-value of Student's predictive law, z = (x − mean) / (s √(1 + 1/n)) with n − 1 degrees of
freedom, so that few training patients make a cautious verdict. The study's is p = 1 − (1 − min pᵢ)⁵. Nothing about
other anatomies is known to it, and the network takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray
from scipy.special import stdtr

REASONS = {
    "anatomy": "its slices resemble none of those that the prior has learned from",
    "air": "it has more slices with much air inside, like lungs, than the studies the prior has learned from",
    "contrast": "no soft tissue in it is as bright as in the studies the prior has learned from: it looks unenhanced, "
    "of another contrast phase, or rescaled",
    "left-right": "left and right look exchanged",
    "front-back": "front and back look exchanged",
}
"""The quantities, and what an unusual one means."""

HIGH = ("anatomy", "air")
"""Of these, large values are unusual; of the others, small ones."""

TOO_BRIGHT = 2.0
"""Standard deviations of the quantity contrast above the training patients' mean."""

ALPHA = 0.05
"""A study with a smaller p does not belong."""

LEAST_SLICES, LEAST_MM = 12, 60.0
"""A study with fewer slices, or lower, is not judged: its share of anything says nothing."""

GRID = 16
"""Side of a slice in the library."""

N_COMPONENTS = 16
N_NEAREST = 12
SMALLEST_BODY = 300
"""Pixels; a slice with less is not looked at."""

INNER = 0.7
"""Radius of the inner body, as a part of the box's half axes: skin and most fat lie outside."""

AIR, MUCH_AIR, AIR_FLOOR = 0.02, 0.2, 0.03
"""Intensity below which a pixel is air; part of the inner body that is much; what is added to the share."""

SOFT, PLAIN, BRIGHTEST = (0.36, 0.9), 0.03, 0.98
"""Intensities of soft tissue; standard deviation in 3 × 3 pixels of plain tissue; quantile called brightest."""


@dataclass(frozen=True)
class StudyFit:
    """Whether a study belongs under a prior.

    Attributes
    ----------
    p : probability that one of the quantities of a healthy study like the training ones is as unusual.
    reasons : what is unusual, as clauses; empty where the study belongs.
    z : by quantity, standard deviations from the training patients, positive where unusual.
    patients : number of patients behind the laws.
    """

    p: float
    reasons: tuple[str, ...]
    z: dict[str, float]
    patients: int

    @property
    def belongs(self) -> bool:
        """Whether the study is one of those the prior has learned about, as far as can be told."""
        return not self.reasons

    def unusual(self, alpha: float) -> list[str]:
        """Return the quantities that are unusual at a level, all of them together (Šidák), by name."""
        wider = np.sqrt(1 + 1 / self.patients)
        p = {name: float(stdtr(self.patients - 1, -value / wider)) for name, value in self.z.items()}
        return [name for name in p if -np.expm1(len(p) * np.log1p(-p[name])) < alpha]

    def sentence(self) -> str:
        """Return the verdict as a reader needs it."""
        if self.belongs:
            return "The study as a whole looks like those the prior has learned from."
        chance = f" (p = {self.p:.2g})" if self.p < ALPHA else ""
        return (
            f"This study does not belong under the prior: {'; '.join(self.reasons)}{chance}. What the map shows then "
            "says little about disease. Choose a prior of this anatomy and contrast phase."
        )


@dataclass(frozen=True, eq=False)
class Typicality:
    """The laws of a prior's training studies.

    Attributes
    ----------
    slices : (n, 16, 16) float32, slices of the training studies scaled to their body's box, intensity.
    owners : (n,) number of the patient of each.
    mean, spread : by quantity, over the patients; the standard deviation is that of a sample.
    patients : how many patients that were.
    """

    slices: NDArray[np.float32]
    owners: NDArray[np.intp]
    mean: dict[str, float]
    spread: dict[str, float]
    patients: int

    def judge(self, images: NDArray[np.float32], body: NDArray[np.bool_], spacing_mm: float) -> StudyFit | None:
        """Return whether a study belongs; None where too little of it was examined.

        Parameters
        ----------
        images : (n, H, W) posterior mean, intensity.
        body : (n, H, W).
        spacing_mm : distance of slices.
        """
        if too_little(body, spacing_mm):
            return None
        seen = _seen(body)
        values = quantities(images[seen], body[seen], self.slices)
        wider = np.sqrt(1 + 1 / self.patients)
        z, p = {}, {}
        for name, value in values.items():
            z[name] = (value - self.mean[name]) / self.spread[name] * (1 if name in HIGH else -1)
            p[name] = float(stdtr(self.patients - 1, -z[name] / wider))
        n = len(p)
        reasons = [REASONS[name] for name in p if -np.expm1(n * np.log1p(-p[name])) < ALPHA]
        return StudyFit(float(-np.expm1(n * np.log1p(-min(p.values())))), tuple(reasons), z, self.patients)

    def too_bright(self, images: NDArray[np.float32], body: NDArray[np.bool_]) -> bool:
        """Return whether a study's soft tissue is brighter than that of the training studies.

        Parameters
        ----------
        images, body : (n, H, W) as in :meth:`judge`, of any number of slices.
        """
        value = _contrast(images, body)
        return value > self.mean["contrast"] + TOO_BRIGHT * self.spread["contrast"]

    @classmethod
    def fit(
        cls,
        train: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]],
        unseen: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]] = (),
        every: int = 3,
    ) -> Typicality:
        """Return the laws of some studies.

        Parameters
        ----------
        train : (images, body) of each training patient, as :meth:`judge` takes them.
        unseen : the same of healthy patients outside training; they enter the laws, not the library.
        every : one slice in so many is kept.
        """
        kept: list[NDArray[np.float32]] = [body_box_slices(images[::every], body[::every]) for images, body in train]
        slices: NDArray[np.float32] = np.concatenate(kept)
        owners = np.repeat(np.arange(len(kept)), [len(own) for own in kept])
        values = [quantities(*study, slices[owners != n]) for n, study in enumerate(train)]
        values += [quantities(*study, slices) for study in unseen]
        table = {name: np.array([own[name] for own in values]) for name in REASONS}
        return cls(
            np.asarray(slices, np.float32),
            owners,
            {name: float(column.mean()) for name, column in table.items()},
            {name: float(column.std(ddof=1)) for name, column in table.items()},
            len(values),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return plain arrays for a file."""
        return {
            "typical_slices": np.round(np.clip(self.slices, 0, 1) * 255).astype(np.uint8),
            "typical_owners": self.owners.astype(np.uint16),
            "typical_laws": np.array([[self.mean[name], self.spread[name]] for name in REASONS], np.float32),
            "typical_patients": np.array(self.patients),
        }

    @classmethod
    def from_arrays(cls, stored: dict[str, NDArray[Any]]) -> Typicality:
        """Return the inverse of :meth:`to_arrays`, to a 255th; KeyError or ValueError where arrays do not fit."""
        slices, laws = stored["typical_slices"], stored["typical_laws"]
        if slices.ndim != 3 or slices.shape[1:] != (GRID, GRID) or laws.shape != (len(REASONS), 2):
            raise ValueError("the library of slices has another shape")
        return cls(
            np.asarray(slices, np.float32) / np.float32(255),
            stored["typical_owners"].astype(np.intp),
            {name: float(row[0]) for name, row in zip(REASONS, laws, strict=True)},
            {name: float(row[1]) for name, row in zip(REASONS, laws, strict=True)},
            int(stored["typical_patients"]),
        )


def too_little(body: NDArray[np.bool_], spacing_mm: float) -> str:
    """Return why a study is too little to be judged as a whole, as a sentence; empty where it is enough.

    Parameters
    ----------
    body : (n, H, W) of the slices examined.
    spacing_mm : distance of slices.
    """
    n = len(_seen(body))
    if n >= LEAST_SLICES and n * spacing_mm >= LEAST_MM:
        return ""
    slices = "1 slice" if n == 1 else f"{n} slices"
    return (
        f"{slices} of a body ({n * spacing_mm:.0f} mm) {'is' if n == 1 else 'are'} too little to say whether the "
        f"study as a whole belongs under the prior; that takes {LEAST_SLICES} slices and {LEAST_MM:g} mm."
    )


def _seen(body: NDArray[np.bool_]) -> list[int]:
    """The slices that show enough of a body to be looked at."""
    return [k for k, inside in enumerate(body) if inside.sum() >= SMALLEST_BODY]


def quantities(images: NDArray[np.float32], body: NDArray[np.bool_], library: NDArray[np.float32]) -> dict[str, float]:
    """Return the five quantities of a study, by their names in :data:`REASONS`.

    Parameters
    ----------
    images, body : (n, H, W) of the study.
    library : (m, 16, 16) slices of other patients, :func:`body_box_slices`.
    """
    own = body_box_slices(images, body)
    seen = _seen(body)
    shares = [float((images[k][inner_body(body[k])] < AIR).mean()) for k in seen]
    code_own, code_library = _codes(own, library)
    nearest = _squared_distances(code_own, code_library).min(1)
    return {
        "anatomy": float(np.log(nearest + 1e-6).mean()),
        "air": float(np.log(np.mean(np.array(shares) > MUCH_AIR) + AIR_FLOOR)),
        "contrast": _contrast(images[seen], body[seen]),
        "left-right": _oddness(own, library, 2),
        "front-back": _oddness(own, library, 1),
    }


def body_box_slices(images: NDArray[np.float32], body: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return (m, 16, 16): the slices with a body, each body's box divided into 16 × 16 and averaged; 0 outside."""
    out = []
    for image, inside in zip(images, body, strict=True):
        if inside.sum() < SMALLEST_BODY:
            continue
        top, bottom, left, right = _box(inside)
        rows, columns = np.linspace(top, bottom, GRID + 1), np.linspace(left, right, GRID + 1)
        sums = np.pad((image * inside).cumsum(0, np.float64).cumsum(1), ((1, 0), (1, 0)))  # exact means of cells
        at = ndi.map_coordinates(sums, np.meshgrid(rows, columns, indexing="ij"), order=1)
        cell = (bottom - top) * (right - left) / GRID**2
        out.append((at[1:, 1:] - at[:-1, 1:] - at[1:, :-1] + at[:-1, :-1]) / cell)
    return np.asarray(np.array(out).reshape(-1, GRID, GRID), np.float32)


def inner_body(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the part of a body within :data:`INNER` of the ellipse in its box."""
    top, bottom, left, right = _box(inside)
    y = (np.arange(inside.shape[0]) + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)
    x = (np.arange(inside.shape[1]) + 0.5 - (left + right) / 2) / ((right - left) / 2)
    return np.asarray(inside & (y[:, None] ** 2 + x[None] ** 2 < INNER**2))


def _box(inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last-plus-one row, and column, of a mask."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _contrast(images: NDArray[np.float32], body: NDArray[np.bool_]) -> float:
    """ln of the median over slices of the brightest plain soft tissue."""
    found = [value for image, inside in zip(images, body, strict=True) for value in _brightest_plain(image, inside)]
    return float(np.log(np.median(found) if found else SOFT[0]))


def _brightest_plain(image: NDArray[np.float32], inside: NDArray[np.bool_]) -> list[float]:
    """The brightest plain soft tissue of a slice; nothing where there is hardly any."""
    mean = ndi.uniform_filter(image, 3)
    spread = np.sqrt(np.maximum(ndi.uniform_filter(image * image, 3) - mean**2, 0))
    plain = mean[inside & (mean > SOFT[0]) & (mean < SOFT[1]) & (spread < PLAIN)]
    return [float(np.quantile(plain, BRIGHTEST))] if len(plain) > 30 else []


def _codes(own: NDArray[Any], library: NDArray[Any]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Whitened principal components of the library: codes of a study's slices and of the library's."""
    flat = library.reshape(len(library), -1).astype(np.float64)
    mean, scale = flat.mean(0), flat.std(0) + 0.02
    _, singular, axes = np.linalg.svd((flat - mean) / scale, full_matrices=False)
    n = min(N_COMPONENTS, len(singular))
    whiten = axes[:n].T / np.maximum(singular[:n] / np.sqrt(len(flat)), 1e-3)
    return (own.reshape(len(own), -1) - mean) / scale @ whiten, (flat - mean) / scale @ whiten


def _squared_distances(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    """(len(a), len(b)) mean squared differences of codes."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0.0) / a.shape[1])


def _oddness(own: NDArray[Any], library: NDArray[Any], axis: int) -> float:
    """Correlation of a study's odd part under a reflection with that of library slices whose even part is near."""
    even, odd = (own + np.flip(own, axis)) / 2, (own - np.flip(own, axis)) / 2
    library_even, library_odd = (library + np.flip(library, axis)) / 2, (library - np.flip(library, axis)) / 2
    nearest = np.argsort(_squared_distances(*_codes(even, library_even)), 1, kind="stable")[:, :N_NEAREST]
    expected = library_odd[nearest].mean(1)
    return float((expected * odd).sum() / max(np.sqrt((expected**2).sum() * (odd**2).sum()), 1e-9))
