"""What an audit writes: a page, a record, maps and regions.

| file | what is in it |
| --- | --- |
| ``audit.html`` | one page with table and pictures; fetches nothing |
| ``audit.json`` | every number, settings, provenance |
| ``null_space.nrrd`` | null-space share of the block around each pixel, on the reconstruction's grid |
| ``residual.nrrd`` | back-projected residual t of that block |
| ``without.nrrd`` | the reconstruction less whatever was not measured, HU |
| ``audited.seg.nrrd`` | the regions as segments for 3D Slicer, named by what the data say |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.audit.audit import DISCLAIMER, Audit
from KLIPCore.audit.colours import COLOURS, rgb_of
from KLIPCore.audit.exported import RECORD, SEGMENTS
from KLIPCore.audit.pictures import pictures
from KLIPCore.errors import OutputError
from KLIPCore.export.files import write_bytes
from KLIPCore.export.html import flat_table
from KLIPCore.export.report import json_ready
from KLIPCore.export.segmentation import write_segmentation
from KLIPCore.io.images import write_image
from KLIPCore.maps.regions import KnownRegions, Region, find_regions
from KLIPCore.volume.units import mu_to_hu
from KLIPCore.volume.volume import Volume


def write_audit(audit: Audit, reconstruction: Volume, out: Path) -> Path:
    """Write every file of an audit.

    Parameters
    ----------
    audit : the outcome.
    reconstruction : what was audited; maps lie on its grid.
    out : the folder, made when missing.

    Returns
    -------
    The page.

    Raises
    ------
    OutputError : the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.name} cannot be made ({error.strerror}).", "Choose another folder.") from error
    lie = _Slice(reconstruction, audit.subject.facts["slice"])
    maps = {"null_space": audit.null_space_map(), "residual": audit.consistency.block_map()}
    for name, unit in (("null_space", "part"), ("residual", "standard deviations")):
        write_image(lie.volume(maps[name], unit), out / f"{name}.nrrd", description=f"audit: {name}, {unit}")
    write_image(lie.volume(without_unmeasured(audit), "HU", -1000.0), out / "without.nrrd", description="audit")
    write_segmentation(segments(audit, lie), reconstruction.grid, out / SEGMENTS)
    record = json.dumps(json_ready(audit.to_dict()), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(out / RECORD, record.encode("utf-8"))
    return write_bytes(out / "audit.html", page(audit).encode("utf-8"))


def without_unmeasured(audit: Audit) -> NDArray[np.float32]:
    """Return (H, W) HU of the image with every region that was not measured flattened."""
    image = audit.subject.image.numpy().copy()
    for region in audit.regions:
        if region.removal.verdict != "measured":
            image += region.removal.without.numpy() - audit.subject.image.numpy()
    return mu_to_hu(image)


def page(audit: Audit) -> str:
    """Return the page as text; every text from outside is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    record = audit.to_dict()
    said = record["warnings"]
    stop = audit.belonging.sentence()
    facts = {key: record[key] for key in ("consistency", "null_space", "settings", "provenance")}
    return environment.get_template("page.html").render(
        measurement=record["measurement"] + (" (SIMULATED)" if record["simulated"] else ""),
        place=_place(audit.subject.facts),
        stop=stop,
        summary=record["summary"],
        warnings=[sentence for sentence in said if sentence != stop],
        regions=record["regions"],
        colours=COLOURS,
        pictures=pictures(audit),
        table=flat_table(facts),
        disclaimer=DISCLAIMER,
    )


def _place(facts: Mapping[str, Any]) -> str:
    """Which slice it is, and where it lies."""
    height = facts.get("z_mm")
    return f"slice {facts['slice']} from the feet" + ("" if height is None else f" (z = {height:.1f} mm)")


def segments(audit: Audit, lie: _Slice) -> list[Region]:
    """Return the regions on the reconstruction's grid, named by what the data say; nats are for the structure."""
    regions = []
    for n, region in enumerate(audit.regions, 1):
        labels = lie.volume(region.mask.astype(np.float32), "label").array > 0.5
        nats = lie.volume(np.full(region.mask.shape, region.removal.support, np.float32), "nats")
        one = find_regions(
            nats,
            None,
            np.ones(nats.array.shape, np.float32),
            np.zeros(nats.array.shape, np.float32),
            known=KnownRegions(labels.astype(int), q_values=np.ones(nats.array.shape, np.float32)),
        )[0]
        regions.append(
            replace(
                one,
                label=n,
                name=f"{region.name}: {region.removal.verdict}",
                total_nats=region.removal.support,
                colour=rgb_of(region.removal.verdict),
            )
        )
    return regions


class _Slice:
    """Where an audited slice lies in its volume."""

    def __init__(self, reconstruction: Volume, index: int) -> None:
        self.whole, self.index = reconstruction, index
        self.orientation = reconstruction.oriented_lps()[1]

    def volume(self, values: NDArray[np.floating], unit: str, elsewhere: float = 0.0) -> Volume:
        """The whole volume with ``values`` (H, W) on the slice and one number elsewhere."""
        out = np.full(self.whole.array.shape, elsewhere, np.float32)
        self.orientation.view(out)[self.index] = values
        return self.whole.with_array(out, unit)
