"""The network that names organs: a small 2.5-D U-Net on framed slices.

It sees five slices (the one asked about and neighbours 5 and 10 mm above and below), each at 256 x 256 pixels of the
prior's frame and in the prior's window. Neighbouring pixels are folded into channels before the U-Net and unfolded
after it: at half the resolution it costs a quarter, and the labels still have the frame's full resolution.

References
----------
O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional networks for biomedical image segmentation. MICCAI 2015.
(`monai.networks.nets.BasicUNet`)
W. Shi et al.: Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
network. CVPR 2016. (the folding)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

ORGANS = {
    1: "aorta",
    2: "gallbladder",
    3: "left kidney",
    4: "right kidney",
    5: "liver",
    6: "pancreas",
    7: "spleen",
    8: "stomach",
}
"""Names of the labels; 0 is everything else."""

OFFSETS_MM = (-10.0, -5.0, 0.0, 5.0, 10.0)
"""Where the network's slices lie, counted from the slice asked about, towards the head."""

FOLD = 2
"""Pixels of a side that are folded into channels."""


class OrganNetwork(nn.Module):
    """Logits of nine classes from five slices.

    Parameters
    ----------
    features : tuple of int
        Channels of the U-Net's five levels.
    """

    def __init__(self, features: tuple[int, ...] = (32, 48, 64, 96, 128)) -> None:
        super().__init__()
        self.features = tuple(features)
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=len(OFFSETS_MM) * FOLD**2,
            out_channels=(len(ORGANS) + 1) * FOLD**2,
            features=(*features, features[0]),
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
        )

    def forward(self, slices: Tensor) -> Tensor:
        """Return logits (N, 9, S, S) for intensities ``slices`` (N, 5, S, S) in [0, 1]; S is a multiple of 32."""
        return F.pixel_shuffle(self.unet(F.pixel_unshuffle(slices - 0.5, FOLD)), FOLD)


def stack_of(slices: Tensor, index: int, step: float) -> Tensor:
    """Return the five slices (5, S, S) that the network needs to label slice ``index``.

    Parameters
    ----------
    slices : Tensor, (D, S, S)
        Framed slices, from the feet to the head.
    index : int
        The slice to be labelled.
    step : float, mm
        Distance between slices. The nearest slice is taken; beyond the ends, the last one.
    """
    wanted = [index + round(offset / step) for offset in OFFSETS_MM]
    return slices[torch.tensor(wanted).clamp(0, len(slices) - 1)]
