"""How many workers, threads and images at once: measured, the first time that it matters.

PyTorch takes a thread for every core. For a network of small layers that is often far too many, and how many
too many depends on the machine; so before a long run on a machine that was not met before, a few arrangements
evaluate the very prior that will be used, a quarter of a second each, and the fastest is written into a file
of the user's cache. Long means more than :data:`WORTHWHILE` evaluations: what takes seconds anyway is not
worth a measurement, and is done with PyTorch's own number of threads.

What is measured never changes what is computed by more than rounding: the same bits come out for the same
number of threads and the same batch. Both are kept in ``run.json``, and a run that is continued keeps them.

``KLIP_TUNING=off`` in the environment leaves everything to PyTorch; ``OMP_NUM_THREADS`` says how many cores
there are to share out.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from KLIPCore.detection.batching import MOST_IMAGES, images_that_fit
from KLIPCore.detection.user_cache import cache_folder, key_of, measuring, read_entries, write_entries
from KLIPCore.detection.workers import Arrangement, arithmetic
from KLIPCore.priors.prior import Prior

WORTHWHILE = 600
"""Network evaluations from which a measurement pays."""

CLEAR_GAIN = 1.07
"""How much faster another arrangement must be before it is taken: less is noise."""

MEASURED_SECONDS = 0.3
"""How long each arrangement is measured, after warming up."""

WORKER_BYTES = 600 * 1024**2
"""Memory that a further worker may need for a few samples of 256²: activations, and a slice's sums."""

MIDDLE_SIGMA = 0.16
"""Noise level of the images that are measured with: any will do."""


def arrange(
    prior: Prior,
    device: torch.device,
    n_samples: int,
    n_evaluations: int,
    n_slices: int,
    cache: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Arrangement:
    """Return the arrangement for a run: the plain one for a short run, the remembered or measured one for a long one.

    Parameters
    ----------
    prior : on ``device``.
    device : the (first) device.
    n_samples : samples of a slice, which go together in any case.
    n_evaluations : of the whole run.
    n_slices : of it.
    cache : folder instead of the user's own (:func:`cache_folder`).
    tell : called before something is measured.
    """
    if n_evaluations < WORTHWHILE or n_slices < 2 or not measuring():
        return Arrangement.plain()
    file = (cache or cache_folder()) / "tuning.json"
    key = _key(prior, device, n_samples)
    known = read_entries(file, lambda entry: Arrangement(**entry))
    if key not in known:
        if tell is not None:
            tell("measuring how this computer works fastest; done once")
        known[key] = measure(prior, device, n_samples)
        write_entries(file, {k: asdict(v) for k, v in known.items()})
    made = known[key]
    return Arrangement(min(made.workers, n_slices, _affordable_workers()), made.threads, made.batch)


def measure(prior: Prior, device: torch.device, n_samples: int, seconds: float = MEASURED_SECONDS) -> Arrangement:
    """Return the fastest arrangement on this machine, if clearly faster than the plain one."""
    plain = Arrangement.plain()
    candidates = [plain, *(a for a in candidates_for(device, n_samples, prior) if a != plain)]
    speeds = [images_per_second(prior, device, a, n_samples, seconds) for a in candidates]
    best = max(range(len(candidates)), key=lambda n: speeds[n])
    # measured in turn on a machine that does other things: the two are compared once more, back to back
    again = [images_per_second(prior, device, a, n_samples, seconds) for a in (plain, candidates[best])]
    clearly = min(speeds[best] / speeds[0], again[1] / again[0]) >= CLEAR_GAIN
    return candidates[best] if clearly else plain


def candidates_for(device: torch.device, n_samples: int, prior: Prior) -> list[Arrangement]:
    """Return what is worth trying.

    On a processor the cores shared out among workers, for a network on a GPU ever larger batches up to what fits.
    """
    if device.type != "cpu" or getattr(prior, "place", device) != device:
        fits = images_that_fit(lambda n: _evaluate(prior, device, n), device) or n_samples
        return [Arrangement(1, torch.get_num_threads(), n) for n in _doublings(n_samples, min(fits, MOST_IMAGES))]
    return core_shares(torch.get_num_threads(), n_samples, _affordable_workers())


def core_shares(cores: int, n_samples: int, most_workers: int) -> list[Arrangement]:
    """Return the arrangements that are tried.

    Workers × threads fill the cores, or half of them for one worker, with slices apart; and one worker takes
    several slices at once.
    """
    shares = {Arrangement(min(cores // threads, most_workers), threads) for threads in _doublings(1, cores)}
    shares |= {Arrangement(1, threads) for threads in {cores, max(1, cores // 2)}}
    if cores > 1:
        shares.add(Arrangement(1, cores, 4 * n_samples))
    return sorted(shares, key=lambda a: (a.threads, a.workers, a.batch or 0))


def images_per_second(
    prior: Prior, device: torch.device, work: Arrangement, n_samples: int, seconds: float = MEASURED_SECONDS
) -> float:
    """Return network evaluations a second of all workers together; 0 where memory is too short."""
    counts = [0] * work.workers
    batch = work.batch or n_samples
    barrier = threading.Barrier(work.workers + 1)
    over = threading.Event()

    def evaluate(place: int) -> None:
        torch.set_num_threads(work.threads)
        try:
            _evaluate(prior, device, batch)  # warm up
            barrier.wait()
            while not over.is_set() or not counts[place]:
                _evaluate(prior, device, batch)
                counts[place] += batch
        except (torch.OutOfMemoryError, threading.BrokenBarrierError):
            counts[place] = 0
            barrier.abort()
            over.set()

    with arithmetic(work.threads):
        crew = [threading.Thread(target=evaluate, args=(place,)) for place in range(work.workers)]
        for worker in crew:
            worker.start()
        with suppress(threading.BrokenBarrierError):
            barrier.wait()
        started = time.perf_counter()
        over.wait(seconds)
        over.set()
        for worker in crew:
            worker.join()
        return sum(counts) / (time.perf_counter() - started) if all(counts) else 0.0


def _evaluate(prior: Prior, device: torch.device, n: int) -> None:
    size = prior.card.size
    prior.denoise(torch.zeros(n, 1, size, size, device=device), torch.full((n,), MIDDLE_SIGMA, device=device))
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _doublings(first: int, last: int) -> list[int]:
    """first, 2 · first, … up to ``last``, and ``last`` itself."""
    made = []
    n = first
    while n < last:
        made.append(n)
        n *= 2
    return [*made, last]


def _affordable_workers() -> int:
    """Workers for which there is memory."""
    return max(1, int(psutil.virtual_memory().available // 2 // WORKER_BYTES))


def _key(prior: Prior, device: torch.device, n_samples: int) -> str:
    """Everything that the answer depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() + platform.machine()
    machine = (platform.node(), name, psutil.cpu_count(), torch.get_num_threads(), torch.__version__)
    way = [getattr(prior, "precision", ""), getattr(prior, "channels_last", "")]
    way += [str(place) for place in [getattr(prior, "place", device)] if place != device]
    return key_of((*machine, prior.card.sha256, prior.card.size, n_samples, *way))
