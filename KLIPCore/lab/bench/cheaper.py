"""Cheaper evaluations of the network that could be had, and what they would cost: compiled, int8, another runtime.

The denoiser runs in bfloat16 by PyTorch's own kernels, layer after layer. Each way here evaluates the *same
weights* on the same images in the same process, and is judged by three numbers: how much faster it is, how
long it takes to get going, and how far its answer is from float32's, beside how far bfloat16's own is. What is
not clearly faster is not adopted, and stands in the table so that nobody needs to try it again.

- **float32**: what the precision gains.
- **torch.compile**: kernels written for this network by inductor and the system's C++ compiler, again for each
  batch size.
- **OpenVINO** (`pip install openvino`): Intel's runtime, in its bfloat16; left out where it is not installed.
  ONNX Runtime has no bfloat16 on processors.
- **int8**: every convolution of at least 16 channels quantized, a scale a channel for weights and a scale a
  layer for activations, calibrated on noisy images of three levels (PyTorch's static quantization, oneDNN's
  kernels). Everything between convolutions stays as it is, so each has to quantize and dequantize its image,
  which eats what the integer product gains.
"""

from __future__ import annotations

import copy
import importlib
import time
import warnings
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from KLIPCore.errors import ResourceError
from KLIPCore.lab.bench.measure import timed
from KLIPCore.lab.bench.table import NOT_MEASURED, Section
from KLIPCore.priors.unet import UNetPrior

Evaluate = Callable[[Tensor, Tensor], Tensor]
"""(B, 1, H, W) images and (B,) noise levels → denoised images."""

LEVELS = (0.02, 0.1, 0.3)
"""Noise levels of the images that are compared, and of the calibration's."""

LEAST_CHANNELS = 16
"""Convolutions with fewer are not worth a conversion."""


def float32_copy(prior: UNetPrior) -> UNetPrior:
    """Return the same weights in float32."""
    network = copy.deepcopy(prior.network).float()
    network.mixed_precision = False
    return UNetPrior(network, prior.card, device=prior.device, own=True)


def compiled(prior: UNetPrior) -> Evaluate:
    """Return the network as inductor compiles it."""
    copied = copy.copy(prior)
    copied.network = torch.compile(prior.network, dynamic=False)
    return copied.denoise


class QuantizedConv(nn.Module):
    """A convolution on bytes between two images of floating-point numbers.

    Parameters
    ----------
    conv : the convolution.
    seen, made : observers that have seen its inputs and outputs.
    """

    def __init__(self, conv: nn.Conv2d, seen: Any, made: Any) -> None:
        import torch.ao.nn.quantized as quantized
        from torch.ao.quantization import QConfig, default_per_channel_weight_observer

        super().__init__()
        scale, zero = seen.calculate_qparams()
        self.scale, self.zero = float(scale), int(zero)
        copied = copy.deepcopy(conv).float()
        copied.qconfig = QConfig(activation=lambda: made, weight=default_per_channel_weight_observer)  # type: ignore[assignment]
        copied.activation_post_process = made
        self.conv = quantized.Conv2d.from_float(copied)

    def forward(self, x: Tensor) -> Tensor:
        """Quantize, convolve and dequantize."""
        made: Tensor = self.conv(
            torch.quantize_per_tensor(x.float(), self.scale, self.zero, torch.quint8)
        ).dequantize()
        return made.to(x.dtype)


def int8(prior: UNetPrior, images: Tensor) -> Evaluate:
    """Return the network with quantized convolutions.

    Ranges are taken from these clean images (B, 1, H, W) at :data:`LEVELS`.

    Raises
    ------
    ResourceError : this build of PyTorch has no integer kernels.
    """
    from torch.ao.quantization import HistogramObserver

    engines = torch.backends.quantized.supported_engines
    if "onednn" not in engines:
        raise ResourceError("This build of PyTorch has no oneDNN kernels for integers.", "Take a build for x86.")
    torch.backends.quantized.engine = "onednn"
    wide = float32_copy(prior)
    wanted = {
        name: module
        for name, module in wide.network.named_modules()
        if isinstance(module, nn.Conv2d) and min(module.in_channels, module.out_channels) >= LEAST_CHANNELS
    }
    seen: dict[str, tuple[Any, Any]] = {
        name: (HistogramObserver(dtype=torch.quint8), HistogramObserver(dtype=torch.quint8)) for name in wanted
    }

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            seen[name][0](given[0].float())
            seen[name][1](made.float())

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in wanted.items()]
    generator = torch.Generator().manual_seed(0)
    for level in LEVELS:
        wide.denoise(
            images + level * torch.randn(images.shape, generator=generator), torch.full((len(images),), level)
        )
    for hook in hooks:
        hook.remove()
    copied = copy.copy(prior)
    copied.network = copy.deepcopy(prior.network)
    for name, module in wanted.items():
        parent = copied.network.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], QuantizedConv(module, *seen[name]))
    return copied.denoise


