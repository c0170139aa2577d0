"""The published artifact: what is written is read back, and what is none is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from KLIPCore.errors import OutputError, UnreadableFileError
from KLIPCore.lab.published.artifact import Artifact


def made(seed: int = 0, shape: tuple[int, ...] = (4, 2, 1, 6, 4)) -> Artifact:
    rng = np.random.default_rng(seed)
    return Artifact(
        rng.standard_normal(shape).astype(np.float32),
        rng.random(shape[0]).astype(np.float32),
        rng.random(shape[3:]).astype(np.float32),
    )


@given(seed=st.integers(0, 99), shape=st.tuples(*[st.integers(1, 4)] * 5), with_reconstruction=st.booleans())
@settings(max_examples=20, deadline=None)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shape: tuple[int, ...], with_reconstruction: bool
) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    artifact = made(seed, shape)
    if not with_reconstruction:
        artifact = Artifact(artifact.normalized_updates, artifact.g_values)
    artifact.save(folder / "a.npz")
    assert [f.name for f in folder.iterdir()] == ["a.npz"]
    back = Artifact.load(folder / "a.npz")
    np.testing.assert_array_equal(back.normalized_updates, artifact.normalized_updates)
    np.testing.assert_array_equal(back.g_values, artifact.g_values)
    assert back.normalized_updates.dtype == np.float32
    assert (back.reconstruction is None) == (not with_reconstruction)
    assert back.source_image is None
    if with_reconstruction:
        np.testing.assert_array_equal(back.reconstruction, artifact.reconstruction)


def test_files_of_the_reference_are_read(tmp_path: Path) -> None:
    """It compresses, and adds the source image; float64 is read too."""
    updates, g = np.random.default_rng(0).standard_normal((3, 1, 3, 4, 4)), np.ones(3)
    np.savez_compressed(
        tmp_path / "a.npz", normalized_updates=updates, g_values=g, source_image=np.zeros((4, 4, 3), np.uint8)
    )
    back = Artifact.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(back.normalized_updates, updates)
    assert back.source_image is not None
    assert (back.n_steps, back.image_shape) == (3, (4, 4))


def bad_files(folder: Path) -> dict[str, str]:
    """File name → what the message must say."""
    good = made()
    good.save(folder / "good.npz")
    whole = (folder / "good.npz").read_bytes()
    (folder / "short.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("no archive")
    np.save(folder / "lone.npy", np.zeros(3))
    np.savez(folder / "other.npz", trace=np.zeros(3))
    updates, g = good.normalized_updates, good.g_values
    np.savez(folder / "flat.npz", normalized_updates=updates[:, 0], g_values=g)
    np.savez(folder / "fewer.npz", normalized_updates=updates, g_values=g[:2])
    np.savez(folder / "none.npz", normalized_updates=updates[:0], g_values=g[:0])
    np.savez(folder / "words.npz", normalized_updates=updates.astype(str), g_values=g)
    np.savez(folder / "complex.npz", normalized_updates=updates.astype(complex), g_values=g)
    np.savez(folder / "nan.npz", normalized_updates=np.where(updates > 1, np.nan, updates), g_values=g)
    np.savez(folder / "pickled.npz", normalized_updates=np.array([{}], dtype=object), g_values=g)
    cannot = "cannot be read"
    return {
        "short.npz": cannot,
        "empty.npz": cannot,
        "text.npz": cannot,
        "lone.npy": cannot,
        "pickled.npz": cannot,
        "other.npz": "no published artifact",
        "flat.npz": "are not",
        "fewer.npz": "4 steps",
        "none.npz": "are not",
        "words.npz": "not real numbers",
        "complex.npz": "not real numbers",
        "nan.npz": "not finite",
        "missing.npz": "There is no file",
    }


def test_bad_files_are_refused(tmp_path: Path) -> None:
    for name, message in bad_files(tmp_path).items():
        with pytest.raises(UnreadableFileError, match=message) as caught:
            Artifact.load(tmp_path / name)
        assert caught.value.remedy


def test_a_damaged_file_never_passes_silently(tmp_path: Path) -> None:
    """Every byte of a small file changed in turn: the content that is read is the right one, or the file is
    refused.
    """
    artifact = Artifact(np.full((1, 1, 1, 1, 1), 2.5, np.float32), np.ones(1, np.float32))
    artifact.save(tmp_path / "a.npz")
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    for place in range(0, len(whole), 7):
        hurt = bytearray(whole)
        hurt[place] ^= 0x55
        (tmp_path / "b.npz").write_bytes(bytes(hurt))
        try:
            back = Artifact.load(tmp_path / "b.npz")
        except UnreadableFileError:
            continue
        assert float(back.normalized_updates.flat[0]) == 2.5
        assert float(back.g_values[0]) == 1.0


def test_a_folder_that_is_none_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        made().save(tmp_path / "file" / "a.npz")
