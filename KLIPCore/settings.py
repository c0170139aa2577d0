"""The settings of a run, each declared once, in the sections that follow the data.

What is measured, how the posterior is sampled, what is recorded, and how the map becomes regions: a section each.
To add a setting is to add a field; :class:`KLIPCore.declare.Setting` says what can be declared of it. A whole run is
a :class:`KLIPCore.config.Config`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from KLIPCore.declare import Section, documented, require, setting, settings_of
from KLIPCore.scores import DEFAULT_SCORE, SCORES, Score


@documented
@dataclass(frozen=True)
class MeasurementConfig(Section):
    """The scan that is simulated from the loaded volume."""

    geometry: Literal["parallel", "fan"] = setting(
        "parallel",
        "geometry",
        "Rays of the simulated scan.",
        option="--geometry",
        simulated=True,
    )
    n_views: int = setting(
        60,
        "number of views",
        "Number of projections over the arc; of a measured scan, how many are kept.",
        "60 views preserve lesions of 5 mm; the method was evaluated at this number.",
        unit="views",
        ge=1,
        le=4000,
        option="--views",
    )
    arc_deg: float | None = setting(
        None,
        "arc",
        "Arc over which the views are spread; less than the full one is a limited-angle scan.",
        unit="degrees",
        gt=0,
        le=360,
        example=90.0,
        unset="180 for parallel, 360 for fan",
        option="--arc",
    )
    noise: float = setting(
        0.002,
        "noise",
        "Standard deviation of Gaussian noise, as a fraction of a body's line integral.",
        "0.002 is a routine dose.",
        gt=0,
        lt=1,
        option="--noise",
        simulated=True,
    )
    photons: float | None = setting(
        None,
        "number of photons",
        "Photons per ray through air, for Poisson noise instead of Gaussian.",
        unit="photons",
        ge=10,
        example=1e5,
        unset="Gaussian noise",
        option="--dose",
        simulated=True,
    )
    finer: int = setting(
        2,
        "refinement of the simulation",
        "How many times smaller the simulation's pixels are than the reconstruction's.",
        "With pixels of the same size the discretization error would be missing from the data (inverse crime).",
        choices=(2, 3, 4),
        simulated=True,
    )

    @property
    def arc(self) -> float:
        """The arc in degrees, the geometry's full one when none was given."""
        return self.arc_deg if self.arc_deg is not None else (180.0 if self.geometry == "parallel" else 360.0)

    def require_scanner(self) -> None:
        """Refuse settings of a simulation where a scanner's data are used.

        Raises
        ------
        ConfigError : one of them differs from its default.
        """
        known = settings_of(type(self))
        refuse_for_scan([name for name, s in known.items() if s.simulated and getattr(self, name) != s.default])


@documented
@dataclass(frozen=True)
class SamplingConfig(Section):
    """How posterior samples are drawn (warm-started DDS, docs/method.md)."""

    n_samples: int = setting(
        2, "number of samples", "Posterior samples per slice.", unit="samples", ge=1, le=64, option="--samples"
    )
    n_steps: int = setting(
        10,
        "number of steps",
        "Noise levels of the chain, from sigma_start to sigma_end.",
        unit="steps",
        ge=2,
        le=2000,
        option="--steps",
    )
    sigma_start: float = setting(
        0.4,
        "first σ",
        "Noise level at which the chain starts from the quick reconstruction plus noise.",
        unit="intensity units",
        gt=0,
        le=100,
    )
    sigma_end: float = setting(
        0.01, "last σ", "Noise level at which the chain ends.", unit="intensity units", gt=0, le=100
    )
    prior_std: float = setting(
        0.12,
        "spread of the prior",
        "σ_d in the proximal step's r² = σ²σ_d²/(σ²+σ_d²): local spread of clean images.",
        unit="intensity units",
        gt=0,
    )
    cg_iterations: int = setting(8, "number of iterations", "Conjugate-gradient iterations of a proximal step.", ge=1)
    preconditioned: bool = setting(
        True,
        "preconditioner",
        "Start a proximal step from a closed-form solution where the scan has one, with a quarter of the iterations.",
        "A third of the cost (KLIPCore.physics.rotation). It treats the prior as certain outside the largest disc of "
        "the frame; where the body reaches beyond that disc it is not used.",
    )
    stop_error: float = setting(
        0.0,
        "stopping error",
        "Relative standard error of a slice's block map at which no more samples are drawn.",
        "At least four are drawn, n_samples at most; 0 always draws n_samples.",
        ge=0,
        lt=1,
    )
    seed: int = setting(
        0, "seed", "Seed of everything random.", "Slice k of a study always uses (seed, k).", ge=0, option="--seed"
    )

    def check(self) -> None:
        """Refuse a chain that does not descend; see :class:`KLIPCore.errors.ConfigError`."""
        require(
            self.sigma_end < self.sigma_start,
            "The chain must run from a larger σ to a smaller one.",
            "Check sigma_start and sigma_end.",
        )


