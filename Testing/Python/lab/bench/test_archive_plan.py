"""The plan of a night, against arithmetic by hand."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from KLIPCore.lab.bench.archive_plan import plan


def test_a_night_by_hand(tmp_path: Path) -> None:
    """50 slices in 36 s: 100 000 slices are 2000 studies and 20 hours; a megabyte of findings a study."""
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "slice_0000.npz").write_bytes(bytes(2000))
    text = json.dumps({"slices": 50})
    (tmp_path / "result.json").write_text(text, encoding="utf-8")
    (tmp_path / "kl_map.nrrd").write_bytes(bytes(1_000_000 - len(text)))
    given = Namespace(
        run=tmp_path, study_s=36.0, node="a computer", slices=100_000, hours=10.0, overhead=0.0, image_mb=0.5
    )
    rows = dict(plan(given))
    assert rows["100,000 slices"] == "2,000 studies, 20 hours of that computer"
    assert rows["in 10 hours"] == "2 such computers"
    assert rows["a GPU that takes x seconds a study"] == "0.06 · x GPUs"
    assert rows["read from it, or from a PACS"] == "3 images/s, 1 MB/s"
