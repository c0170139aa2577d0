"""Making maps of one trace under one setting after another: blocks, nulls, the reference of health, clusters."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from KLIPCore.config import RegionConfig
from KLIPCore.errors import ConfigError, TraceError
from KLIPCore.maps.averages import AVERAGES, means_of, not_looked_for
from KLIPCore.maps.blocks import block_nats
from KLIPCore.maps.clusters import Clusters, WhiteSpectra, find_clusters, z_of_p
from KLIPCore.maps.combine import combine
from KLIPCore.maps.kl_map import KLMap, MapVolumes, on_study
from KLIPCore.maps.null import BulkNull, twin_p_values
from KLIPCore.maps.reference import Reference
from KLIPCore.maps.resample import Landing
from KLIPCore.maps.trace import KLTrace
from KLIPCore.maps.unexpected import ABDOMEN, SIGNS, Evidence, cell_nats, evidence_of, own_pushes
from KLIPCore.maps.verdict import FORMING, judge, signs_of
from KLIPCore.scores import Score
from KLIPCore.volume.framed_study import Framing
from KLIPCore.volume.units import Window
from KLIPCore.volume.volume import Volume


class MapMaker:
    """Makes maps of one trace under one setting after another, and keeps what does not change between them.

    Parameters
    ----------
    trace : the sampled slices.
    study : their study.
    roi : (D, H, W) bool on the LPS grid; only blocks centred in it are tested.
    reference : loads the prior's reference of health, or says why it does not hold for this run; only the score
        ``unexpected`` asks.
    window : HU window of the prior, by which that score tells soft tissue.

    Raises
    ------
    TraceError : the trace is empty.
    """

    def __init__(
        self,
        trace: KLTrace,
        study: Framing,
        roi: NDArray[np.bool_] | None = None,
        reference: Callable[[], Reference | str] = lambda: "No reference of health was given.",
        window: Window = ABDOMEN,
    ) -> None:
        if not trace.slices:
            raise TraceError("No slice has been sampled yet.", "Run detect first.")
        _check_fit(trace, study)
        self.trace = trace
        self.study = study
        self.roi = roi
        self.reference = reference
        self.window = window
        self.within: NDArray[np.bool_] | None = None
        self.rate = 1.0
        self._noise = WhiteSpectra()
        self._cells: dict[str, tuple[tuple, list[NDArray[np.float32]]]] = {}
        self._judged: tuple[tuple, tuple[NDArray[np.float32], Clusters], NDArray[np.float32]] | None = None
        self._centred: dict[str, dict[tuple[str, str], NDArray[np.float32]]] = {}

    @cached_property
    def landing(self) -> Landing:
        """From the trace's cells to the study's voxels."""
        layer = next(iter(self.trace.slices[0].layers.values()))
        return Landing(self.study, tuple(self.trace.indices), layer.energy.shape[-1])

    @cached_property
    def tested(self) -> NDArray[np.bool_]:
        """(n, h, w): cells inside the body and the region of interest."""
        return self.landing.tested(self.roi)

    def look_within(self, within: NDArray[np.bool_] | None, rate: float = 1.0) -> None:
        """Look for regions in a part of what is tested from now on; everywhere when None.

        What blocks are compared with does not change: a null is still that of the whole study, a reference that of
        health. The part's volume decides how many regions chance, or health, would show in it.

        Parameters
        ----------
        within : (D, H, W) bool on the LPS grid; only blocks centred in it are looked at.
        rate : how many more regions than average tissue it shows in health (:mod:`KLIPCore.maps.organ_rates`).
        """
        self.within, self.rate = within, rate
        self._judged = None
        self.__dict__.pop("sought", None)

    @cached_property
    def sought(self) -> NDArray[np.bool_]:
        """(n, h, w): cells in which regions are looked for.

        Raises
        ------
        ConfigError : the part to look within holds none.
        """
        if self.within is None:
            return self.tested
        inside = self.tested & self.landing.tested(self.within)
        if not inside.any():
            raise ConfigError(
                "Nothing of what was examined lies in the segments to look within.",
                "Choose another segment, or examine the slices that show it.",
            )
        return inside

    def make(self, config: RegionConfig, on_nats: Callable[[NDArray[np.float32]], None] | None = None) -> KLMap:
        """Make the map: blocks, null, p- and q-values.

        Parameters
        ----------
        config : score, block size and null.
        on_nats : called with the blocks' nats as soon as they are known to have a null, while significance is
            still being worked out.

        Raises
        ------
        TraceError : the trace lacks the score's layer, or is too small for a null.
        """
        score = config.chosen
        why_not = ""
        if score.layer == "pushes":
            why_not = self._without_reference(config)
            if not why_not:
                return self._judged_by_health(config, on_nats)
        places = self._places
        windows = self._own_nats(config) if score.layer == "pushes" else self._nats(score)
        cells = np.sum(windows, axis=0) if len(windows) > 1 else windows[0]
        blocks = partial(self._blocks, config)
        tested = judged = self.tested
        p, z, width = np.ones(tested.shape), np.zeros(tested.shape), None
        of_twin = self._nats(score, "twin-") if config.null == "twin" else []
        if score.together:
            twins = [blocks(own) for own in of_twin] or None
            verdict = combine([blocks(own) for own in windows], tested, twins)
            nats, p, z, judged = verdict.nats, verdict.p, verdict.z, verdict.judged
            width = None if twins else verdict.width
        elif config.null == "twin":
            nats = blocks(cells)
            p[tested] = twin_p_values(nats[tested], blocks(of_twin[0])[tested])
            z[tested] = z_of_p(p[tested])
        else:
            nats = blocks(cells)
            null = BulkNull.fit(nats[tested])
            z[tested] = null.z(nats[tested])
            p[tested] = ndtr(-z[tested])
            width = null.width
        if on_nats is not None:
            on_nats(nats)
        clusters = find_clusters(z, judged, config.forming_p, places, self._noise, self.sought)
        block_mm = max(config.block_mm, self.landing.cell_mm)
        return KLMap(
            tuple(self.trace.indices),
            nats,
            cells,
            self.sought,
            p,
            clusters,
            config.forming_p,
            score,
            block_mm,
            self._depth(config) * float(self.study.lps_grid.spacing[0]),
            config.null,
            width,
            why_not,
        )

    @property
    def _places(self) -> NDArray[np.intp]:
        """(n,) numbers of the sampled slices, from the first of them."""
        return np.array(self.trace.indices) - self.trace.indices[0]

    def _depth(self, config: RegionConfig) -> float:
        """Slices through which a block reaches."""
        return max(1.0, config.depth_mm / float(self.study.lps_grid.spacing[0]))

    def _blocks(self, config: RegionConfig, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sums over the blocks around the cells of the sampled slices."""
        places = self._places
        dense = np.zeros((places[-1] + 1, *values.shape[1:]), np.float32)
        dense[places] = values  # a gap between sampled slices stays a gap
        return block_nats(dense, config.block_mm / self.landing.cell_mm, self._depth(config))[places]

    def _without_reference(self, config: RegionConfig) -> str:
        """Why a reference of health does not judge a map, and what does instead; empty where it does.

        Raises
        ------
        TraceError : twins were asked for, which hold no pushes.
        """
        if config.null == "twin":
            raise TraceError(
                "The score 'unexpected' has no twin to compare with.", "Choose the null study, or another score."
            )
        why = self._reference if isinstance(self._reference, str) else self._beyond(self._reference, config)
        return why and (
            f"{why} The verdict rests on the bulk of this study itself, and on a false-discovery rate of "
            f"{config.rate:g}: it cannot say what healthy studies would show, and where disease is everywhere nothing "
            "stands out."
        )

    def _beyond(self, reference: Reference, config: RegionConfig) -> str:
        """What of the settings, or of the run, a reference was not made for; empty where nothing is."""
        small, large = (reference.laws[place].block_mm for place in (0, -1))
        if config.window is not None:
            return "The reference of health holds for the score's own σ window only."
        if config.depth_mm > float(self.study.lps_grid.spacing[0]) * 1.001:
            return "The reference of health holds for blocks of one slice's depth."
        if not small <= config.block_mm <= large:
            return f"The reference of health holds for blocks of {small:g} to {large:g} mm only."
        if self._evidence.other_levels:
            return (
                "The reference of health holds for the noise levels that the presets record, which this run did not."
            )
        return ""

    @cached_property
    def _reference(self) -> Reference | str:
        return self.reference()

    def _judged_by_health(self, config: RegionConfig, on_nats: Callable[[NDArray[np.float32]], None] | None) -> KLMap:
        """The map of the score ``unexpected``."""
        reference = self._reference
        assert isinstance(reference, Reference)
        config, note = self._promised(config)
        signs = signs_of(config)
        n_signs = len(signs)  # the larger surprise of so many is shown
        key = (config.block_mm, config.sign, config.tissue)
        if self._judged is None or self._judged[0] != key:  # the acceptable number is moved most often
            fields = reference.surprise(self._centred_cells(config.tissue), self._evidence, config.block_mm)
            averages = self._averages if config.tissue == "soft" else {}
            judged = judge(reference, fields, self._evidence, self.sought, config, self.rate, averages)
            self._judged = (key, judged, np.maximum.reduce([fields[config.tissue, sign] for sign in signs]))
        (surprise, clusters), blocks = self._judged[1:]
        if on_nats is not None:
            on_nats(surprise)
        soft = config.tissue == "soft"
        alone = not_looked_for(reference.averages, self._averages) if soft else ""
        widened = reference.widened(config.tissue, signs, config.block_mm, list(self._averages) if soft else [])
        note = " ".join(part for part in (note, alone, widened) if part)
        p, outline_p = (
            np.where(self.sought, np.minimum(n_signs * np.exp(-own.astype(np.float64)), 1.0), 1.0)
            for own in (blocks, surprise)
        )
        cells = surprise / max(1.0, config.block_mm / self.landing.cell_mm) ** 2  # a block holds so many cells
        spacing = float(self.study.lps_grid.spacing[0])
        forming = float(n_signs * np.exp(-FORMING))
        return KLMap(
            tuple(self.trace.indices), surprise, np.asarray(cells, np.float32), self.sought, p, clusters, forming,
            config.chosen, config.block_mm, spacing, "reference", None, note, outline_p,
        )  # fmt: skip

    def unusual_slices(self, config: RegionConfig) -> dict[int, float] | None:
        """Return which share of healthy slices is at least as unusual as each slice, by slice number.

        None where no reference of health judges the map.

        Raises
        ------
        TraceError : the run recorded no pushes, or the null is one that the score does not have.
        """
        if config.chosen.layer != "pushes" or self._without_reference(config):
            return None
        reference = self._reference
        assert isinstance(reference, Reference)
        config, _ = self._promised(config)
        signs = signs_of(config)
        strengths = reference.slice_strengths(self._centred_cells(config.tissue), self._evidence, self.sought)
        shares = reference.slices.share(strengths, config.tissue, signs)
        return dict(zip(self.trace.indices, shares.tolist(), strict=True))

    def _promised(self, config: RegionConfig) -> tuple[RegionConfig, str]:
        """The settings with the signs for which the reference can keep its promise, and a sentence, or nothing."""
        if config.sign == "darker" or not self._too_bright:
            return config, ""
        note = (
            "Soft tissue is brighter in this study than in those the prior has learned from, as in another contrast "
            "phase. Nothing can be promised then for what is brighter than expected: "
        )
        if config.sign == "brighter":
            return config, note + "healthy organs and vessels are marked, too."
        return replace(config, sign="darker"), note + "it is left out. Choose the sign brighter to see it."

    @cached_property
    def _too_bright(self) -> bool:
        assert isinstance(self._reference, Reference)
        return self._reference.typicality.too_bright(self._evidence.images, self._evidence.body)

    @cached_property
    def _evidence(self) -> Evidence:
        return evidence_of(self.trace, self.study, self.window)

    @cached_property
    def _averages(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Surprise of averages, by name and sign, as far as there are laws and enough was recorded."""
        known, out = self._reference, {}
        assert isinstance(known, Reference)
        for own in AVERAGES:
            means = means_of(own, self._evidence) if own.name in known.averages else None
            if means is not None:
                out[own.name] = {sign: known.averages[own.name].surprise(*means, sign) for sign in SIGNS}
        return out

    def _centred_cells(self, tissue: str) -> dict[tuple[str, str], NDArray[np.float32]]:
        """Nats of pushes centred on the reference's, or where there is none on the study's own; kept by tissue."""
        if tissue not in self._centred:
            known = self._reference
            mean_push = own_pushes(self._evidence) if isinstance(known, str) else known.mean_push
            self._centred[tissue] = cell_nats(self._evidence, mean_push, tissue)
        return self._centred[tissue]

    def volumes(
        self,
        config: RegionConfig,
        on_map: Callable[[Volume], None] | None = None,
        into: NDArray[np.float32] | None = None,
    ) -> MapVolumes:
        """Return :meth:`make`, carried to the study's grid.

        ``into`` as in :func:`on_study`, untouched where this raises.

        Nats are carried there in a thread of their own while significance is worked out (both spend their time
        in compiled code); ``on_map`` is called there with the result, so that a file can be compressed meanwhile, too.
        """

        def carry(nats: NDArray[np.float32]) -> Volume:
            carried = on_study(nats, self.landing, into, config.chosen.unit)
            if on_map is not None:
                on_map(carried)
            return carried

        carrying: list[Future[Volume]] = []
        with ThreadPoolExecutor(1) as aside:
            made = self.make(config, lambda nats: carrying.append(aside.submit(carry, nats)))
            return made.volumes(self.landing, config, carrying[0].result())

    def _own_nats(self, config: RegionConfig) -> list[NDArray[np.float32]]:
        """Nats of centred pushes, of the signs asked for together."""
        signs = signs_of(config)
        cells = self._centred_cells(config.tissue)
        return [np.asarray(np.sum([cells[config.tissue, sign] for sign in signs], 0), np.float32)]

    def _nats(self, score: Score, twin: str = "") -> list[NDArray[np.float32]]:
        """Nats of the cells in each window that is judged apart, as far as it was recorded; those of the last
        score are kept, since block size and rate are moved more often than the window.

        Raises
        ------
        TraceError : of a twin, and none was made.
        """
        layer = twin + score.layer
        if twin and not all(layer in s.layers for s in self.trace.slices):
            raise TraceError(
                "This run made no twin.", "Choose the null study; twins are for measured scans of a disc."
            )
        key = (layer, score.part, score.windows, score.bands)
        if twin not in self._cells or self._cells[twin][0] != key:
            windows = self.trace.recorded(layer, score.windows) if score.together else score.windows
            self._cells[twin] = (key, [self.trace.nats(layer, score.part, window, score.bands) for window in windows])
        return self._cells[twin][1]


def _check_fit(trace: KLTrace, study: Framing) -> None:
    """Refuse traces that belong to another study or frame, or whose slices differ in size.

    Raises
    ------
    TraceError : they do.
    """
    sizes = {layer.energy.shape[-2:] for s in trace.slices for layer in s.layers.values()}
    n = next(iter(sizes))[-1] if sizes else 1
    if (
        len(sizes) > 1
        or any(size[0] != size[1] for size in sizes)
        or study.frame.size % n
        or trace.indices[-1] >= study.body.shape[0]
    ):
        raise TraceError(
            "The trace does not fit the study's grid and frame.", "Delete the folder's trace and run detect again."
        )


def make_map(trace: KLTrace, study: Framing, config: RegionConfig, roi: NDArray[np.bool_] | None = None) -> KLMap:
    """Return one map of a trace; see :meth:`MapMaker.make` for parameters and errors."""
    return MapMaker(trace, study, roi).make(config)
