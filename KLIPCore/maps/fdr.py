"""From p-values to q-values: how many of the flagged places may be false.

A study has thousands of blocks. At p < 0.05 one in twenty healthy blocks is flagged by chance alone. The
false-discovery rate asks the better question: *of what is flagged, which part is false?* A block's q-value is
the smallest rate at which it would still be flagged. With p₍₁₎ ≤ … ≤ p₍ₘ₎ the sorted p-values of all m tests,

    q₍ᵢ₎ = min over j ≥ i of  p₍ⱼ₎ · m · c / j

- Benjamini–Hochberg (``"bh"``): c = 1, for independent or positively dependent tests (overlapping blocks of
  one map are).
- Benjamini–Yekutieli (``"by"``): c = 1 + 1/2 + … + 1/m, for tests of any dependence.

Copying every p-value the same number of times (a block value spread over its voxels) leaves the ``"bh"``
q-values as they are: m and j grow alike.

Sources: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995) 289; Benjamini & Yekutieli, Ann. Stat. 29 (2001)
1165. The sums are SciPy's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, IntensityError

Method = Literal["bh", "by"]


def q_values(
    p_values: NDArray[np.floating], tested: NDArray[np.bool_] | None = None, method: Method = "bh"
) -> NDArray[np.float64]:
    """Return adjusted p-values: the false-discovery rate at which each test is still flagged.

    Parameters
    ----------
    p_values : p-values in [0, 1], any shape.
    tested : same shape, True where a test was made; the others do not count as tests and get q = 1. None: all were.
    method : ``"bh"`` (Benjamini–Hochberg) or ``"by"`` (Benjamini–Yekutieli).

    Returns
    -------
    float64 of the shape of ``p_values``, in [0, 1].

    Raises
    ------
    ConfigError : shapes differ, or the method is unknown.
    IntensityError : a tested p-value is not a number in [0, 1].
    """
    from scipy.stats import (
        false_discovery_control,
    )  # most of a second to import; maps whose q-values are known do without

    p_values = np.asarray(p_values, np.float64)
    mask = np.ones(p_values.shape, bool) if tested is None else np.asarray(tested, bool)
    if mask.shape != p_values.shape:
        raise ConfigError(
            f"The mask of tested places has shape {mask.shape}, the p-values {p_values.shape}.",
            "Pass both on the same grid.",
        )
    if method not in ("bh", "by"):
        raise ConfigError(f"There is no false-discovery method {method!r}.", 'Use "bh" or "by".')
    chosen = p_values[mask]
    if not ((chosen >= 0) & (chosen <= 1)).all():  # written so that NaN fails too
        raise IntensityError(
            "Some p-values are not numbers between 0 and 1.", "Compute the p-values again from the KL trace."
        )
    out = np.ones(p_values.shape)
    if chosen.size:
        out[mask] = false_discovery_control(chosen, method=method)
    return out
