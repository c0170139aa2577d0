"""The score hypodense from recording to regions: it adds to a trace and changes nothing in it, and every
slider answers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detection.conftest import FAST
from small_study import small_study

from KLIPCore.config import Config, RegionConfig
from KLIPCore.detection.detect import detect
from KLIPCore.errors import ConfigError
from KLIPCore.io.images import write_image
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection, redo_regions
from KLIPCore.scores import SCORES
from KLIPCore.volume.selection import Part

WITHOUT = FAST.updated({"record": {"layers": ["cold", "path", "darker"]}, "regions": {"score": "darker"}})
WITH = FAST.updated({"record": {"layers": ["cold", "path", "darker", "hypodense"]}, "regions": {"score": "hypodense"}})


@pytest.fixture(scope="module")
def nifti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "ct.nii.gz"
    write_image(small_study(3), path)
    return path


@pytest.fixture(scope="module")
def found(nifti: Path, tmp_path_factory: pytest.TempPathFactory) -> Detection:
    """A finished run with the layer."""
    return detect(nifti, tmp_path_factory.mktemp("with") / "out", WITH)


def test_other_layers_are_the_same_bit_for_bit_and_large_nodes_cost_what_they_cost(
    found: Detection, nifti: Path, tmp_path: Path
) -> None:
    plain = LiveMap.open(detect(nifti, tmp_path / "out", WITHOUT, part=Part(slices="1:2")).folder.path).trace.slices[0]
    full = LiveMap.open(found.folder.path).trace.slices[1]
    for name in ("cold", "path", "darker"):
        np.testing.assert_array_equal(full.layers[name].energy, plain.layers[name].energy)
        np.testing.assert_array_equal(full.layers[name].mean, plain.layers[name].mean)
    layer = full.layers["hypodense"]
    assert layer.mean.shape == (4, 1, 64, 64)
    assert layer.edges[[0, 2, 4]] == pytest.approx([0.08, 0.32, 1.6])
    assert full.info["network_evaluations"] == plain.info["network_evaluations"] + 2 * WITH.record.n_large


def test_the_lesion_stands_out_and_fat_is_silent(found: Detection) -> None:
    kl_map = found.kl_map
    assert kl_map.score.name == "hypodense"
    strongest = max(found.report.regions, key=lambda region: region.peak_nats)
    assert np.abs(np.array(strongest.centroid_lps_mm)[:2] - (-70.0, -5.0)).max() < 12
    silent = kl_map.tested & (kl_map.nats == 0)
    assert silent.any()  # the subcutaneous fat
    assert (kl_map.p[silent] == 1).any()
    assert kl_map.p[silent].min() > 0.9


def test_sliders_and_files_agree_and_windows_cut_the_parts(found: Detection) -> None:
    live = LiveMap.open(found.folder.path)
    maker = MapMaker(live.trace, live.framing)
    whole = maker.make(WITH.regions)
    small = maker.make(replace(WITH.regions, window=(0.08, 0.32)))
    large = maker.make(replace(WITH.regions, window=(0.4, 1.6)))
    np.testing.assert_array_equal(
        maker.make(WITH.regions).nats, whole.nats
    )  # what is kept between settings is kept apart
    assert not np.array_equal(small.nats, large.nats)
    assert (small.cells <= whole.cells + 1e-5).all()
    tested = whole.tested
    assert (
        whole.p[tested] >= np.minimum(small.p, maker.make(replace(WITH.regions, window=(0.32, 1.6))).p)[tested] - 1e-12
    ).all()
    settings = replace(live.settings, block_mm=15.0, window=(0.08, 0.7), fdr=0.9)
    shown, written = live.update(settings), redo_regions(found.folder.path, settings)
    assert [r.to_dict() for r in shown.regions] == [r.to_dict() for r in written.report.regions]
    other = redo_regions(found.folder.path, replace(live.settings, score="darker"))
    assert other.kl_map.score.name == "darker"


def test_a_trace_without_large_nodes_answers_with_what_it_has(nifti: Path, tmp_path: Path) -> None:
    config = WITH.updated({"record": {"n_large": 0}, "sampling": {"n_steps": 2, "n_samples": 1}})
    made = detect(nifti, tmp_path / "out", config, part=Part(slices="1:2"))
    only = made.kl_map
    assert LiveMap.open(made.folder.path).trace.slices[0].layers["hypodense"].mean.shape[0] == 2
    narrow = MapMaker(LiveMap.open(made.folder.path).trace, made.study).make(
        replace(config.regions, window=(0.08, 0.32))
    )
    np.testing.assert_array_equal(only.nats, narrow.nats)


def test_fingerprints_know_the_layers_settings_only_where_it_is_recorded() -> None:
    for base, differs in ((WITHOUT, False), (WITH, True)):
        for change in ({"n_large": 1}, {"sigma_large": 2.0}, {"soft_hu": [-80, 0]}):
            assert (base.updated({"record": change}).fingerprint() != base.fingerprint()) == differs
    with pytest.raises(ConfigError, match="Soft tissue"):
        Config().updated({"record": {"soft_hu": [0, -60]}})
    with pytest.raises(ConfigError, match="large"):
        Config().updated({"record": {"sigma_large": 0.2}})


def test_a_score_says_which_windows_it_judges_apart() -> None:
    score = SCORES["hypodense"]
    assert score.windows == ((0.08, 0.32), (0.32, 1.6))
    assert RegionConfig(score="hypodense", window=(0.1, 0.2)).chosen.windows == ((0.1, 0.2),)
    assert RegionConfig(score="hypodense", window=(3.0, 4.0)).chosen.windows == (
        (3.0, 4.0),
    )  # the trace says that it is outside
    assert SCORES["darker"].windows == (SCORES["darker"].window,)
