"""`klip score`: files in, the published figures out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from KLIPCore.cli import app
from KLIPCore.errors import ConfigError, GeometryError, KlipError, UnreadableFileError
from KLIPCore.io.images import write_image
from KLIPCore.lab.published.artifact import Artifact
from KLIPCore.lab.published.report import read_mask, score_files
from KLIPCore.volume.grid import Grid
from KLIPCore.volume.volume import Volume


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two abnormal images whose labelled block pushes hardest (in one) and hardest but one (in the other),
    and a calm normal one.
    """
    out = {}
    for name, levels in {"a": {(0, 1): 5.0}, "b": {(1, 1): 3.0, (0, 0): 4.0}, "n": {}}.items():
        updates = np.ones((4, 2, 1, 8, 8), np.float32)
        for (i, j), value in levels.items():
            updates[:, :, :, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = value
        Artifact(updates, np.ones(4, np.float32)).save(tmp_path / f"{name}.npz")
        out[name] = tmp_path / f"{name}.npz"
    for name, (i, j) in {"a": (1, 6), "b": (7, 7)}.items():
        mask = np.zeros((8, 8), np.uint8)
        mask[i, j] = 1
        np.save(tmp_path / f"{name}.npy", mask)
        out[f"{name} mask"] = tmp_path / f"{name}.npy"
    np.save(tmp_path / "body.npy", np.arange(64).reshape(8, 8) >= 32)
    out["body"] = tmp_path / "body.npy"
    return out


def test_figures(files: dict[str, Path]) -> None:
    text = score_files([files["a"], files["b"]], 4, (1, 3), [files["a mask"], files["b mask"]], normal=[files["n"]])
    assert re.search(r"\b400 +1\.0000  a\.npz", text)  # 16 pixels of 5²
    assert re.search(r"\b256 +0\.6667  b\.npz", text)  # one of three other blocks is stronger
    assert "image-level AUROC    0.8333  (mean over 2 images" in text
    assert "dataset-level AUROC  1.0000  (2 abnormal against 1 normal images)" in text
    lower = score_files([files["b"]], 4, (0, 4), [files["b mask"]], [files["body"]])
    assert "1.0000  b.npz" in lower  # the stronger block lies outside the body; the image score still counts it
    assert " 256 " in lower
    assert "AUROC    " not in score_files([files["a"]], 4, (0, 4))


def test_the_command(files: dict[str, Path]) -> None:
    run = CliRunner().invoke(
        app,
        [
            "score",
            str(files["a"]),
            "--mask",
            str(files["a mask"]),
            "--block",
            "4",
            "--steps",
            "0:4",
            "--normal",
            str(files["n"]),
        ],
    )
    assert run.exit_code == 0, run.output
    assert "1.0000  a.npz" in run.output
    bad = CliRunner().invoke(app, ["score", str(files["a"]), "--steps", "all"])
    assert isinstance(bad.exception, ConfigError)


def test_masks_from_images(files: dict[str, Path], tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = affine[:3, :3][::-1]
    write_image(
        Volume(np.load(files["a mask"]).astype(np.float32)[None], Grid((1, 8, 8), affine)), tmp_path / "mask.nrrd"
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nrrd"), read_mask(files["a mask"]))


def test_refusals(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("none")
    np.save(tmp_path / "volume.npy", np.zeros((3, 8, 8)))
    np.save(tmp_path / "small.npy", np.ones((4, 4)))
    for error, message, masks, bodies in (
        (ConfigError, "2 masks for 1", [files["a mask"]] * 2, []),
        (ConfigError, "alone", [], [files["body"]]),
        (UnreadableFileError, "text.npy", [tmp_path / "text.npy"], []),
        (UnreadableFileError, "gone.npy", [tmp_path / "gone.npy"], []),
        (GeometryError, "not \\(H, W\\)", [tmp_path / "volume.npy"], []),
        (GeometryError, "another size", [tmp_path / "small.npy"], []),
    ):
        with pytest.raises(error, match=message) as caught:
            score_files([files["a"]], 4, (0, 4), masks, bodies)
        assert isinstance(caught.value, KlipError)
        assert caught.value.remedy
