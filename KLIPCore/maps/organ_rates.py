"""How many more regions a healthy organ shows than average tissue of the same volume.

The rate of a reference of health is that of whole bodies, fat and bone included. Whoever looks within one organ needs
the organ's own: healthy livers have vessels and fissures, and show many times more regions a litre than other tissue.
`python -m KLIPCore.lab.organs.rates` measures it; docs/organs.md has patients and command.
"""

from __future__ import annotations

from collections.abc import Mapping

ORGAN_RATES = {
    "aorta": 5.6,
    "gallbladder": 17.1,
    "left kidney": 5.5,
    "right kidney": 5.4,
    "liver": 5.8,
    "pancreas": 1.0,
    "spleen": 1.0,
    "stomach": 3.7,
}
"""Regions a litre over those of the whole body, in sixteen healthy patients; 1 where fewer were seen."""


def rate_within(voxels: Mapping[str, int]) -> float | None:
    """Return how many more regions some organs show than average tissue; None where one of them is not known.

    Parameters
    ----------
    voxels : mapping of str to int
        How many voxels each organ that is looked within has, by its name.
    """
    known = {name.casefold() for name in ORGAN_RATES}
    if not voxels or any(name.casefold() not in known for name in voxels):
        return None
    total = sum(voxels.values())
    return sum(ORGAN_RATES[name.casefold()] * count for name, count in voxels.items()) / max(total, 1)
