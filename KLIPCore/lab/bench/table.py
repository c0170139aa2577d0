"""Tables of figures: kept as numbers (JSON), shown as Markdown, written into a document between its markers.

A :class:`Section` is one table. Its rows hold plain numbers; what a column is called, and in which unit a
person reads it, is said once in :data:`COLUMNS`. docs/performance.md keeps its prose: only what stands between

    <!-- measured: begin NAME -->   and   <!-- measured: end NAME -->

is replaced, for the sections that were measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from KLIPCore.errors import ConfigError
from KLIPCore.export.files import write_bytes
from KLIPCore.lab.bench.measure import Bound, Ceilings, Timing, Work

NOT_MEASURED = "not measured"

NARROW = {"batch", "views", "evaluations", "slices", "regions", "samples", "steps", "size"}
"""Columns of whole numbers."""

COLUMNS = {
    "seconds": "time",
    "spread": "spread",
    "astra_seconds": "ASTRA",
    "astra_ratio": "ASTRA / ours",
    "per_image": "an image",
    "gflop": "GFLOP",
    "bound": "bound by",
    "share": "of that bound",
    "adjoint_error": "adjoint error",
    "of_network": "of the network's time",
    "network_share": "in the network",
    "projection_share": "in A and Aᵀ",
    "sampling_seconds": "sampling",
    "slice_seconds": "a slice",
    "all_seconds": "times",
    "network_ratio": "the same, network alone",
    "peak_gib": "peak memory",
    "goal_gib": "goal",
    "trace_mib": "trace, MiB",
    "native_seconds": "this processor",
    "avx2_seconds": "simulated: AVX2 alone",
    "speed_ratio": "times as fast",
    "ready_seconds": "until ready",
    "network_seconds": "in the network",
    "body_auroc": "AUROC, body",
    "organ_auroc": "AUROC, liver",
    "reference_ratio": "reference / this",
    "goal_seconds": "goal",
    "exponent": "exponent",
    "range": "over",
}
"""Key of a row → what the table calls it; others are called by their key."""


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes
    ----------
    name : of its markers.
    columns : keys in the order shown, after the row's name.
    rows : each with ``name`` and values by key; a missing value is shown as a dash.
    notes : sentences below it.
    heading : what the first column is called.
    picture : name of its plot, and what the plot shows.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()
    heading: str = "what"
    picture: tuple[str, str] | None = None

    def markdown(self, pictures: str = "") -> str:
        """Return the table as people read it, its plot below; ``pictures`` is where that lies."""
        shown = [c for c in self.columns if any(row.get(c) is not None for row in self.rows)]
        titles = [self.heading, *(COLUMNS.get(c, c.replace("_", " ")) for c in shown)]
        lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
        for row in self.rows:
            cells = [str(row["name"]), *(cell(c, row.get(c)) for c in shown)]
            lines.append("| " + " | ".join(cells) + " |")
        below = [*self.notes, f"![{self.picture[1]}]({pictures}{self.picture[0]})"] if self.picture else self.notes
        return "\n".join([*lines, *(line for part in below for line in ("", part))])


@dataclass(frozen=True)
class Bench:
    """All that one run measured.

    Attributes
    ----------
    machine : where (:func:`KLIPCore.lab.bench.machine.machine`).
    ceilings : by name of the circumstances.
    sections : the tables.
    plots : file names of the pictures that belong to it.
    """

    machine: dict[str, Any]
    ceilings: dict[str, Ceilings]
    sections: list[Section] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return everything, one table after the other."""
        parts = [
            machine_markdown(self.machine, self.ceilings),
            *(f"## {s.name}\n\n{s.markdown()}" for s in self.sections),
        ]
        return "\n\n".join(parts) + "\n"

    def save(self, folder: Path) -> None:
        """Write ``bench.json`` and ``bench.md``.

        Raises
        ------
        OutputError : the folder cannot be written.
        """
        values = {
            "machine": self.machine,
            "ceilings": {name: asdict(c) for name, c in self.ceilings.items()},
            "plots": self.plots,
        }
        values["sections"] = {s.name: {"rows": list(s.rows), "notes": list(s.notes)} for s in self.sections}
        write_bytes(folder / "bench.json", (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
        write_bytes(folder / "bench.md", self.markdown().encode())

    def write_into(self, document: Path) -> None:
        """Replace the measured parts of a document.

        Raises
        ------
        ConfigError : it is not there, or lacks the markers of a table.
        """
        try:
            text = document.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"There is no {document}.", "Run klip bench --table in a checkout of the repository."
            ) from error
        for name, content in [
            ("machine", machine_markdown(self.machine, self.ceilings)),
            *((s.name, s.markdown("images/")) for s in self.sections),
        ]:
            text = replace_measured(text, name, content)
        write_bytes(document, text.encode())


def replace_measured(text: str, name: str, content: str) -> str:
    """Return a document with new content between the markers of one name.

    Raises
    ------
    ConfigError : the markers are not there.
    """
    begin, end = f"<!-- measured: begin {name} -->", f"<!-- measured: end {name} -->"
    pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        raise ConfigError(
            f"The document has no place for the table '{name}'.", f"Put {begin} and {end} where it belongs."
        )
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", text)


def with_network_bounds(section: Section, here: Ceilings, evaluation: Work) -> Section:
    """Return a section whose rows say how many evaluations their seconds paid for, with what bounds those.

    The least time in which this device could evaluate the network so often, over the whole row's time.

    Parameters
    ----------
    section : its rows have ``evaluations`` and ``seconds``; others are left as they are.
    here : the device's ceilings.
    evaluation : of one image.
    """
    rows = []
    for row in section.rows:
        seconds, n = row.get("seconds"), row.get("evaluations")
        bound = here.bound(evaluation.times(float(n)), seconds) if isinstance(seconds, float) and n else None
        rows.append(row | ({"bound": bound.by, "share": bound.share} if bound else {}))
    note = "*Bound by*: the network's forward evaluations alone, against the seconds of everything."
    at = section.columns.index("seconds") + 1
    columns = (*section.columns[:at], "bound", "share", *section.columns[at:])
    return replace(section, columns=columns, rows=tuple(rows), notes=(*section.notes, note))


def figures(timing: Timing | None, bound: Bound | None = None) -> dict[str, Any]:
    """Return a row's time, spread and bound; nothing was measured without a timing."""
    if timing is None:
        return {"seconds": NOT_MEASURED}
    made: dict[str, Any] = {"seconds": timing.seconds, "spread": timing.spread, "runs": timing.runs}
    if bound is not None:
        made |= {"bound": bound.by, "share": bound.share}
    return made


def machine_markdown(machine: dict[str, Any], ceilings: dict[str, Ceilings]) -> str:
    """Return the machine and its ceilings."""
    m = machine
    libraries = ", ".join(f"{name} {number}" for name, number in m["libraries"].items())
    lines = [
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} of them used by PyTorch, {m['memory_gib']:g} GiB; device: "
        f"{m['device']}. "
        f"{m['software']}, Python {m['python']}, {libraries}. Prior `{m['prior']}`, sha256 "
        f"`{m['prior_sha256'][:12]}`. "
        f"Other programs took {100 * m['busy']:.0f} % of the processor.",
        "",
        "| ceiling | bf16 matrix product | fp32 matrix product | triad, 1 MiB | triad, 16 MiB | triad, 384 MiB | "
        "launch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, c in ceilings.items():
        speeds = " | ".join(f"{c.bandwidth[size] / 1e9:.0f} GB/s" for size in sorted(c.bandwidth))
        lines.append(
            f"| {name} | {c.flops['bf16'] / 1e9:.0f} GFLOP/s | {c.flops['fp32'] / 1e9:.0f} GFLOP/s | {speeds} | "
            f"{c.launch * 1e6:.1f} µs |"
        )
    return "\n".join(lines)


def cell(column: str, value: Any) -> str:
    """Return one value as text, in the unit of its column."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(cell(column, v) for v in value)
    if column.endswith("seconds") or column == "per_image":
        return duration(value)
    if column in ("spread", "of_network", "network_share", "projection_share", "share"):
        return f"{100 * value:.0f} %"
    if column.endswith("_ratio"):
        return f"{value:.1f}×" if value < 10 else f"{value:.0f}×"
    if column == "adjoint_error":
        return f"{value:.0e}"
    if column == "peak_gib":
        return f"{value:.2f} GiB"
    if column.endswith("auroc"):
        return f"{value:.3f}"
    if column in NARROW:
        return f"{value:g}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.1:
        return f"{seconds * 1e3:.2g} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def text_table(sections: Iterable[Section]) -> str:
    """Return the Markdown tables for the terminal, where they read well enough."""
    return "\n\n".join(f"{s.name}\n\n{s.markdown()}" for s in sections)
