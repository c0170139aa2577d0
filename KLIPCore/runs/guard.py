"""Whether a study may be shown to a prior, or to any program made for such studies: one verdict in seconds.

No network takes part. The study is read and turned, and at most :data:`KLIPCore.volume.thin_study.MOST_SLICES` evenly
spread slices are framed as for a detection; then

- a study that cannot be read as CT in Hounsfield units does not fit, for the reader's own reason;
- five quantities are compared with their laws over the prior's training patients
  (:mod:`KLIPCore.maps.typicality`): family-wise p below :data:`KLIPCore.maps.typicality.ALPHA` does not fit,
  below :data:`LOOK_ALPHA` asks for a look;
- physical quantities have plain bounds (:mod:`KLIPCore.maps.physical`).

The laws were made on posterior means, and are asked here about the framed CT itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.errors import AmbiguousSeriesError, EmptyInputError, InputError, PriorError
from KLIPCore.io.organs import read_organs
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.maps.half_size import halved
from KLIPCore.maps.organ_laws import OrganFit, organ_fits, unusual
from KLIPCore.maps.physical import jumps, measure
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.typicality import ALPHA, LEAST_MM, LEAST_SLICES, REASONS, StudyFit, Typicality
from KLIPCore.runs.health import reference_file
from KLIPCore.volume.framed_study import FramedStudy
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.thin_study import ThinStudy, thin_study
from KLIPCore.volume.untrusted import read_json
from KLIPCore.volume.volume import Volume

FITS, LOOK_FIRST, DOES_NOT_FIT = "fits", "look first", "does not fit"

EXIT_CODES = {FITS: 0, LOOK_FIRST: 20, DOES_NOT_FIT: 21}
"""By verdict; none of :mod:`KLIPCore.errors` has the latter two."""

LOOK_ALPHA = 0.2
"""A study with a smaller p is to be looked at first: one healthy study in five, by the meaning of p."""

BY_THEMSELVES = ("chest", "cut")
"""Remarks of the framing that have quantities of their own here."""


@dataclass(frozen=True)
class Reason:
    """One thing that speaks against a study.

    Attributes
    ----------
    about : what it is about: ``anatomy``, ``contrast``, ``noise``, ``not CT`` ….
    verdict : :data:`LOOK_FIRST` or :data:`DOES_NOT_FIT`: what this alone makes of the study.
    sentence : what was found.
    """

    about: str
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Whether a study fits a prior.

    Attributes
    ----------
    prior : its name.
    reasons : what speaks against the study, the gravest first; empty where it fits.
    p : family-wise p-value among studies like the training ones; None where too little was there to judge.
    z : by quantity of :data:`KLIPCore.maps.typicality.REASONS`, standard deviations towards the unusual.
    physical : by quantity of :class:`KLIPCore.maps.physical.Physical`; None where one cannot be told.
    notes : what the reader repaired or assumed, and other remarks that do not decide.
    organs : brightness of each organ that is known, the least usual first (:mod:`KLIPCore.maps.organ_laws`).
    seconds : from the path to the verdict.
    """

    prior: str
    reasons: tuple[Reason, ...]
    p: float | None
    z: dict[str, float]
    physical: dict[str, float | None]
    notes: tuple[str, ...]
    seconds: float
    organs: tuple[OrganFit, ...] = ()

    @property
    def verdict(self) -> str:
        """``fits``, ``look first`` or ``does not fit``: the gravest reason's."""
        return self.reasons[0].verdict if self.reasons else FITS

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against the study."""
        return not self.reasons

    @property
    def exit_code(self) -> int:
        """What ``klip guard`` exits with where it runs no command."""
        return EXIT_CODES[self.verdict]

    def text(self) -> str:
        """Return the verdict for a person: one line, and one more for each reason."""
        p = "" if self.p is None else f" (p = {self.p:.2g})"
        lines = [f"{self.verdict}: prior {self.prior}{p}, {self.seconds:.1f} s"]
        lines += [f"  {reason.verdict}: {reason.about}: {reason.sentence}" for reason in self.reasons]
        lines += [f"  organ: {fit.organ}: {fit.hu:.0f} HU, {fit.nats:.1f} nats" for fit in self.organs]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields, with verdict and exit code."""
        return {"verdict": self.verdict, "exit_code": self.exit_code, **asdict(self)}


def klip_guard(
    study: Path | str | Volume,
    prior: str | None = None,
    *,
    series: str | None = None,
    organs: Path | str | None = None,
) -> Verdict:
    """Return whether a study fits a prior, and why not.

    Parameters
    ----------
    study : DICOM folder, NIfTI, NRRD or MHA; or a volume in HU.
    prior : shipped name or path of a ``.safetensors`` file; the default one when None. Its weights are not needed, its
        card and its reference of health are.
    series : which DICOM series, where there are several.
    organs : a segmentation of the study with names of organs; each is then compared with the prior's patients.

    Raises
    ------
    EmptyInputError, AmbiguousSeriesError : the path does not say which study is meant.
    PriorError : there is no such prior, or it has no reference of health.
    TraceError : that reference is damaged.
    UnreadableFileError, GeometryError : the segmentation is damaged, or of another study.
    """
    started = time.monotonic()
    card, typicality = known_prior(prior or Config().prior)
    try:
        volume = study if isinstance(study, Volume) else read_study(Path(study), series)
        notes = check_ct(volume)
        thin = thin_study(volume, card)
    except (EmptyInputError, AmbiguousSeriesError):
        raise
    except InputError as error:
        reason = Reason(_kind(error), DOES_NOT_FIT, f"{error.message} {error.remedy}".strip())
        return Verdict(card.name, (reason,), None, {}, {}, (), time.monotonic() - started)
    found = judge_thin(thin, card, typicality, notes, started)
    return found if organs is None else with_organs(found, volume, Path(organs), started)


