"""A small network that reconstructs, and invents: U-Net on sparse-view filtered back-projection.

Trained in minutes on a few slices and kept nowhere. It is the kind of network that "deep-learning reconstruction"
began with (Jin, McCann, Froustey & Unser 2017): good pictures, and no knowledge of the data behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from KLIPCore.lab.audit_cases import Scanner, Slice, finer
from KLIPCore.physics.fbp import fbp
from KLIPCore.volume.units import MU_WATER_PER_MM

SCALE = MU_WATER_PER_MM
"""Images are divided by it: water is 1."""


class SmallUNet(nn.Module):
    """Three levels, a residual on its input.

    Parameters
    ----------
    width : channels of the finest level.
    fold : its finest level has squares of so many pixels by as many as channels: a wider view at less cost.
    """

    def __init__(self, width: int = 16, fold: int = 1) -> None:
        super().__init__()
        self.fold = fold

        def pair(a: int, b: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.ReLU())

        self.down = nn.ModuleList([pair(fold**2, width), pair(width, 2 * width), pair(2 * width, 4 * width)])
        self.up = nn.ModuleList([pair(6 * width, 2 * width), pair(3 * width, width)])
        self.last = nn.Conv2d(width, fold**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, 1, H, W) filtered back-projections into images."""
        a = self.down[0](nn.functional.pixel_unshuffle(x, self.fold))
        b = self.down[1](nn.functional.max_pool2d(a, 2))
        c = self.down[2](nn.functional.max_pool2d(b, 2))
        b = self.up[0](torch.cat([nn.functional.interpolate(c, scale_factor=2), b], 1))
        a = self.up[1](torch.cat([nn.functional.interpolate(b, scale_factor=2), a], 1))
        return x + nn.functional.pixel_shuffle(self.last(a), self.fold)


def back_projected(slice_: Slice, scanner: Scanner, seed: int) -> Tensor:
    """Return (SIZE, SIZE) filtered back-projection of a simulated scan."""
    m = scanner.scan(finer(slice_.mu), seed)
    return fbp(m.y, scanner.A.geometry, slice_.grid, "hann")


def train(slices: Sequence[Slice], scanner: Scanner, *, steps: int = 300, batch: int = 4, seed: int = 0) -> SmallUNet:
    """Fit the network to pairs of back-projection and truth.

    Parameters
    ----------
    slices : truth, all on the scanner's pixels.
    scanner : what measures them.
    steps, batch : of Adam, mirrored at random.
    seed : of weights, noise and order.
    """
    torch.manual_seed(seed)
    network = SmallUNet()
    inputs = torch.stack([back_projected(s, scanner, seed + n) for n, s in enumerate(slices)])[:, None] / SCALE
    targets = torch.stack([s.mu for s in slices])[:, None] / SCALE
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(len(slices), (batch,))
        x, y = inputs[chosen], targets[chosen]
        if torch.rand(()) < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        loss = nn.functional.l1_loss(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def reconstruct(network: SmallUNet, slice_: Slice, scanner: Scanner, seed: int) -> Tensor:
    """Return (SIZE, SIZE) what the network makes of a scan, in 1/mm."""
    with torch.no_grad():
        return network(back_projected(slice_, scanner, seed)[None, None] / SCALE)[0, 0] * SCALE
