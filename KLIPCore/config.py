"""Every choice a run depends on, with its default and the reason for it.

A configuration is a frozen dataclass of four parts that follow the data: what is measured, how the posterior
is sampled, what is recorded, and how the map becomes regions. The first three decide the expensive part and
are hashed into the run's fingerprint; the last can be changed afterwards (`klip regions`) without sampling again.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from KLIPCore.errors import ConfigError
from KLIPCore.scores import DEFAULT_SCORE, SCORES, Score
from KLIPCore.volume.untrusted import read_yaml


def _require(condition: bool, message: str, remedy: str) -> None:
    if not condition:
        raise ConfigError(message, remedy)


@dataclass(frozen=True)
class MeasurementConfig:
    """The scan that is simulated from the loaded volume.

    Attributes
    ----------
    geometry : parallel or fan beam.
    n_views : projections over the arc. 60 keeps lesions of 5 mm and is the setting the method was studied at.
    arc_deg : 180 for parallel, 360 for fan when None; less makes it a limited-angle scan.
    noise : standard deviation of Gaussian noise as a fraction of the largest line integral; 0.002 is a routine dose.
    photons : photons per ray of an air scan for Poisson noise instead; None keeps Gaussian noise.
    finer : the measurement is simulated on pixels this many times smaller than the reconstruction's (no
        inverse crime).
    """

    geometry: Literal["parallel", "fan"] = "parallel"
    n_views: int = 60
    arc_deg: float | None = None
    noise: float = 0.002
    photons: float | None = None
    finer: int = 2

    def __post_init__(self) -> None:
        _require(
            self.geometry in ("parallel", "fan"), f"There is no geometry '{self.geometry}'.", "Choose parallel or fan."
        )
        _require(1 <= self.n_views <= 4000, f"{self.n_views} views cannot be simulated.", "Choose 1 to 4000 views.")
        _require(
            self.arc_deg is None or 0 < self.arc_deg <= 360,
            f"An arc of {self.arc_deg} degrees is impossible.",
            "Choose 1 to 360 degrees.",
        )
        _require(
            0 < self.noise < 1,
            f"A noise of {self.noise} of the largest line integral is out of range.",
            "Choose e.g. 0.002.",
        )
        _require(
            self.photons is None or self.photons >= 10,
            f"{self.photons} photons a ray carry no image.",
            "Choose e.g. 1e5.",
        )
        _require(
            self.finer in (2, 3, 4), f"A simulation grid {self.finer} times finer is not offered.", "Choose 2, 3 or 4."
        )

    @property
    def arc(self) -> float:
        """The arc in degrees, the geometry's full one when none was given."""
        return self.arc_deg if self.arc_deg is not None else (180.0 if self.geometry == "parallel" else 360.0)


@dataclass(frozen=True)
class SamplingConfig:
    """How posterior samples are drawn (warm-started DDS, docs/method.md).

    Attributes
    ----------
    n_samples : posterior samples a slice.
    n_steps : noise levels from ``sigma_start`` to ``sigma_end``.
    sigma_start : level at which the chain starts from the quick reconstruction plus noise (intensity units).
    sigma_end : last level.
    prior_std : σ_d of the proximal step's r² = σ²σ_d²/(σ²+σ_d²): local spread of clean images.
    cg_iterations : conjugate-gradient iterations of a proximal step.
    preconditioned : start a proximal step from a closed form where the scan has one, and take a quarter of the
        iterations (:mod:`KLIPCore.physics.rotation`): a third of the cost. Outside the largest disc of the
        frame the prior then counts as certain; a study whose body reaches beyond it does without.
    stop_error : draw no further samples of a slice once the relative standard error of its block map is at
        most this (at least four are drawn, ``n_samples`` at most); 0 always draws ``n_samples``.
    twin_every : with the null ``twin``, only every so many-th slice gets a twin (never fewer than eight
        slices, where there are so many).
    seed : of everything random; slice k of a study always uses (seed, k).
    """

    n_samples: int = 2
    n_steps: int = 10
    sigma_start: float = 0.4
    sigma_end: float = 0.01
    prior_std: float = 0.12
    cg_iterations: int = 8
    preconditioned: bool = True
    stop_error: float = 0.0
    twin_every: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _require(1 <= self.n_samples <= 64, f"{self.n_samples} samples cannot be drawn.", "Choose 1 to 64.")
        _require(2 <= self.n_steps <= 2000, f"{self.n_steps} steps are out of range.", "Choose 2 to 2000.")
        _require(
            0 < self.sigma_end < self.sigma_start <= 100,
            "The chain must run from a larger σ to a smaller one above 0.",
            "Check sigma_start and sigma_end.",
        )
        _require(
            self.prior_std > 0 and self.cg_iterations >= 1,
            "The proximal step needs a positive spread and an iteration.",
            "Use the defaults.",
        )
        _require(
            0 <= self.stop_error < 1,
            f"A stopping error of {self.stop_error} is out of range.",
            "Choose e.g. 0.1, or 0 to draw every sample.",
        )
        _require(self.twin_every >= 1, f"A twin every {self.twin_every} slices is impossible.", "Choose 1 or more.")


