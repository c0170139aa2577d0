"""The front door: public names, loaded when asked for, and the README's Python run as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_study import small_study

import KLIPCore as klip
from KLIPCore.io.dicom_series import write_dicom_series
from KLIPCore.maps.regions import Region

REPOSITORY = Path(__file__).resolve().parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", klip.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(klip, name) is not None
    assert name in dir(klip)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        klip.nothing_of_the_kind  # noqa: B018


def test_the_door_itself_loads_nothing() -> None:
    loaded = "[m for m in sys.modules if m.startswith('KLIPCore.') or m in ('torch', 'numpy')]"
    code = f"import KLIPCore, sys; print(*{loaded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems limit addresses otherwise")
def test_addresses_too_few_to_load_anything_are_told() -> None:
    """Loading PyTorch within 900 MiB ended the process, and not in words."""
    limit = "resource.setrlimit(resource.RLIMIT_AS, (900 << 20,) * 2)"
    limited = f"import os, resource, sys; {limit}; os.execv(sys.argv[1], sys.argv[1:])"
    klip = [sys.executable, "-m", "KLIPCore.cli"]
    for words, code in ((["regions", "nowhere"], 4), (["--version"], 0)):
        command = [sys.executable, "-c", limited, *klip, *words]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("The memory of this computer does not suffice." if code else "")


@pytest.mark.slow
def test_from_a_study_to_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom_series(small_study(2), tmp_path / "STUDY", seed=1)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(SNIPPETS[0], "README.md", "exec"), names)
    found = names["found"]
    assert (tmp_path / "OUT" / "report.html").is_file()
    assert all(isinstance(region, Region) for region in found.report.regions)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_from_a_prior_to_samples_and_a_map() -> None:
    names: dict[str, object] = {}
    exec(compile(SNIPPETS[1], "README.md", "exec"), names)
    samples, nats = np.asarray(names["samples"]), np.asarray(names["nats"])
    image = np.asarray(names["image"])
    assert samples.shape == (2, 256, 256)
    assert nats.shape == (32, 32)
    assert np.abs(samples.mean(0) - image).mean() < 0.03  # the samples show what was measured


def test_a_sinogram_takes_no_options_of_a_volume(tmp_path: Path) -> None:
    with pytest.raises(klip.KlipError, match=r"--slices"):
        klip.detect(tmp_path / "scan.npz", tmp_path / "out", part=klip.Part(slices="1:2"))
