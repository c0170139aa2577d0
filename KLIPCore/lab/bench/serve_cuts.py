"""Cut a client's connections at random: ``python -m KLIPCore.lab.bench.serve_cuts --cuts 50 --seed 0``.

A small study and a prior of random weights go through a real `klip serve` and the real client, with a proxy between
them that cuts connections while the study goes up, events come and results go down. Rounds are run until as many
connections have been cut as were asked for. Counted are results that differ from the local one's, jobs beyond the one
of each round, and runs beyond it. ``--overhead`` measures instead what a server adds to the detection: everything from
the claim to the last file but the detection's own seconds, as the server's clock has them in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from KLIPCore.client.connection import Connection, Server
from KLIPCore.client.detector import Request
from KLIPCore.client.local import LocalDetector
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.lab.bench.cutting_proxy import CuttingProxy
from KLIPCore.lab.fuzz.seeds import tiny_study, write_tiny_prior

COMPARED = ("kl_map.nrrd", "reconstruction.nrrd", "body.npz", "regions.seg.nrrd")
"""Files without seconds or new DICOM UIDs in them."""

SETTINGS: dict[str, Any] = {
    "preset": "quick",
    "device": "cpu",
    "precision": "float32",
    "record": {"cell": 2, "layers": ["cold", "path"]},
    "regions": {"score": "surprise"},
}


@dataclass
class Counts:
    """What came of the cuts."""

    rounds: int = 0
    cuts: int = 0
    differing: int = 0
    jobs: int = 0
    runs: int = 0
    failed: list[str] = field(default_factory=list)


class Stand:
    """A study, a prior, a server.

    Parameters
    ----------
    folder : where all of it goes.
    slices, side : of the study.
    """

    def __init__(self, folder: Path, slices: int, side: int) -> None:
        self.folder, self.study = folder, folder / "ct"
        os.environ["OMP_NUM_THREADS"] = "1"  # equal bits are promised for equal threads
        write_dicom_series(tiny_study(slices, side), self.study, seed=1)
        self.prior = write_tiny_prior(folder / "prior")
        words = ["serve", "--port", "0", "--folder", str(folder / "state"), "--prior", str(self.prior)]
        words += ["--device", "cpu", "--min-free", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "KLIPCore.cli", *words],
            stderr=(folder / "log").open("wb"),
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        )
        while "klip serves at" not in self.log:
            if self.process.poll() is not None:
                raise RuntimeError(f"The server did not start: {self.log}")
            time.sleep(0.05)
        self.port = int(self.log.split("klip serves at http://127.0.0.1:")[1].split()[0])

    @property
    def log(self) -> str:
        """What the server has said."""
        return (self.folder / "log").read_text(encoding="utf-8")

    def remote(self, port: int, out: Path) -> RemoteDetector:
        """Run the detection on the server."""
        detector = RemoteDetector(Server(f"http://127.0.0.1:{port}"))
        detector.run(Request(self.study, out, SETTINGS | {"prior": self.prior.stem}))
        return detector

    def local(self, out: Path) -> float:
        """Run it here; returns seconds."""
        began = time.monotonic()
        LocalDetector().run(Request(self.study, out, SETTINGS | {"prior": str(self.prior)}))
        return time.monotonic() - began

    def jobs(self) -> list[str]:
        """Return names of the jobs that the server has."""
        return [path.parent.name for path in (self.folder / "state" / "jobs").glob("*/job.json")]

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait(30)


def cut(stand: Stand, cuts: int, seed: int, most_s: float) -> Counts:
    """Run rounds until so many connections have been cut, or the time is over."""
    counts, began = Counts(), time.monotonic()
    reference = stand.folder / "local"
    stand.local(reference)
    while counts.cuts < cuts and (counts.rounds == 0 or time.monotonic() - began < most_s):
        proxy = CuttingProxy(stand.port, cuts - counts.cuts, seed + counts.rounds)
        out = stand.folder / f"out{counts.rounds}"
        detector = None
        try:
            detector = stand.remote(proxy.port, out)
        except Exception as error:
            counts.failed.append(f"{type(error).__name__}: {error}")
        proxy.close()
        counts.rounds += 1
        counts.cuts += proxy.done
        counts.jobs += len(stand.jobs())
        counts.differing += detector is None or any(
            (out / name).read_bytes() != (reference / name).read_bytes() for name in COMPARED
        )
        print(f"round {counts.rounds}: {proxy.done} cuts", file=sys.stderr, flush=True)
        if detector is not None:
            detector.server = Server(f"http://127.0.0.1:{stand.port}")
            detector.cancel()  # so that the next round sends and computes all of it again
    counts.runs = stand.log.count(" runs: ")
    return counts


def overhead(stand: Stand, rounds: int) -> list[tuple[float, float]]:
    """Return (whole, detection's own) seconds of each round."""
    found = []
    for number in range(rounds):
        began = time.monotonic()
        detector = stand.remote(stand.port, stand.folder / f"out{number}")
        whole = time.monotonic() - began
        connection = Connection(detector.server)
        own = connection.ask("GET", f"/v1/jobs/{stand.jobs()[0]}")["seconds"]
        connection.close()
        found.append((whole, float(own)))
        detector.cancel()
    return found


def main() -> int:
    """Print the counts; 1 where something was lost or doubled."""
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.lab.bench.serve_cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--side", type=int, default=64, help="of a slice, in pixels")
    parser.add_argument("--most-s", type=float, default=600.0, help="no round begins after so many seconds")
    parser.add_argument("--overhead", type=int, default=0, metavar="ROUNDS", help="measure that instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klip-cuts-") as name:
        stand = Stand(Path(name), asked.slices, asked.side)
        try:
            if asked.overhead:
                print("| whole s | detection s | server's part s | ratio |\n| ---: | ---: | ---: | ---: |")
                for whole, own in overhead(stand, asked.overhead):
                    print(f"| {whole:.2f} | {own:.2f} | {whole - own:.2f} | {whole / own:.3f} |")
                return 0
            counts = cut(stand, asked.cuts, asked.seed, asked.most_s)
        except Exception:
            print(stand.log, file=sys.stderr)
            raise
        finally:
            stand.stop()
    print("| cuts | rounds | results that differ | jobs | runs |\n| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {counts.cuts} | {counts.rounds} | {counts.differing} | {counts.jobs} | {counts.runs} |")
    for line in counts.failed:
        print(json.dumps(line))
    return int(counts.differing > 0 or counts.jobs != counts.rounds or counts.runs != counts.rounds)


if __name__ == "__main__":
    sys.exit(main())
