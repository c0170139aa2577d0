"""A training source that reads no file: simulated discs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from KLIPCore.errors import ConfigError
from KLIPCore.lab.training.card import how_made
from KLIPCore.lab.training.config import TrainingConfig
from KLIPCore.lab.training.data import DataSource, load_training_set
from KLIPCore.volume.units import Window

REPOSITORY = Path(__file__).resolve().parents[4]


def discs(n: int = 3, seed: int = 1) -> DataSource:
    return DataSource("simulated", simulated="discs", n_slices=n, seed=seed, licence="MIT")


def test_discs_fill_the_share_of_the_frame_that_the_configuration_says(tmp_path: Path) -> None:
    slices, entries, _ = load_training_set(tmp_path, (discs(), discs(2, seed=2)), Window(-1000.0, 1500.0), 64, 0.9)
    assert slices.shape == (5, 64, 64)
    assert slices.dtype == np.uint8
    widths = (slices > 80).any(1).sum(1) / 64
    assert widths == pytest.approx(0.9, abs=0.06)
    assert [e["n_slices"] for e in entries] == [3, 2]
    assert all("SIMULATED" in e["file"] for e in entries)
    assert "simulated" in how_made(entries)
    assert not np.array_equal(slices[0], slices[3])


def test_a_source_is_either_files_or_simulated() -> None:
    for fields in (
        {},
        {"pattern": "*.nii", "simulated": "discs", "n_slices": 2},
        {"simulated": "squares", "n_slices": 2},
        {"simulated": "discs"},
    ):
        with pytest.raises(ConfigError):
            DataSource("x", **fields)  # type: ignore[arg-type]


def test_the_disc_prior_learned_from_its_configuration() -> None:
    """The card that is shipped and the configuration that is committed are of one run."""
    from KLIPCore.priors.checkpoint import load_prior

    config = TrainingConfig.load(REPOSITORY / "configs" / "train_discs.yaml")
    training = load_prior(config.name).card.training
    assert training["steps"] == config.steps
    assert training["config"]["seed"] == config.seed
    assert training["config"]["extra"] == config.extra
    assert [e["n_slices"] for e in training["data"]] == [s.n_slices for s in config.sources]
    assert all("SIMULATED" in e["file"] for e in training["data"] + training["validation_data"])
