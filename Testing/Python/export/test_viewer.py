"""What the report's viewer is given: the study's own values at the study's own places, and nothing from elsewhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from maps.grids import make_grid

from KLIPCore.export.html import ReportInputs, ReportPictures, render_html
from KLIPCore.export.report import DISCLAIMER, Report
from KLIPCore.export.scene import Scene
from KLIPCore.export.viewer_data import FOLDER, LIMIT, Viewer, quantised, viewer_code, viewer_of
from KLIPCore.io.images import write_image
from KLIPCore.maps.regions import find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

SHAPE = (7, 44, 36)
OBLIQUE = make_grid(
    SHAPE, np.array([0.1, 0.2, 0.05]), np.array([5.0, 1.5, 1.5]), np.array([10.0, -20.0, 30.0]), (2, 1, 0), True
)
"""Tilted, and stored from the head down."""

EVIL = '</script><img src=x onerror="alert(1)">&'


def study(grid: Grid = OBLIQUE) -> tuple[Volume, Volume, Scene]:
    """CT and map of random values, a body within air, two regions; and the scene of them."""
    generator = np.random.default_rng(0)
    body = np.zeros(grid.shape, bool)
    body[:, 12:-12, 12:-10] = True
    ct = Volume(np.where(body, generator.normal(50, 300, grid.shape), -1000).astype(np.float32), grid)
    nats = np.where(body, generator.gamma(2.0, 1.0, grid.shape), 0).astype(np.float32)
    nats[1:3, 14:20, 13:17] = 30.0
    nats[4, 25:29, 20:23] = 20.0
    kl = Volume(nats, grid, unit="nats")
    regions = find_regions(kl, nats > 15, np.where(nats > 15, 0.001, 1.0), nats)
    return ct, kl, Scene.of(ct, kl, regions, reconstruction=ct, body=body)


def unpacked(viewer: Viewer, name: str, folder: Path) -> sitk.Image:
    """One of the volumes, read by somebody else's reader."""
    path = folder / f"{name}.nii"
    path.write_bytes(gzip.decompress(base64.b64decode(viewer.volumes[name])))
    return sitk.ReadImage(str(path))


def page(viewer: Viewer | None, report: Report | None = None) -> str:
    return render_html(ReportInputs(report or Report(()), ReportPictures(), 1.0, 2.0, viewer=viewer))


def test_embedded_values_lie_where_the_study_has_them(tmp_path: Path) -> None:
    ct, kl, scene = study()
    viewer = viewer_of(scene)
    assert viewer is not None
    assert viewer.factor == 1
    write_image(kl, tmp_path / "kl_map.nrrd")
    original = sitk.ReadImage(str(tmp_path / "kl_map.nrrd"))
    embedded = unpacked(viewer, "map", tmp_path)
    step = 30.0 / 255
    compared = 0
    for index in np.ndindex(embedded.GetSize()):
        there = embedded.TransformIndexToPhysicalPoint(index)
        exact = original.TransformPhysicalPointToContinuousIndex(there)
        nearest = np.rint(exact)
        np.testing.assert_allclose(exact, nearest, atol=1e-3)
        value = original.GetPixel([int(n) for n in nearest])
        assert embedded.GetPixel(index) == pytest.approx(value, abs=0.51 * step)
        compared += value > 0
    assert compared == np.count_nonzero(kl.array)
    assert np.abs(scene.grid.to_world((0, 0, 0)) - ct.grid.to_world((0, 0, 0))).max() > 20, "the order did change"


def test_ct_reconstruction_and_labels_are_kept(tmp_path: Path) -> None:
    _, _, scene = study()
    viewer = viewer_of(scene)
    assert viewer is not None
    box = (slice(None), *scene.crop)
    shown = {name: sitk.GetArrayFromImage(unpacked(viewer, name, tmp_path)) for name in viewer.volumes}
    assert list(shown) == ["ct", "map", "reconstruction", "labels"]
    np.testing.assert_allclose(shown["ct"], scene.ct[box].clip(-1024, 3071), atol=1.01)
    window = scene.ct[box].clip(scene.window.lo_hu, scene.window.hi_hu)
    np.testing.assert_allclose(shown["reconstruction"], window, atol=0.51 * 400 / 255)
    np.testing.assert_array_equal(shown["labels"], scene.labels[box])
    assert set(np.unique(shown["labels"])) == {0, 1, 2}


def test_a_click_goes_to_a_voxel_of_its_region(tmp_path: Path) -> None:
    _, _, scene = study()
    viewer = viewer_of(scene)
    assert viewer is not None
    settings = json.loads(viewer.settings)
    labels = unpacked(viewer, "labels", tmp_path)
    for region in settings["regions"]:
        assert labels.GetPixel(labels.TransformPhysicalPointToIndex(region["place"])) == region["label"]
        k, j, i = np.rint(np.array(settings["inverse"]) @ [*region["place"], 1]).astype(int)
        assert sitk.GetArrayViewFromImage(labels)[k, j, i] == region["label"]
        assert k == scene.regions[region["label"] - 1].peak_slice