LAYERS = ("cold", "path", "renoised", "darker", "brighter", "hypodense", "hyperdense", "pushes")
"""Layers a trace may have."""

LARGE_LAYERS = ("hypodense", "hyperdense", "pushes")
"""Those of them that ask for the larger noise levels, too."""


@dataclass(frozen=True)
class RecordConfig:
    """What goes into the KL trace.

    Attributes
    ----------
    layers : which measurements of nats are recorded: ``cold`` (re-noised quadrature at ``temperature``),
        ``path`` (along the chain), ``renoised`` (re-noised quadrature at temperature 1), ``darker`` and
        ``brighter`` (one sign of ``cold``, per information), ``hypodense`` (the darker sign in soft tissue
        alone, at larger σ, too), ``hyperdense`` (the brighter sign pixel by pixel, at those σ, too),
        ``pushes`` (the mean pushes themselves, with their sign: what the score ``unexpected`` and its
        reference are made of).
    n_nodes : quadrature nodes in log σ.
    sigma_lo, sigma_hi : interval the nodes cover (intensity units).
    temperature : τ of the cold layer, between 0 (no noise added) and 1.
    n_pairs : antithetic noise pairs a node of the cold layer.
    cell : side in frame pixels of the trace's base cells; blocks are made of these.
    n_large, sigma_large : further nodes of the layers ``hypodense`` and ``hyperdense`` from ``sigma_hi`` to
        ``sigma_large``, where the prior has to forget centimetres; each costs as many evaluations as a node of
        the others. 0 leaves them out.
    soft_hu : HU below which a place counts as fat, and from which as soft tissue, in the layer ``hypodense``.
    """

    layers: tuple[
        Literal["cold", "path", "renoised", "darker", "brighter", "hypodense", "hyperdense", "pushes"], ...
    ] = (
        "cold",
        "path",
        "darker",
        "brighter",
        "hypodense",
        "hyperdense",
        "pushes",
    )
    n_nodes: int = 2
    sigma_lo: float = 0.08
    sigma_hi: float = 0.32
    temperature: float = 0.25
    n_pairs: int = 1
    cell: int = 4
    n_large: int = 2
    sigma_large: float = 1.6
    soft_hu: tuple[float, float] = (-60.0, 0.0)

    def __post_init__(self) -> None:
        unknown = set(self.layers) - set(LAYERS)
        _require(
            bool(self.layers) and not unknown,
            f"Unknown trace layers: {', '.join(sorted(unknown)) or 'none given'}.",
            f"Choose from {', '.join(LAYERS)}.",
        )
        _require(1 <= self.n_nodes <= 200, f"{self.n_nodes} quadrature nodes are out of range.", "Choose 1 to 200.")
        _require(0 < self.sigma_lo < self.sigma_hi, "The nodes' σ interval is empty.", "Give the smaller σ first.")
        _require(0 <= self.temperature <= 1, f"A temperature of {self.temperature} is out of range.", "Choose 0 to 1.")
        _require(self.n_pairs >= 1, "At least one noise pair is needed.", "Choose 1 or more.")
        _require(self.cell in (1, 2, 4, 8), f"Cells of {self.cell} pixels are not offered.", "Choose 1, 2, 4 or 8.")
        _require(0 <= self.n_large <= 50, f"{self.n_large} nodes at large σ are out of range.", "Choose 0 to 50.")
        _require(self.sigma_large > self.sigma_hi, "The large σ must lie above the others.", "Choose e.g. 1.6.")
        _require(
            len(self.soft_hu) == 2 and self.soft_hu[0] < self.soft_hu[1],
            "Soft tissue must begin below the HU at which it is full.",
            "Give e.g. [-60, 0].",
        )

    @property
    def decisive(self) -> dict[str, Any]:
        """The fields that make a difference to what is recorded: those of a layer only where it is."""
        values = asdict(self)
        if not self.large:
            del values["n_large"], values["sigma_large"]
        if "hypodense" not in self.layers:
            del values["soft_hu"]
        return values

    @property
    def large(self) -> bool:
        """Whether a layer asks for the larger noise levels."""
        return not set(LARGE_LAYERS).isdisjoint(self.layers)


