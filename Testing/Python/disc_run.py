"""A short run on a measured scan of a disc, as a configuration file holds it."""

from __future__ import annotations

from typing import Any

RUN: dict[str, Any] = {
    "prior": "discs-128",
    "sampling": {
        "n_samples": 2,
        "n_steps": 4,
        "sigma_start": 1.0,
        "sigma_end": 0.02,
        "prior_std": 0.3,
        "cg_iterations": 12,
    },
    "record": {"layers": ["cold", "path", "darker"], "n_nodes": 2, "cell": 2},
    "regions": {"null": "twin", "score": "darker", "block_mm": 2.4, "fdr": 0.05, "min_volume_mm3": 5.0},
}
