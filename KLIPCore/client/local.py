"""Detections on this computer, in a process of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from KLIPCore.client.child import Child
from KLIPCore.client.command import detect_command, write_settings
from KLIPCore.client.detector import Detector, Event, Request


class LocalDetector(Detector):
    """`klip detect` on this computer: the Python that runs this needs all of KLIPCore's packages."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._request: Request | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, request: Request) -> None:
        """Start the process."""
        self._request = request
        self._folder = tempfile.TemporaryDirectory(prefix="klip-")
        settings = Path(self._folder.name) / "settings.yaml"
        write_settings(request.settings, settings)
        self._child = Child(detect_command(request, settings))

    def events(self) -> Iterator[Event]:
        """Yield the process's progress."""
        if self._child is None:
            return
        for line in self._child.lines():
            yield Event.from_dict(line)
        problem = self._child.ended()
        self._forget()
        if problem is not None:
            raise problem

    def cancel(self) -> None:
        """End the process with all that it started; finished slices are kept."""
        if self._child is not None:
            self._child.stop()
            self._child.ended()
        self._forget()

    def results(self) -> list[Path]:
        """Return the files of the finished run."""
        out = self._request.out if self._request is not None else None
        return [] if out is None else sorted(path for path in out.rglob("*") if path.is_file())

    def _forget(self) -> None:
        self._child = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
