"""Fixtures that every test may use, and how hypothesis searches for inputs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail: neither an example nor the drawing of it has a time limit.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile(
    "fixed", derandomize=True, **PATIENT
)  # the same inputs every time, so that a test fails for its change alone
settings.register_profile("free", **PATIENT)  # others every time: HYPOTHESIS_PROFILE=free, or `make search`
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

# What a test computes must not depend on how fast this machine is just now: the precision is then chosen by the
# processor's instructions. Commands that tests start inherit it.
os.environ.setdefault("KLIP_TUNING", "off")

# What a shell starts in the background ignores Ctrl-C, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several workers share the files, those with a slow test come first: the last ones are soon done."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real CT beside the checkout; tests that need it are skipped where it is not."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the development CT data beside the checkout (../shared/data)")
    return folder


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
