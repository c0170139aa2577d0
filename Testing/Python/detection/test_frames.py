"""How far it is from `detect` to the network: what a reader of a traceback walks through."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import FAST  # type: ignore[attr-defined]

from KLIPCore.detection.detect import detect
from KLIPCore.priors.networks import Denoiser  # noqa: F401
