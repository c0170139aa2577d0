"""What a map can show: named choices of layer, part, σ window and scale bands.

A trace holds nats of several kinds (:mod:`KLIPCore.maps.trace`). A score says which of them are added up, over
which noise levels, and at which false-discovery rate what stands out is outlined. It costs nothing to ask
another one afterwards, if its layer was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["nats", "weighted nats", "equivalent nats", "surprise"]
"""What the numbers of a map are. Only ``nats`` are KL divergence.

``nats``             KL divergence, or a part of it.
``weighted nats``    the same, as it would be where the scan informs as much as it does on average.
``equivalent nats``  what the small noise levels would have to hold to be as unusual as all levels together are.
``surprise``         −ln of how rare such a block is in health.
"""


@dataclass(frozen=True)
class Score:
    """A named choice of layer, part, σ window and scale bands: what the map shows.

    Attributes
    ----------
    name : what reports call it.
    layer : trace layer.
    part : ``energy`` (E‖u‖², all of the KL), ``mean`` (‖E u‖², the surprise) or ``variance`` (their difference).
    window : σ interval (intensity units).
    bands : first and last-plus-one scale band, finest is 0; None takes all. Of one-sided layers: Gaussian
        scales, one at a time.
    explanation : one sentence for the report.
    fdr : false-discovery rate at which its regions are outlined unless another one is asked for; how it was
        chosen is in docs/results_slices.md.
    together : σ intervals that are judged apart, and their p-values combined (:mod:`KLIPCore.maps.combine`);
        with none the window is judged as one.
    unit : what its map and the peaks of its regions are in.
    """

    name: str
    layer: str
    part: Literal["energy", "mean", "variance"]
    window: tuple[float, float]
    bands: tuple[int, int] | None
    explanation: str
    fdr: float = 0.2
    together: tuple[tuple[float, float], ...] = ()
    unit: Unit = "nats"

    @property
    def total_unit(self) -> Unit:
        """What totals of regions and of slices are in: equivalent nats do not add up, what they stand for does."""
        return "weighted nats" if self.unit == "equivalent nats" else self.unit

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """The σ intervals that are judged apart, as far as they lie in the window."""
        cut = tuple((max(lo, self.window[0]), min(hi, self.window[1])) for lo, hi in self.together)
        return tuple((lo, hi) for lo, hi in cut if lo < hi) or (self.window,)


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            "unexpected",
            "pushes",
            "mean",
            (0.08, 0.32),
            None,
            "What the prior did not expect, darker or brighter, centred on what health gives at such a place, and "
            "judged by the prior's reference of health: a region's strength says how many as strong a healthy study "
            "of this size would show. The map shows surprise: minus the logarithm of how rare a block is in health.",
            0.5, unit="surprise",
        ),
        Score(
            "hypodense", "hypodense", "mean", (0.08, 1.6), (0, 1),
            "What is darker than the prior expected and still soft tissue, of all sizes: small noise levels find "
            "millimetres, large ones centimetres, and a "
            "block counts by the one that it surprises more. Sees NOTHING that is brighter than expected, and "
            "nothing made of fat or gas. "
            "The map shows equivalent nats: what the small levels alone would have to hold to be as unusual among "
            "the slices examined.",
            0.7, ((0.08, 0.32), (0.32, 1.6)), "equivalent nats",
        ),
        Score(
            "darker", "darker", "mean", (0.08, 0.32), (0, 1),
            "The part of the surprise that is darker than the prior expected, lengths from about 10 mm, measured "
            "against how much the scan informs at "
            "each place. It sees NOTHING that is brighter than expected: for that, look at brighter.",
            unit="weighted nats",
        ),
        Score(
            "brighter", "brighter", "mean", (0.08, 0.32), (0, 1),
            "The same for what is brighter than expected: enhancing or calcified lesions, and in every patient "
            "vessels.",
            unit="weighted nats",
        ),
        Score(
            "hyperdense", "hyperdense", "mean", (0.32, 1.6), (0, 1),
            "What is brighter than the prior expected, pixel by pixel, at noise levels at which even plain "
            "structures are forgotten: metal, calcifications, "
            "sharp things, and in every patient bone and vessels that lie elsewhere than expected. Sees NOTHING "
            "that is darker than expected.",
        ),
        Score(
            "surprise", "cold", "mean", (0.08, 0.32), (3, 5),
            "Mean part of the KL at low temperature, wavelengths 16 to 64 pixels: what the prior did not expect, "
            "darker or brighter, with texture and edges "
            "left out.",
            0.5,
        ),
        Score(
            "klip", "path", "energy", (0.04, 0.27), None,
            "The whole KL of our own guided chain against the prior, per pixel, at temperature 1, in the published "
            "localization window. Not the published recipe, which takes many more steps and samples.",
        ),
        Score(
            "nats", "renoised", "energy", (0.08, 0.32), None,
            "The KL between posterior and prior by re-noised quadrature at temperature 1: free of the chain's "
            "bias, dominated by what is informative.",
        ),
        Score(
            "one-shot", "cold", "mean", (0.08, 0.32), None,
            "Residual of denoising the reconstruction, all scales: the simple baseline, written as a part of the "
            "same KL.",
        ),
    )
}  # fmt: skip
"""The scores by name; the first is the default: it knows nothing about lesions, and healthy patients alone made its
verdict."""

DEFAULT_SCORE = "unexpected"
