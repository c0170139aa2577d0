"""Starting from weights that another network has learned.

A prior need not be learned from nothing. Four things can differ between the network that gives and the one
that takes, and each has an answer:

width
    the taker has twice the channels: each becomes two (:mod:`KLIPCore.lab.training.widen`).

positions
    the taker has no position channels: the columns of the first convolution that read them are left out. What
    they said is lost and has to be learned again from the image itself. Where only the taker has them, the columns
    are zeros at first, and both answer alike.
EDM to DDPM
    with u = x/σ_d, EDM's network F and a DDPM's velocity are the same function up to sign: EDM's
    D_u = u/(σ_u² + 1) + σ_u/√(σ_u² + 1)·F is, word for word, √ᾱ u' − √(1 − ᾱ)·v with v = −F (both read u/√(1 + σ_u²)).
    The last convolution changes its sign. The intensities must agree: scale = 1/σ_d = 2 and shift = 0.
time
    EDM is told ¼ ln σ, a DDPM the number of its step. The small network behind that number is fitted to say at
    every step what the other said at the same noise level.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from KLIPCore.errors import PriorError
from KLIPCore.lab.training.widen import is_twice, widened
from KLIPCore.priors.ddpm import DDPMConfig, DDPMUNet
from KLIPCore.priors.networks import build_network, network_config
from KLIPCore.priors.precond import SIGMA_DATA, c_noise
from KLIPCore.priors.unet import EDMUNet, UNetConfig

FIRST, LAST = "net.conv_in.conv.weight", "net.out.2.conv."
"""Names of the convolutions that read the image and write the answer."""


def start_from(network: EDMUNet | DDPMUNet, weights: Path) -> str:
    """Copy what another network learned into ``network``, in place.

    Parameters
    ----------
    network : an :class:`EDMUNet` or :class:`DDPMUNet`.
    weights : ``.safetensors`` file; the card beside it says which network it belongs to, without one it is
        taken as of the same kind.

    Returns
    -------
    What was done, in a phrase for the model card.

    Raises
    ------
    PriorError : the weights do not fit.
    """
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
        card_path = weights.with_suffix(".json")
        fields = json.loads(card_path.read_text(encoding="utf-8"))["network"] if card_path.is_file() else None
        done = [weights.name]
        giver = network_config(fields) if fields is not None else None
        if isinstance(giver, UNetConfig) and isinstance(network, EDMUNet) and is_twice(network.config, giver):
            tensors = widened(tensors)
            done.append("every channel made two")
        surplus = tensors[FIRST].shape[1] - network.get_parameter(FIRST).shape[1]
        if surplus == 2 and not network.config.positions:
            tensors[FIRST] = tensors[FIRST][:, :-2]
            done.append("without its position channels")
        if surplus == -2 and network.config.positions:
            tensors[FIRST] = F.pad(tensors[FIRST], (0, 0, 0, 0, 0, 2))
            done.append("with position channels that say nothing yet")
        if giver is not None and not isinstance(giver, DDPMConfig) and isinstance(network, DDPMUNet):
            done.append(_edm_to_ddpm(network, tensors, giver))
        elif giver is not None and isinstance(giver, DDPMConfig) != isinstance(network, DDPMUNet):
            raise PriorError(
                f"{weights.name} is a DDPM; an EDM prior cannot start from it.",
                "Start from EDM weights, or from none.",
            )
        network.load_state_dict(tensors)
    except (OSError, KeyError, RuntimeError, ValueError, AttributeError, SafetensorError) as error:
        raise PriorError(
            f"{weights.name} does not fit the configured network.",
            "Start from weights of the same network, or from none.",
        ) from error
    return ", ".join(done)


def _edm_to_ddpm(network: DDPMUNet, tensors: dict[str, Tensor], giver: object) -> str:
    """Turn EDM's tensors into those of a velocity network, in place."""
    c = network.config
    if c.prediction != "v_prediction" or c.scale * SIGMA_DATA != 1.0 or c.shift != 0.0:
        raise PriorError(
            f"Only a DDPM that predicts v of {1 / SIGMA_DATA:g}·x can start from EDM weights.",
            "Set prediction: v_prediction, scale: 2, shift: 0; or start from none.",
        )
    for part in ("weight", "bias"):
        tensors[LAST + part] = -tensors[LAST + part]
    edm = build_network(giver)
    assert isinstance(edm, EDMUNet)
    own = {
        name.removeprefix("net.time_embed."): t for name, t in tensors.items() if name.startswith("net.time_embed.")
    }
    edm.net.time_embed.load_state_dict(own)  # type: ignore[union-attr, operator]
    error = fit_time(network, edm.net.time_embed)  # type: ignore[arg-type]
    fitted = network.net.time_embed.state_dict()  # type: ignore[union-attr, operator]
    tensors.update({f"net.time_embed.{name}": t for name, t in fitted.items()})
    return f"sign turned to velocity and time fitted (relative error {error:.1g})"


def fit_time(network: DDPMUNet, wanted: nn.Module, n_steps: int = 1500) -> float:
    """Fit ``network``'s time embedding over step numbers to ``wanted`` over ¼ ln σ.

    Returns the relative root-mean-square error.
    """
    from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

    width = network.config.channels[0]
    sigma = (network.vp.sigmas / network.config.scale).float()
    embed: nn.Module = network.net.time_embed  # type: ignore[assignment]
    with torch.no_grad():
        target = wanted(get_timestep_embedding(c_noise(sigma), width))
    source = get_timestep_embedding(torch.arange(len(sigma)).float(), width)
    optimiser = torch.optim.Adam(embed.parameters(), 3e-3)
    ramp = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    scale = target.square().mean()
    loss = torch.zeros(())
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = F.mse_loss(embed(source), target) / scale
        loss.backward()
        optimiser.step()
        ramp.step()
    return float(loss.detach().sqrt())