def with_organs(verdict: Verdict, volume: Volume, organs: Path, started: float) -> Verdict:
    """Return a verdict that has looked at each organ, too; an unusual one asks for a look.

    Parameters
    ----------
    verdict : about the study as a whole.
    volume : the study, in HU.
    organs : its segmentation.
    started : ``time.monotonic()`` when all of it began.
    """
    fits = organ_fits(volume.array, read_organs(organs, volume.grid)[0])
    reasons = [Reason(fit.organ, LOOK_FIRST, _sentence(fit.clause())) for fit in unusual(fits)]
    notes = () if fits else (f"None of the labels of {organs.name} is an organ whose brightness is known.",)
    return replace(
        verdict,
        reasons=(*verdict.reasons, *reasons),
        notes=(*verdict.notes, *notes),
        organs=fits,
        seconds=time.monotonic() - started,
    )


def judge_thin(
    thin: ThinStudy, card: ModelCard, typicality: Typicality, notes: Sequence[str], started: float
) -> Verdict:
    """Return the verdict about a study of which some slices are framed.

    Parameters
    ----------
    thin : by the card of the prior.
    card, typicality : of the prior, as :func:`known_prior` returns them.
    notes : of the reader.
    started : ``time.monotonic()`` then.
    """
    framed = thin.framed
    images, inside = half_size(framed, card)
    lps = framed.lps
    fit = typicality.judge(images, inside, float(lps.grid.spacing[0]))
    physical = measure(lps.array, lps.grid, framed.body, images, inside)
    if not thin.complete:  # what lies between chosen slices shows in their neighbours alone
        jump, repeated = jumps(thin.whole.array, framed.body, thin.nearest)
        physical = replace(physical, jump=jump, repeated=repeated)
    unsuitable = thin.unsuited(card)
    reasons = _of_fit(fit)
    for about, serious, clause in physical.remarks():
        reasons.append(Reason(about, DOES_NOT_FIT if serious else LOOK_FIRST, _sentence(clause)))
    reasons += [Reason(about, LOOK_FIRST, text) for about, text in unsuitable.items() if about not in BY_THEMSELVES]
    return Verdict(
        card.name,
        tuple(sorted(reasons, key=lambda reason: reason.verdict != DOES_NOT_FIT)),
        None if fit is None else fit.p,
        {} if fit is None else {name: float(value) for name, value in fit.z.items()},
        {name: None if math.isnan(value) else float(value) for name, value in asdict(physical).items()},
        (*notes, *(unsuitable[about] for about in BY_THEMSELVES if about in unsuitable)),
        time.monotonic() - started,
    )


@lru_cache(maxsize=4)
def known_prior(prior: str) -> tuple[ModelCard, Typicality]:
    """Return the card of a prior and the laws of its training studies; errors as of :func:`klip_guard`."""
    file = reference_file(prior)
    card_file = file.with_name(file.name.removesuffix(".reference.npz") + ".json")
    try:
        card = ModelCard.from_dict(read_json(card_file))
    except (OSError, ValueError) as error:
        raise PriorError(f"There is no prior '{prior}' with a readable card.", "See klip priors list.") from error
    if not file.is_file():
        raise PriorError(
            f"The prior {card.name} has no reference of health, by which a study could be judged.",
            "Make one with klip priors reference, or choose another prior with --prior.",
        )
    reference = Reference.load(file)
    if reference.prior_sha256 != card.sha256:
        raise PriorError(
            f"The reference of health beside {card.name} belongs to other weights.",
            "Make it again with klip priors reference.",
        )
    return card, reference.typicality


def half_size(framed: FramedStudy, card: ModelCard) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return (D, n, n) intensity and body masks at half the frame's resolution, as the laws have them."""
    each = range(len(framed.body))
    images = np.stack([halved(framed.intensity(k, card)) for k in each]).astype(np.float32)
    return images, np.stack([halved(framed.mask(k)) >= 0.5 for k in each])


def _of_fit(fit: StudyFit | None) -> list[Reason]:
    """What the laws of the training studies say."""
    if fit is None:
        least = f"fewer than {LEAST_SLICES} slices with a body, or less than {LEAST_MM:g} mm of them"
        return [Reason("too little", LOOK_FIRST, f"Too little to judge: {least}.")]
    sure = fit.unusual(ALPHA)
    return [
        Reason(name, DOES_NOT_FIT if name in sure else LOOK_FIRST, _sentence(REASONS[name]))
        for name in fit.unusual(LOOK_ALPHA)
    ]


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _kind(error: InputError) -> str:
    """What a reader's refusal is about."""
    kinds = {"NotCTError": "not CT", "IntensityError": "not HU", "GeometryError": "missing slices or geometry"}
    return kinds.get(type(error).__name__, "unreadable" if type(error) is not InputError else "no body")