@dataclass(frozen=True)
class RegionConfig:
    """How the trace becomes a map and the map regions; cheap, and changeable afterwards.

    Attributes
    ----------
    score : name in :data:`KLIPCore.scores.SCORES`.
    window : σ interval instead of the score's own.
    block_mm : in-plane edge of a block; a few times the smallest lesion sought.
    depth_mm : edge of a block across slices; one slice when 0.
    null : ``study`` (the bulk of this study's own blocks), ``twin`` (prior-consistent twins, re-measured).
    forming_p : touching blocks with a p-value below this form a region.
    fdr : false-discovery rate of the flagged regions, see :attr:`rate`; the score's own when None.
    min_volume_mm3 : smaller regions are dropped.
    max_regions : only the strongest are kept.
    """

    score: str = DEFAULT_SCORE
    window: tuple[float, float] | None = None
    block_mm: float = 12.0
    depth_mm: float = 0.0
    null: Literal["study", "twin"] = "study"
    forming_p: float = 0.01
    fdr: float | None = None
    min_volume_mm3: float = 100.0
    max_regions: int = 30

    def __post_init__(self) -> None:
        _require(self.score in SCORES, f"There is no score '{self.score}'.", f"Choose from {', '.join(SCORES)}.")
        _require(
            self.window is None or (len(self.window) == 2 and 0 <= self.window[0] < self.window[1]),
            "The σ window is empty.",
            "Give it as LO:HI with LO < HI, e.g. 0.08:0.32.",
        )
        _require(0 < self.block_mm <= 500, f"Blocks of {self.block_mm} mm are out of range.", "Choose 2 to 100 mm.")
        _require(
            0 <= self.depth_mm <= 500,
            f"Blocks {self.depth_mm} mm deep are out of range.",
            "Choose 0 (one slice) to 100 mm.",
        )
        _require(self.null in ("study", "twin"), f"There is no null '{self.null}'.", "Choose study or twin.")
        _require(
            0 < self.forming_p < 0.5, f"A block p-value of {self.forming_p} is out of range.", "Choose e.g. 0.01."
        )
        _require(
            self.fdr is None or 0 < self.fdr < 1,
            f"A false-discovery rate of {self.fdr} is out of range.",
            "Choose e.g. 0.05.",
        )
        _require(
            self.min_volume_mm3 >= 0 and self.max_regions >= 1,
            "Region limits must not be negative.",
            "Use the defaults.",
        )

    @property
    def chosen(self) -> Score:
        """The score with this configuration's window."""
        score = SCORES[self.score]
        return score if self.window is None else replace(score, window=self.window)

    @property
    def rate(self) -> float:
        """The false-discovery rate: the part of what is outlined that is expected to be chance. What is not
        chance is not thereby ill: healthy places that are unusual are outlined, too."""
        return SCORES[self.score].fdr if self.fdr is None else self.fdr


@dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes
    ----------
    preset : name this configuration was made from.
    prior : shipped name or path of a .safetensors file.
    measurement, sampling, record, regions : see the classes.
    device : ``auto``, ``cpu`` or a torch device.
    """

    preset: str = "default"
    prior: str = "abdomen-ct-256"
    measurement: MeasurementConfig = field(default_factory=MeasurementConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    regions: RegionConfig = field(default_factory=RegionConfig)
    device: str = "auto"

    def __post_init__(self) -> None:
        score, record, chain = self.regions.chosen, self.record, self.sampling
        lo, hi = (chain.sigma_end, chain.sigma_start) if score.layer == "path" else (record.sigma_lo, record.sigma_hi)
        if score.layer in LARGE_LAYERS and record.n_large:
            hi = record.sigma_large
        _require(
            score.window[0] < hi and score.window[1] > lo,
            f"The σ window {score.window[0]:g} to {score.window[1]:g} lies outside what would be recorded ({lo:g} "
            f"to {hi:g}).",
            "Choose a window inside it, or record a wider interval.",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return dict(json.loads(json.dumps(asdict(self))))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """The inverse of :meth:`to_dict`; missing fields take their defaults.

        Raises
        ------
        ConfigError : an unknown field, or a value out of range.
        """
        parts: dict[str, Any] = {
            "measurement": MeasurementConfig,
            "sampling": SamplingConfig,
            "record": RecordConfig,
            "regions": RegionConfig,
        }
        made = _known(cls, "the configuration", values)
        for name, part in parts.items():
            if name in made:
                made[name] = _part(part, name, made[name])
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
            raise ConfigError(
                f"The configuration {path.name} cannot be read: {error}.",
                "Write it as YAML, as docs/conventions.md shows.",
            ) from error
        _require(
            isinstance(values, dict),
            f"The configuration {path.name} holds no settings.",
            "Write it as YAML, as docs/conventions.md shows.",
        )
        return cls.from_preset(str(values.get("preset", "default"))).updated(values)

    @classmethod
    def from_preset(cls, name: str) -> Config:
        """One of :data:`PRESETS`.

        Raises
        ------
        ConfigError : there is no such preset.
        """
        _require(name in PRESETS, f"There is no preset '{name}'.", f"Choose from {', '.join(PRESETS)}.")
        return PRESETS[name]

    def updated(self, values: dict[str, Any]) -> Config:
        """This configuration with some settings changed; nested parts are merged."""
        merged = self.to_dict()
        for name, value in values.items():
            if isinstance(value, dict) and isinstance(merged.get(name), dict):
                merged[name] = {**merged[name], **value}
            else:
                merged[name] = value
        return Config.from_dict(merged)

    def fingerprint(self, *extra: str) -> str:
        """Hash of everything that decides the trace (not the regions, not the device), plus ``extra`` identifiers."""
        values = self.to_dict()
        decisive = {
            "measurement": values["measurement"],
            "sampling": values["sampling"],
            "record": json.loads(json.dumps(self.record.decisive)),
        }
        twin_every = decisive["sampling"].pop("twin_every")
        if self.regions.null == "twin":
            decisive["twin"] = twin_every  # twins are sampled too
        if not decisive["sampling"]["stop_error"]:
            del decisive["sampling"]["stop_error"]
        text = json.dumps([decisive, *extra], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _part(part: type, name: str, values: Any) -> Any:
    """One section of a configuration from a mapping, lists made tuples."""
    _require(isinstance(values, dict), f"The section '{name}' must hold settings.", "Write it as a mapping.")
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in _known(part, name, values).items()
    }
    try:
        return part(**values)
    except TypeError as error:  # a word where a number belongs
        raise ConfigError(
            f"A setting in '{name}' is of the wrong kind ({error}).", "Write it as docs/conventions.md shows."
        ) from error


def _known(part: type, name: str, values: dict[Any, Any]) -> dict[str, Any]:
    """The settings of a section, if all belong there and whole numbers and words are such."""
    values = {
        "null" if key is None else str(key): value for key, value in values.items()
    }  # YAML takes the bare word null for nothing
    known = {f.name: f.default for f in fields(part)}
    unknown = set(values) - set(known)
    _require(
        not unknown,
        f"Unknown settings in '{name}': {', '.join(sorted(unknown))}.",
        f"Known are {', '.join(sorted(known))}.",
    )
    for key, value in values.items():
        kind = type(known[key])
        _require(
            kind not in (int, str) or type(value) is kind,
            f"The setting '{key}' cannot be {reprlib.repr(value)}.",
            f"Write it like its default, {known[key]!r}.",
        )
    return values


PRESETS: dict[str, Config] = {
    "quick": Config(
        preset="quick",
        sampling=SamplingConfig(n_samples=2, n_steps=6),
    ),
    "default": Config(),
    "full": Config(
        preset="full",
        sampling=SamplingConfig(n_samples=8, n_steps=16, stop_error=0.12),  # four for most slices
        record=RecordConfig(layers=(*RecordConfig().layers, "renoised"), n_nodes=6, n_pairs=2),
    ),
}
"""Ready-made configurations: quick for a first look, default, full for a figure that goes into a paper."""
