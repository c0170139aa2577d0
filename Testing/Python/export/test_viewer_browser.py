"""The report's viewer in a real Chromium: opened from disk, clicked, typed at, and measured in its pixels.

Needs playwright and an installed Chromium (Debian: ``apt-get install chromium``); WebGL is drawn by the processor.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from KLIPCore.export.html import ReportInputs, report_pictures, write_html
from KLIPCore.export.report import Report
from KLIPCore.export.scene import Scene
from KLIPCore.export.viewer_data import viewer_of
from KLIPCore.maps.regions import find_regions
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
SHAPE = (9, 80, 60)
GRID = Grid.from_itk(SHAPE, (2.0, 1.5, 4.0), (-60, -60, 0), np.eye(3))  # 120 mm × 120 mm × 36 mm
STRONG = np.s_[5:8, 20:32, 6:18]  # right, in front, near the head
WEAK = np.s_[1:3, 50:62, 40:52]  # left, behind, near the feet
EVIL = '<img src=x onerror="document.title=1">'


def scene() -> Scene:
    """A grey CT of 75 HU, a reconstruction of 175 HU, two regions of 40 and 20 nats."""
    nats = np.zeros(SHAPE, np.float32)
    nats[STRONG] = 40
    nats[WEAK] = 20
    kl = Volume(nats, GRID, unit="nats")
    regions = find_regions(kl, nats > 0, np.where(nats > 0, 0.001, 1.0), nats)
    regions = [replace(region, name=f"OOD {region.label}{EVIL}") for region in regions]
    ct, made = (Volume(np.full(SHAPE, hu, np.float32), GRID) for hu in (75, 175))
    return Scene.of(ct, kl, regions, reconstruction=made, scale=(1.0, 40.0))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shown = scene()
    pictures = report_pictures(shown, np.arange(float(SHAPE[0])), maximum_slices=1)
    inputs = ReportInputs(Report(shown.regions), pictures, shown.low, shown.high, viewer=viewer_of(shown))
    return write_html(inputs, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        found = run.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


class Shown:
    """An open page and what it says."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page, self.requests, self.errors = page, [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri())
        page.wait_for_selector("#viewer[data-ready=true]", timeout=120_000)

    @property
    def place(self) -> str:
        return str(self.page.inner_text("#v-place"))

    @property
    def slice(self) -> int:
        return int(re.match(r"Slice (\d+) ", self.place)[1])  # type: ignore[index]

    def axial(self) -> np.ndarray:
        """(H, W, 3) pixels of the axial picture alone, found by its grey; crosshair and letters are in it."""
        self.page.wait_for_timeout(500)  # a frame or two
        png = self.page.locator("#v-canvas").screenshot()
        image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        image = image[4:-4, 4 : round(0.645 * image.shape[1])]  # without the frame that marks the focus
        grey = (image.max(-1) > 25) & (np.ptp(image, axis=-1) < 3)
        rows, columns = (np.flatnonzero(grey.mean(axis) > 0.3) for axis in (1, 0))
        return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.fixture
def shown(browser: Any, path: Path) -> Iterator[Shown]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    yield Shown(page, path)
    page.close()


def coloured(image: np.ndarray) -> np.ndarray:
    """The map's reds and yellows."""
    return (image[..., 0] > 110) & (image[..., 0] > image[..., 2] + 60)


def has_map(image: np.ndarray) -> bool:
    """Whether more is coloured than the yellow letters at the edges."""
    return bool(coloured(image).mean() > 0.003)


def outlined(image: np.ndarray) -> np.ndarray:
    """The first region's cyan or the second's colour, whatever is neither grey, nor the map's, nor the crosshair's."""
    crosshair = np.abs(image - np.array([95, 180, 230])).max(-1) < 45
    return (np.ptp(image, axis=-1) > 60) & ~coloured(image) & ~crosshair


def box_of(mask: np.ndarray) -> list[float]:
    """Top, bottom, left, right as parts of the picture."""
    rows, columns = np.flatnonzero(mask.mean(1) > 0.05), np.flatnonzero(mask.mean(0) > 0.05)
    h, w = mask.shape
    return [rows[0] / h, (rows[-1] + 1) / h, columns[0] / w, (columns[-1] + 1) / w]


def set_slider(shown: Shown, name: str, value: float) -> None:
    shown.page.locator(f"#{name}").fill(str(value))


def test_a_click_on_a_row_shows_its_region_where_it_lies(shown: Shown) -> None:
    assert shown.errors == []
    assert [url[:5] for url in shown.requests if not url.startswith(("data:", "blob:"))] == ["file:"]
    rows = shown.page.locator("tr[data-region]")
    for n, (box, nats) in enumerate(((STRONG, 40), (WEAK, 20))):
        rows.nth(n).locator("td").nth(4).click()
        assert box[0].start <= shown.slice < box[0].stop
        assert f"OOD {n + 1}{EVIL}" in shown.place, "and the name is text"
        assert f"map {nats} nats" in shown.place
        assert " CT 74 HU" in shown.place or " CT 76 HU" in shown.place  # steps of 2 HU
        expected = [box[1].start / 80, box[1].stop / 80, box[2].start / 60, box[2].stop / 60]
        image = shown.axial()
        np.testing.assert_allclose(box_of(coloured(image) | outlined(image)), expected, atol=0.02)
        assert "shown" in rows.nth(n).get_attribute("class")
    assert shown.page.title() != "1"


def test_a_name_goes_to_the_viewer_too(shown: Shown) -> None:
    shown.page.locator("tr[data-region] a").last.press("Enter")
    assert shown.page.evaluate("document.activeElement.id") == "v-canvas"
    assert shown.page.evaluate("location.hash") == ""


