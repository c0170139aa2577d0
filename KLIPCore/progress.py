"""Progress for people and for programs.

People get a bar with the time left (rich). Programs get one JSON object a line on standard output:

    {"stage": "sample", "fraction": 0.41, "eta_s": 33.2, "detail": "slice 12 (5 of 51)"}

The time left is estimated from the fraction done since sampling began, as the stages before it are short.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Style = Literal["bar", "json", "none"]


class Clock:
    """Time left, from how fast the fraction has grown since its first mark."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def eta_s(self, fraction: float) -> float | None:
        """Return seconds left at this fraction; None until there is something to go by."""
        now = time.monotonic()
        if self._first is None or fraction < self._first[1]:
            self._first = (now, fraction)
            return None
        start, begun = self._first
        grown = fraction - begun
        return (now - start) * (1 - fraction) / grown if grown > 0 else None


@contextmanager
def show_progress(style: Style) -> Iterator[Callable[[str, float, str], None]]:
    """Yield a progress callback (stage, fraction, detail) in the chosen style."""
    if style == "none":
        yield lambda stage, fraction, detail: None
        return
    if style == "json":
        clock = Clock()

        def tell_json(stage: str, fraction: float, detail: str) -> None:
            eta = clock.eta_s(fraction) if stage == "sample" else None
            line = {
                "stage": stage,
                "fraction": round(fraction, 4),
                "eta_s": None if eta is None else round(eta, 1),
                "detail": detail,
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

        yield tell_json
        return
    from rich.console import Console  # only people wait for it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.fields[stage]:<8}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("", total=1.0, stage="")

        def tell_bar(stage: str, fraction: float, detail: str) -> None:
            bar.update(task, completed=fraction, stage=stage, description=detail)

        yield tell_bar
