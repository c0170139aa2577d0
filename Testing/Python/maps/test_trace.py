"""The trace's arithmetic against formulas written out, and its file against damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from KLIPCore.errors import TraceError
from KLIPCore.kl.accumulate import LayerSum
from KLIPCore.kl.bands import split_bands
from KLIPCore.kl.quadrature import gauss_legendre_nodes
from KLIPCore.maps.trace import KLTrace, Layer, SliceTrace

SIZE, CELL, CUTOFFS = 16, 4, (4.0, 8.0)
EDGES = np.array([0.05, 0.1, 0.2, 0.4])


def pushes(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def some_layer(name: str = "path", seed: int = 0) -> Layer:
    sums = LayerSum(name, EDGES, SIZE, CELL, CUTOFFS)
    for k, sigma in enumerate((0.07, 0.15, 0.3)):
        sums.add(sigma, pushes(3, seed + k))
    return sums.layer()


def in_cells(image: np.ndarray) -> np.ndarray:
    """(16, 16) → (4, 4) by loops."""
    return np.array(
        [[image[i : i + CELL, j : j + CELL].sum() for j in range(0, SIZE, CELL)] for i in range(0, SIZE, CELL)]
    )


@pytest.mark.parametrize("n", [1, 2, 5])
def test_energy_and_mean_are_their_formulas(n: int) -> None:
    """E‖u‖² as a mean, ‖E u‖² as the mean of u_i·u_j over all pairs i ≠ j (its square for a single sample)."""
    u = pushes(n)
    sums = LayerSum("path", EDGES, SIZE, CELL, CUTOFFS)
    sums.add(0.15, u)
    layer = sums.layer()
    bands = split_bands(u, CUTOFFS).numpy()
    for b in range(3):
        energy = sum(in_cells(bands[i, b] ** 2) for i in range(n)) / n
        np.testing.assert_allclose(layer.part("energy")[1, b], energy, rtol=1e-4, atol=1e-5)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j] or [(0, 0)]
        mean = sum(in_cells(bands[i, b] * bands[j, b]) for i, j in pairs) / len(pairs)
        np.testing.assert_allclose(layer.part("mean")[1, b], mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(layer.part("variance")[1, b], energy - mean, rtol=1e-3, atol=1e-4)
    assert layer.n_independent == n
    assert np.count_nonzero(layer.energy[[0, 2]]) == 0
    assert layer.energy.sum() == pytest.approx(float(u.square().sum()) / n, rel=1e-5)  # bands and cells lose nothing


def test_antithetic_pairs_are_one_sample() -> None:
    u = pushes(6)
    paired, averaged = LayerSum("cold", EDGES, SIZE, CELL, CUTOFFS), LayerSum("cold", EDGES, SIZE, CELL, CUTOFFS)
    paired.add(0.3, u, antithetic=True)
    averaged.add(0.3, u.reshape(3, 2, SIZE, SIZE).mean(1))
    np.testing.assert_allclose(paired.layer().mean, averaged.layer().mean, rtol=1e-4, atol=1e-4)
    assert paired.layer().n_independent == 3
    assert paired.layer().energy.sum() == pytest.approx(float(u.square().sum()) / 6, rel=1e-5)


def test_the_mean_part_has_no_bias() -> None:
    """Pure noise has no mean push: over many draws its mean part averages to 0, where the plain ‖mean u‖² does not."""
    totals, plain = [], []
    for seed in range(300):
        u = pushes(2, seed)
        sums = LayerSum("path", EDGES, SIZE, CELL, CUTOFFS)
        sums.add(0.15, u)
        totals.append(float(sums.layer().mean.sum()))
        plain.append(float(u.mean(0).square().sum()))
    assert abs(np.mean(totals)) < 4 * np.std(totals) / np.sqrt(300)
    assert np.mean(plain) == pytest.approx(SIZE**2 / 2, rel=0.05)


def test_levels_fall_into_their_bins() -> None:
    sums = LayerSum("path", EDGES, SIZE, CELL, CUTOFFS)
    for sigma in (0.01, 0.05, 0.0999, 0.1001, 0.39, 9.0):  # outside counts in the nearest bin
        sums.add(sigma, torch.ones(1, SIZE, SIZE))
    np.testing.assert_allclose(sums.layer().energy.sum((1, 2, 3)), np.array([3, 1, 2]) * SIZE**2, rtol=1e-5)


def test_nodes_fall_into_their_own_bins() -> None:
    nodes = gauss_legendre_nodes(7, 0.05, 0.4)
    sums = LayerSum("cold", nodes.edges, SIZE, CELL, CUTOFFS)
    for k, sigma in enumerate(nodes.sigma):
        sums.add(float(sigma), (k + 1.0) ** 0.5 * torch.ones(1, SIZE, SIZE))
    np.testing.assert_allclose(sums.layer().energy.sum((1, 2, 3)), np.arange(1, 8) * SIZE**2, rtol=1e-5)


@given(cut=st.floats(0.051, 0.39))
@settings(max_examples=25, deadline=None)
def test_windows_add_up(cut: float) -> None:
    trace = KLTrace((SliceTrace(3, {"path": some_layer()}, np.zeros((SIZE, SIZE), np.float32), {}),))
    whole = trace.nats("path", "energy", (0.05, 0.4))
    below, above = trace.nats("path", "energy", (0.05, cut)), trace.nats("path", "energy", (cut, 0.4))
    np.testing.assert_allclose(below + above, whole, rtol=1e-4)
    np.testing.assert_allclose(trace.nats("path", "energy", (1e-6, 50.0)), whole, rtol=1e-6)
    by_band = sum(trace.nats("path", "energy", (0.05, cut), (b, b + 1)) for b in range(3))
    np.testing.assert_allclose(by_band, below, rtol=1e-4, atol=1e-6)


def test_round_trip(tmp_path: Path) -> None:
    layers = {"path": some_layer("path"), "cold": some_layer("cold", 7)}
    reconstruction = np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
    made = SliceTrace(12, layers, reconstruction, {"seconds": 1.5})
    path = tmp_path / "slice_0012.npz"
    made.save(path, "fingerprint")
    assert [f.name for f in tmp_path.iterdir()] == ["slice_0012.npz"]  # nothing half-written is left
    back = SliceTrace.load(path, "fingerprint")
    assert (back.index, back.info, set(back.layers)) == (12, {"seconds": 1.5}, {"path", "cold"})
    for name, layer in layers.items():
        np.testing.assert_array_equal(back.layers[name].edges, layer.edges)
        assert back.layers[name].n_independent == 3
        for part in ("energy", "mean"):
            np.testing.assert_allclose(back.layers[name].part(part), layer.part(part), rtol=1e-3, atol=1e-8)  # type: ignore[arg-type]
    np.testing.assert_allclose(back.reconstruction, reconstruction, atol=5e-4)


@given(nats=arrays(np.float64, (2, 3, 4, 4), elements=st.floats(1e-7, 1e8)), negative=st.booleans())
@settings(max_examples=25, deadline=None)
def test_packing_is_good_to_a_thousandth(
    tmp_path_factory: pytest.TempPathFactory, nats: np.ndarray, negative: bool
) -> None:
    values = (-nats if negative else nats).astype(np.float32)
    path = tmp_path_factory.mktemp("packed") / "s.npz"
    layer = Layer("path", EDGES[:3], np.abs(values), values, 2)
    SliceTrace(0, {"path": layer}, np.zeros((SIZE, SIZE), np.float32), {}).save(path, "f")
    back = SliceTrace.load(path).layers["path"]
    np.testing.assert_allclose(back.mean, values, rtol=1.01e-3)
    np.testing.assert_allclose(back.energy, np.abs(values), rtol=1.01e-3)


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "slice.npz"
    SliceTrace(0, {"path": some_layer()}, np.zeros((SIZE, SIZE), np.float32), {}).save(path, "right")
    return path


@pytest.mark.parametrize("kept", [0, 1, 50, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = saved(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(TraceError, match="damaged"):
        SliceTrace.load(path)


@given(where=st.floats(0.0, 0.95), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, where: float, flip: int
) -> None:
    """Never a traceback, never other nats: the archive's checksums see to it."""
    path = saved(tmp_path_factory.mktemp("changed"))
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= flip
    path.write_bytes(bytes(content))
    try:
        back = SliceTrace.load(path, "right")
    except TraceError:
        return
    np.testing.assert_allclose(back.layers["path"].energy, some_layer().energy, rtol=1e-3, atol=1e-8)


def test_other_refusals(tmp_path: Path) -> None:
    path = saved(tmp_path)
    with pytest.raises(TraceError, match="other settings"):
        SliceTrace.load(path, "wrong")
    with pytest.raises(TraceError, match="damaged"):
        SliceTrace.load(tmp_path / "missing.npz")
    trace = KLTrace((SliceTrace.load(path, "right"),))
    assert trace.indices == [0]
    with pytest.raises(TraceError, match="no layer 'cold'"):
        trace.nats("cold", "energy", (0.1, 0.2))
    with pytest.raises(TraceError, match="outside"):
        trace.nats("path", "energy", (1.0, 2.0))
    with pytest.raises(TraceError, match="no part"):
        trace.nats("path", "median", (0.1, 0.2))  # type: ignore[arg-type]
