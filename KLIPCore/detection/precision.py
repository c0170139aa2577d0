"""In which precision the network computes, and where: the fastest correct way on this computer, by measuring.

Processors differ more in this than in anything else. One with AMX multiplies bfloat16 several times as fast as
float32, one with AVX512-BF16 twice as fast; one that has only AVX2 emulates it and takes several times *as long*.
No list of processors is complete, so the prior that will be used is timed, once, in every way that PyTorch offers
(float32, bfloat16, float16; the channels of a pixel beside each other or apart; on a Mac also on its graphics
processor, with everything but the network left on the processor), and the fastest is written into a file of the
user's cache. It is another computer's answer as soon as the processor, its instructions, PyTorch, the
weights, the device or the number of threads differ.

Fast is not enough. A way is taken only if its answers on a noisy picture of a body agree with those of float32
(:data:`TOLERANCE`), and only if it is clearly faster than the more exact one (:data:`CLEAR_GAIN`).

A run keeps the precision that it began with (:mod:`KLIPCore.detection.run_precision`).

``KLIP_TUNING=off`` in the environment leaves measuring out: the precision is then chosen by the processor's
instructions (:func:`KLIPCore.priors.unet.usual_precision`), as it is wherever a prior is loaded without a word.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from KLIPCore.detection.devices import choose_devices, network_places
from KLIPCore.detection.user_cache import cache_folder, key_of, measuring, read_entries, write_entries
from KLIPCore.errors import ResourceError
from KLIPCore.priors.checkpoint import load_prior
from KLIPCore.priors.unet import DTYPES, UNetPrior, usual_precision

EXACT = "float32"
"""What the others are compared with."""

SIGMAS = (0.05, 0.3)
"""Noise levels of the two images that are measured with, and on which ways must agree."""

TOLERANCE = 0.03
"""Largest root mean square difference from float32's denoised image, as a part of its noise level σ: the error of
a whitened push. bfloat16 differs by .3 % to 1.5 % with the shipped priors, float16 by a tenth of that."""

CLEAR_GAIN = 1.1
"""How much faster a way must be than a more exact one before it is taken: less is noise."""

HOPELESS = 2.0
"""A way that takes so many times as long as another on a small image is not tried on a large one."""

HERE = ("",)
"""The network on the run's own device alone."""

ROUNDS, SLOWER = 3, 1.3
"""Times that each way is timed, and how much slower than the fastest it may be to be timed again."""

ISA_SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
"""Environment variables by which the libraries keep to fewer instructions than the processor has."""


@dataclass(frozen=True)
class Choice:
    """How the network computes, and why so.

    Attributes
    ----------
    precision : one of :data:`KLIPCore.priors.unet.DTYPES`.
    channels_last : whether the channels of a pixel lie beside each other in memory.
    reason : for the reader of a report, to stand behind the precision and a colon.
    seconds : an image, by way; None for a way that was clearly slower, or not correct, or is impossible here.
    place : device of the network where that is not the run's own; empty where it is.
    """

    precision: str
    channels_last: bool = True
    reason: str = ""
    seconds: Mapping[str, float | None] = field(default_factory=dict)
    place: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Choice:
        """Return the inverse of :meth:`to_dict`.

        Raises
        ------
        ValueError, TypeError, KeyError : these are no fields of a choice.
        """
        made = cls(**{**values, "seconds": dict(values["seconds"])})
        times = [s for s in made.seconds.values() if s is not None]
        if (
            made.precision not in DTYPES
            or type(made.channels_last) is not bool
            or not isinstance(made.reason, str)
            or not isinstance(made.place, str)
            or any(type(s) is not float or not 0 < s < math.inf for s in times)
        ):
            raise ValueError("no choice")
        return made


def way_name(precision: str, channels_last: bool, place: str = "") -> str:
    """Return what a way is called in tables and records."""
    return precision + (f" on {place}" if place else "") + ("" if channels_last else ", channels apart")


def load_fastest(name: str, device: str = "cpu", precision: str = "auto") -> UNetPrior:
    """Return a prior as it computes fastest on this computer.

    Parameters
    ----------
    name : as for :func:`KLIPCore.priors.checkpoint.load_prior`.
    device : of the run, as for :func:`KLIPCore.detection.devices.choose_devices`; the prior lies on the first.
    precision : ``auto``, or one of :data:`KLIPCore.priors.unet.DTYPES`.

    Raises
    ------
    PriorError : the prior cannot be loaded.
    ConfigError, ResourceError : this computer cannot compute there, or in the precision that was asked for.
    """
    prior = load_prior(name, choose_devices(device)[0], EXACT)
    return in_way(prior, choose(prior, precision, network_places(device)))


def in_way(prior: UNetPrior, choice: Choice) -> UNetPrior:
    """Return a prior in float32 converted to what was chosen; it is used up."""
    return UNetPrior(
        prior.network,
        prior.card,
        device=prior.device,
        own=True,
        precision=choice.precision,
        channels_last=choice.channels_last,
        place=choice.place,
    )