class _Whole(nn.Module):
    """A network with its positions inside: two inputs, as a converter likes it."""

    def __init__(self, prior: UNetPrior) -> None:
        super().__init__()
        self.network = prior.network
        self.register_buffer("position", prior.position)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised images."""
        return self.network(x, sigma, self.position.expand(x.shape[0], -1, -1, -1))  # type: ignore[operator, no-any-return]


def openvino(prior: UNetPrior, images: Tensor) -> Evaluate:
    """Return the network in OpenVINO's bfloat16, for batches like these images.

    Raises
    ------
    ImportError : it is not installed.
    """
    ov: Any = importlib.import_module("openvino")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: shapes are the ones that are measured
        model = ov.convert_model(
            _Whole(float32_copy(prior)).eval(), example_input=(images, torch.full((len(images),), LEVELS[0]))
        )
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    network = ov.Core().compile_model(model, "CPU", hints)
    return lambda x, sigma: torch.from_numpy(network([x.numpy(), sigma.numpy()])[0])


def cheaper_section(
    prior: UNetPrior, images: Tensor, min_seconds: float, tell: Callable[[str], None], leave_out: Collection[str] = ()
) -> Section:
    """Return every way, its time over that of the network as it runs, and its error.

    Parameters
    ----------
    prior : on the CPU, the network as it runs.
    images : (B, 1, H, W) clean images of the prior's kind: the batch that is timed, and what is noised for the errors.
    min_seconds : of each timing.
    tell : called with what is being tried.
    leave_out : ways that are not tried.
    """
    ways: dict[str, Callable[[], Evaluate]] = {
        f"{prior.precision}, as it runs": lambda: prior.denoise,
        "float32": lambda: float32_copy(prior).denoise,
        "torch.compile": lambda: compiled(prior),
        "OpenVINO, bfloat16": lambda: openvino(prior, images),
        "int8 convolutions": lambda: int8(prior, images),
    }
    generator = torch.Generator().manual_seed(1)
    noisy = [
        (images + level * torch.randn(images.shape, generator=generator), torch.full((len(images),), level))
        for level in LEVELS
    ]
    exact = [float32_copy(prior).denoise(x, sigma) for x, sigma in noisy]
    rows: list[dict[str, Any]] = []
    base = float("nan")
    for name, make in ways.items():
        if name in leave_out:
            continue
        tell(name)
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compilers: that something has been deprecated in them
                evaluate = make()
                made = [evaluate(x, sigma) for x, sigma in noisy]
        except (ImportError, ResourceError):
            rows.append({"name": name, "seconds": NOT_MEASURED})
            continue
        ready = time.perf_counter() - started
        timing = timed(lambda evaluate=evaluate: evaluate(*noisy[1]), min_seconds)  # type: ignore[misc]
        base = timing.seconds if not rows else base
        errors = [float((a - b).square().mean().sqrt()) for a, b in zip(made, exact, strict=True)]
        row = {
            "name": name,
            "seconds": timing.seconds,
            "spread": timing.spread,
            "speed_ratio": base / timing.seconds,
            "ready_seconds": ready,
        }
        rows.append({**row, **{f"error at σ {level:g}": error for level, error in zip(LEVELS, errors, strict=True)}})
    columns = ("seconds", "spread", "speed_ratio", "ready_seconds", *(f"error at σ {level:g}" for level in LEVELS))
    note = (
        f"A batch of {len(images)} images of {images.shape[-1]}²; errors are root mean square differences from "
        "float32 arithmetic with the same weights. "
        "*Until ready*: converting, calibrating, compiling and the first evaluations."
    )
    return Section("cheaper", columns, tuple(rows), (note,), heading="the network")
