"""The precision of a run: chosen when it begins, and kept when it is continued.

The fingerprint names the precision where that is not the one the network was trained in. So slices of different
precisions never meet in one map, and a run whose record is damaged, or was written before there was one, still says
how it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from KLIPCore.config import Config
from KLIPCore.detection.devices import network_places
from KLIPCore.detection.precision import Choice, choose, in_way
from KLIPCore.errors import KlipError, OutputError
from KLIPCore.priors.unet import DTYPES, UNetPrior
from KLIPCore.runs.folder import RunFolder


def settle(
    folder: RunFolder,
    config: Config,
    prior: UNetPrior,
    identity: Sequence[str],
    overwrite: bool,
    tell: Callable[[str], None] | None = None,
) -> tuple[UNetPrior, Choice, str]:
    """Return the precision of a run: the one that it began with, or what the settings say.

    Parameters
    ----------
    folder : of the run; may be new.
    config : its settings.
    prior : in float32; it is used up.
    identity : what the fingerprint depends on besides the settings.
    overwrite : whether a run in another precision may be replaced.
    tell : called before something is measured.

    Returns
    -------
    the prior in its precision, the choice, and the run's fingerprint.

    Raises
    ------
    OutputError : the run that is in the folder began in another precision than was asked for.
    ResourceError : this computer cannot compute in the precision that was asked for.
    """
    prints = {name: config.fingerprint(*identity, *precision_mark(prior, name)) for name in DTYPES}
    begun = _begun(folder, prints)
    if begun is not None and config.precision not in ("auto", begun.precision):
        if not overwrite:
            raise OutputError(
                f"The run in {folder.path} began in {begun.precision}, not in {config.precision}.",
                "Leave out --precision to continue it, choose another folder with -o, or replace it with --overwrite.",
            )
        begun = None
    places = network_places(config.device)
    if begun is not None and begun.place not in places:  # begun on another computer, or a place is asked for now
        begun = replace(begun, place=places[0])
    choice = begun or choose(prior, config.precision, places, tell=tell)
    return in_way(prior, choice), choice, prints[choice.precision]


def precision_mark(prior: object, precision: str | None = None) -> tuple[str, ...]:
    """Return what a fingerprint says of a precision: nothing where it is the one that the network was trained in.

    Parameters
    ----------
    prior : whose network computes; one without a precision has no mark.
    precision : the prior's own when None.
    """
    name = precision or getattr(prior, "precision", None)
    return () if name == getattr(prior, "native", None) else (f"precision {name}",)


def _begun(folder: RunFolder, prints: Mapping[str, str]) -> Choice | None:
    """How the run in the folder computes, if it is this run; its fingerprint decides, its record adds the rest."""
    try:
        run = folder.run()
    except KlipError:
        return None
    name = next((name for name, fingerprint in prints.items() if run["fingerprint"] == fingerprint), None)
    if name is None:
        return None
    try:
        noted = Choice.from_dict(run["precision"])
    except (KeyError, TypeError, ValueError):
        noted = Choice(name, True, "as the run began")
    return noted if noted.precision == name else Choice(name, True, "as the run began")