def test_keys(shown: Shown) -> None:
    canvas = shown.page.locator("#v-canvas")
    canvas.focus()
    for key, box in (("2", WEAK), ("1", STRONG)):
        canvas.press(key)
        assert box[0].start <= shown.slice < box[0].stop
    before = shown.slice
    canvas.press("ArrowDown")
    assert shown.slice == before - 1
    canvas.press("ArrowUp")
    canvas.press("ArrowUp")
    assert shown.slice == before + 1
    x = [float(re.search(r"LPS (\S+), ", place)[1]) for place in _each(shown, "ArrowLeft", "ArrowRight", "ArrowRight")]  # type: ignore[index]
    np.testing.assert_allclose(np.diff(x), [2, 2], atol=0.11)  # to the patient's left: +x
    canvas.press("9")
    assert shown.slice == before + 1, "there is no region 9"
    canvas.press("1")
    assert has_map(shown.axial())
    canvas.press("r")
    assert not has_map(shown.axial())
    assert not shown.page.is_checked("#v-map")
    canvas.press("r")
    assert has_map(shown.axial())
    grey = np.median(shown.axial(), axis=(0, 1))
    canvas.press("c")
    np.testing.assert_allclose(np.median(shown.axial(), axis=(0, 1)) - grey, 255 / 4, atol=4)  # 100 of 400 HU


def _each(shown: Shown, *keys: str) -> Iterator[str]:
    for key in keys:
        shown.page.locator("#v-canvas").press(key)
        yield shown.place


def test_only_slices_of_a_region_are_coloured_and_the_wheel_walks_through_them(shown: Shown) -> None:
    box = shown.page.locator("#v-canvas").bounding_box()
    shown.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    before = shown.slice
    shown.page.mouse.wheel(0, 100)
    assert shown.slice == before, "the page scrolls until somebody clicks"
    shown.page.locator("#v-canvas").click(position={"x": 0.3 * box["width"], "y": 0.5 * box["height"]})
    shown.page.locator("#v-canvas").press("PageDown")
    shown.page.locator("#v-canvas").press("PageDown")
    seen = {}
    while shown.slice not in seen:
        seen[shown.slice] = has_map(shown.axial())
        shown.page.mouse.wheel(0, -100)
    assert seen == {k: 1 <= k < 3 or 5 <= k < 8 for k in range(9)}


def test_opacity_threshold_and_outlines(shown: Shown) -> None:
    shown.page.locator("#v-canvas").press("1")
    for key in 20 * ("ArrowRight", "Shift+ArrowDown"):  # the crosshair would cover an edge
        shown.page.locator("#v-canvas").press(key)
    full = shown.axial()
    middle = coloured(full)
    set_slider(shown, "v-opacity", 0.5)
    half = shown.axial()
    assert half.shape == full.shape
    assert 20 < np.abs(half - full)[middle].mean() < 90
    set_slider(shown, "v-opacity", 0)
    none = shown.axial()
    assert not has_map(none)
    cyan = (none[..., 2] > 200) & (none[..., 0] < 60)  # the first region's
    top, bottom, left, right = box_of(cyan)
    np.testing.assert_allclose([top, bottom, left, right], [20 / 80, 32 / 80, 6 / 60, 18 / 60], atol=0.02)
    assert not cyan[middle].any(), "a line, no area"
    shown.page.locator("#v-outlines").uncheck()
    now = shown.axial()
    assert not ((now[..., 2] > 200) & (now[..., 0] < 60)).any()
    set_slider(shown, "v-opacity", 1)
    set_slider(shown, "v-threshold", 0.75)  # 30 nats
    assert has_map(shown.axial())
    shown.page.locator("#v-canvas").press("2")
    assert not has_map(shown.axial())
    set_slider(shown, "v-threshold", 0)
    assert has_map(shown.axial())


def test_window(shown: Shown) -> None:
    shown.page.locator("#v-map").uncheck()
    greys = []
    for name in ("As the prior sees it", "Soft tissue", "Liver", "Lung", "Bone"):
        shown.page.locator("#v-window").select_option(label=name)
        greys.append(float(np.median(shown.axial())))
    hu = np.array([(-125, 275), (-160, 240), (-20, 140), (-1350, 150), (-450, 1050)])
    np.testing.assert_allclose(greys, 255 * (76 - hu[:, 0]) / (hu[:, 1] - hu[:, 0]), atol=6)
    set_slider(shown, "v-centre", 275)
    set_slider(shown, "v-width", 400)
    shown.page.wait_for_timeout(300)
    assert shown.page.locator("#v-window").input_value() == ""
    assert shown.page.inner_text("#v-centre-hu") == "275"


@pytest.mark.parametrize("without", ["scripts", "WebGL"])
def test_pictures_remain(browser: Any, path: Path, without: str) -> None:
    context = browser.new_context(java_script_enabled=without != "scripts")
    page = context.new_page()
    if without == "WebGL":
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(path.as_uri())
    page.wait_for_timeout(500)
    assert not page.locator("#viewer").is_visible()
    assert page.locator("figure img").first.is_visible()
    page.locator("tr[data-region] a").first.click()
    assert page.url.split("#")[1].startswith("slice-")
    context.close()


def test_every_control_has_a_name(shown: Shown) -> None:
    controls = shown.page.locator("#viewer input, #viewer select, #viewer canvas")
    names = controls.evaluate_all(
        "all => all.map(e => e.ariaLabel || (e.labels[0] && e.labels[0].textContent.trim()))"
    )
    assert len(names) == len(set(names)) == 9
    assert all(names)
