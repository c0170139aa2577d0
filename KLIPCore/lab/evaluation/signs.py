"""Are brighter and darker things found alike? Balls of both signs at the same places of healthy organs.

    python -m KLIPCore.lab.evaluation.signs configs/eval_signs.yaml --data FOLDER -o OUT

Each donor is examined once for each contrast, with the same seed: blocks centred in a ball against blocks of the same
organ that are at least two radii away from every ball, by the surprise of the sign that is right and by that of either
sign, which is what the default shows. And once without balls: slices with a ball against the same slices without, by
the share of healthy slices that are as unusual.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.ndimage as ndi
import yaml
from numpy.typing import NDArray

from KLIPCore.config import Config
from KLIPCore.detection.detect import detect
from KLIPCore.export.report import json_ready
from KLIPCore.io.images import read_image, write_image
from KLIPCore.lab.evaluation.auroc import auroc
from KLIPCore.lab.evaluation.table import lines_of
from KLIPCore.lab.evaluation.volumes.config import Scan
from KLIPCore.lab.evaluation.volumes.reading import read_scan
from KLIPCore.lab.phantoms.lesions import implant
from KLIPCore.lab.phantoms.tumour import Tumour
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import reference_of, window_of
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.selection import Part
from KLIPCore.volume.volume import Volume

EITHER = "either"
"""The larger of both signs, as the default shows it."""


MUSCLE_HU, BONE_HU = (20.0, 100.0), 180.0
"""What counts as muscle after smoothing by 3 mm, and above which a pixel is bone."""


@dataclass(frozen=True, eq=False)
class Donor:
    """A healthy patient, and the places for balls in it.

    Attributes
    ----------
    name : str
    volume : Volume, HU
    organs : dict of name → bool, (slices, rows, columns), the volume's own order
    places : dict of organ → list of (x, y, z), mm, LPS
    slices : (first, last + 1), examined
    """

    name: str
    volume: Volume
    organs: dict[str, NDArray[np.bool_]]
    places: dict[str, list[tuple[float, float, float]]]
    slices: tuple[int, int]

    @classmethod
    def of(cls, entry: dict[str, Any], data: Path, config: dict[str, Any]) -> Donor:
        """Read a donor and draw its places."""
        volume, organs = read_donor(entry, data)
        first, last = entry["slices"]
        rng = np.random.default_rng(config["seed"])
        taken: list[tuple[float, float, float]] = []
        places = {}
        for name, mask in organs.items():
            places[name] = draw_places(mask, volume.grid, (first, last), config, taken, rng)
            taken += places[name]
        return cls(entry["name"], volume, organs, places, (first, last))

    def with_balls(self, contrast_hu: float, config: dict[str, Any]) -> tuple[Volume, NDArray[np.uint8]]:
        """Return the donor with a ball of a contrast at every place, and their labels."""
        r = config["radius_mm"]
        every = [place for own in self.places.values() for place in own]
        return implant(self.volume, [Tumour(p, (r, r, r), contrast_hu, edge_mm=config["edge_mm"]) for p in every])


def read_donor(entry: dict[str, Any], data: Path) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """Return a donor's volume in HU, and its organs in the volume's own order.

    Parameters
    ----------
    entry : of the configuration's ``donors``.
    data : folder that its files are named from.
    """
    fields = {key: entry[key] for key in ("slope", "intercept") if key in entry}
    spacing = tuple(entry["spacing_mm"]) if "spacing_mm" in entry else None
    scan = Scan(entry["name"], image=data / entry["image"], healthy=True, spacing_mm=spacing, **fields)
    volume = read_scan(scan)
    labels = np.asarray(read_image(data / entry["labels"]).array, np.int16)
    organs = {
        name: muscles_behind(volume, labels, values["behind"]) if isinstance(values, dict) else np.isin(labels, values)
        for name, values in entry["organs"].items()
    }
    return volume, organs


def muscles_behind(volume: Volume, labels: NDArray[np.integer], label: int) -> NDArray[np.bool_]:
    """Return the muscles of the back: unlabelled soft tissue behind an organ, bones and what they enclose left out.

    Parameters
    ----------
    volume : Volume, HU
        Rows run from front to back.
    labels : int, (slices, rows, columns)
        Organs.
    label : int
        Of the organ that muscles lie behind, such as the aorta; slices without it have none.
    """
    out = np.zeros(labels.shape, bool)
    for k, plane in enumerate(volume.array):
        rows = np.flatnonzero((labels[k] == label).any(1))
        if not len(rows):
            continue
        smooth = ndi.gaussian_filter(plane.astype(np.float32), 3.0 / np.asarray(volume.grid.spacing[1:]))
        bone = ndi.binary_fill_holes(ndi.binary_closing(plane > BONE_HU, iterations=3))
        out[k] = (smooth > MUSCLE_HU[0]) & (smooth < MUSCLE_HU[1]) & (labels[k] == 0) & ~bone
        out[k, : rows[-1]] = False
    return out


def draw_places(
    mask: NDArray[np.bool_],
    grid: Grid,
    slices: tuple[int, int],
    config: dict[str, Any],
    taken: Sequence[tuple[float, float, float]],
    rng: np.random.Generator,
) -> list[tuple[float, float, float]]:
    """Return places in an organ where a ball has room, three radii apart from each other and from those taken.

    Parameters
    ----------
    mask : bool, (slices, rows, columns)
        The organ.
    grid : Grid
        Of the mask.
    slices : (first, last + 1)
        Balls are centred two slices inside these.
    config : dict
        ``radius_mm`` and ``per_organ``.
    taken : sequence of (x, y, z), mm
    rng : numpy.random.Generator
    """
    r = config["radius_mm"]
    room = np.stack([ndi.distance_transform_edt(plane, sampling=grid.spacing[1:]) for plane in mask])
    room[: slices[0] + 2] = 0
    room[slices[1] - 2 :] = 0
    candidates = np.argwhere(room > 1.1 * r)
    rng.shuffle(candidates)
    out: list[tuple[float, float, float]] = []
    for index in candidates:
        x, y, z = (float(v) for v in grid.to_world(index.astype(float)))
        if all(np.hypot(np.hypot(x - a, y - b), z - c) > 3 * r for a, b, c in (*taken, *out)):
            out.append((x, y, z))
            if len(out) == config["per_organ"]:
                break
    return out


def surprises(folder: RunFolder) -> dict[str, NDArray[np.float32]]:
    """Return u of every block of a finished run, (n, h, w): of each sign, and the larger of both.

    Raises
    ------
    TraceError : the run is not there, or recorded no pushes.
    """
    run = folder.run()
    framing = folder.read_framing()
    trace = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes"))
    maker = MapMaker(trace, framing, None, reference_of(run), window_of(run))
    settings = Config.from_dict(run["config"]).regions
    out = {sign: maker.make(replace(settings, sign=sign)).nats for sign in ("darker", "brighter")}
    return out | {EITHER: np.maximum(out["darker"], out["brighter"])}


def shares(folder: RunFolder) -> dict[int, float]:
    """Return the share of healthy slices that are as unusual as each slice of a finished run, by slice number.

    Raises
    ------
    TraceError : the run is not there, or recorded no pushes.
    """
    run = folder.run()
    trace = folder.trace(run["slices"], run["fingerprint"], ("path", "pushes"))
    maker = MapMaker(trace, folder.read_framing(), None, reference_of(run), window_of(run))
    found = maker.unusual_slices(Config.from_dict(run["config"]).regions)
    assert found is not None  # the donors' runs are judged by the reference
    return found


def measure_slices(
    donor: Donor, contrast_hu: float, runs: tuple[RunFolder, RunFolder], labels: NDArray[np.uint8]
) -> dict:
    """Return one row: AUROC of slices with a ball against the same slices without.

    Parameters
    ----------
    donor : Donor
    contrast_hu : float, HU
    runs : (with balls, without), same slices and seed
    labels : uint8, (slices, rows, columns), of the balls
    """
    framing = runs[0].read_framing()
    framed = framing.frame.pull(framing.orientation.apply((labels > 0).astype(np.float32)), order=1)
    with_balls, without = (shares(run) for run in runs)
    inside = [k for k in with_balls if (framed[k] > 0.5).any()]
    values = [-with_balls[k] for k in inside] + [-without[k] for k in inside]
    row: dict[str, Any] = {"donor": donor.name, "contrast_hu": contrast_hu, "slices": len(inside)}
    row |= {"auroc": auroc(np.asarray(values), np.arange(len(values)) < len(inside))}
    for name, found in (("with", with_balls), ("without", without)):
        row[f"median_share_{name}"] = float(np.median([found[k] for k in inside]))
    return row


def on_blocks(mask: NDArray[np.bool_], folder: RunFolder, n_cells: int) -> NDArray[np.float32]:
    """Return which part of each base cell a mask (slices, rows, columns) fills, (n, h, w) of the run's slices."""
    framing, run = folder.read_framing(), folder.run()
    framed = framing.frame.pull(framing.orientation.apply(mask.astype(np.float32)), order=1)[run["slices"]]
    step = framed.shape[-1] // n_cells
    return np.asarray(framed.reshape(len(framed), n_cells, step, n_cells, step).mean((2, 4)), np.float32)


