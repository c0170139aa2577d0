"""``python -m KLIPCore.client STUDY -o OUT --server URL``: a detection on a server, with Python alone.

For computers without torch. Where all of KLIPCore is installed, ``klip detect --server`` has every setting as an
option and tells the regions at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from KLIPCore import __version__
from KLIPCore.client.connection import Server
from KLIPCore.client.detector import Request
from KLIPCore.client.remote import RemoteDetector
from KLIPCore.client.token import read_token
from KLIPCore.errors import Cancelled, ConfigError, KlipError


def main() -> int:
    """Do what the command line says; returns the exit code."""
    asked = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = Server(asked.server, read_token(asked.token_file, os.environ), asked.server_ca)
        detector = RemoteDetector(server)
        if asked.study is None:
            print(detector.handshake())
            return 0
        if asked.out is None:
            raise ConfigError("No folder for the results was named.", "Give -o OUT.")
        settings = {**_settings(asked.settings), **({"preset": asked.preset} if asked.preset else {})}
        request = Request(
            asked.study, asked.out, settings, asked.series, asked.slices, asked.roi, overwrite=asked.overwrite
        )
        detector.run(request, _tell_json if asked.progress == "json" else _tell_text)
    except (KlipError, KeyboardInterrupt) as stop:
        error = stop if isinstance(stop, KlipError) else Cancelled("Stopped.")
        if asked.progress == "json":
            told = {"error": type(error).__name__, "message": error.message, "remedy": error.remedy}
            print(json.dumps({"stage": "error", **told}), flush=True)
        print(error.message, error.remedy, sep="\n", file=sys.stderr)
        return error.exit_code
    if asked.progress == "text":
        print(f"Results in {asked.out}; open {asked.out / 'report.html'}\nResearch software. Not a medical device.")
    return 0


def _tell_text(stage: str, fraction: float, detail: str) -> None:
    print(f"{100 * fraction:3.0f} %  {stage}: {detail}", flush=True)


def _tell_json(stage: str, fraction: float, detail: str) -> None:
    print(json.dumps({"stage": stage, "fraction": round(fraction, 4), "eta_s": None, "detail": detail}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m KLIPCore.client", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("study", type=Path, nargs="?", help="as klip detect takes it; without one, only say hello")
    parser.add_argument("--server", required=True, help="https://HOST:PORT")
    parser.add_argument("--token-file", type=Path, help="file with the server's token; else KLIP_TOKEN")
    parser.add_argument("--server-ca", type=Path, help="certificate to trust, PEM")
    parser.add_argument("--preset", help="quick, default or full")
    parser.add_argument("--settings", type=Path, help="JSON file of settings, by section")
    for name in ("series", "slices", "roi"):
        parser.add_argument(f"--{name}", help="as klip detect takes it")
    parser.add_argument("--overwrite", action="store_true", help="replace a run with other settings")
    parser.add_argument("-o", "--out", type=Path, help="folder for the results")
    parser.add_argument("--progress", choices=("text", "json"), default="text", help="json lines for programs")
    parser.add_argument("--version", action="version", version=f"klip {__version__}")
    return parser


def _settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"The settings {path} cannot be read.", "Give a JSON file.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"The settings {path} hold no settings.", "Write them by section, as a JSON object.")
    return values


if __name__ == "__main__":
    sys.exit(main())
