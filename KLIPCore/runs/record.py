"""What every reader of ``run.json`` relies on."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST_SLICES = 100_000
"""A whole body in steps of 0.02 mm."""


def checked_record(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run's record, if what every reader of it relies on is there and of its kind.

    Parameters
    ----------
    run : the content of ``run.json``.

    Raises
    ------
    ValueError, KeyError : a part is missing or of the wrong kind.
    """
    slices, warnings, study, prior = run["slices"], run["warnings"], run["study"], run["prior"]
    kinds = (
        isinstance(run["fingerprint"], str),
        isinstance(run["config"], dict),
        isinstance(prior, dict) and isinstance(prior["name"], str) and isinstance(prior["sha256"], str),
        isinstance(study, dict),
    )
    if (
        not all(kinds)
        or not isinstance(slices, list)
        or not all(type(k) is int and 0 <= k < MOST_SLICES for k in slices)
    ):
        raise ValueError("its parts are of the wrong kind")
    if (
        not isinstance(warnings, list)
        or not all(isinstance(text, str) for text in warnings)
        or not isinstance(study.get("path", ""), str)
    ):
        raise ValueError("its parts are of the wrong kind")
    if run.get("roi") is not None and (
        np.shape(run["roi"]) != (3, 2) or not np.isfinite(np.asarray(run["roi"], float)).all()
    ):
        raise ValueError("its region of interest is not a box")
    return run