def measure(donor: Donor, contrast_hu: float, folder: RunFolder, labels: NDArray[np.uint8], r: float) -> list[dict]:
    """Return one row an organ: AUROC of blocks in balls against blocks of the organ away from them."""
    fields = surprises(folder)
    right = "darker" if contrast_hu < 0 else "brighter"
    n_cells = fields[right].shape[-1]
    near = ndi.distance_transform_edt(labels == 0, sampling=donor.volume.grid.spacing) < r
    ball, close = on_blocks(labels > 0, folder, n_cells) > 0.5, on_blocks(near | (labels > 0), folder, n_cells) > 0
    rows = []
    for name, mask in donor.organs.items():
        inside = on_blocks(mask, folder, n_cells) > 0.9
        positive, negative = inside & ball, inside & ~close
        row: dict[str, Any] = {"donor": donor.name, "organ": name, "contrast_hu": contrast_hu}
        row |= {"balls": len(donor.places[name]), "blocks": int(positive.sum()), "others": int(negative.sum())}
        for what, key in ((right, "right_sign"), (EITHER, EITHER)):
            values = fields[what]
            both = np.concatenate([values[positive], values[negative]])
            row[key] = auroc(both, np.arange(len(both)) < positive.sum())
        rows.append(row)
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of blocks as a Markdown table."""
    titles = ["donor", "organ", "contrast (HU)", "balls", "blocks in them", "right sign", "either sign"]
    cells = [
        [r["donor"], r["organ"], f"{r['contrast_hu']:+g}", str(r["balls"]), str(r["blocks"])]
        + [f"{r[key]:.3f}" for key in ("right_sign", EITHER)]
        for r in rows
    ]
    return "\n".join(lines_of(titles, cells))


def slices_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of slices as a Markdown table."""
    titles = ["donor", "contrast (HU)", "slices with balls", "AUROC", "median share with", "median share without"]
    cells = [
        [r["donor"], f"{r['contrast_hu']:+g}", str(r["slices"]), f"{r['auroc']:.3f}"]
        + [f"{r[key]:.3f}" for key in ("median_share_with", "median_share_without")]
        for r in rows
    ]
    return "\n".join(lines_of(titles, cells))


