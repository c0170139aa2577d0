"""A whole run: every choice it depends on, read from YAML, made of a preset, and hashed.

A configuration is a frozen dataclass of four parts that follow the data: what is measured, how the posterior is
sampled, what is recorded, and how the map becomes regions. The first three decide the expensive part and are hashed
into the run's fingerprint; the last can be changed afterwards (`klip regions`) without sampling again.

The settings of the parts are declared in :mod:`KLIPCore.settings`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from KLIPCore.declare import Section, Setting, documented, known_values, require, section_of, setting, settings_of
from KLIPCore.errors import ConfigError
from KLIPCore.settings import LARGE_LAYERS, MeasurementConfig, RecordConfig, RegionConfig, SamplingConfig
from KLIPCore.volume.untrusted import read_yaml

EXAMPLE = "Write it as YAML, as docs/conventions.md shows."


PRESET_CHANGES: dict[str, dict[str, Any]] = {
    "quick": {"sampling": {"n_samples": 2, "n_steps": 6}},
    "default": {},
    "full": {
        "sampling": {"n_samples": 8, "n_steps": 16, "stop_error": 0.12},  # four samples for most slices
        "record": {"layers": [*RecordConfig().layers, "renoised"], "n_nodes": 6, "n_pairs": 2},
    },
}
"""What each preset changes: quick for a first look, default, full for a figure that goes into a paper."""


def preset_values(section: str, known: Setting) -> dict[str, Any]:
    """Return a setting's value in those presets that change it."""
    found = {
        preset: changes.get(section, {}).get(known.name, known.default) for preset, changes in PRESET_CHANGES.items()
    }
    return {preset: value for preset, value in found.items() if value != known.default}