def choose(
    prior: UNetPrior,
    wanted: str = "auto",
    places: Sequence[str] = HERE,
    cache: Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Choice:
    """Return how a prior computes: as asked for, as remembered, or as measured.

    Parameters
    ----------
    prior : in float32.
    wanted : ``auto``, or one of :data:`KLIPCore.priors.unet.DTYPES`.
    places : where the network may be, of :func:`KLIPCore.detection.devices.network_places`; the first one without
        measuring.
    cache : folder instead of the user's own (:func:`KLIPCore.detection.user_cache.cache_folder`).
    tell : called before something is measured.

    Raises
    ------
    ResourceError : this computer cannot compute in the precision, or at the place, that was asked for.
    """
    first = places[0]
    if wanted != "auto":
        _require_possible(prior, wanted, first)
        return Choice(wanted, reason="as asked for", place=first)
    if prior.native == EXACT:
        _require_possible(prior, EXACT, first)
        return Choice(EXACT, reason="as the network was trained", place=first)
    if not measuring():
        usual = usual_precision(torch.device(first or prior.device))
        return Choice(usual, reason="usual on such a processor; not measured", place=first)
    file = (cache or cache_folder()) / "precision.json"
    known, key = read_entries(file, Choice.from_dict), _key(prior, places)
    if key not in known:
        if tell is not None:
            tell("measuring in which precision this computer is fastest; done once")
        known[key] = fastest(measure(prior, places), _computer(prior, places))
        write_entries(file, {k: v.to_dict() for k, v in known.items()})
    return known[key]


def _computer(prior: UNetPrior, places: Sequence[str]) -> str:
    """What computes, for a reader."""
    if len(places) > 1:
        return "computer"
    return "processor" if torch.device(places[0] or prior.device).type == "cpu" else "graphics processor"


def fastest(seconds: Mapping[str, float | None], device: str) -> Choice:
    """Return what to take of the ways that were measured.

    Parameters
    ----------
    seconds : an image, by way, as :func:`measure` returns them: the more exact before the less exact.
    device : what to call the device.

    Raises
    ------
    ResourceError : none of them is possible and correct.
    """
    best, least = "", math.inf
    for name, taken in seconds.items():
        if taken is not None and taken * CLEAR_GAIN < least:
            best, least = name, taken
    if not best:
        raise ResourceError(f"This {device} does not compute this prior as it should.", "Use --device cpu.")
    way, _, layout = best.partition(", ")
    precision, _, place = way.partition(" on ")
    tried = [name for name in seconds if ", " not in name]
    reason = f"fastest of {_listed(tried)} on this {device}, measured"
    return Choice(precision, not layout, reason, dict(seconds), place)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def measure(prior: UNetPrior, places: Sequence[str] = HERE) -> dict[str, float | None]:
    """Return seconds an image of each way: at each place every precision, and the fastest one with channels apart.

    Parameters
    ----------
    prior : in float32; it stays as it is.
    places : as for :func:`choose`.

    Returns
    -------
    seconds by :func:`way_name`, float32 first; None for a way that takes :data:`HOPELESS` times as long as the
    fastest on a small image at that place, differs from the prior's own answers by more than :data:`TOLERANCE`, or
    is impossible there.
    """
    images, sigma = noisy_body(prior.card.size, prior.device)
    exact = prior.denoise(images, sigma)
    ways: dict[str, UNetPrior] = {}
    found: dict[str, float | None] = {}

    def enter(precision: str, channels_last: bool, place: str, small: dict[str, float]) -> None:
        name = way_name(precision, channels_last, place)
        found[name] = None
        try:
            own = precision == EXACT and channels_last and not place
            other = prior if own else converted(prior, precision, channels_last, place)
            taken = _small_seconds(other)
            if taken > HOPELESS * min(small.values(), default=math.inf):  # a large image would take some minutes
                return
            if own or disagreement(other.denoise(images, sigma), exact, sigma) <= TOLERANCE:
                ways[name] = other
                small[precision] = min(taken, small.get(precision, math.inf))
        except (RuntimeError, TypeError):  # a device or a build of PyTorch that does not know it, or short memory
            pass

    for place in places:
        small: dict[str, float] = {}
        for precision in (EXACT, "bfloat16", "float16"):
            enter(precision, True, place, small)
        if small:
            enter(min(small, key=lambda name: small[name]), False, place, small)
    found |= race(ways, images, sigma)
    if ways and not (choice := fastest(found, "")).channels_last:
        # seldom so by much: a second look, lest a busy moment decided
        names = [way_name(choice.precision, layout, choice.place) for layout in (True, False)]
        both = {name: ways[name] for name in names if name in ways}
        found |= {name: min(taken, found[name] or math.inf) for name, taken in race(both, images, sigma).items()}
    return found


def race(ways: Mapping[str, UNetPrior], images: Tensor, sigma: Tensor) -> dict[str, float]:
    """Return seconds an image of each way, the least of some rounds in turn.

    What else the computer does then hits all of them. A way that is clearly slower leaves after a round.

    Parameters
    ----------
    ways : warmed up; by name.
    images, sigma : (B, 1, H, W) and (B,), what is evaluated.
    """
    least = dict.fromkeys(ways, math.inf)
    for _ in range(ROUNDS):
        for name, prior in ways.items():
            if least[name] == math.inf or least[name] < SLOWER * min(least.values()):
                least[name] = min(least[name], _evaluate(prior, images, sigma) / len(images))
    return least


def converted(prior: UNetPrior, precision: str, channels_last: bool = True, place: str = "") -> UNetPrior:
    """Return a copy of a prior in float32 that computes otherwise."""
    way: Any = {"precision": precision, "channels_last": channels_last, "place": place}
    return UNetPrior(prior.network, prior.card, device=prior.device, **way)


def disagreement(denoised: Tensor, exact: Tensor, sigma: Tensor) -> float:
    """Return the largest root mean square difference of some denoised images, each as a part of its noise level.

    Infinite where one is not finite.
    """
    error = ((denoised - exact).square().mean((1, 2, 3)).sqrt() / sigma).max()
    return float(error) if bool(torch.isfinite(error)) else math.inf


def noisy_body(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the (2, 1, size, size) a schematic body, in windowed intensity, under noise of :data:`SIGMAS`.

    They come with noise levels (2,).
    """
    y, x = torch.meshgrid(*[torch.linspace(-1.0, 1.0, size)] * 2, indexing="ij")

    def inside(x0: float, y0: float, a: float, b: float) -> Tensor:
        return ((((x - x0) / a) ** 2 + ((y - y0) / b) ** 2) < 1).float()

    image = 0.1 * inside(0, 0, 0.9, 0.65) + 0.4 * inside(0, 0, 0.8, 0.55)  # fat, soft tissue
    image += 0.1 * inside(-0.35, -0.1, 0.33, 0.3) + 0.4 * inside(0, 0.35, 0.13, 0.12)  # liver, spine
    sigma = torch.tensor(SIGMAS)
    noise = torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    return (image + sigma.view(-1, 1, 1, 1) * noise).to(device), sigma.to(device)


def _small(prior: UNetPrior) -> UNetPrior:
    """The very network on images of a quarter of the side: a sixteenth of the time."""
    multiple = int(getattr(prior.network, "multiple", 1))
    card = replace(prior.card, size=max(1, prior.card.size // 4 // multiple) * multiple)
    way: Any = {"precision": prior.precision, "channels_last": prior.channels_last, "place": prior.place}
    return UNetPrior(prior.network, card, device=prior.device, own=True, **way)


def _small_seconds(prior: UNetPrior) -> float:
    """Seconds an evaluation of small images: the shorter of two, after one that is not counted."""
    small = _small(prior)
    images, sigma = noisy_body(small.card.size, prior.device)
    return min([_evaluate(small, images, sigma) for _ in range(3)][1:])


def _evaluate(prior: UNetPrior, images: Tensor, sigma: Tensor) -> float:
    """Seconds of one evaluation."""
    started = time.perf_counter()
    prior.denoise(images, sigma).sum().item()  # waits for a GPU
    return time.perf_counter() - started


def _require_possible(prior: UNetPrior, precision: str, place: str) -> None:
    """Refuse a precision, or a place, that was asked for and cannot be had.

    Raises
    ------
    ResourceError : the device does not know it, or the network's numbers do not fit into it.
    """
    if not place and precision in (EXACT, prior.native):
        return
    try:
        x, sigma = noisy_body(prior.card.size, prior.device)
        possible = bool(torch.isfinite(converted(prior, precision, place=place).denoise(x[:1], sigma[:1])).all())
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):
        possible = False
    if not possible:
        raise ResourceError(
            f"This prior cannot compute in {way_name(precision, True, place)} on this computer.",
            "Leave out --precision and --device to have them chosen.",
        )


def processor() -> tuple[str, ...]:
    """Return model and instructions of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    known = [told[name] for name in ("model name", "flags", "Features") if name in told]
    return (platform.machine(), *(known or [platform.processor()]))


def _key(prior: UNetPrior, places: Sequence[str] = HERE) -> str:
    """Everything that the answer depends on."""
    device = torch.cuda.get_device_name(prior.device) if prior.device.type == "cuda" else prior.device.type
    threads = (torch.get_num_threads(), torch.backends.cpu.get_cpu_capability())
    switches = [os.environ.get(name, "") for name in ISA_SWITCHES]
    where = () if tuple(places) == HERE else tuple(places)
    network = (prior.card.sha256, prior.card.size, *where)
    return key_of((*processor(), device, *threads, *switches, torch.__version__, *network))
