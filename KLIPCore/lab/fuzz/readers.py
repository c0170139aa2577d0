"""Every door through which somebody else's bytes come in: sound files to begin with, how they are mangled, how
they are read.

A reader's ``read`` is what a command does with the file: the study is also judged, the trace also added up, a
run folder also mapped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.lab.fuzz import containers
from KLIPCore.lab.fuzz.mutate import Rng, mangled_bytes, mangled_json, mangled_lines, mangled_tree, pick
from KLIPCore.lab.fuzz.seeds import SEEDS

NRRD_EXTRA = (
    "data file: ../../../../etc/passwd",
    "data file: /dev/zero",
    "datafile: x%d.raw 1 99999999 1",
    "data file: LIST",
    "encoding: bzip2",
    "line skip: 99999999",
    "byte skip: -1",
    "byte skip: 2147483648",
    "kinds: vector domain domain domain",
    "space dimension: 9",
    "measurement frame: (1,0,0)",
    "sizes: 1 2",
    "content:=x",
    "# comment",
    "",
    "NRRD0099",
)
META_EXTRA = (
    "ElementDataFile = ../../../../etc/passwd",
    "ElementDataFile = LIST",
    "ElementDataFile = x%d.raw 1 999999 1",
    "CompressedDataSize = 999999999999",
    "HeaderSize = -1",
    "HeaderSize = 999999999",
    "BinaryDataByteOrderMSB = True",
    "ElementNumberOfChannels = 3",
    "NDims = 9",
    "ObjectType = Tube",
    "",
)
YAML_EXTRA = (
    "x: !!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "a: &a [1]\nb: *a",
    "prior: !!binary aGk=",
    "measurement: [1, 2]",
    "? [1]\n: 2",
    "regions: {score: 1}",
    "sampling: {n_samples: 1e9}",
    "record: {layers: cold}",
    "seed: !!int ''",
    "x: !!timestamp x",
    "\t",
    "a: b: c",
    "prior: ../../x",
    "<<: {preset: quick}",
    "measurement: {n_views: .nan}",
    "%YAML 9.9",
    "---\n---",
    "regions: {window: [a, b]}",
    "- 1",
)


@dataclass(frozen=True)
class Reader:
    """One kind of input.

    Attributes
    ----------
    name : for the command line.
    mangle : changes the files in a folder, a copy of a sound one.
    read : reads what is in the folder and returns what came of it.
    writes : names that reading writes into that folder on purpose.
    """

    name: str
    mangle: Callable[[Rng, Path], None]
    read: Callable[[Path], Any]
    writes: tuple[str, ...] = ()

    def make_seeds(self, folder: Path) -> list[Path]:
        """Write sound inputs, a folder each."""
        return SEEDS[self.name](folder)


def only(folder: Path) -> Path:
    """Return the file of a folder that holds one; the first by name of several."""
    return sorted(file for file in folder.iterdir() if file.is_file())[0]


def _rewritten(change: Callable[[Rng, bytes], bytes]) -> Callable[[Rng, Path], None]:
    def mangle(rng: Rng, folder: Path) -> None:
        file = only(folder)
        file.write_bytes(change(rng, file.read_bytes()))

    return mangle


def _mangle_dicom(rng: Rng, folder: Path) -> None:
    files = sorted(folder.iterdir())
    kind = rng.random()
    if kind < 0.05:
        files[int(rng.integers(len(files)))].unlink()
    elif kind < 0.1:
        shutil.copy(pick(rng, files), folder / "again.dcm")
    elif kind < 0.15:
        _add_strange_entry(rng, folder)
    everywhere = rng.random() < 0.4
    state = rng.bit_generator.state
    for file in files if everywhere else [pick(rng, files)]:
        if everywhere:
            rng.bit_generator.state = state  # the same thing wrong in every slice: what a vendor does
        if file.exists():
            file.write_bytes(containers.mangled_dicom(rng, file.read_bytes()))


def _add_strange_entry(rng: Rng, folder: Path) -> None:
    """A link to a device that never ends, a folder that holds itself, or an empty file."""
    kind = int(rng.integers(3))
    if kind == 0:
        (folder / "zero.dcm").symlink_to("/dev/zero")
    elif kind == 1:
        (folder / "loop").symlink_to(folder)
    else:
        (folder / "x").touch()


def _header_mangler(end: bytes, separator: str, extra: tuple[str, ...]) -> Callable[[Rng, bytes], bytes]:
    def change(rng: Rng, data: bytes) -> bytes:
        head, found, numbers = data.partition(end)
        kind = rng.random()
        if kind < 0.15:
            return mangled_bytes(rng, data)
        if kind < 0.3:
            return head + found + mangled_bytes(rng, numbers)
        last = end.strip(b"\n").decode()  # MetaImage's last line belongs to its header
        lines = head.decode("latin-1").split("\n") + ([last] if last else [])
        return (
            "\n".join(mangled_lines(rng, lines, separator, extra)).encode("utf-8", "replace")
            + (b"\n\n" if not last else b"\n")
            + numbers
        )

    return change


def _mangle_sinogram(rng: Rng, folder: Path) -> None:
    file = only(folder)
    change = containers.mangled_npz if file.suffix == ".npz" else mangled_bytes
    data = file.read_bytes()
    for _ in range(1 if file.suffix == ".npz" else int(rng.integers(1, 4))):
        data = change(rng, data)
    file.write_bytes(data)


def _mangle_run(rng: Rng, folder: Path) -> None:
    for _ in range(int(rng.integers(1, 3))):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if not files:
            return
        file = pick(rng, files)
        kind = rng.random()
        if kind < 0.08:
            file.unlink()
        elif kind < 0.16:
            file.write_bytes(pick(rng, files).read_bytes())  # swapped
        elif file.suffix == ".npz":
            file.write_bytes(containers.mangled_npz(rng, file.read_bytes()))
        else:
            file.write_text(
                mangled_json(rng, file.read_text(encoding="utf-8", errors="replace")),
                encoding="utf-8",
                errors="replace",
            )


def _mangle_checkpoint(rng: Rng, folder: Path) -> None:
    from KLIPCore.priors.checkpoint import file_sha256

    card = folder / "seed.json"
    weights = folder / "seed.safetensors"
    fields = json.loads(card.read_text(encoding="utf-8"))
    if rng.random() < 0.6:
        weights.write_bytes(containers.mangled_safetensors(rng, weights.read_bytes()))
        fields["sha256"] = pick(rng, ("", file_sha256(weights), file_sha256(weights), "0"))
    if rng.random() < 0.6:
        fields = mangled_tree(rng, fields)
    text = json.dumps(fields)
    card.write_text(mangled_json(rng, text) if rng.random() < 0.2 else text, encoding="utf-8", errors="replace")


def _mangle_yaml(rng: Rng, folder: Path) -> None:
    import yaml

    file = only(folder)
    text = file.read_text(encoding="utf-8")
    kind = rng.random()
    if kind < 0.15:
        file.write_bytes(mangled_bytes(rng, text.encode()))
    elif kind < 0.5:
        file.write_text(
            "\n".join(mangled_lines(rng, text.split("\n"), ":", YAML_EXTRA)), encoding="utf-8", errors="replace"
        )
    elif kind < 0.55:
        file.write_text(
            pick(rng, ("[" * 20_000, "{a: " * 20_000, "- " * 20_000, "a: " + "x" * 2_000_000)), encoding="utf-8"
        )
    else:
        tree = yaml.safe_load(text)
        for _ in range(int(rng.integers(1, 4))):
            tree = mangled_tree(rng, tree)
        file.write_text(yaml.safe_dump(tree), encoding="utf-8", errors="replace")


def _mangle_scene(rng: Rng, folder: Path) -> None:
    _rewritten(containers.mangled_npz if rng.random() < 0.5 else mangled_bytes)(rng, folder)


def _read_study(folder: Path) -> np.ndarray:
    from KLIPCore.io.study import check_ct, read_study

    files = sorted(folder.iterdir())
    volume = read_study(files[0] if files and files[0].suffix in (".nrrd", ".mha", ".nii", ".gz") else folder)
    check_ct(volume)
    return volume.array


def _read_sinogram(folder: Path) -> np.ndarray:
    from KLIPCore.io.sinogram import read_sinogram

    return read_sinogram(only(folder))[0]


def _read_projections(folder: Path) -> np.ndarray:
    from KLIPCore.io.projections import read_projections

    scan = read_projections(folder)
    return np.stack([found.sinogram for found in scan.slices([float(z) for z in scan.positions()[:2]])])


def _read_trace(folder: Path) -> np.ndarray:
    from KLIPCore.maps.trace import KLTrace, SliceTrace

    found = SliceTrace.load(only(folder))
    trace = KLTrace((found,))
    nats = [
        trace.nats(name, "mean", (float(layer.edges[0]), float(layer.edges[-1])))
        for name, layer in found.layers.items()
    ]
    return np.concatenate([found.reconstruction.ravel(), *(values.ravel() for values in nats)])


def _read_run(folder: Path) -> np.ndarray:
    from KLIPCore.runs.rerun import redo_regions

    return redo_regions(folder).volumes.kl_map.array


def _read_checkpoint(folder: Path) -> int:
    from KLIPCore.priors.checkpoint import load_prior

    return sum(p.numel() * 4 for p in load_prior(folder / "seed.safetensors").network.parameters())


def _read_configuration(folder: Path) -> object:
    from KLIPCore.config import Config
    from KLIPCore.lab.evaluation.config import EvaluationConfig
    from KLIPCore.lab.evaluation.measured_config import MeasuredConfig
    from KLIPCore.lab.training.config import TrainingConfig

    file = only(folder)
    kinds = {"detect": Config, "train": TrainingConfig, "measured": MeasuredConfig, "eval": EvaluationConfig}
    return kinds[file.stem].load(file)  # type: ignore[attr-defined]


def _read_scene(folder: Path) -> np.ndarray:
    from KLIPCore.runs.live import LiveMap

    live = LiveMap.from_bytes(only(folder).read_bytes())
    return live.update(live.settings).kl_map.array


def _run_outputs() -> tuple[str, ...]:
    from KLIPCore.runs.folder import OWN_FILES

    return OWN_FILES


READERS = {
    reader.name: reader
    for reader in (
        Reader("dicom", _mangle_dicom, _read_study),
        Reader("nifti", _rewritten(containers.mangled_nifti), _read_study),
        Reader("nrrd", _rewritten(_header_mangler(b"\n\n", ":", NRRD_EXTRA)), _read_study),
        Reader("mha", _rewritten(_header_mangler(b"ElementDataFile = LOCAL\n", "=", META_EXTRA)), _read_study),
        Reader("sinogram", _mangle_sinogram, _read_sinogram),
        Reader("projections", _mangle_dicom, _read_projections),
        Reader("trace", _rewritten(containers.mangled_npz), _read_trace),
        Reader("run", _mangle_run, _read_run, _run_outputs()),
        Reader("checkpoint", _mangle_checkpoint, _read_checkpoint),
        Reader("configuration", _mangle_yaml, _read_configuration),
        Reader("scene", _mangle_scene, _read_scene),
    )
}
"""All of them, by name."""
