"""`klip priors reference` on finished runs: what it is made of, when rates are widened, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from KLIPCore.cli import app
from KLIPCore.config import RegionConfig
from KLIPCore.errors import ConfigError
from KLIPCore.lab.reference import fit_reference
from KLIPCore.maps.block_laws import JOINT_KINDS
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.reference import BLOCKS_MM, Reference
from KLIPCore.maps.typicality import Typicality
from KLIPCore.maps.unexpected import KINDS
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import window_of
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection

NOISE = 0.004
"""Standard deviation of what makes a patient of a copied run, intensity."""


def patient(run: Detection, folder: Path, seed: int, louder: float = 1.0) -> Path:
    """A copy of a run whose pushes and reconstruction differ a little; ``louder`` pushes look less healthy."""
    shutil.copytree(run.folder.path, folder)
    copied, rng = RunFolder(folder), np.random.default_rng(seed)
    record = copied.run()
    for piece in copied.trace(record["slices"], record["fingerprint"]).slices:
        assert piece.pushes is not None
        push = louder * piece.pushes.push + rng.normal(0, NOISE, piece.pushes.push.shape)
        image = piece.reconstruction + rng.normal(0, NOISE, piece.reconstruction.shape)
        made = replace(
            piece,
            reconstruction=image.astype(np.float32),
            pushes=replace(piece.pushes, push=push.astype(np.float32)),
        )
        copied.save_slice(made, record["fingerprint"])
    return folder


@pytest.fixture(scope="module")
def patients(run: Detection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Three that the prior has learned from, one it has not, and one with pushes of three times the size."""
    made = tmp_path_factory.mktemp("patients")
    names = [("a", 1.0), ("b", 1.0), ("c", 1.0), ("unseen", 1.0), ("loud", 3.0)]
    yield [patient(run, made / name, seed, louder) for seed, (name, louder) in enumerate(names)]
    shutil.rmtree(made)


def test_a_reference_is_made_of_runs_and_holds_for_them_alone(
    run: Detection, patients: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "site.reference.npz"
    options = [word for path in patients[:3] for word in ("--train", str(path))]
    done = CliRunner().invoke(app, ["priors", "reference", *options, "--unseen", str(patients[3]), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert out.stat().st_size <= 300_000
    made, record = Reference.load(out), run.folder.run()
    assert made.patients == {"train": ["a", "b", "c"], "unseen": ["unseen"]}
    assert (made.schedule["n_samples"], made.schedule["n_steps"]) == (2, 3)
    assert tuple(law.block_mm for law in made.laws) == BLOCKS_MM
    measurement = record["config"]["measurement"]
    assert made.refusal(record["prior"]["sha256"], measurement) is None
    assert made.refusal(record["prior"]["sha256"], measurement | {"n_views": 24}) is not None
    assert made.refusal("another", measurement) is not None


def test_rates_are_widened_by_what_unseen_patients_show_and_never_narrowed(patients: list[Path]) -> None:
    calm, loud = (
        fit_reference(patients[:3], [unseen], (12.0,), lambda line: None) for unseen in (patients[3], patients[4])
    )
    factors = [np.array(list(made.laws[0].widening.values())) for made in (calm, loud)]
    assert (factors[0] >= 1).all()
    assert (factors[1] >= factors[0]).all()
    assert factors[1].max() > factors[0].max()
    alone = fit_reference(patients[:3], [], (12.0,), lambda line: None)
    assert set(alone.laws[0].widening.values()) == {1.0}


def test_laws_of_averages_and_of_their_sum_with_blocks_are_made(
    patients: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = fit_reference(patients[:3], [], (12.0,), lambda line: None)
    assert without.averages == {}  # these patients are a few slices
    assert set(without.laws[0].strengths) == set(KINDS)
    monkeypatch.setattr("KLIPCore.maps.averages.LEAST_MM", 0.0)
    out = tmp_path / "x.reference.npz"
    options = [word for path in patients[:3] for word in ("--train", str(path))]
    done = CliRunner().invoke(app, ["priors", "reference", *options, "--unseen", str(patients[4]), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "focal: added to blocks" in done.output
    assert "broad: darker widened by" in done.output
    back = Reference.load(out)
    assert set(back.averages) == {"focal", "broad"}
    assert max(back.averages["broad"].widening.values()) > 1  # the loud patient
    for law in back.laws:
        assert set(law.strengths) == {*KINDS, *JOINT_KINDS}
        assert max(law.widening[kind] for kind in JOINT_KINDS) > 1


def test_a_blocks_p_value_is_of_the_block_alone(patients: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions of averages are drawn by a surprise of their own, which says nothing of single blocks."""
    monkeypatch.setattr("KLIPCore.maps.averages.LEAST_MM", 0.0)  # these patients are a few slices
    made = fit_reference(patients[:3], [], (12.0,), lambda line: None)
    folder = RunFolder(patients[4])
    note = folder.run()
    trace, framing = folder.trace(note["slices"], note["fingerprint"], ("path", "pushes")), folder.read_framing()
    alone, both = (
        MapMaker(trace, framing, None, lambda own=own: own, window_of(note)).make(RegionConfig(score="unexpected"))
        for own in (replace(made, averages={}), made)
    )
    np.testing.assert_array_equal(both.p, alone.p)
    assert both.outline_p is not None
    assert (both.outline_p <= both.p).all()
    assert (both.outline_p < both.p).any()
    np.testing.assert_array_equal(both.outline_p < both.p, both.nats > alone.nats)


def test_too_few_runs_and_runs_of_another_schedule_are_refused(patients: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 3"):
        fit_reference(patients[:2], [])
    other = Path(shutil.copytree(patients[0], tmp_path / "other"))
    record = json.loads((other / "run.json").read_text(encoding="utf-8"))
    record["config"]["sampling"]["n_steps"] = 10
    (other / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match="schedules"):
        fit_reference([*patients[:2], other], [])


def test_the_bright_side_is_left_out_of_a_study_that_is_too_bright(
    run: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Typicality, "too_bright", lambda self, images, body: True)
    live = LiveMap.open(run.folder.path)
    both, bright, dark = (
        live.update(RegionConfig(score="unexpected", sign=sign)) for sign in ("both", "brighter", "darker")
    )
    assert "Soft tissue is brighter in this study" in both.rests_on
    assert "it is left out. Choose the sign brighter to see it." in both.rests_on
    np.testing.assert_array_equal(both.kl_map.array, dark.kl_map.array)
    assert "healthy organs and vessels are marked, too" in bright.rests_on
    assert "Soft tissue is brighter" not in dark.rests_on


@pytest.mark.parametrize(("brighter", "expected"), [(0.0, False), (0.1, True)])
def test_too_bright_is_what_exceeds_the_training_studies(brighter: float, expected: bool) -> None:
    rng = np.random.default_rng(0)
    body = np.ones((20, 48, 48), bool)

    def study(level: float) -> np.ndarray:
        return (level + rng.normal(0, 0.005, body.shape)).astype(np.float32)

    laws = Typicality.fit([(study(0.55 + 0.01 * k), body) for k in range(5)])
    assert laws.too_bright(study(0.57 + brighter), body) is expected
