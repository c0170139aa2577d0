"""A wheel built from the tree holds what the package needs at run time, and works from a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from busy import longest
from small_study import small_study

from KLIPCore.io.dicom_series import write_dicom_series

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not {"pip", "setuptools"} <= {str(known.name).lower() for known in distributions()},
        reason="pip and setuptools build the wheel",
    ),
]


def run(*words: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=longest(300)
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the tree; without network or isolation."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPOSITORY / "KLIPCore", source / "KLIPCore", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE.txt"):
        shutil.copy(REPOSITORY / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out), ".", folder=source)
    (made,) = out.glob("klipcore-*.whl")
    return made


def test_what_is_not_python_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    root = REPOSITORY / "KLIPCore"
    needed = {
        path.relative_to(REPOSITORY).as_posix()
        for path in root.rglob("*")
        if path.suffix in (".py", ".safetensors", ".npz", ".json", ".html", ".js") and "__pycache__" not in path.parts
    }
    assert any(name.endswith("abdomen-ct-256.safetensors") for name in needed)
    assert sorted(needed - inside) == []
    assert [name for name in inside if not name.startswith(("KLIPCore/", "klipcore-"))] == []


def test_it_detects_from_a_fresh_folder(wheel: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    run(*pip, "install", "--no-deps", "--no-index", "--target", "installed", str(wheel), folder=tmp_path)
    fresh = {"PYTHONPATH": str(tmp_path / "installed"), "COLUMNS": "120"}
    code = "import KLIPCore as klip; print(klip.__file__); print(klip.load_prior().card.name, len(klip.PRESETS))"
    where, answer = run(sys.executable, "-c", code, folder=tmp_path, **fresh).splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert answer.startswith("abdomen-ct-256 ")
    (scripts,) = (tmp_path / "installed").glob("klipcore-*.dist-info/entry_points.txt")
    assert "klip = KLIPCore.cli.application:main" in scripts.read_text(encoding="utf-8")
    help_text = run(sys.executable, "-m", "KLIPCore.cli", "--help", folder=tmp_path, **fresh)
    assert "detect" in help_text
    assert "regions" in help_text
    write_dicom_series(small_study(), tmp_path / "STUDY", seed=1)
    detect = ("detect", "STUDY", "-o", "OUT", "--preset", "quick", "--slices", "1:3", "--progress", "none")
    run(sys.executable, "-m", "KLIPCore.cli", *detect, folder=tmp_path, **fresh)
    assert json.loads((tmp_path / "OUT" / "result.json").read_text(encoding="utf-8"))["regions"] is not None
    assert (tmp_path / "OUT" / "report.html").is_file()