def test_large_studies_give_up_pixels_and_keep_their_place(tmp_path: Path) -> None:
    _, _, scene = study()
    whole = viewer_of(scene)
    assert whole is not None
    coarse = viewer_of(scene, limit=whole.size - 1)
    assert coarse is not None
    assert coarse.factor == 2
    fine, rough = (unpacked(viewer, "ct", tmp_path) for viewer in (whole, coarse))
    assert rough.GetSize()[2] == fine.GetSize()[2] == SHAPE[0]
    np.testing.assert_allclose(rough.GetSpacing(), (3.0, 3.0, 5.0), atol=1e-4)
    means = sitk.GetArrayFromImage(fine)[:, :2, :2].mean((1, 2))
    np.testing.assert_allclose(sitk.GetArrayFromImage(rough)[:, 0, 0], means, atol=3.1)
    corners = [fine.TransformIndexToPhysicalPoint((i, j, 0)) for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(rough.TransformIndexToPhysicalPoint((0, 0, 0)), np.mean(corners, 0), atol=1e-3)
    labels = sitk.GetArrayFromImage(unpacked(coarse, "labels", tmp_path))
    assert set(np.unique(labels)) == {0, 1, 2}
    assert "2 × 2 pixels" in page(coarse)
    assert viewer_of(scene, limit=100) is None
    assert 'id="viewer"' not in page(None)


def test_few_shown_steps_are_avoided() -> None:
    array = np.linspace(-1, 1000, 1001)
    for shown, kind in ((1001.0, np.uint8), (5.0, np.uint16)):
        numbers, slope, intercept = quantised(array, shown)
        assert numbers.dtype == kind
        np.testing.assert_allclose(numbers * slope + intercept, array, atol=0.501 * slope)
    assert quantised(np.zeros(3), 1.0)[0].tolist() == [0, 0, 0]


def test_the_same_study_gives_the_same_page() -> None:
    assert page(viewer_of(study()[2])) == page(viewer_of(study()[2]))


def test_the_page_runs_its_two_scripts_and_fetches_nothing() -> None:
    text = page(viewer_of(study()[2]))
    policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    first, second = re.findall(r"'(sha256-[^']+)'", policy[0])
    assert policy[0].startswith("default-src 'none'; img-src data:;")
    assert "unsafe-inline" not in policy[0].split("script-src")[1]
    packed = re.search(r'<script type="text/plain" id="v-library">([^<]*)</script>', text)
    own = re.search(r"<script>(.*?)</script>", text, re.S)
    assert packed
    assert own
    for code, said in ((gzip.decompress(base64.b64decode(packed[1])), first), (own[1].encode(), second)):
        assert base64.b64encode(hashlib.sha256(code).digest()).decode() == said.removeprefix("sha256-")
    assert len(re.findall(r"<script>", text)) == 1
    plain = re.sub(r'(<script type="text/plain"[^>]*>)[^<]*', r"\1", text).replace("http-equiv", "")
    assert "http" not in plain
    assert not re.search(r"url\(|@import|<link|<iframe|\bsrc=\"(?!data:)", plain)
    assert DISCLAIMER in text.split('<section id="viewer"')[1].split("</section>")[0]
    assert "Copyright (c) 2021, Niivue" in text


@pytest.mark.parametrize("unit", ["nats", "surprise"])
def test_the_viewer_says_the_unit_of_the_map(unit: str) -> None:
    viewer = viewer_of(study()[2])
    text = page(viewer, Report((), units=(unit, unit)))
    assert f'<span id="v-unit">{unit}</span>' in text
    assert f"<span>1.00 {unit}</span>" in text


def test_a_name_cannot_leave_its_place() -> None:
    _, _, scene = study()
    named = replace(scene, regions=tuple(replace(region, name=EVIL) for region in scene.regions))
    viewer = viewer_of(named)
    assert viewer is not None
    text = page(viewer, Report(named.regions))
    assert "<img src=x" not in text
    assert json.loads(viewer.settings)["regions"][0]["name"] == EVIL
    assert "<" not in viewer.settings


def test_niivue_is_the_published_file() -> None:
    noted = re.search(r"sha256 ([0-9a-f]{64})", viewer_code().licences)
    assert noted
    assert hashlib.sha256((FOLDER / "niivue.umd.js").read_bytes()).hexdigest() == noted[1]
    assert len(viewer_code().library) + LIMIT < 24_000_000, "a page of 25 MB has room for pictures, too"
