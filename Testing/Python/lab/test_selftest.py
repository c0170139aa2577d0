"""The self-test passes here, and notices what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from KLIPCore.errors import PriorError
from KLIPCore.lab import selftest
from KLIPCore.lab.selftest import CHECKS, run_selftest
from KLIPCore.physics.projector import Projector
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR

SHIPPED = Path(selftest.__file__).parents[1] / "priors" / "zoo" / f"{DEFAULT_PRIOR}.safetensors"


def test_everything_passes_on_the_cpu() -> None:
    results = run_selftest("cpu")
    assert [r.name for r in results] == list(CHECKS)
    failed = {r.name: r.detail for r in results if not r.passed}
    if not SHIPPED.is_file():
        failed.pop("shipped prior")
    assert failed == {}
    assert all(r.detail for r in results)


def test_a_wrong_transpose_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Projector._apply_transpose
    monkeypatch.setattr(Projector, "_apply_transpose", lambda self, y: 1.001 * right(self, y))
    monkeypatch.setattr(selftest, "CHECKS", {"projector and its transpose": selftest._transpose})
    (result,) = run_selftest("cpu")
    assert not result.passed


def test_a_missing_prior_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise PriorError("There is no prior.", "Install one.")

    monkeypatch.setattr(selftest, "load_prior", missing)
    monkeypatch.setattr(selftest, "CHECKS", {"shipped prior": selftest._shipped_prior})
    (result,) = run_selftest("cpu")
    assert not result.passed
    assert result.detail.startswith("There is no prior. Install one.")


def test_a_broken_installation_is_a_finding_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: torch.device) -> tuple[bool, str]:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(selftest, "CHECKS", {"anything": broken})
    (result,) = run_selftest("cpu")
    assert not result.passed
    assert "no kernel image" in result.detail