def asked(description: str | None) -> tuple[dict[str, Any], Path, Path]:
    """Return the configuration, the folder of data and the folder for results that the command line names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    return yaml.safe_load(arguments.config.read_text(encoding="utf-8")), arguments.data, arguments.out


def main() -> None:
    """Run all donors and contrasts, and write ``signs.json`` and ``signs.md``."""
    config, data, out = asked(__doc__)
    settings = Config.from_preset(config["preset"])
    blocks: list[dict[str, Any]] = []
    slices: list[dict[str, Any]] = []
    for entry in config["donors"]:
        donor = Donor.of(entry, data, config)
        part = Part(slices=f"{donor.slices[0]}:{donor.slices[1]}")
        plain = examined(donor.volume, f"{donor.name}_plain", f"{donor.name} as scanned", out, settings, part)
        for contrast in config["contrasts_hu"]:
            volume, labels = donor.with_balls(float(contrast), config)
            words = f"{donor.name} with simulated balls of {contrast:+g} HU"
            folder = examined(volume, f"{donor.name}_{contrast:+g}", words, out, settings, part)
            blocks += measure(donor, float(contrast), folder, labels, config["radius_mm"])
            slices.append(measure_slices(donor, float(contrast), (folder, plain), labels))
            rows = {"blocks": blocks, "slices": slices}
            (out / "signs.json").write_text(json.dumps(json_ready(rows), indent=2) + "\n", encoding="utf-8")
            (out / "signs.md").write_text(f"{markdown(blocks)}\n\n{slices_markdown(slices)}\n", encoding="utf-8")
            print(f"{markdown(blocks[-len(donor.organs) :])}\n{slices_markdown(slices[-1:])}", flush=True)


def examined(
    volume: Volume, name: str, description: str, out: Path, settings: Config, part: Part | None = None
) -> RunFolder:
    """Write a study below ``out``, detect there, and return the run; a finished one is taken as it is."""
    image = out / "studies" / f"{name}.nrrd"
    image.parent.mkdir(parents=True, exist_ok=True)
    write_image(volume, image, description=description)
    folder = RunFolder(out / "runs" / name)
    detect(image, folder.path, settings, part=part or Part())
    return folder


if __name__ == "__main__":
    main()
