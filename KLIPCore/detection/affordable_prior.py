"""Which prior a computer can afford where nobody named one.

A small prior answers like the large one, a little less well, in a quarter of the arithmetic. It is taken by default
where a slice would take the large one too long: some processors compute ten times slower than others. The speed is
the one that was measured to choose the precision (:mod:`KLIPCore.detection.precision`), and remembered with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from KLIPCore.config import Config
from KLIPCore.detection.devices import choose_devices, network_places
from KLIPCore.detection.precision import EXACT, choose, way_name
from KLIPCore.detection.user_cache import measuring
from KLIPCore.errors import KlipError
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.runs.folder import RunFolder

SMALLER = {"abdomen-ct-256": "abdomen-ct-256-small"}
"""The small prior of a large one, by name."""

TOO_SLOW_S = 5.0
"""Seconds a slice from which the small prior is taken."""


def with_affordable_prior(
    config: Config, out: Path, cache: Path | None = None, tell: Callable[[str], None] | None = None
) -> tuple[Config, str]:
    """Return the settings with the prior that this computer can afford, and a sentence where that is the small one.

    A run that is in ``out`` keeps its prior, so that it can be continued. Nothing changes where measuring is turned
    off, or on a graphics processor.

    Parameters
    ----------
    config : settings in which the prior is the default one, not one that was asked for.
    out : folder of the run; may be new.
    cache : folder instead of the user's own.
    tell : called before something is measured.

    Raises
    ------
    ConfigError, ResourceError : the device or the precision that was asked for is not there.
    """
    small = SMALLER.get(config.prior)
    begun = _prior_of(out)
    if small is None or begun == config.prior:
        return config, ""
    taken = replace(config, prior=small)
    if begun == small:
        return taken, f"The run in {out} is continued with its prior, {small}."
    device = choose_devices(config.device)[0]
    if device.type != "cpu" or not measuring():
        return config, ""
    exact = load_prior(config.prior, device, EXACT)
    choice = choose(exact, config.precision, network_places(config.device), cache, tell)
    seconds = choice.seconds.get(way_name(choice.precision, choice.channels_last, choice.place))
    a_slice = (seconds or 0.0) * config.evaluations_a_slice
    if a_slice <= TOO_SLOW_S:
        return config, ""
    return taken, (
        f"A slice would take this computer about {a_slice:.0f} s with the prior {config.prior}, so the smaller "
        f"{small} is taken. For the other one give --prior {config.prior}."
    )


def _prior_of(out: Path) -> str | None:
    """Name of the prior of the run in a folder; None where there is none."""
    try:
        return str(RunFolder(out).run()["config"]["prior"])
    except (KlipError, KeyError, TypeError):
        return None