@documented
@dataclass(frozen=True)
class Config(Section):
    """A whole run: sections of settings for measurement, sampling, record and regions, and these."""

    preset: str = setting("default", "preset", "How much work is done per slice.", choices=tuple(PRESET_CHANGES))
    prior: str = setting(
        "abdomen-ct-256",
        "prior",
        "Shipped prior's name, or a .safetensors file with its card beside it.",
        option="--prior",
    )
    measurement: MeasurementConfig = field(default_factory=MeasurementConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    regions: RegionConfig = field(default_factory=RegionConfig)
    device: str = setting(
        "auto",
        "device",
        "auto (all GPUs, or the CPU; on a Mac its GPU where that is faster), cpu, cuda, cuda:1, cuda:all or mps.",
        option="--device",
    )
    precision: Literal["auto", "bfloat16", "float32", "float16"] = setting(
        "auto",
        "precision",
        "Arithmetic of the network; auto is the fastest on this computer.",
        "Measured once and remembered. A run that is continued keeps the precision that it began with.",
        option="--precision",
    )

    def check(self) -> None:
        """Refuse a window that is not recorded; see :class:`KLIPCore.errors.ConfigError`."""
        score, record, chain = self.regions.chosen, self.record, self.sampling
        lo, hi = (chain.sigma_end, chain.sigma_start) if score.layer == "path" else (record.sigma_lo, record.sigma_hi)
        if score.layer in LARGE_LAYERS and record.n_large:
            hi = record.sigma_large
        window = f"{score.window[0]:g} to {score.window[1]:g}"
        require(
            score.window[0] < hi and score.window[1] > lo,
            f"The σ window {window} lies outside what would be recorded ({lo:g} to {hi:g}).",
            "Choose a window inside it, or record a wider interval.",
        )

    @property
    def evaluations_a_slice(self) -> int:
        """Most evaluations of the network that a slice of a simulated scan takes."""
        s, r = self.sampling, self.record
        noises = 2 * r.n_pairs if r.temperature > 0 else 1  # antithetic; without noise one is all
        cold = noises * (r.n_nodes + (r.n_large if r.large else 0)) if r.cooled else 0
        renoised = s.n_samples * r.n_nodes if "renoised" in r.layers else 0
        return s.n_samples * s.n_steps + cold + renoised

    @property
    def records_score(self) -> bool:
        """Whether the trace will have the layer that the score reads."""
        return self.regions.chosen.layer in self.record.layers

    def require_layer(self) -> None:
        """Refuse a score that the trace could not answer, before the work.

        Raises
        ------
        ConfigError : the layer that the score reads would not be recorded.
        """
        score = self.regions.chosen
        require(
            self.records_score,
            f"The score '{score.name}' reads the layer '{score.layer}', which would not be recorded.",
            "Record it too, or choose another score.",
        )

    def require_study_null(self) -> None:
        """Check that blocks of a CT study are not to be compared with a twin.

        Raises
        ------
        ConfigError : they are.
        """
        require(
            self.regions.null != "twin",
            "The null 'twin' is for measured scans of a disc, whose healthy twin is known: solid. A patient's is not.",
            "Choose the null study.",
        )

    def with_layer(self) -> Config:
        """Return this configuration with the layer that its score reads recorded, too."""
        if self.records_score:
            return self
        return self.updated({"record": {"layers": [*self.record.layers, self.regions.chosen.layer]}})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Return the inverse of :meth:`to_dict`.

        Missing fields take their defaults, and :data:`RETIRED` ones are passed over: runs that were made with
        them can still be read.

        Raises
        ------
        ConfigError : an unknown field, or a value out of range.
        """
        made = known_values(cls, "the configuration", values)
        for name, part in SECTIONS.items():
            if name in made:
                given, retired = made[name], RETIRED.get(name, ())
                if isinstance(given, dict):
                    given = {key: value for key, value in given.items() if key not in retired}
                made[name] = section_of(part, name, given)
        return cls(**made)

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a YAML or JSON file.

        Raises
        ------
        ConfigError : unreadable, or with unknown or impossible settings.
        """
        try:
            values = read_yaml(path)
        except ValueError as error:
            raise ConfigError(f"The configuration {path.name} cannot be read: {error}.", EXAMPLE) from error
        require(isinstance(values, dict), f"The configuration {path.name} holds no settings.", EXAMPLE)
        return cls.from_preset(str(values.get("preset", "default"))).updated(values)

    @classmethod
    def from_preset(cls, name: str) -> Config:
        """Return one of :data:`PRESETS`.

        Raises
        ------
        ConfigError : there is no such preset.
        """
        if name not in PRESETS:
            raise settings_of(cls)["preset"].refusal(name)
        return PRESETS[name]

    def updated(self, values: dict[str, Any]) -> Config:
        """Return this configuration with some settings changed; nested parts are merged.

        Raises
        ------
        ConfigError : an unknown field, or a value out of range.
        """
        merged = self.to_dict()
        for name, value in values.items():
            if isinstance(value, dict) and isinstance(merged.get(name), dict):
                merged[name] = {**merged[name], **value}
            else:
                merged[name] = value
        return Config.from_dict(merged)

    def fingerprint(self, *extra: str) -> str:
        """Return a hash of all that decides the trace (not regions, not device), and of ``extra`` identifiers.

        What ``auto`` stands for differs between computers: the precision that is really taken is such an identifier
        where it is not the one that the network was trained in (:mod:`KLIPCore.detection.run_precision`).
        """
        values = self.to_dict()
        decisive = {
            "measurement": values["measurement"],
            "sampling": values["sampling"],
            "record": json.loads(json.dumps(self.record.decisive)),
        }
        if not decisive["sampling"]["stop_error"]:
            del decisive["sampling"]["stop_error"]
        text = json.dumps([decisive, *extra], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fingerprints(self, *extra: str) -> list[str]:
        """Return every fingerprint that such a run may have: one for each precision that it may have begun in."""
        marks = ((), *((f"precision {name}",) for name in settings_of(type(self))["precision"].choices))
        return [self.fingerprint(*extra, *mark) for mark in marks]


SECTIONS: dict[str, type[Section]] = {
    "measurement": MeasurementConfig,
    "sampling": SamplingConfig,
    "record": RecordConfig,
    "regions": RegionConfig,
}
"""The parts of a configuration by their names in it."""


RETIRED: dict[str, tuple[str, ...]] = {"sampling": ("twin_every",)}
"""Settings that there were once, by section; they decide nothing any more."""


class _Presets(Mapping[str, Config]):
    """Presets by name, each made when it is asked for: importing this module checks no values."""

    def __getitem__(self, name: str) -> Config:
        return _preset(name)

    def __iter__(self) -> Iterator[str]:
        return iter(PRESET_CHANGES)

    def __len__(self) -> int:
        return len(PRESET_CHANGES)


@cache
def _preset(name: str) -> Config:
    return Config().updated({**PRESET_CHANGES[name], "preset": name})


PRESETS: Mapping[str, Config] = _Presets()
"""Ready-made configurations."""
