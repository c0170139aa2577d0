"""Plain KL: every nat of the guided chain, from its first level to its last, no window, no bands, no parts.

KLIP's own ablation ("plain KL" in Kheirandish et al., CVPR 2026): what is left of the method without
restriction in time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView


def score(view: SliceView) -> NDArray[np.float32]:
    """(h, w) nats per base cell of the ``path`` layer, all σ bins and bands."""
    return np.asarray(view.trace.layers["path"].energy.sum((0, 1)), np.float32)
