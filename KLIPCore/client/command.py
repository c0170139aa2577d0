"""`klip detect` as a command line and a file of settings, from a request."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from KLIPCore.client.detector import Request

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
"""Where Python finds this KLIPCore."""

BARE_EXPONENT = re.compile(r"(?<![\w.\"])(-?\d+)(e[+-]?\d+)(?![\w\"])")


def detect_command(request: Request, settings_file: Path, *more: str) -> list[str]:
    """Return the command line of a request; its process ends when its standard input does.

    Parameters
    ----------
    request : what to do.
    settings_file : where :func:`write_settings` wrote its settings.
    more : further options of `klip detect`.
    """
    line = [sys.executable, "-m", "KLIPCore.client.leader", "detect", str(request.study), "-o", str(request.out)]
    line += [f"--config={settings_file}", "--progress", "json"]
    chosen = {"series": request.series, "slices": request.slices, "roi": request.roi}
    line += [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    return [*line, *(["--overwrite"] if request.overwrite else []), *more]


def write_settings(settings: Mapping[str, Any], path: Path) -> None:
    """Write settings as JSON that is YAML, too: there ``1e-05`` is a word, and ``1.0e-05`` a number."""
    text = json.dumps(settings, indent=1)
    path.write_text(BARE_EXPONENT.sub(r"\1.0\2", text) + "\n", encoding="utf-8")


def child_environment() -> dict[str, str]:
    """Return this process's environment, in which Python finds this KLIPCore first and talks UTF-8.

    A token stays behind: what detects has no use for it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "KLIP_TOKEN"}
    paths = [str(PACKAGE_PARENT), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
