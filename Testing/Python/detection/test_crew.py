"""Several workers and devices: the same bits as one, whoever is first, and a clean end when one fails or
somebody stops.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from busy import longest
from small_study import small_study

from KLIPCore.config import Config, RecordConfig, RegionConfig, SamplingConfig
from KLIPCore.detection.batching import Batches
from KLIPCore.detection.detect import Sampling, detect, sample_slices
from KLIPCore.detection.devices import choose_device, choose_devices
from KLIPCore.detection.simulated_scan import Scanner
from KLIPCore.detection.workers import Arrangement, arithmetic, crew, cut, trace_all
from KLIPCore.errors import Cancelled, ConfigError, ResourceError, TraceError
from KLIPCore.maps.map_maker import MapMaker
from KLIPCore.maps.null import twin_p_values
from KLIPCore.maps.trace import KLTrace, Layer, SliceTrace
from KLIPCore.priors.checkpoint import save_prior
from KLIPCore.priors.networks import build_network, network_fields
from KLIPCore.priors.unet import UNetConfig, UNetPrior
from KLIPCore.runs.folder import RunFolder
from KLIPCore.runs.rerun import redo_regions
from KLIPCore.volume.framed_study import FramedStudy, frame_study
from KLIPCore.volume.model_card import ModelCard
from KLIPCore.volume.units import Window

CONFIG = Config(sampling=SamplingConfig(n_samples=2, n_steps=3), record=RecordConfig(n_nodes=2))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prior() -> UNetPrior:
    torch.manual_seed(0)
    shape = UNetConfig(channels=(16, 16))
    return UNetPrior(
        build_network(shape), ModelCard("tiny", "nothing", Window(-160, 240), size=64, network=network_fields(shape))
    )


@pytest.fixture(scope="module")
def study(prior: UNetPrior) -> FramedStudy:
    return frame_study(small_study(6), prior.card)


@pytest.fixture(scope="module")
def scanner(prior: UNetPrior, study: FramedStudy) -> Scanner:
    return Scanner.build(CONFIG, prior, study.frame.pixel_mm, CPU)


def traced(scanners: list[Scanner], study: FramedStudy, batches: list[list[int]]) -> dict[int, SliceTrace]:
    done: dict[int, SliceTrace] = {}
    trace_all(scanners, study, batches, 1, lambda batch: None, lambda t: done.update({t.index: t}))
    return done


def assert_same_bits(a: SliceTrace, b: SliceTrace) -> None:
    np.testing.assert_array_equal(a.reconstruction, b.reconstruction)
    assert set(a.layers) == set(b.layers)
    for name, layer in a.layers.items():
        np.testing.assert_array_equal(layer.energy, b.layers[name].energy)
        np.testing.assert_array_equal(layer.mean, b.layers[name].mean)


@pytest.mark.parametrize("size", [1, 2])
def test_two_devices_give_the_bits_of_one(scanner: Scanner, study: FramedStudy, size: int) -> None:
    """Two processors with a prior each stand for two GPUs: the same code deals out the slices."""
    batches = cut([0, 1, 2, 3, 5], size)
    copied = UNetPrior(build_network(UNetConfig(channels=(16, 16))), scanner.prior.card)
    copied.network.load_state_dict(scanner.prior.network.state_dict())  # type: ignore[attr-defined]
    team = crew(scanner, [(CPU, scanner.prior), (CPU, copied)], Arrangement(1, 1))
    assert len(team) == 2
    assert {id(s.prior) for s in team} == {id(scanner.prior), id(copied)}
    alone, shared = (traced(scanners, study, batches) for scanners in (team[:1], team))
    assert sorted(alone) == sorted(shared) == [0, 1, 2, 3, 5]
    for index, one in alone.items():
        assert_same_bits(one, shared[index])


def test_every_worker_works(scanner: Scanner, study: FramedStudy) -> None:
    """With a slow first batch, the others do the rest: who is free takes the next."""
    meeting = threading.Barrier(3, timeout=longest(60))  # three workers must be at work at once, or this breaks
    names = set()

    class Meeting(Scanner):
        def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            if threading.current_thread().name not in names:
                names.add(threading.current_thread().name)
                meeting.wait()
            return super().denoise(x, sigma)

    fields = {name: getattr(scanner, name) for name in ("config", "prior", "A", "A_fine", "noise_sigma", "device")}
    assert sorted(traced([Meeting(**fields) for _ in range(3)], study, cut(range(4), 1))) == [0, 1, 2, 3]
    assert len(names) == 3


class Failing(Scanner):
    """Breaks at its third evaluation."""

    error: BaseException = ResourceError("The device is gone.", "Plug it in.")

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        if self.n_evaluations >= 4:
            raise self.error
        return super().denoise(x, sigma)


def test_one_failing_device_ends_the_run_with_its_reason(scanner: Scanner, study: FramedStudy) -> None:
    fields = {name: getattr(scanner, name) for name in ("config", "prior", "A", "A_fine", "noise_sigma", "device")}
    before = threading.active_count()
    with pytest.raises(ResourceError, match="gone"):
        traced([replace(scanner, batches=Batches()), Failing(**fields)], study, cut(range(6), 1))
    assert threading.active_count() == before, "the others have ended"


def test_a_stop_ends_the_workers_at_their_next_evaluation(scanner: Scanner, study: FramedStudy) -> None:
    seen: list[int] = []

    def stop(trace: SliceTrace) -> None:
        seen.append(trace.index)
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        trace_all(
            crew(scanner, [(CPU, scanner.prior)], Arrangement(2, 1)),
            study,
            cut(range(6), 1),
            1,
            lambda batch: None,
            stop,
        )
    assert len(seen) == 1
    assert threading.active_count() == before
    halted = replace(scanner, halt=threading.Event())
    halted.halt.set()
    with pytest.raises(Cancelled):
        halted.denoise(torch.zeros(1, 64, 64), 0.1)


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    with arithmetic(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_cutting() -> None:
    assert cut([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4], [5]]
    assert Arrangement(1, 1, 8).slices_at_once(2) == 4
    assert Arrangement(1, 1, 3).slices_at_once(8) == 1
    assert Arrangement(1, 1).slices_at_once(2) == 1
    with pytest.raises(ConfigError):
        Arrangement(0)


@pytest.fixture(scope="module")
def on_disk(prior: UNetPrior, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny prior as a configuration names it."""
    return str(save_prior(prior.network, prior.card, tmp_path_factory.mktemp("prior"), torch.float32))


