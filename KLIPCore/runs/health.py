"""What a run's prior knows of health: its reference, whether it holds for the run, and whether the study belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from KLIPCore.errors import TraceError
from KLIPCore.maps.half_size import study_images
from KLIPCore.maps.physical import CUT, cut_by_field
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.trace import KLTrace
from KLIPCore.maps.typicality import StudyFit, too_little
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.units import Window

SCHEDULE = {
    "sampling": ("n_samples", "n_steps"),
    "record": ("n_nodes", "n_pairs", "temperature", "n_large", "sigma_large"),
}
"""Settings, by section, that decide about the size of a push, and about what is expected where it is."""


def reference_file(prior: str) -> Path:
    """Return where the reference of a prior lies: beside its weights, ``NAME.reference.npz``.

    Parameters
    ----------
    prior : shipped prior's name, or a ``.safetensors`` file, as ``Config.prior`` has it.
    """
    named = Path(prior)
    beside = named if named.suffix == ".safetensors" else Path(__file__).parents[1] / "priors" / "zoo" / named.name
    return beside.with_name(beside.name.removesuffix(".safetensors") + ".reference.npz")


def reference_of(run: dict[str, Any]) -> Callable[[], Reference | str]:
    """Return what loads the reference of a run's prior, or says why there is none that holds for the run.

    The loader raises :class:`KLIPCore.errors.TraceError` where the file is damaged.
    """

    def load() -> Reference | str:
        path = reference_file(str(run["config"]["prior"]))
        try:
            there = path.is_file()
        except OSError:  # a name that no file system takes
            there = False
        if not there:
            return f"The prior {run['prior']['name']} has no reference of health (klip priors reference makes one)."
        reference = Reference.load(path)
        return reference.refusal(str(run["prior"]["sha256"]), dict(run["config"]["measurement"])) or reference

    return load


def reference_hash(run: dict[str, Any]) -> str:
    """Return the SHA-256 of the file that :func:`reference_of` reads."""
    return hashlib.sha256(reference_file(str(run["config"]["prior"])).read_bytes()).hexdigest()


def window_of(run: dict[str, Any]) -> Window:
    """Return the HU window of a run's prior.

    Raises
    ------
    TraceError : the record does not say it.
    """
    try:
        return Window(**{name: float(value) for name, value in run["prior"]["window"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TraceError(
            "The run's record does not say the prior's HU window.", "Run klip detect again into another folder."
        ) from error


def schedule_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that decide about the size of its pushes, as a reference notes them."""
    return {name: config[section][name] for section, names in SCHEDULE.items() for name in names}


def approximation_of(run: dict[str, Any]) -> str:
    """Return the sentence that the reference of a run needs because of another schedule; empty where none is needed.

    Parameters
    ----------
    run : the run's record.
    """
    reference = reference_of(run)()
    return "" if isinstance(reference, str) else reference.approximation(schedule_of(run["config"])) or ""


def judge_study(run: dict[str, Any], trace: KLTrace, framing: Framing) -> tuple[StudyFit | None, str]:
    """Return whether a study belongs under its prior, and why that cannot be told.

    Parameters
    ----------
    run : the run's record.
    trace : its slices.
    framing : where they lie.

    Returns
    -------
    fit : None where there is no reference that holds, or too little of the study was examined.
    unjudged : a sentence on too little, or ``""``.
    """
    reference = reference_of(run)()
    if isinstance(reference, str):
        return None, ""
    images, body = study_images(trace, framing)
    spacing_mm = float(framing.lps_grid.spacing[0])
    fit = reference.typicality.judge(images, body, spacing_mm)
    cut = cut_by_field(framing.body[list(trace.indices)])
    if fit is not None and cut > CUT[1]:
        reason = f"the field of view cuts the body over {cut:.0%} of the image's rim"
        fit = replace(fit, reasons=(*fit.reasons, reason))
    return fit, too_little(body, spacing_mm)
