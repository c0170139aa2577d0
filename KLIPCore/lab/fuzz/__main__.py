"""``python -m KLIPCore.lab.fuzz --reader NAME --n 2000 --seed 0``: counts for one reader, or for all."""

from __future__ import annotations

import argparse
import sys
import time

from KLIPCore.lab.fuzz.harness import fuzz
from KLIPCore.lab.fuzz.readers import READERS

COLUMNS = (
    "reader",
    "inputs",
    "read",
    "refused",
    "tracebacks",
    "bad sentences",
    "hangs",
    "deaths",
    "memory",
    "leftovers",
    "lines",
    "slowest s",
    "largest MiB",
)


def main() -> int:
    """Print a table; 1 where an input was neither read nor refused as it should be."""
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.lab.fuzz", description=__doc__)
    parser.add_argument(
        "--reader", action="append", choices=sorted(READERS), help="may be repeated; all when not given"
    )
    parser.add_argument("--n", type=int, default=2000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first input, to make a finding again")
    parser.add_argument("--findings", type=int, default=20, help="findings to print for each reader")
    asked = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    sound = True
    for name in asked.reader or READERS:
        began = time.monotonic()
        tally = fuzz(READERS[name], asked.n, asked.seed, asked.start)
        counts = [
            tally.counts[outcome] for outcome in ("read", "refused", "traceback", "bad sentence", "hang", "death")
        ]
        cells = [
            name,
            asked.n,
            *counts,
            tally.swollen,
            tally.leftovers,
            tally.chatter,
            f"{tally.slowest_s:.1f}",
            tally.largest_bytes >> 20,
        ]
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        for line in tally.findings[: asked.findings]:
            print("  " + line, file=sys.stderr, flush=True)
        sound &= tally.sound
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