LAYERS: dict[str, str] = {
    "cold": "re-noised quadrature at temperature",
    "path": "along the chain",
    "renoised": "re-noised quadrature at temperature 1",
    "darker": "the darker sign of cold, per information",
    "brighter": "the brighter sign of cold, per information",
    "hypodense": "the darker sign in soft tissue alone, at larger σ, too",
    "hyperdense": "the brighter sign pixel by pixel, at larger σ, too",
    "pushes": "the mean pushes themselves, with their sign, and the prior's expectation",
}
"""Layers a trace may have, and how each measures nats."""

LARGE_LAYERS = ("hypodense", "hyperdense", "pushes")
"""Those of them that ask for the larger noise levels, too."""

COLD_LAYERS = ("cold", "darker", "brighter", *LARGE_LAYERS)
"""Those of them for which the posterior mean is noised at a low temperature."""


@documented
@dataclass(frozen=True)
class RecordConfig(Section):
    """What goes into the KL trace."""

    layers: tuple[str, ...] = setting(
        ("cold", "path", "darker", "brighter", "hypodense", "hyperdense", "pushes"),
        "trace layer",
        "Which maps of nats are recorded.",
        "; ".join(f"{name}: {meaning}" for name, meaning in LAYERS.items()) + ".",
        choices=tuple(LAYERS),
        min_length=1,
    )
    n_nodes: int = setting(2, "number of nodes", "Quadrature nodes in log σ.", unit="nodes", ge=1, le=200)
    sigma_lo: float = setting(
        0.08, "lowest σ of the nodes", "Lower end of the interval that the nodes cover.", unit="intensity units", gt=0
    )
    sigma_hi: float = setting(
        0.32, "highest σ of the nodes", "Upper end of the interval that the nodes cover.", unit="intensity units", gt=0
    )
    temperature: float = setting(0.25, "temperature", "τ of the cold layer: 0 adds no noise, 1 all of it.", ge=0, le=1)
    n_pairs: int = setting(1, "number of noise pairs", "Antithetic noise pairs per node of the cold layer.", ge=1)
    cell: int = setting(
        4,
        "cell size",
        "Side of the trace's base cells in pixels of the frame.",
        "Blocks are made of these.",
        unit="pixels",
        choices=(1, 2, 4, 8),
    )
    n_large: int = setting(
        2,
        "number of large nodes",
        "Further nodes from sigma_hi to sigma_large, for the layers that ask for them.",
        "At these levels the prior must fill in structures several centimetres wide. A large node costs as many "
        "evaluations as a small one; 0 records none.",
        unit="nodes",
        ge=0,
        le=50,
    )
    sigma_large: float = setting(
        1.6, "largest σ", "Upper end of the interval that the large nodes cover.", unit="intensity units", gt=0
    )
    soft_hu: tuple[float, float] = setting(
        (-60.0, 0.0),
        "HU of soft tissue",
        "HU below which a pixel counts as fat, and above which as soft tissue, in the layer hypodense.",
        unit="HU",
    )

    def check(self) -> None:
        """Refuse intervals that are empty; see :class:`KLIPCore.errors.ConfigError`."""
        require(self.sigma_lo < self.sigma_hi, "The nodes' σ interval is empty.", "Give the smaller σ first.")
        require(self.sigma_large > self.sigma_hi, "The large σ must lie above the others.", "Choose e.g. 1.6.")
        require(
            self.soft_hu[0] < self.soft_hu[1],
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

    @property
    def cooled(self) -> bool:
        """Whether a layer asks for pushes at a low temperature."""
        return not set(COLD_LAYERS).isdisjoint(self.layers)


@documented
@dataclass(frozen=True)
class RegionConfig(Section):
    """How the trace becomes a map and the map regions; cheap, and changeable afterwards."""

    score: str = setting(
        DEFAULT_SCORE,
        "score",
        "What counts as a departure; klip is the full KL along this library's own chain, not the published recipe.",
        "See KLIPCore.scores.",
        choices=tuple(SCORES),
        option="--score",
    )
    window: tuple[float, float] | None = setting(
        None,
        "σ window",
        "Noise levels that are added up, LO:HI.",
        unit="intensity units",
        example=(0.08, 0.32),
        unset="the score's own",
        option="--window",
    )
    block_mm: float = setting(
        12.0,
        "block size",
        "Edge of a block within a slice.",
        "A few times the smallest lesion sought.",
        unit="mm",
        gt=0,
        le=500,
        option="--block-size",
        slider=(4.0, 40.0),
    )
    depth_mm: float = setting(
        0.0,
        "block depth",
        "Extent of a block across slices; 0 is one slice.",
        unit="mm",
        ge=0,
        le=500,
        option="--block-depth",
        slider=(0.0, 40.0),
    )
    null: Literal["study", "twin"] = setting(
        "study",
        "null",
        "The distribution that blocks are compared with.",
        "study: the bulk of this study's own blocks; twin: for measured scans of a disc, a simulated solid one.",
        option="--null",
    )
    forming_p: float = setting(
        0.01, "block p-value", "Touching blocks below this p-value form a region.", gt=0, lt=0.5, option="--block-p"
    )
    fdr: float | None = setting(
        None,
        "false-discovery rate",
        "Fraction of the outlined blocks that is expected to be due to chance.",
        "A region that is not due to chance is not necessarily disease: unusual healthy anatomy is outlined, too.",
        gt=0,
        lt=1,
        example=0.05,
        unset="the score's own",
        option="--fdr",
        slider=(0.01, 0.9),
    )
    false_regions: float = setting(
        1.0,
        "acceptable false regions",
        "False regions that are acceptable in a healthy study like this one.",
        "For the score unexpected, which is judged by a reference of health; ignored when a false-discovery rate is "
        "given.",
        unit="regions",
        ge=0.1,
        le=10,
        option="--false-regions",
        slider=(0.1, 10.0),
    )
    sign: Literal["both", "darker", "brighter"] = setting(
        "both",
        "sign",
        "Outline only what is darker, or only what is brighter, than expected; for the score unexpected.",
        option="--sign",
    )
    tissue: Literal["soft", "all"] = setting(
        "soft",
        "tissue",
        "Where to search: in soft tissue, or everywhere; for the score unexpected.",
        "Searching everywhere includes fat, lung and gas, where healthy anatomy varies most, so a region must be "
        "stronger to be outlined.",
        option="--tissue",
    )
    min_volume_mm3: float = setting(
        100.0, "smallest volume", "Smaller regions are dropped.", unit="mm³", ge=0, option="--min-volume"
    )
    max_regions: int = setting(30, "number of regions", "The strongest regions are kept, at most this many.", ge=1)

    def check(self) -> None:
        """Refuse an empty window; see :class:`KLIPCore.errors.ConfigError`."""
        require(
            self.window is None or 0 <= self.window[0] < self.window[1],
            "The σ window is empty.",
            "Give it as LO:HI with LO < HI, e.g. 0.08:0.32.",
        )

    @property
    def chosen(self) -> Score:
        """The score with this configuration's window."""
        score = SCORES[self.score]
        return score if self.window is None else replace(score, window=self.window)

    @property
    def rate(self) -> float:
        """The false-discovery rate: the part of what is outlined that is expected to be chance."""
        return SCORES[self.score].fdr if self.fdr is None else self.fdr


def refuse_for_scan(names: list[str]) -> None:
    """Refuse settings that mean nothing for measured projections, by the names under which they were given.

    Raises
    ------
    ConfigError : there are any.
    """
    verb = "applies" if len(names) == 1 else "apply"
    require(
        not names,
        f"{', '.join(names)} {verb} to a CT volume, not to measured projections.",
        "Leave that out: a scan is used as it was measured.",
    )
