"""Which machine a figure was measured on, and what that machine can do at best."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from KLIPCore import __version__
from KLIPCore.lab.bench.measure import Ceilings, timed
from KLIPCore.volume.model_card import ModelCard

LIBRARIES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "astra-toolbox")
"""Packages whose version a figure depends on."""

MATRIX = 1536
"""Side of the square matrices whose product is the arithmetic ceiling."""

WORKING_SETS = (1 << 20, 1 << 24, 3 << 27)
"""Bytes of the three arrays of a triad: 1 MiB (a core's own cache), 16 MiB (a shared cache, where there is
one), 384 MiB (main memory).
"""


def machine(prior: ModelCard, device: torch.device) -> dict[str, Any]:
    """Return the record that stands over the tables: JSON-ready."""
    import psutil

    return {
        "software": f"KLIPCore {__version__}",
        "cpu": _cpu(),
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "logical_cores": psutil.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3, 1),
        "busy": round(psutil.cpu_percent(1.0) / 100, 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: installed(name) for name in LIBRARIES},
        "prior": prior.name,
        "prior_sha256": prior.sha256,
    }


def installed(package: str) -> str:
    """Return a package's version, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """The processor's name as the system knows it."""
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def ceilings(device: torch.device, min_seconds: float = 0.3) -> Ceilings:
    """Measure the three ceilings of a device, a CPU with the threads that PyTorch uses now."""
    flops = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
        b = torch.randn(MATRIX, MATRIX, device=device, dtype=dtype)
        out = torch.empty_like(a)
        timing = timed(partial(torch.mm, a, b, out=out), min_seconds, device)
        flops[name] = 2.0 * MATRIX**3 / timing.fastest
    bandwidth = {}
    for size in WORKING_SETS:
        x, y, z = torch.ones(3, size // 12, device=device)
        bandwidth[size] = size / timed(partial(torch.add, y, z, alpha=0.5, out=x), min_seconds, device).fastest
    one, two = torch.ones(1, device=device), torch.ones(1, device=device)
    n = 100

    def many() -> None:
        for _ in range(n):
            torch.add(one, two, out=one)

    return Ceilings(
        flops,
        bandwidth,
        timed(many, min_seconds, device).fastest / n,
        0 if device.type == "cuda" else torch.get_num_threads(),
    )
