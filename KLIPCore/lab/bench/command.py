"""`klip bench`: everything measured in one run on one machine, so that the ratios mean something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from KLIPCore.detection.devices import choose_devices, configure_process
from KLIPCore.errors import ConfigError
from KLIPCore.lab.bench.cheaper import cheaper_section
from KLIPCore.lab.bench.kernels import map_section, network_section, projector_section
from KLIPCore.lab.bench.machine import ceilings, machine
from KLIPCore.lab.bench.measure import Work, threads, work_of
from KLIPCore.lab.bench.memory import SIZE, SLICES, memory_section
from KLIPCore.lab.bench.plots import plot_cost, plot_scaling
from KLIPCore.lab.bench.preconditioner import preconditioner_section
from KLIPCore.lab.bench.scaling import AXES, SMALL_AXES, scaling_section
from KLIPCore.lab.bench.schedules import SHORT, Comparison, Lengths, curve_section, schedules_section
from KLIPCore.lab.bench.subject import Subject, subjects
from KLIPCore.lab.bench.table import Bench, Section, with_network_bounds
from KLIPCore.lab.bench.whole import slice_section, study_section
from KLIPCore.priors.checkpoint import DEFAULT_PRIOR, load_prior
from KLIPCore.priors.unet import UNetPrior

PARTS = ("kernels", "cheaper", "whole", "memory", "scaling", "schedules")
"""What `--only` chooses from, in the order in which it is measured."""


@dataclass(frozen=True)
class BenchOptions:
    """What is measured.

    Attributes
    ----------
    parts : some of :data:`PARTS`.
    quick : small sizes and short chains: whether everything works, in a minute or two.
    data : folder of real CT; what it lacks is replaced by synthetic patients.
    n_slices : lesion slices on which schedules are compared.
    reference_samples : samples of each published chain.
    device, prior : as for a run.
    """

    parts: tuple[str, ...] = PARTS
    quick: bool = False
    data: Path = Path("../shared/data")
    n_slices: int = 1
    reference_samples: int = 1
    device: str = "auto"
    prior: str = DEFAULT_PRIOR

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise ConfigError(
                f"There is nothing to measure called {', '.join(unknown) or 'nothing'}.",
                f"Choose from {', '.join(PARTS)}.",
            )
        if self.n_slices < 1 or self.reference_samples < 1:
            raise ConfigError("A comparison needs at least one slice and one sample.", "Use --slices 1.")


def run_bench(
    options: BenchOptions, out: Path, table: Path | None = None, tell: Callable[[str, float, str], None] | None = None
) -> Bench:
    """Measure, and write ``bench.json``, ``bench.md`` and plots into ``out``.

    What is done is written even if a later part is stopped.

    Parameters
    ----------
    options : what is measured.
    out : folder for the results.
    table : folder with ``performance.md`` whose tables, and ``images/bench_*.png``, are then made again.
    tell : called with (stage, fraction, detail).

    Raises
    ------
    ConfigError : ``table`` holds no document with places for the tables, or the run is a quick one.
    OutputError : a file cannot be written.
    """
    if table is not None and options.quick:
        raise ConfigError("Quick figures are not for the document.", "Leave out --quick, or --table.")
    if table is not None and not (table / "performance.md").is_file():  # before ten minutes of work
        raise ConfigError(
            f"There is no {table / 'performance.md'}.", "Run klip bench --table in a checkout of the repository."
        )
    return _Run(options, out, table, tell or (lambda stage, fraction, detail: None)).all()


class _Run:
    """One bench at work."""

    def __init__(
        self, options: BenchOptions, out: Path, table: Path | None, tell: Callable[[str, float, str], None]
    ) -> None:
        self.options, self.out, self.table, self._tell = options, out, table, tell
        configure_process()
        self.device = choose_devices(options.device)[0]
        self.prior: UNetPrior = load_prior(options.prior, self.device)
        self.min_seconds = 0.05 if options.quick else 0.4
        self.n_told = 0
        self.tell("the machine's ceilings")
        self.here = ceilings(self.device, self.min_seconds / 2)
        with threads(1):
            self.single = ceilings(torch.device("cpu"), self.min_seconds / 2)
        name = "this GPU" if self.device.type == "cuda" else f"{self.here.threads} threads"
        self.bench = Bench(
            machine(self.prior.card, self.device),
            {"1 thread": self.single} | ({name: self.here} if self.here.threads != 1 else {}),
        )
        self.subjects: list[Subject] = []

    def tell(self, detail: str) -> None:
        """One step further; how many there are is only guessed."""
        self.n_told += 1
        self._tell("bench", 1 - 0.95**self.n_told, detail)

    def all(self) -> Bench:
        """Every part that was asked for."""
        if set(self.options.parts) & {"cheaper", "whole", "scaling", "schedules"}:
            self.tell("the slices to examine")
            self.subjects = subjects(self.options.data, self.prior, self.options.n_slices)
        for part in PARTS:
            if part in self.options.parts:
                getattr(self, f"_{part}")()
        if self.table is not None:
            self.bench.write_into(self.table / "performance.md")
        self._tell("done", 1.0, str(self.out))
        return self.bench

    @cached_property
    def evaluation(self) -> Work:
        """The network on one image, in the batches of two that a slice's samples make."""
        x = torch.rand(2, 1, self.prior.card.size, self.prior.card.size, device=self.device)
        precision = "bf16" if self.prior.mixed else "fp32"
        return work_of(lambda: self.prior.denoise(x, torch.full((2,), 0.2, device=self.device)), precision).times(0.5)

    def _add(self, section: Section) -> None:
        if "evaluations" in section.columns:
            section = with_network_bounds(section, self.here, self.evaluation)
        self.bench.sections.append(section)
        self.bench.save(self.out)

    def _picture(self, name: str, draw: Callable[[Path], Path]) -> None:
        self.bench.plots.append(name)
        draw(self.out / name)
        if self.table is not None:
            draw(self.table / "images" / name)
        self.bench.save(self.out)

    def _kernels(self) -> None:
        quick = self.options.quick
        self.tell("projector")
        with threads(1):
            self._add(
                projector_section(
                    self.single, 64 if quick else 256, (24, 60), (1, 2) if quick else (1, 2, 8), self.min_seconds
                )
            )
        self.tell("denoiser and guidance")
        batches = (1, 2) if quick else (1, 2, 8)
        if self.device.type == "cuda":
            batches = (*batches, 64)
        self._add(network_section(self.prior, self.here, self.device, batches, (24, 60), self.min_seconds))
        self.tell("maps of many slices")
        self._add(map_section(self.here, 10 if quick else 100, 128 if quick else 512, self.min_seconds))
        self.tell("preconditioner")
        self._add(preconditioner_section(64 if quick else 256))

    def _cheaper(self) -> None:
        subject = self.subjects[0]
        image = torch.from_numpy(subject.study.intensity(subject.index, self.prior.card))[None, None]
        prior = self.prior if self.device.type == "cpu" else load_prior(self.options.prior)
        leave_out = ("torch.compile",) if self.options.quick else ()  # a minute or more of compiling
        self._add(cheaper_section(prior, torch.cat([image, image.flip(-1)]), self.min_seconds, self.tell, leave_out))

    def _memory(self) -> None:
        n, size, few = (6, 64, 1) if self.options.quick else (SLICES, SIZE, 2)
        self._add(
            memory_section(
                n,
                size,
                few,
                torch.get_num_threads(),
                self.tell,
                None if self.options.prior == DEFAULT_PRIOR else self.options.prior,
            )
        )

    def _whole(self) -> None:
        self.tell("one slice by every preset")
        self._add(slice_section(self.prior, self.subjects[0], self.device, 3, self.options.quick))
        self._add(study_section(self.options.data, self.prior, self.device, self.options.quick, self.tell))

    def _scaling(self) -> None:
        self.tell("how seconds grow")
        section = scaling_section(
            self.prior, self.subjects[0], self.device, SMALL_AXES if self.options.quick else AXES
        )
        self._add(section)
        self._picture("bench_scaling.png", lambda path: plot_scaling(section, path))

    def _schedules(self) -> None:
        o = self.options
        lengths = SHORT if o.quick else Lengths(samples=o.reference_samples)
        comparisons = [Comparison(self.prior, subject, self.device) for subject in self.subjects]
        curve = curve_section(
            comparisons, (2, 4) if o.quick else (2, 4, 6, 10, 16), (1, 2) if o.quick else (1, 2, 4), self.tell
        )
        self._add(curve)
        schedules = schedules_section(comparisons, lengths, self.tell)
        self._add(schedules)
        self._picture("bench_cost.png", lambda path: plot_cost(schedules, curve, path))
