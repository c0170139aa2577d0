"""The example that puts the published recipes beside the house's scores still runs, here with hardly any steps."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from KLIPCore.priors import checkpoint

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "02_published_recipe.py"
SMALL = f"{checkpoint.DEFAULT_PRIOR}-small"
SHIPPED = Path(checkpoint.__file__).parent / "zoo" / f"{SMALL}.safetensors"


@pytest.mark.slow
@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped prior is not here")
def test_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("published_recipe", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "published_recipe", example)  # its dataclass looks its own module up
    spec.loader.exec_module(example)
    for name, value in {"DRAW_STEPS": 2, "VE_STEPS": 4, "PADIS_LEVELS": 4, "PADIS_INNER": 1, "DDPM_STEPS": 5}.items():
        monkeypatch.setattr(example, name, value)
    steps = {
        "ve-projection": {"n_steps": 30, "record_every": 1},
        "padis": {"n_levels": 40, "n_inner": 4},
        "ddpm": {"n_steps": 20},
    }
    monkeypatch.setattr(example, "STEPS", steps)
    monkeypatch.setattr(sys, "argv", ["example", "--seed", "1", "--prior", SMALL])
    example.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    exact, rows = (
        [[cell.strip(" ()") for cell in line.split("|")[1:-1]] for line in part] for part in (lines[:5], lines[5:])
    )
    assert [row[0] for row in exact[2:]] == ["ve-projection", "padis", "ddpm"]
    assert float(exact[3][2]) > 0.9  # the patch recipe finds the disc, even with these few steps
    assert all(row[5] == "1.00, 1.00" for row in exact[2:])
    assert [row[0] for row in rows[2:]] == [
        "ve-projection, published",
        "padis, published",
        "ddpm, published",
        "klip",
        "one-shot",
        "surprise",
    ]
    for row in rows[2:]:
        assert 0 <= float(row[4]) <= 1
        assert row[5] in ("lesion", "body", "air")
    assert int(rows[2][2]) == 2 * 4 + 1  # corrector, predictor, and the last denoising
    assert int(rows[3][2]) == 4
    assert int(rows[4][2]) == 5
