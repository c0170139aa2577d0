"""Which blocks outline which balls? Balls of several sizes in healthy livers, looked for with blocks of several sizes.

    python -m KLIPCore.lab.evaluation.ball_sizes configs/eval_ball_sizes.yaml --data FOLDER -o OUT

Each donor is examined once, whole, for each contrast, with one ball of every radius in the organ: the largest where
the organ is deepest, each further one where it is deepest away from those before. Then the map is read with blocks of
one size after another, as the panel's slider does. Of each ball is said how many regions as strong as the strongest
one that lies on it a healthy study of that size shows (simulated; up to the acceptable number it is outlined).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.errors import ConfigError
from KLIPCore.export.report import json_ready
from KLIPCore.lab.evaluation.signs import asked, examined, on_blocks, read_donor
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.lab.phantoms.lesions import implant
from KLIPCore.lab.phantoms.tumour import Tumour
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import reference_of, window_of
from KLIPCore.volume.grid import Grid

APART_MM = 20.0
"""Least distance between the outlines of two balls."""

Places = list[tuple[float, float, float]]


def deepest_places(mask: NDArray[np.bool_], grid: Grid, radii_mm: Sequence[float]) -> Places:
    """Return a place (x, y, z) in mm for a ball of each radius, each the deepest that is left.

    Parameters
    ----------
    mask : bool, (slices, rows, columns)
        The organ.
    grid : Grid
        Of the mask.
    radii_mm : falling radii.

    Raises
    ------
    ConfigError : the organ has no room for one of them.
    """
    room = ndi.distance_transform_edt(mask, sampling=grid.spacing)
    index = np.moveaxis(np.indices(mask.shape), 0, -1) * np.asarray(grid.spacing)
    out: Places = []
    for radius in radii_mm:
        at = np.unravel_index(int(room.argmax()), room.shape)
        if room[at] < radius:
            raise ConfigError(
                f"The organ has no room for a ball of {radius:g} mm radius.", "Choose smaller balls in radii_mm."
            )
        x, y, z = (float(value) for value in grid.to_world(np.asarray(at, float)))
        out.append((x, y, z))
        distance = np.linalg.norm(index - index[at], axis=-1)
        room = np.minimum(room, np.maximum(distance - radius - APART_MM, 0.0))
    return out


def expected_by_size(
    folder: RunFolder, labels: NDArray[np.uint8], blocks_mm: Sequence[float]
) -> list[list[float | None]]:
    """Return, for each ball and block size, how many regions as strong as its strongest one health shows.

    Parameters
    ----------
    folder : of the finished run.
    labels : uint8, (slices, rows, columns), the balls' numbers from 1.
    blocks_mm : edges of blocks.

    Returns
    -------
    One list a ball; None where no region lies on it.

    Raises
    ------
    TraceError : the run is not there, or recorded no pushes.
    """
    run = folder.run()
    trace = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes"))
    maker = MapMaker(trace, folder.read_framing(), None, reference_of(run), window_of(run))
    settings = Config.from_dict(run["config"]).regions
    numbers = range(1, int(labels.max()) + 1)
    out: list[list[float | None]] = [[] for _ in numbers]
    for block_mm in blocks_mm:
        made = maker.make(replace(settings, block_mm=block_mm))
        assert made.clusters.expected is not None  # the donors' runs are judged by the reference
        for own, number in zip(out, numbers, strict=True):
            inside = on_blocks(labels == number, folder, made.nats.shape[-1]) > 0.5
            touching = np.setdiff1d(made.clusters.labels[inside], [0])
            own.append(float(made.clusters.expected[touching - 1].min()) if len(touching) else None)
    return out


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table: one row a ball, one column a block size."""
    sizes = list(rows[0]["expected"])
    titles = ["donor", "contrast (HU)", "ball, diameter (mm)", *(f"blocks of {size} mm" for size in sizes)]
    cells = [
        [
            row["donor"],
            f"{row['contrast_hu']:+g}",
            f"{2 * row['radius_mm']:g}",
            *("–" if value is None else f"{value:.2g}" for value in row["expected"].values()),
        ]
        for row in rows
    ]
    return "\n".join(lines_of(titles, cells)).strip()


def main() -> None:
    """Run all donors and contrasts, and write ``ball_sizes.json`` and ``ball_sizes.md``."""
    config, data, out = asked(__doc__)
    settings, radii = Config.from_preset(config["preset"]), sorted(config["radii_mm"], reverse=True)
    settings = replace(settings, prior=config.get("prior", settings.prior))
    rows: list[dict[str, Any]] = []
    for entry in config["donors"]:
        volume, organs = read_donor(entry, data)
        (mask,) = organs.values()
        places = deepest_places(mask, volume.grid, radii)
        for contrast in config["contrasts_hu"]:
            balls = [
                Tumour(place, (r, r, r), float(contrast), edge_mm=config["edge_mm"])
                for place, r in zip(places, radii, strict=True)
            ]
            changed, labels = implant(volume, balls)
            words = f"{entry['name']} with simulated balls of {contrast:+g} HU"
            folder = examined(changed, f"{entry['name']}_{contrast:+g}", words, out, settings)
            found = expected_by_size(folder, labels, config["blocks_mm"])
            for radius, own in zip(radii, found, strict=True):
                expected = {f"{size:g}": value for size, value in zip(config["blocks_mm"], own, strict=True)}
                rows.append(
                    {"donor": entry["name"], "contrast_hu": contrast, "radius_mm": radius, "expected": expected}
                )
            (out / "ball_sizes.json").write_text(json.dumps(json_ready(rows), indent=2) + "\n", encoding="utf-8")
            (out / "ball_sizes.md").write_text(f"{markdown(rows)}\n", encoding="utf-8")
            print(markdown(rows[-len(radii) :]), flush=True)


if __name__ == "__main__":
    main()
