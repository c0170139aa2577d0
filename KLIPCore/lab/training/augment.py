"""Random patches that still look like the same patient group.

Scale, small rotation and brightness vary between scanners and people; left and right do not (the liver has a side), so
there is no mirroring. The upper window bound varies, because public sets clip bone at different HU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from KLIPCore.lab.training.halfway import draw_way, warped
from KLIPCore.lab.training.phases import LabelledOrgans, other_phase
from KLIPCore.lab.training.scanner import narrow_field, other_scanner


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes.

    Attributes
    ----------
    warp_probability : how often a patch is resampled (scaled and turned) instead of cut out.
    scale : largest relative change of size.
    angle_deg : largest rotation.
    gain : standard deviation of the relative brightness change.
    clip_probability, clip_from : how often, and down to which intensity, the upper end is clipped.
    position_jitter : standard deviation of the shift of the position channels (frame half-widths).
    phase_probability : how often a patch of a patient with labelled organs gets another contrast phase.
    halfway_probability : how often a slice is deformed part of the way to another patient's
        (:mod:`KLIPCore.lab.training.halfway`).
    scanner_probability, field_probability : how often a patch gets another kernel and noise, and a slice a field of
        view that is narrower than the body (:mod:`KLIPCore.lab.training.scanner`).
    """

    warp_probability: float = 0.5
    scale: float = 0.15
    angle_deg: float = 6.0
    gain: float = 0.03
    clip_probability: float = 0.3
    clip_from: float = 0.9
    position_jitter: float = 0.04
    phase_probability: float = 0.0
    halfway_probability: float = 0.0
    scanner_probability: float = 0.0
    field_probability: float = 0.0


def sample_patches(
    slices: Tensor,
    position: Tensor,
    n: int,
    patch: int,
    rule: Augmentation,
    generator: torch.Generator,
    organs: LabelledOrgans | None = None,
    fields: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return random patches and their position channels.

    Parameters
    ----------
    slices : (N, S, S) uint8 framed slices.
    position : (1, 2, S, S) position channels of the whole frame.
    n, patch : how many patches, and their side in pixels.
    rule : what may vary.
    generator : source of all randomness here.
    organs : labels of the slices, where there are any.
    fields : to other patients, of :func:`KLIPCore.lab.training.halfway.halfway_fields`, where there are any.

    Returns
    -------
    (n, 1, patch, patch) intensity in [0, 1] and (n, 2, patch, patch) positions.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    side = slices.shape[-1]
    which = torch.randint(len(slices), (n,), generator=generator)
    corner = (torch.rand(n, 2, generator=generator) * (side - patch) / 2).round().long() * 2
    out = torch.empty(n, 1, patch, patch)
    where = torch.empty(n, 2, patch, patch)
    warp = uniform(n) < rule.warp_probability
    scale = 1 + rule.scale * (2 * uniform(n) - 1)
    angle = math.radians(rule.angle_deg) * (2 * uniform(n) - 1)
    for m in range(n):
        r, c = int(corner[m, 0]), int(corner[m, 1])
        cut = _Cut(r, c, patch, float(scale[m]), float(angle[m])) if warp[m] else _Cut(r, c, patch)
        k = int(which[m])
        whole, labels = _whole(slices, k, rule, generator, organs, fields)
        image = cut.of(whole)
        if organs is not None and labels is not None and _chance(rule.phase_probability, generator):
            marked = cut.of(labels.float(), mode="nearest").byte()
            image = other_phase(image, marked, organs.means[k], organs.window, generator)
        if _chance(rule.scanner_probability, generator):
            image = other_scanner(image, generator)
        out[m, 0] = image
        where[m] = position[0, :, r : r + patch, c : c + patch]  # a resized patient: its places stay the frame's
    clip = torch.where(
        uniform(n) < rule.clip_probability, rule.clip_from + (1 - rule.clip_from) * uniform(n), torch.ones(n)
    )
    out = torch.minimum(out, clip.view(-1, 1, 1, 1))
    out = out * (1 + rule.gain * torch.randn(n, 1, 1, 1, generator=generator))
    where = where + rule.position_jitter * torch.randn(n, 2, 1, 1, generator=generator)
    return out, where


def _chance(probability: float, generator: torch.Generator) -> bool:
    """Whether something is done; nothing is drawn where it never is."""
    return probability > 0 and float(torch.rand(1, generator=generator)) < probability


def _whole(
    slices: Tensor,
    k: int,
    rule: Augmentation,
    generator: torch.Generator,
    organs: LabelledOrgans | None,
    fields: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Slice k and its labels, before a patch is cut from it."""
    image, labels = slices[k].float().div(255.0), None if organs is None else organs.labels[k]
    if fields is not None and _chance(rule.halfway_probability, generator):
        partner, way = draw_way(generator)
        image = warped(image, fields[k, partner], way)
        labels = None if labels is None else warped(labels, fields[k, partner], way, "nearest")
    if _chance(rule.field_probability, generator):
        image = narrow_field(image, generator)
    return image, labels


@dataclass(frozen=True)
class _Cut:
    """Where a patch is taken from a slice, and how it is turned (rad) and scaled."""

    row: int
    column: int
    side: int
    scale: float = 1.0
    angle: float = 0.0

    def of(self, image: Tensor, mode: str = "bilinear") -> Tensor:
        """Return the patch (side, side) of a slice (S, S)."""
        if self.scale == 1.0 and self.angle == 0.0:
            return image[self.row : self.row + self.side, self.column : self.column + self.side]
        u = (torch.arange(self.side) - (self.side - 1) / 2) * self.scale
        rows, columns = torch.meshgrid(u, u, indexing="ij")
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        last = image.shape[-1] - 1
        y = (self.row + (self.side - 1) / 2 + cos * rows - sin * columns) * 2 / last - 1
        x = (self.column + (self.side - 1) / 2 + sin * rows + cos * columns) * 2 / last - 1
        grid = torch.stack([x, y], -1)[None]
        return F.grid_sample(image[None, None], grid, mode=mode, align_corners=True)[0, 0]
