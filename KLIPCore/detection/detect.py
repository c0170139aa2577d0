"""The whole story on one page: a study goes in, a KL map and flagged regions come out.

    study → volume → frame → measurement → posterior samples → KL trace → KL map → regions → files

:func:`detect` does all of it and can be stopped and run again at any time; :func:`redo_regions` does the last
three steps, from a trace that is already there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from KLIPCore import __version__
from KLIPCore.config import Config
from KLIPCore.detection.autotune import arrange
from KLIPCore.detection.detect_measured import detect_scan, is_scan
from KLIPCore.detection.devices import check_memory, choose_devices, configure_process
from KLIPCore.detection.precision import EXACT
from KLIPCore.detection.run_precision import settle
from KLIPCore.detection.simulated_scan import Scanner
from KLIPCore.detection.workers import Arrangement, crew, cut, trace_all
from KLIPCore.errors import Cancelled, ConfigError, KlipError
from KLIPCore.io.study import check_ct, read_study
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.organs.find import find_organs, suits
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.prior import Prior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import SAMPLING_SHARE, Detection, Progress, finish, volume_hash
from KLIPCore.runs.search import Search
from KLIPCore.settings import refuse_for_scan
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.selection import WHOLE, Box, Part, box_mask, check_slices, parse_slices
from KLIPCore.volume.volume import Volume


def detect(
    study: Path | str,
    out: Path | str,
    config: Config | None = None,
    *,
    part: Part = WHOLE,
    overwrite: bool = False,
    progress: Progress | None = None,
    work: Arrangement | None = None,
) -> Detection:
    """Find where a CT study departs from what a prior of healthy anatomy expects.

    Parameters
    ----------
    study : DICOM folder, NIfTI, NRRD or MHA; or a measured sinogram (:mod:`KLIPCore.io.sinogram`), for which part
        and work do not apply and are refused.
    out : folder for the results; a stopped run with the same settings is continued there.
    config : settings; the default preset when None.
    part : series, slices, region of interest and segments to look within; all of the study unless told otherwise.
    overwrite : replace a run with other settings in ``out``.
    progress : called as work goes on.
    work : workers, threads and images at once; None: those of the run that is continued, or what
        :func:`KLIPCore.detection.autotune.arrange` chooses.

    Raises
    ------
    KlipError : one of its descendants, with a remedy; see :mod:`KLIPCore.errors`.
    Cancelled : stopped from the keyboard; finished slices are kept.
    """
    study, folder, config = Path(study), RunFolder(Path(out)), config or Config()
    if is_scan(study):
        given = {f"--{name}": value for name, value in vars(part).items()} | {"--workers, --threads or --batch": work}
        refuse_for_scan([name for name, value in given.items() if value is not None])
        return detect_scan(study, folder.path, config, overwrite=overwrite, progress=progress)
    tell = progress or (lambda stage, fraction, detail: None)
    with folder.locked():
        run, search, prior, devices, work = _prepared(study, folder, config, part, overwrite, tell, work)
        seconds = sample_slices(folder, run, prior, devices, tell, work)
        result = finish(folder, run.framed, config.regions, prior.card, tell, search)
        tell("done", 1.0, f"{len(run.indices)} slices, {seconds:.0f} s of sampling")
    return result


def _prepared(
    study: Path,
    folder: RunFolder,
    config: Config,
    part: Part,
    overwrite: bool,
    tell: Progress,
    work: Arrangement | None,
) -> tuple[Sampling, Search, Prior, list[torch.device], Arrangement]:
    """The study read and framed, the prior loaded, and the run begun or taken up in its folder."""
    config.require_layer()
    config.require_study_null()
    check_slices(part.slices)
    folder.check_free(config, overwrite)
    configure_process()
    devices = choose_devices(config.device)
    tell("read", 0.0, "reading the study")
    volume = read_study(study, part.series)
    warnings = check_ct(volume)
    check_memory(volume.grid)
    exact = load_prior(config.prior, devices[0], EXACT)
    tell("frame", 0.02, "finding the body")
    framed = frame_study(volume, exact.card)
    indices = chosen_slices(framed, part.slices, part.roi)
    search = _search(framed, exact.card, indices, part, tell)

    identity = (exact.card.sha256, volume_hash(volume))
    prior, choice, fingerprint = settle(
        folder, config, exact, identity, overwrite, lambda detail: tell("sample", SAMPLING_SHARE[0], detail)
    )
    work = work or _work_before(folder, fingerprint, devices[0]) or _arranged(config, prior, devices, indices, tell)
    run = Sampling(config, framed, tuple(indices), fingerprint)
    record = _run_record(run, part, prior.card, _study_record(study, volume, part), [*warnings, *framed.warnings])
    made_with = {"work": asdict(work) | {"device": devices[0].type}, "precision": choice.to_dict()}
    folder.open(record | made_with, overwrite)
    folder.write_framing(framed)
    return run, search, prior, devices, work


@dataclass(frozen=True, eq=False)
class Sampling:
    """What is to be sampled, and with which settings.

    Attributes
    ----------
    config : the run's settings.
    framed : the study in the prior's frame.
    indices : slices, counted from the feet.
    fingerprint : of all that the trace depends on; finished slices carry it.
    """

    config: Config
    framed: FramedStudy
    indices: tuple[int, ...]
    fingerprint: str


def sample_slices(
    folder: RunFolder,
    run: Sampling,
    prior: Prior,
    device: torch.device | Sequence[torch.device],
    tell: Progress,
    work: Arrangement | None = None,
) -> float:
    """Trace every slice that is not done yet, and return the seconds this took.

    Parameters
    ----------
    folder : where the slices' traces are kept.
    run : what is to be sampled.
    prior : on the (first) device.
    device : one, or several that share the slices.
    tell : called as work goes on.
    work : how the work of each is dealt out; one worker and slice after slice when None.

    Raises
    ------
    Cancelled : stopped from the keyboard; finished slices are kept.
    """
    started = time.monotonic()
    config, framed, indices, fingerprint = run.config, run.framed, run.indices, run.fingerprint
    work = work or Arrangement.plain()
    devices = [device] if isinstance(device, torch.device) else list(device)
    done = set(folder.finished(indices, fingerprint))  # all layers: a flipped bit in any of them makes the slice anew
    batches = [
        batch for batch in cut(indices, work.slices_at_once(config.sampling.n_samples)) if not done.issuperset(batch)
    ]
    count = len(indices) - sum(len(batch) for batch in batches)
    lo, hi = SAMPLING_SHARE

    def before(batch: Sequence[int]) -> None:
        which = f"slice {batch[0]}" if len(batch) == 1 else f"slices {batch[0]} to {batch[-1]}"
        tell("sample", lo + (hi - lo) * count / len(indices), f"{which} ({count + 1} of {len(indices)})")

    def save(traced: SliceTrace) -> None:
        nonlocal count
        count += 1
        folder.save_slice(traced, fingerprint)

    if batches:
        tell("sample", lo, f"{count} of {len(indices)} slices were done before" if done else "setting up the scanner")
        scanner = Scanner.build(config, prior, framed.frame.pixel_mm, devices[0])
        way = (getattr(prior, "precision", None), getattr(prior, "channels_last", True))  # the same for all
        priors = [(devices[0], prior), *((other, load_prior(config.prior, other, *way)) for other in devices[1:])]
        try:
            trace_all(crew(scanner, priors, work)[: len(batches)], framed, batches, work.threads, before, save)
        except KeyboardInterrupt as stop:
            kept = len(folder.finished(indices, fingerprint, ()))
            raise Cancelled(
                f"Stopped. {kept} of {len(indices)} slices are done and kept.",
                "Run the same command again to continue.",
            ) from stop
    return time.monotonic() - started


def wanted_work(workers: int | None, threads: int | None, batch: int | None) -> Arrangement | None:
    """Return the arrangement that somebody asked for, what was left out being the plain one's.

    None when nothing was said.
    """
    if workers is None and threads is None and batch is None:
        return None
    cores = torch.get_num_threads()
    return Arrangement(workers or 1, threads or max(1, cores // (workers or 1)), batch)


def _work_before(folder: RunFolder, fingerprint: str, device: torch.device) -> Arrangement | None:
    """How the run that is in the folder was dealt out, if it is this run on such a device: continued alike
    it comes out alike.
    """
    try:
        run = folder.run()
        work = dict(run["work"]) if run["fingerprint"] == fingerprint else {}
        return Arrangement(**work) if work.pop("device", None) == device.type else None
    except (KlipError, KeyError, TypeError, ValueError):
        return None


def _search(framed: FramedStudy, card: ModelCard, indices: list[int], part: Part, tell: Progress) -> Search:
    """Where to look, with the organs of an abdomen; before hours of sampling, since a label may not be there."""
    search = Search(part.roi)
    if suits(card):
        tell("frame", 0.03, "finding organs")
        search = replace(search, organs=find_organs(framed, card, indices))
    return search.changed(part.within, framed.grid)


def _arranged(
    config: Config, prior: Prior, devices: Sequence[torch.device], indices: Sequence[int], tell: Progress
) -> Arrangement:
    """What suits a new run."""
    return arrange(
        prior,
        devices[0],
        config.sampling.n_samples,
        len(indices) * config.evaluations_a_slice,
        len(indices),
        tell=lambda detail: tell("sample", SAMPLING_SHARE[0], detail),
    )


def chosen_slices(framed: FramedStudy, slices: str | None, roi: Box | None) -> list[int]:
    """Return slices that are asked for, meet the box and show a body.

    Raises
    ------
    ConfigError : none is left.
    """
    indices = parse_slices(slices, framed.lps.grid.shape[0])
    if roi is not None:
        inside = box_mask(framed.lps.grid, roi)
        indices = [k for k in indices if inside[k].any()]
    indices = [k for k in indices if framed.body[k].any()]
    if not indices:
        raise ConfigError(
            "None of the chosen slices shows a body inside the region of interest.",
            "Choose other slices or another box.",
        )
    return indices


def _study_record(path: Path, volume: Volume, part: Part) -> dict[str, Any]:
    """Which study a run is of."""
    return {
        "path": str(path.resolve()),
        "series": volume.source.choice or part.series,
        "hash": volume_hash(volume),
        "shape": list(volume.grid.shape),
    }


def _run_record(
    run: Sampling, part: Part, card: ModelCard, study: dict[str, Any], warnings: list[str]
) -> dict[str, Any]:
    """What ``run.json`` says."""
    prior = card.to_dict()
    prior.pop("training")
    return {
        "version": __version__,
        "fingerprint": run.fingerprint,
        "study": study,
        "config": run.config.to_dict(),
        "prior": prior,
        "slices_asked": part.slices,
        "slices": list(run.indices),
        "roi": part.roi,
        "warnings": list(dict.fromkeys(warnings)),
    }
