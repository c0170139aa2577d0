"""The score hyperdense: what the layer holds, that it costs nothing beside hypodense, and that it finds a
rod of metal.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detection.conftest import FAST
from small_study import LESION_LPS_MM, small_study

from KLIPCore.config import Config, RegionConfig
from KLIPCore.detection.detect import detect
from KLIPCore.errors import ConfigError
from KLIPCore.io.images import write_image
from KLIPCore.kl.signed import PIXELS, SignedSum
from KLIPCore.lab.phantoms.lesions import implant
from KLIPCore.lab.phantoms.metal import MetalRod
from KLIPCore.runs.live import LiveMap
from KLIPCore.runs.rerun import Detection
from KLIPCore.scores import SCORES
from KLIPCore.volume.selection import Part

ROD = MetalRod((70.0, 30.0, 10.0), (95.0, 30.0, 10.0), radius_mm=3.0)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Detection:
    """A finished run on a study with a dark ball in the liver and a rod of metal on the other side."""
    folder = tmp_path_factory.mktemp("rod")
    write_image(implant(small_study(3), [ROD])[0], folder / "ct.nii.gz")
    return detect(folder / "ct.nii.gz", folder / "out", FAST.updated({"regions": {"score": "hyperdense"}}))


def test_pixels_are_added_up_as_they_are() -> None:
    push = torch.randn(1, 32, 32)
    total = SignedSum("hyperdense", 1, np.array([0.3, 1.6]), 32, 4, PIXELS)
    total.add(0.5, push)
    expected = push[0].clamp_min(0).square().reshape(8, 4, 8, 4).sum((1, 3))
    np.testing.assert_allclose(total.layer().mean[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_metal_is_found_where_it_is_and_the_dark_ball_is_not(found: Detection) -> None:
    live = LiveMap.open(found.folder.path)

    def strongest_at(score: str) -> np.ndarray:
        nats = live.update(replace(live.settings, score=score, window=None)).kl_map
        return nats.grid.to_world(np.array(np.unravel_index(int(np.argmax(nats.array)), nats.array.shape)))[:2]

    np.testing.assert_allclose(strongest_at("hyperdense"), ROD.centre_lps_mm[:2], atol=16)
    np.testing.assert_allclose(strongest_at("hypodense"), LESION_LPS_MM[:2], atol=16)


def test_it_costs_no_evaluation_beside_hypodense_and_changes_no_bit_of_it(found: Detection, tmp_path: Path) -> None:
    both = LiveMap.open(found.folder.path).trace.slices[0]
    study = found.folder.path.parent / "ct.nii.gz"
    layers = ["cold", "path", "darker", "brighter", "hypodense"]
    alone = LiveMap.open(
        detect(
            study,
            tmp_path / "out",
            FAST.updated({"record": {"layers": layers}, "regions": {"score": "hypodense"}}),
            part=Part(slices="0:1"),
        ).folder.path
    ).trace.slices[0]
    assert both.info["network_evaluations"] == alone.info["network_evaluations"]
    np.testing.assert_array_equal(both.layers["hypodense"].mean, alone.layers["hypodense"].mean)


def test_it_can_be_recorded_alone_and_says_so_when_its_noise_levels_are_not(found: Detection, tmp_path: Path) -> None:
    study = found.folder.path.parent / "ct.nii.gz"
    config = FAST.updated({"record": {"layers": ["hyperdense"]}, "regions": {"score": "hyperdense"}})
    alone = LiveMap.open(detect(study, tmp_path / "out", config, part=Part(slices="0:1")).folder.path).trace.slices[0]
    assert set(alone.layers) == {"hyperdense"}
    np.testing.assert_array_equal(
        alone.layers["hyperdense"].mean, LiveMap.open(found.folder.path).trace.slices[0].layers["hyperdense"].mean
    )
    with pytest.raises(ConfigError, match="outside what would be recorded"):
        Config().updated({"record": {"n_large": 0}, "regions": {"score": "hyperdense"}})


def test_fingerprints_know_the_large_nodes_but_not_the_soft_tissue() -> None:
    base = Config().updated({"record": {"layers": ["hyperdense"]}, "regions": {"score": "hyperdense"}})
    assert base.updated({"record": {"sigma_large": 2.0}}).fingerprint() != base.fingerprint()
    assert base.updated({"record": {"soft_hu": [-80, 0]}}).fingerprint() == base.fingerprint()
    assert RegionConfig(score="hyperdense").chosen == SCORES["hyperdense"]
