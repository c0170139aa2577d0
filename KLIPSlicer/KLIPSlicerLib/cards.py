"""Which priors there are, and what each was trained for.

A prior's card is the JSON file beside its weights (KLIPCore.volume.model_card.ModelCard). Cards are read here without
their weights, because weights need torch and torch never enters Slicer's process; `klip` checks that both belong
together.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from KLIPCore.volume.model_card import ModelCard


def readCard(path: Path) -> ModelCard | None:
    """The card in a JSON file; None where there is none, or something else."""
    from KLIPCore.errors import PriorError
    from KLIPCore.volume.model_card import ModelCard

    try:
        return ModelCard.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, PriorError):
        return None


def priorsIn(folder: Path) -> dict[str, ModelCard]:
    """Path of the weights → card, of every prior in a folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stem) if folder.is_dir() else []:
        card = readCard(path.with_suffix(".json"))
        if card is not None:
            found[str(path)] = card
    return found


def knownPriors(weightsFolder: str = "") -> dict[str, ModelCard]:
    """What ``--prior`` takes → card: the shipped ones by name, those of the user's folder by path."""
    from importlib.resources import as_file, files

    with as_file(files("KLIPCore.priors.zoo")) as zoo:
        shipped = {card.name: card for card in priorsIn(Path(zoo)).values()}
    return shipped | (priorsIn(Path(weightsFolder)) if weightsFolder else {})


def cardHtml(card: ModelCard) -> str:
    """What a card says to a radiologist: anatomy, window, use, license."""
    window = _("{low:g} to {high:g} HU").format(low=card.window.lo_hu, high=card.window.hi_hu)
    rows = (
        (_("Knows"), card.anatomy),
        (_("Sees"), window),
        (_("For"), card.intended_use),
        (_("License"), card.licence),
    )
    return "<table cellspacing='0' cellpadding='1'>{}</table>".format(
        "".join(
            f"<tr><td style='padding-right:8px'><b>{html.escape(name)}</b></td><td>{html.escape(text)}</td></tr>"
            for name, text in rows
            if text
        )
    )
