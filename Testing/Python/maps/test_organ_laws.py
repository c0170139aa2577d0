"""Nats of an organ's brightness: against Student's law, and in a study whose organs are named anyhow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from KLIPCore.maps.organ_laws import LAWS, PATIENTS, fit_of, organ_fits, unusual
from KLIPCore.volume.organs import OrganMap


@pytest.mark.parametrize("organ", LAWS)
@pytest.mark.parametrize("hu", [-20.0, 60.0, 140.0])
def test_nats_and_p_are_students(organ: str, hu: float) -> None:
    usual, spread = LAWS[organ]
    law = stats.t(PATIENTS - 1, usual, spread * math.sqrt(1 + 1 / PATIENTS))
    fit = fit_of(organ, hu)
    assert fit.nats == pytest.approx(law.logpdf(usual) - law.logpdf(hu))
    assert fit.p == pytest.approx(2 * law.sf(usual + abs(hu - usual)))
    assert fit_of(organ, usual).nats == 0


def test_organs_are_known_by_their_words_and_the_least_usual_comes_first() -> None:
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, :10, :10], labels[:, 10:, :10], labels[:, :10, 10:], labels[:, 10:, 10:] = 1, 2, 3, 4
    labels[0, 0, :9] = 5  # a crumb
    names = {1: "Liver", 2: "kidney_left", 3: "SPLEEN", 4: "a cyst", 5: "aorta"}
    hu = np.where(labels == 1, -10.0, np.where(labels == 3, LAWS["spleen"][0], LAWS["left kidney"][0]))
    hu[:, 2, 2] = 900.0  # a clip moves no median
    fits = organ_fits(hu, OrganMap(labels, names))
    assert [fit.organ for fit in fits] == ["liver", "left kidney", "spleen"]
    assert [fit.organ for fit in unusual(fits)] == ["liver"]
    assert "darker than usual: -10 HU" in fits[0].clause()


def test_one_healthy_patient_in_twenty_is_pointed_at() -> None:
    """Organs drawn from their predictive laws."""
    rng = np.random.default_rng(0)
    wide = math.sqrt(1 + 1 / PATIENTS)
    hit = sum(
        bool(unusual([fit_of(o, m + s * wide * rng.standard_t(PATIENTS - 1)) for o, (m, s) in LAWS.items()]))
        for _ in range(2000)
    )
    assert hit / 2000 == pytest.approx(0.05, abs=0.015)
