"""Many slices over several workers: GPUs of one machine, or groups of cores of its processor.

Slices need nothing of each other, so they are dealt out in batches, and who is free takes the next one. Two
things keep that from showing in the result. Batches are cut from the list of slices alone, before anybody
works (:func:`cut`), so that it does not matter who traces which, nor how many there are. And every number of a
slice depends on (seed, slice) alone (:mod:`KLIPCore.detection.slice_record`).

A worker is a thread: PyTorch releases Python's lock while it computes. On a processor each worker has its own
threads of arithmetic; several workers with few threads each beat one with many, because a network of small
layers spends much of its time waiting for the slowest of its threads.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch

from KLIPCore.detection.batching import Batches, run_in_halves
from KLIPCore.detection.simulated_scan import Scanner, trace_slices
from KLIPCore.errors import Cancelled, ConfigError
from KLIPCore.maps.trace import SliceTrace
from KLIPCore.priors.prior import Prior
from KLIPCore.volume.framed_study import FramedStudy


@dataclass(frozen=True)
class Arrangement:
    """How a device's work is dealt out.

    Attributes
    ----------
    workers : workers of each device; 1 for a GPU.
    threads : threads of arithmetic of each worker on a processor. They decide how sums are rounded: the same
        bits for the same number.
    batch : images that go through the network at once, from several slices where one has fewer; None keeps
        slices apart.
    """

    workers: int = 1
    threads: int = 1
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1 or (self.batch is not None and self.batch < 1):
            raise ConfigError(
                "Workers, threads and batches are whole numbers from 1 on.", "Leave them out to have them chosen."
            )

    @classmethod
    def plain(cls) -> Arrangement:
        """Return one worker with PyTorch's own number of threads, slice after slice."""
        return cls(1, torch.get_num_threads(), None)

    def slices_at_once(self, n_samples: int) -> int:
        """Return slices whose samples fill a batch."""
        return 1 if self.batch is None else max(1, self.batch // n_samples)


def cut(indices: Sequence[int], size: int) -> list[list[int]]:
    """Return the slices in batches of so many, the last one as long as it comes."""
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def crew(scanner: Scanner, priors: Sequence[tuple[torch.device, Prior]], work: Arrangement) -> list[Scanner]:
    """Return a scanner a worker, all alike.

    Parameters
    ----------
    scanner : the first.
    priors : every device with the prior that lies on it; the first is the scanner's own. A processor may be
        named more than once.
    work : how each device's work is dealt out.
    """
    made = []
    for device, prior in priors:
        own = scanner if device == scanner.device and prior is scanner.prior else None
        for _ in range(work.workers):
            A, A_fine = (scanner.A, scanner.A_fine) if own is not None else (scanner.A.to(device), scanner.A_fine)
            made.append(
                replace(
                    scanner,
                    prior=prior,
                    A=A,
                    A_fine=A_fine,
                    device=device,
                    n_evaluations=0,
                    batches=Batches(work.batch),
                )
            )
    return made


def trace_all(
    scanners: Sequence[Scanner],
    study: FramedStudy,
    batches: Sequence[Sequence[int]],
    threads: int,
    before: Callable[[Sequence[int]], None],
    done: Callable[[SliceTrace], None],
) -> None:
    """Trace batches of slices, each by whichever scanner is free.

    Parameters
    ----------
    scanners : one a worker (:func:`crew`).
    study : the framed study.
    batches : slices that are traced together.
    threads : of each worker's arithmetic.
    before : called with a batch when its work begins, or, with several workers, when the one before it has ended.
    done : called with every trace. Both are called from the calling thread.

    Raises
    ------
    KeyboardInterrupt : stopped from outside; the workers have ended.
    KlipError : a worker could not go on; the others have ended.
    """

    with arithmetic(threads):
        if len(scanners) == 1:
            for batch in batches:
                before(batch)
                for traced in run_in_halves(partial(trace_slices, scanners[0], study), batch):
                    done(traced)
            return
        _Deal(scanners, study, batches, threads).all(before, done)


class _Deal:
    """Several workers over one list of batches."""

    def __init__(
        self,
        scanners: Sequence[Scanner],
        study: FramedStudy,
        batches: Sequence[Sequence[int]],
        threads: int,
    ) -> None:
        self.halt = threading.Event()
        self.scanners = [replace(scanner, halt=self.halt) for scanner in scanners]
        self.study, self.batches, self.threads = study, batches, threads
        self.todo: queue.SimpleQueue[Sequence[int]] = queue.SimpleQueue()
        for batch in batches:
            self.todo.put(batch)
        self.ended: queue.SimpleQueue[list[SliceTrace] | BaseException] = queue.SimpleQueue()

    def all(self, before: Callable[[Sequence[int]], None], done: Callable[[SliceTrace], None]) -> None:
        """Until every batch is done, or one fails, or the calling thread is interrupted."""
        workers = [
            threading.Thread(target=self._work, args=(scanner,), name=f"klip-worker-{n}")
            for n, scanner in enumerate(self.scanners)
        ]
        for worker in workers:
            worker.start()
        try:
            for batch in self.batches:
                before(batch)
                made = self.ended.get()
                if isinstance(made, BaseException):
                    raise made
                for traced in made:
                    done(traced)
        finally:
            self.halt.set()
            for worker in workers:
                worker.join()

    def _work(self, scanner: Scanner) -> None:
        torch.set_num_threads(self.threads)  # of this thread: OpenMP and MKL keep it for each
        while not self.halt.is_set():
            try:
                batch = self.todo.get_nowait()
            except queue.Empty:
                return
            try:
                self.ended.put(run_in_halves(partial(trace_slices, scanner, self.study), batch))
            except Cancelled:  # by the halt of another
                return
            except BaseException as error:
                self.ended.put(error)
                return


@contextmanager
def arithmetic(threads: int) -> Iterator[None]:
    """Run PyTorch's arithmetic on so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
