"""A finished or growing run, held in memory for a slider.

:func:`KLIPCore.runs.rerun.redo_regions` answers new settings with files; a panel wants the answer while a
slider moves. A :class:`LiveMap` reads a run folder once and then only does arithmetic: no file, no torch, no
sampling. It packs itself into bytes, so that a scene can carry it and the slider still works when the run
folder is gone.
"""

from __future__ import annotations

import io
import re
import zipfile
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from KLIPCore.config import Config, RegionConfig
from KLIPCore.errors import TraceError
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.regions import Region, label_volume
from KLIPCore.maps.trace import DAMAGE, KLTrace
from KLIPCore.maps.typicality import StudyFit
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.health import approximation_of, judge_study
from KLIPCore.runs.rerun import maker_of, regions_of
from KLIPCore.runs.search import Search
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.selection import Box
from KLIPCore.volume.volume import Volume

MEMBER = re.compile(r"run\.json|body\.npz|organs\.npz|trace/slice_\d{4,6}\.npz")
"""What an archive of a live map may hold."""


@dataclass(frozen=True, eq=False)
class LiveView:
    """What one setting of the sliders shows.

    Attributes
    ----------
    settings : the setting.
    kl_map : float32 nats of the block centred at each voxel, on the study's own grid.
    regions : what stands out, strongest first.
    rests_on : sentences on what the verdict rests on, where that is not what the score promises; else empty.
    by_health : whether a reference of health judged the blocks, so that the map holds surprise.
    """

    settings: RegionConfig
    kl_map: Volume
    regions: tuple[Region, ...]
    rests_on: str = ""
    by_health: bool = False

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(D, H, W) like the map; ``region.label`` where a region is, 0 elsewhere."""
        return label_volume(self.regions, self.kl_map.grid).astype(np.int32)


@dataclass(frozen=True, eq=False)
class LiveMap:
    """A run's trace and where it lies on the study.

    Attributes
    ----------
    run : the run's record (settings, prior, warnings), as ``run.json`` has it.
    framing : the study's grid, body masks and frame.
    trace : the slices that are done.
    search : where regions are looked for, and whose organs they are named by; the run's box everywhere when None.
    """

    run: dict[str, Any]
    framing: Framing
    trace: KLTrace
    search: Search | None = None

    @classmethod
    def open(cls, out: Path) -> LiveMap:
        """Read a run folder, finished or still growing; of a growing one, the slices that are done.

        Raises
        ------
        TraceError : no run there, or no slice is done yet.
        """
        folder = RunFolder(out)
        run = folder.run()
        framing = folder.read_framing()
        search = Search.kept(out, framing.grid, _box_of(run))
        return cls(run, framing, folder.trace(run["slices"], run["fingerprint"]), search)

    @property
    def settings(self) -> RegionConfig:
        """The settings the run was started with."""
        return Config.from_dict(self.run["config"]).regions

    @property
    def roi(self) -> Box | None:
        """The run's region of interest, LPS mm."""
        return _box_of(self.run)

    @property
    def where(self) -> Search:
        """Where regions are looked for."""
        return self.search or Search(self.roi)

    def looking(self, search: Search) -> LiveMap:
        """Return the same run looked at elsewhere; what was worked out of its trace is kept.

        Raises
        ------
        ConfigError : nothing was examined of what is to be looked within.
        """
        other = replace(self, search=search)
        if search.roi == self.where.roi and "_maker" in self.__dict__:
            maker = copy(self._maker)
            maker.look_within(search.within(self.framing), search.rate or 1.0)
            other.__dict__["_maker"] = maker
        _ = other._maker.sought
        return other

    @cached_property
    def fit(self) -> StudyFit | None:
        """Whether the study as a whole belongs under the prior; None where that cannot be said."""
        return judge_study(self.run, self.trace, self.framing)[0]

    @cached_property
    def _approximation(self) -> str:
        return approximation_of(self.run)

    @cached_property
    def _maker(self) -> MapMaker:
        return maker_of(self.run, self.trace, self.framing, self.where)

    def update(self, settings: RegionConfig, over: LiveView | None = None) -> LiveView:
        """Make map and regions under other settings.

        Parameters
        ----------
        settings : the new ones.
        over : an earlier view of this run that nobody looks at any more: its map is written over, which saves
            memory and a tenth of the time.

        Raises
        ------
        TraceError : the trace cannot answer: a score whose layer was not recorded, a window outside it, too
            few blocks.
        """
        volumes = self._maker.volumes(settings, into=None if over is None else over.kl_map.array)
        regions = tuple(self.where.named(regions_of(volumes, settings)))
        cells = volumes.cells
        by_health = cells.null == "reference"
        notes = (cells.rests_on, self._approximation if by_health else "")
        return LiveView(settings, volumes.kl_map, regions, " ".join(note for note in notes if note), by_health)

    def to_bytes(self) -> bytes:
        """Return everything :meth:`update` needs, as one zip archive of the run folder's own files."""
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            folder = RunFolder(Path(name))
            folder.trace_folder.mkdir()
            folder.write_framing(self.framing)
            folder.write_json("run.json", self.run)
            self.where.save(folder.path)
            for piece in self.trace.slices:
                piece.save(folder.slice_file(piece.index), self.run["fingerprint"])
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # its members are compressed already
                for file in sorted(folder.path.rglob("*")):
                    if file.is_file():
                        archive.write(file, file.relative_to(folder.path).as_posix())
            return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> LiveMap:
        """Return the inverse of :meth:`to_bytes`.

        Raises
        ------
        TraceError : the data are damaged.
        """
        import tempfile

        try:
            with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(io.BytesIO(data)) as archive:
                if "run.json" not in archive.namelist():  # cut off where an inner archive happens to end
                    raise TraceError("The stored KL trace is damaged.", "Run the detection again.")
                _check_members(archive)
                archive.extractall(name)
                return cls.open(Path(name))
        except (*DAMAGE, NotImplementedError) as error:
            raise TraceError(
                f"The stored KL trace is damaged ({type(error).__name__}).", "Run the detection again."
            ) from error


def _box_of(run: dict[str, Any]) -> Box | None:
    """The box that a run examined, LPS mm."""
    box = run.get("roi")
    return None if box is None else ((box[0][0], box[0][1]), (box[1][0], box[1][1]), (box[2][0], box[2][1]))


def _check_members(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that :meth:`LiveMap.to_bytes` has not written: other names, packed members that would swell.

    Raises
    ------
    TraceError : it is one.
    """
    for member in archive.infolist():
        if (
            not MEMBER.fullmatch(member.filename)
            or member.compress_type != zipfile.ZIP_STORED
            or member.file_size != member.compress_size
        ):
            raise TraceError("The stored KL trace holds what no KL trace holds.", "Run the detection again.")
