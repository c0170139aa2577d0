"""Where a run looks for regions, and by whose organs it names them.

A box and the slices are part of what is sampled. The segments to look within are not: they act on a finished trace.
The organs that they belong to are kept in the run's folder (``organs.npz``), so that a later command finds them again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.errors import ConfigError, OutputError, TraceError
from KLIPCore.maps.organ_rates import rate_within
from KLIPCore.maps.regions import Region
from KLIPCore.maps.trace import DAMAGE
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.organs import OrganMap
from KLIPCore.volume.selection import Box, box_mask
from KLIPCore.volume.untrusted import json_object, load_npz

ORGANS_FILE = "organs.npz"
EVERYWHERE = "all"
"""What ``--within`` says to look everywhere again; the organs' names stay."""


@dataclass(frozen=True, eq=False)
class Search:
    """Where to look, and whose organs are named.

    Attributes
    ----------
    roi : LPS box in mm, None for the whole study.
    organs : on the study's grid; None where none are known.
    labels : of the organs, those to look within; None to look everywhere.
    """

    roi: Box | None = None
    organs: OrganMap | None = None
    labels: tuple[int, ...] | None = None

    def box_mask(self, framing: Framing) -> NDArray[np.bool_] | None:
        """Return the voxels of the box, (D, H, W) on the LPS grid; None without a box."""
        return None if self.roi is None else box_mask(framing.lps_grid, self.roi)

    def within(self, framing: Framing) -> NDArray[np.bool_] | None:
        """Return the voxels to look within, (D, H, W) on the LPS grid; None for all.

        Raises
        ------
        TraceError : the organs are those of another study.
        """
        if self.organs is not None and self.organs.labels.shape != framing.grid.shape:
            raise TraceError(
                "The organs that were kept belong to another study.", "Give a segmentation of this one with --within."
            )
        if self.organs is None or self.labels is None:
            return None
        return framing.orientation.apply(self.organs.where(self.labels))

    @property
    def rate(self) -> float | None:
        """How many more regions than average tissue the segments show in health; None where that is not known."""
        if self.organs is None or self.labels is None:
            return None
        counts = {self.organs.called(n): int((self.organs.labels == n).sum()) for n in self.labels}
        return rate_within(counts)

    def named(self, regions: Sequence[Region]) -> list[Region]:
        """Return the regions with the organ that each lies in; as they are where no organs are known."""
        organs = self.organs
        return list(regions) if organs is None else [replace(r, organ=organs.name_of(r.mask, r.box)) for r in regions]

    @property
    def names(self) -> list[str]:
        """Names of the segments to look within; empty to look everywhere."""
        return [] if self.organs is None or self.labels is None else [self.organs.called(n) for n in self.labels]

    def record(self) -> dict[str, Any]:
        """Return what results say of the segments that were looked within; empty where it was everywhere."""
        if self.organs is None or self.labels is None:
            return {}
        return {"within": {"file": self.organs.origin, "labels": list(self.labels), "names": self.names}}

    def sentence(self) -> str:
        """Return what a reader must know before the numbers; empty where the search was everywhere."""
        if self.organs is None or self.labels is None:
            return ""
        names = self.names
        told = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
        rate = self.rate
        health = (
            "that of this volume of average tissue"
            if rate is None
            else f"of health there, {rate:.1f} times as many as in average tissue (sixteen patients)"
        )
        return (
            f"Regions were looked for within {told} alone ({self.organs.origin or 'a segmentation'}): nothing is said "
            f"of the rest. The number that health would show is {health}."
        )

    def save(self, folder: Path) -> None:
        """Keep the organs in a run's folder, whole or not at all; nothing stays of others.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        path = folder / ORGANS_FILE
        part = path.with_name(path.name + ".part")
        try:
            if self.organs is None:
                path.unlink(missing_ok=True)
                return
            part.write_bytes(organs_to_bytes(self.organs, self.labels))
            part.replace(path)
        except OSError as error:
            raise OutputError(
                f"{ORGANS_FILE} cannot be written ({error.strerror or error}).",
                "Choose a folder you may write to, with space left.",
            ) from error
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def kept(cls, folder: Path, grid: Grid, roi: Box | None = None) -> Search:
        """Return the search that :meth:`save` left in a run's folder; with the box, and everywhere, without one.

        Raises
        ------
        TraceError : what was left is damaged, or of another study.
        """
        path = folder / ORGANS_FILE
        if not path.is_file():
            return cls(roi)
        try:
            organs, labels = organs_from_npz(load_npz(path), grid)
        except (*DAMAGE, ConfigError) as error:
            raise TraceError(
                f"The organs in {folder} are damaged or of another study.",
                "Give the segmentation again with --within, or remove organs.npz.",
            ) from error
        return cls(roi, organs, labels)

    def changed(self, written: str | None, grid: Grid) -> Search:
        """Return the search after what ``--within`` says.

        Parameters
        ----------
        written : ``FILE``, ``FILE:LABEL``, ``LABEL`` or ``:LABEL`` of the organs that are known already, or
            :data:`EVERYWHERE`; None changes nothing.
        grid : the study's.

        Raises
        ------
        ConfigError : no such file or label, or no organs are known.
        InputError : the file cannot be read, or is of another place.
        """
        if written is None:
            return self
        if written == EVERYWHERE:
            return replace(self, labels=None)
        known = self.organs
        if known is not None and written.casefold() in (known.called(number).casefold() for number in known.present):
            written = f":{written}"
        if written.startswith(":"):
            if self.organs is None:
                raise ConfigError("This run knows no organs.", "Give a segmentation: --within FILE:LABEL.")
            return replace(self, labels=(self.organs.number_of(written[1:]),))
        from KLIPCore.io.organs import parse_within, read_organs  # SimpleITK: for those who look within

        try:
            path, label = parse_within(written)
        except ConfigError as error:
            if known is None or not known.present:
                raise
            names = ", ".join(known.called(number) for number in known.present)
            raise ConfigError(
                f"'{written}' is neither an organ that is known here nor a segmentation file.",
                f"The organs are {names}. A file is written FILE or FILE:LABEL.",
            ) from error
        organs, labels = read_organs(path, grid, label)
        return replace(self, organs=organs, labels=labels)


def organs_to_bytes(organs: OrganMap, labels: tuple[int, ...] | None) -> bytes:
    """Return organs and the labels to look within as an ``.npz`` of run lengths: kilobytes for a whole study."""
    flat = organs.labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]])).astype(np.uint32)
    fields = {
        "names": {str(number): name for number, name in organs.names.items()},
        "origin": organs.origin,
        "labels": None if labels is None else list(labels),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, lengths=lengths, values=flat[starts], fields=np.array(json.dumps(fields)))
    return buffer.getvalue()


def organs_from_npz(stored: dict[str, NDArray[Any]], grid: Grid) -> tuple[OrganMap, tuple[int, ...] | None]:
    """Read what :func:`organs_to_bytes` wrote.

    Parameters
    ----------
    stored : the archive's arrays.
    grid : of the study they should belong to.

    Raises
    ------
    ValueError, KeyError, TypeError, ConfigError : they are damaged or of another grid.
    """
    lengths, values = stored["lengths"].astype(np.int64), stored["values"]
    if lengths.shape != values.shape or (lengths <= 0).any() or int(lengths.sum()) != int(np.prod(grid.shape)):
        raise ValueError("labels of another size")
    fields = json_object(str(stored["fields"]))
    names, labels = fields["names"], fields["labels"]
    if not isinstance(names, dict) or not (labels is None or isinstance(labels, list)):
        raise ValueError("names of the wrong kind")
    flat = np.repeat(values.astype(np.uint8), lengths)
    organs = OrganMap(
        flat.reshape(grid.shape), {int(n): str(name) for n, name in names.items()}, str(fields["origin"])
    )
    return organs, None if labels is None else tuple(int(label) for label in labels)