def test_a_run_continues_in_whole_batches_with_the_same_arrangement(
    dicom_study: Path, on_disk: str, tmp_path: Path
) -> None:
    """A batch with a missing slice is done again as it was: its other slices must keep their rounding."""
    config = replace(CONFIG, prior=on_disk).updated({"regions": {"score": "klip", "min_volume_mm3": 10.0}})
    work = Arrangement(2, 1, 4)
    first = detect(dicom_study, tmp_path / "out", config, work=work)
    run = first.folder.run()
    assert run["work"] == {"workers": 2, "threads": 1, "batch": 4, "device": "cpu"}
    kept = {k: first.folder.slice_file(k).read_bytes() for k in run["slices"]}
    first.folder.slice_file(run["slices"][0]).unlink()
    again = detect(dicom_study, tmp_path / "out", config)  # nothing said: the run's own arrangement
    assert again.folder.run()["work"] == run["work"]
    for k in run["slices"]:
        a, b = SliceTrace.load(again.folder.slice_file(k)), kept[k]
        (tmp_path / "kept.npz").write_bytes(b)
        assert_same_bits(SliceTrace.load(tmp_path / "kept.npz"), a)


def test_a_patient_has_no_twin(dicom_study: Path, on_disk: str, tmp_path: Path) -> None:
    """Refused before anything is read or written; a finished run says so, too."""
    config = replace(CONFIG, prior=on_disk).updated({"regions": {"score": "klip", "min_volume_mm3": 10.0}})
    with pytest.raises(ConfigError, match="disc"):
        detect(dicom_study, tmp_path / "out", config.updated({"regions": {"null": "twin"}}))
    assert not (tmp_path / "out" / "run.json").exists()
    found = detect(dicom_study, tmp_path / "out", config)
    with pytest.raises(TraceError, match="no twin"):
        redo_regions(found.folder.path, replace(config.regions, null="twin"))


def test_blocks_are_ranked_among_those_of_all_twins(study: FramedStudy) -> None:
    """Nats that are equally distributed in study and twins: p-values are uniform in every slice."""
    rng = np.random.default_rng(0)
    edges = np.array([0.05, 0.2])

    def layer(name: str) -> Layer:
        nats = rng.gamma(2.0, size=(1, 1, 16, 16)).astype(np.float32)
        return Layer(name, edges, nats, nats, 1)

    slices = [
        SliceTrace(k, {name: layer(name) for name in ("path", "twin-path")}, np.zeros((64, 64)), {}) for k in range(4)
    ]
    made = MapMaker(KLTrace(tuple(slices)), study).make(RegionConfig(score="klip", null="twin", block_mm=2.0, fdr=0.3))
    twins = np.concatenate([slices[k].layers["twin-path"].energy[0, 0][made.tested[k]] for k in range(4)])
    for k in range(4):
        np.testing.assert_allclose(made.p[k][made.tested[k]], twin_p_values(made.nats[k][made.tested[k]], twins))
        assert 0.4 < made.p[k][made.tested[k]].mean() < 0.6
    del slices[1].layers["twin-path"]
    with pytest.raises(TraceError, match="no twin"):
        MapMaker(KLTrace(tuple(slices)), study).make(RegionConfig(score="klip", null="twin"))


def test_sampling_on_a_list_of_devices(scanner: Scanner, study: FramedStudy, on_disk: str, tmp_path: Path) -> None:
    """As the pipeline does it for several GPUs; both devices are this processor, so the prior named by the
    configuration is loaded for the second.
    """
    config = replace(CONFIG, prior=on_disk)
    folders = [RunFolder(tmp_path / name) for name in ("one", "two")]
    told: list[str] = []
    for folder, devices in zip(folders, (CPU, [CPU, CPU]), strict=True):
        folder.trace_folder.mkdir(parents=True)
        sample_slices(
            folder,
            Sampling(config, study, (0, 1, 2), "f"),
            scanner.prior,
            devices,
            lambda stage, fraction, detail: told.append(detail),
        )
    for k in range(3):
        assert_same_bits(*(SliceTrace.load(folder.slice_file(k)) for folder in folders))
    assert "slice 2 (3 of 3)" in told


def test_names_of_devices() -> None:
    assert choose_devices("cpu") == [CPU]
    if torch.cuda.is_available():
        n = torch.cuda.device_count()
        assert choose_devices("cuda:all") == choose_devices("auto") == [torch.device("cuda", k) for k in range(n)]
        assert choose_device("cuda:all").type == "cuda"
    else:
        assert choose_devices("auto") == [CPU]
        with pytest.raises(ResourceError):
            choose_devices("cuda:all")
