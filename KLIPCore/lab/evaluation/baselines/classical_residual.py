"""FBP/TV residual: what a prior of flat pieces cannot explain, without any learned prior.

(FBP − TV)²: total variation (Sidky & Pan, Phys. Med. Biol. 53, 4777, 2008) keeps plateaus and edges; the rest
is texture, noise and streaks. A floor for every method that has seen anatomy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from KLIPCore.lab.evaluation.baselines.view import SliceView


def score(view: SliceView) -> NDArray[np.float32]:
    """(H, W) squared difference of filtered back-projection and total variation."""
    return np.square(view.fbp - view.classical("tv"))
