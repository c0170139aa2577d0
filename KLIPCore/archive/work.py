"""A worker as a program: ``python -m KLIPCore.archive.work OUT 1/4``; started by :mod:`KLIPCore.archive.runner`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from KLIPCore.archive.importing import Shard
from KLIPCore.archive.plan import ArchiveFolder
from KLIPCore.archive.state import LEASE_S, State
from KLIPCore.archive.worker import Worker
from KLIPCore.errors import Cancelled, ConfigError, KlipError
from KLIPCore.pacs.pace import QuietHours


def parse_shard(text: str) -> Shard:
    """Return ``3/20`` as two numbers.

    Raises
    ------
    ConfigError : it is no part of a whole.
    """
    number, _, count = text.partition("/")
    if not (number.isascii() and count.isascii() and number.isdigit() and count.isdigit()):
        raise ConfigError(f"'{text}' is no shard.", "Write --shard 3/20 for the third of twenty.")
    if not 1 <= int(number) <= int(count) <= 100_000:
        raise ConfigError(f"There is no shard {text}.", "Shards are counted from 1: 1/20 to 20/20.")
    return int(number), int(count)


def _terminated(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Work until nothing is left; the exit code, by :mod:`KLIPCore.errors`."""
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.archive.work", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("shard", type=parse_shard)
    parser.add_argument("--quiet", default="")
    parser.add_argument("--lease", type=float, default=LEASE_S)
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    folder = ArchiveFolder(given.out)
    state = State(folder.state(given.shard), lease_s=given.lease)
    try:
        Worker(state, folder, folder.plan(), QuietHours.parse(given.quiet)).work()
    except KeyboardInterrupt:
        return Cancelled.exit_code
    except KlipError as error:
        state.remember("stop", json.dumps([error.message, error.remedy]))
        return error.exit_code
    finally:
        state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
