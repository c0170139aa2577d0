"""Draws the pictures of the Slicer module from the demo's synthetic study: `python docs/make_slicer_images.py [RUN]`.

What is drawn are Slicer's own views, off screen (slicer-core; Testing/Slicer/headless.py): axial, sagittal and
coronal with KL map, legend and outlines, before and after the block-size slider was moved, and the regions in 3-D.

    docs/images/slicer_views.png               the axial view before and after, side by side
    FOLDER/slicer_views_before.png, …_after.png   four views, blocks of 12 and of 20 mm, with --four FOLDER

The study is synthetic (klip demo), and the pictures say so.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / part) for part in (".", "Testing/Slicer", "Testing/Python", "KLIPSlicer")]

import numpy as np  # noqa: E402
import pydicom  # noqa: E402
import slicer  # noqa: E402
from headless import SliceView, ThreeDView, clear, load_dicom, save_png  # noqa: E402
from KLIPSlicerLib.nodes import gridOfNode  # noqa: E402
from KLIPSlicerLib.scene_results import SceneResults  # noqa: E402
from PIL import Image, ImageDraw, ImageFont  # noqa: E402

IMAGES = REPOSITORY / "docs" / "images"
WIDTH, HEIGHT, LOW, BAR, GAP = 620, 440, 260, 26, 4
"""Pixels: of views, height of the lower row (the study is a slab), of bars and between views."""
BACKGROUND = (24, 24, 27)
BLOCKS_MM = (12.0, 20.0)
STRIPES = {"Red": (243, 74, 51), "Yellow": (237, 213, 76), "Green": (110, 176, 75), "3D": (136, 137, 199)}
"""Of the bars over Slicer's views."""
LETTERS = {"Red": ("R", "axial"), "Yellow": ("Y", "sagittal"), "Green": ("G", "coronal"), "3D": ("1", "3-D")}


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Draw the Slicer module's pictures.")
    parser.add_argument("run", nargs="?", type=Path, default=REPOSITORY / "demo", help="folder of klip demo")
    parser.add_argument("--to", type=Path, default=IMAGES, help="where the pictures go")
    parser.add_argument("--four", type=Path, help="write four views, before and after, there")
    arguments = parser.parse_args()
    clear()
    views = {
        name: SliceView(name, WIDTH, height) for name, height in (("Red", HEIGHT), ("Yellow", LOW), ("Green", LOW))
    }
    results = SceneResults.create(load_dicom(series(arguments.run / "synthetic" / "ct")), arguments.run)
    results.setShow3D(True)
    space = ThreeDView(WIDTH, HEIGHT)
    axial = []
    place = np.array(results.regions[0].peak_lps_mm) if results.regions else np.zeros(3)
    for name, block in zip(("before", "after"), BLOCKS_MM, strict=True):
        results.show(replace(results.settings, block_mm=block))
        frame(views, space, results, place * (-1, -1, 1))
        pictures = {view: headed(view, drawn.pixels()) for view, drawn in [*views.items(), ("3D", space)]}
        axial.append(captioned(pictures["Red"], f"Synthetic. Blocks of {block:.0f} mm: {summary(results)}."))
        whole = np.concatenate(
            [
                side_by_side(pictures["Red"], pictures["3D"]),
                stripe(2 * WIDTH + GAP),
                side_by_side(pictures["Green"], pictures["Yellow"]),
            ]
        )
        if arguments.four:
            caption = f"Synthetic study (klip demo). Blocks of {block:.0f} mm: {summary(results)}."
            save_png(captioned(whole, caption), arguments.four / f"slicer_views_{name}.png")
    save_png(side_by_side(*axial), arguments.to / "slicer_views.png")


def series(folder: Path) -> list[str]:
    """The files of a series, from the feet."""
    return sorted(
        map(str, folder.iterdir()),
        key=lambda f: float(pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient[2]),
    )


def summary(results: SceneResults) -> str:
    """What stands out."""
    n, unit = len(results.regions), results.settings.chosen.unit
    if n == 0:
        return "no region stands out"
    peak = max(region.peak_nats for region in results.regions)
    return f"{n} region{'s' if n > 1 else ''}, peak {peak:.1f} ({unit})"


def frame(views: dict[str, SliceView], space: ThreeDView, results: SceneResults, place: np.ndarray) -> None:
    """All views on a place (RAS mm), the body filling them; the axial slice in 3-D, too."""
    body = slicer.util.arrayFromVolume(results.mapNode) > 0
    grid = gridOfNode(results.inputNode)
    middle = grid.to_world(np.argwhere(body).mean(0)) * (-1, -1, 1)
    for name, view in views.items():
        view.fit()
        across, width = (grid.spacing[1], body.shape[1]) if name == "Yellow" else (grid.spacing[2], body.shape[2])
        field = across * width * (0.98 if name == "Red" else 0.78)
        view.node.SetFieldOfView(field, field * view.height / view.width, view.node.GetFieldOfView()[2])
        view.node.JumpSliceByCentering(*middle)
        view.offset_to(place)
    views["Red"].node.SetSliceVisible(True)
    space.node.SetBoxVisible(False)
    space.node.SetAxisLabelsVisible(False)
    camera = space.renderer.GetActiveCamera()
    target = 0.8 * middle + 0.2 * place
    camera.SetFocalPoint(*target)
    camera.SetPosition(*(target + np.array([-150.0, 430.0, 400.0])))
    camera.SetViewUp(0, 0, 1)
    camera.SetViewAngle(32)
    space.renderer.ResetCameraClippingRange()


def headed(name: str, pixels: np.ndarray) -> np.ndarray:
    """A view under its bar."""
    letter, title = LETTERS[name]
    bar = Image.new("RGB", (pixels.shape[1], BAR), STRIPES[name])
    draw = ImageDraw.Draw(bar)
    draw.text((8, BAR / 2), letter, fill=(20, 20, 20), font=font(15, bold=True), anchor="lm")
    draw.text((30, BAR / 2), title, fill=(20, 20, 20), font=font(14), anchor="lm")
    return np.concatenate([np.asarray(bar), pixels])


def captioned(pixels: np.ndarray, text: str) -> np.ndarray:
    """A picture over a line of text."""
    line = Image.new("RGB", (pixels.shape[1], 34), BACKGROUND)
    ImageDraw.Draw(line).text((10, 17), text, fill=(222, 226, 233), font=font(15), anchor="lm")
    return np.concatenate([pixels, np.asarray(line)])


def side_by_side(*pictures: np.ndarray) -> np.ndarray:
    """Pictures of one height in a row."""
    gap = np.full((pictures[0].shape[0], GAP, 3), BACKGROUND, np.uint8)
    out = [pictures[0]]
    for picture in pictures[1:]:
        out += [gap, picture]
    return np.concatenate(out, axis=1)


def stripe(width: int) -> np.ndarray:
    """The space between rows."""
    return np.full((GAP, width, 3), BACKGROUND, np.uint8)


def font(size: int, bold: bool = False) -> Any:
    """A font that comes with matplotlib."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


if __name__ == "__main__":
    main()
