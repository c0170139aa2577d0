"""What a night over an archive takes: ``python -m KLIPCore.lab.bench.archive_plan RUN --study-s 61 --slices 1000000``.

Plain arithmetic on measured figures: how long one `klip detect` took on one kind of computer, and what lies in the
folder that one wrote. Computers are assumed to work beside each other without loss, which holds as far as the storage
can follow: the table says how much it must.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from KLIPCore.runs.folder import RunFolder

NEEDED = ("result.json", "run.json", "kl_map.nrrd", "regions.seg.nrrd", "report.html")
"""What is kept of a study where only the findings are."""


def sizes(run: Path) -> dict[str, int]:
    """Return bytes of a run's files by name, those of the trace together."""
    found = {file.name: file.stat().st_size for file in run.iterdir() if file.is_file()}
    found["trace/"] = sum(file.stat().st_size for file in (run / "trace").rglob("*") if file.is_file())
    return found


def plan(given: argparse.Namespace) -> list[tuple[str, str]]:
    """Return rows of the table: what, and how much."""
    slices = int(RunFolder(given.run).result()["slices"])
    found = sizes(given.run)
    studies = math.ceil(given.slices / slices)
    work_s, night_s = studies * given.study_s * (1 + given.overhead), given.hours * 3600
    nodes = math.ceil(work_s / night_s)
    kept, whole = sum(found.get(name, 0) for name in NEEDED), sum(found.values())
    rows = [
        (f"a study of {slices} slices, on {given.node}", f"{given.study_s:g} s, bookkeeping {given.overhead:.0%}"),
        (f"{given.slices:,} slices", f"{studies:,} studies, {work_s / 3600:,.0f} hours of that computer"),
        (f"in {given.hours:g} hours", f"{nodes} such computers"),
        ("a GPU that takes x seconds a study", f"{studies / night_s:.2f} · x GPUs"),
        ("results, whole", f"{whole / slices / 1e6:.1f} MB a slice, {whole * studies / 1e12:.2f} TB"),
        ("of that the trace", f"{found['trace/'] / slices / 1e6:.1f} MB a slice"),
        ("results, findings only", f"{kept / slices / 1e6:.1f} MB a slice, {kept * studies / 1e12:.2f} TB"),
        ("written to the storage", f"{whole * studies / night_s / 1e6:.0f} MB/s on average"),
        ("read from it, or from a PACS", f"{given.slices / night_s:.0f} images/s, "
                                         f"{given.slices * given.image_mb / night_s:.0f} MB/s"),
    ]  # fmt: skip
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of one finished klip detect of a typical study")
    parser.add_argument("--study-s", type=float, required=True, help="seconds that one such detection takes")
    parser.add_argument("--node", default="one computer", help="on what; for the table")
    parser.add_argument("--slices", type=int, default=1_000_000)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--overhead", type=float, default=0.05, help="of the bookkeeping, see archive_kills")
    parser.add_argument("--image-mb", type=float, default=0.53, help="of an image of 512 x 512 as it is stored")
    print("| what | how much |\n| --- | --- |")
    for what, how_much in plan(parser.parse_args()):
        print(f"| {what} | {how_much} |")


if __name__ == "__main__":
    main()
