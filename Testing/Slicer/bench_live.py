"""How long a slider takes on 100 slices of 512 × 512: `python Testing/Slicer/bench_live.py [SLICES]`.

Three parts: the arithmetic (`LiveMap.update`), the scene (`SceneResults.show` without it: map, range,
segments, table), and the redrawing of three slice views by Slicer's own displayable managers, in software,
without a graphics card.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [
    str(p)
    for p in (HERE, HERE.parent / "Python", HERE.parents[1] / "KLIPSlicer", HERE.parents[1])
    if str(p) not in sys.path
]

import numpy as np  # noqa: E402
from headless import SliceView, clear  # noqa: E402
from inputs import node_of  # noqa: E402
from KLIPSlicerLib.scene_results import SceneResults  # noqa: E402
from KLIPSlicerLib.trace_text import textOf  # noqa: E402
from made_run import make_run  # noqa: E402
from small_study import small_study  # noqa: E402

from KLIPCore.config import RegionConfig  # noqa: E402
from KLIPCore.volume.grid import Grid  # noqa: E402
from KLIPCore.volume.volume import Volume  # noqa: E402

BLOCKS_MM = (16.0, 10.0, 22.0, 13.0, 18.0)


@dataclass(frozen=True)
class Times:
    """Medians in seconds, by the clock and (``cpu``) of the processor, which other programs do not lengthen.

    Attributes
    ----------
    arithmetic : new map, clusters and regions.
    scene : everything else that a slider's move does.
    drawing : three slice views.
    """

    arithmetic: float
    scene: float
    drawing: float
    arithmetic_cpu: float
    scene_cpu: float
    drawing_cpu: float

    def text(self) -> str:
        """Return one line."""
        parts = (self.arithmetic, self.scene, self.drawing)
        own = ", ".join(f"{seconds:.3f}" for seconds in (self.arithmetic_cpu, self.scene_cpu, self.drawing_cpu))
        clock = ", ".join(f"{seconds:.3f}" for seconds in parts)
        return f"{sum(parts):.3f} s (arithmetic, scene, three views drawn: {clock}; of the processor {own})"


def large_study(n_slices: int = 100, size: int = 512) -> Volume:
    """The small abdomen in thin slices and small pixels."""
    small = small_study(n_slices, lesion=False)
    _, j, i = small.grid.shape
    rows, columns = np.arange(size) * j // size, np.arange(size) * i // size
    affine = small.grid.affine.copy()
    affine[:3, 0] *= 0.5
    affine[:3, 1] *= j / size
    affine[:3, 2] *= i / size
    array = small.array[:, rows][:, :, columns]
    return Volume(np.ascontiguousarray(array), Grid(array.shape, affine))


def measure(results: SceneResults, views: list[SliceView]) -> Times:
    """Move the block-size slider a few times."""
    last = np.zeros(2)
    update = results.live.update

    def timed(settings: Any, over: Any = None) -> Any:
        started = now()
        view = update(settings, over)
        last[:] = now() - started
        return view

    object.__setattr__(results.live, "update", timed)  # frozen: only this object's method is timed
    parts = []
    for block in BLOCKS_MM:
        started = now()
        results.show(replace(results.settings, block_mm=block))
        shown = now()
        for view in views:
            view.pixels()
        parts.append((last.copy(), shown - started - last, now() - shown))
    object.__delattr__(results.live, "update")
    clock, cpu = np.median(np.array(parts[1:]), axis=0).T
    return Times(*(float(v) for v in (*clock, *cpu)))


def now() -> np.ndarray:
    """Clock and processor time in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Print the times."""
    n_slices = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    clear()
    with tempfile.TemporaryDirectory() as folder:
        middle = n_slices / 2
        run = make_run(Path(folder) / "run", large_study(n_slices), balls=((middle, 242, 166), (middle - 2, 249, 365)))
        views = [SliceView(name) for name in ("Red", "Yellow", "Green")]
        started = time.perf_counter()
        results = SceneResults.create(node_of(run.study), run.folder)
        created = time.perf_counter() - started
        for view in views:
            view.fit()
        results.jumpTo(0)
        times = {}
        for score in (RegionConfig().score, "hypodense"):
            results.show(replace(RegionConfig(), score=score))
            times[score] = measure(results, views)
        started = time.perf_counter()
        results.finish()
        stored = time.perf_counter() - started
    voxels = int(results.mapNode.GetImageData().GetNumberOfPoints())
    print(f"{n_slices} slices, {voxels / 1e6:.0f} million voxels, {len(results.regions)} regions")
    print(
        f"made from the run folder in {created:.2f} s; trace stored with the scene in {stored:.2f} s, "
        f"{len(textOf(results.traceNode)) / 1e6:.1f} MB"
    )
    for score, own in times.items():
        print(f"a slider's move, score {score}: {own.text()}")


if __name__ == "__main__":
    main()
