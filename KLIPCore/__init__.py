"""KLIPCore: where does a scan depart from healthy anatomy? KL maps in nats from diffusion priors.

Research software, not a medical device. `import KLIPCore as klip` offers what most programs need, each name loaded
when it is first used: from a study to regions with :func:`detect`; from a prior, a geometry and an image to posterior
samples and a KL map with :func:`load_prior`, :class:`Projector`, :func:`simulate`, :func:`sample_posterior` and
:func:`kl_map`. Everything else is in the packages that the names come from.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    # from a study to regions
    "detect": "detection.detect",
    "Detection": "runs.rerun",
    "redo_regions": "runs.rerun",
    "klip_guard": "runs.guard",
    "LiveMap": "runs.live",
    "Config": "config",
    "PRESETS": "config",
    "Part": "volume.selection",
    "SCORES": "scores",
    "KlipError": "errors",
    # studies
    "read_study": "io.study",
    "write_image": "io.images",
    "read_sinogram": "io.sinogram",
    "write_sinogram": "io.sinogram",
    "Volume": "volume.volume",
    "Grid": "volume.grid",
    "Window": "volume.units",
    "frame_study": "volume.framed_study",
    # what is measured
    "ImageGrid2D": "volume.geometry",
    "ParallelBeam": "volume.geometry",
    "FanBeam": "volume.geometry",
    "LinearOperator": "physics.linear",
    "Projector": "physics.projector",
    "GaussianNoise": "physics.noise",
    "PoissonNoise": "physics.noise",
    "Measurement": "physics.measurement",
    "simulate": "physics.measurement",
    "fbp": "physics.fbp",
    # priors, samples, nats
    "load_prior": "priors.checkpoint",
    "Prior": "priors.prior",
    "ModelCard": "volume.model_card",
    "sample_posterior": "sampling.posterior",
    "estimate_kl": "kl.estimate",
    "kl_map": "kl.estimate",
    # regions
    "find_regions": "maps.regions",
    "Region": "maps.regions",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
