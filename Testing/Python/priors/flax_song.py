"""A small NCSN++ in Flax, written from the paper, that names its weights as Song et al.'s does.

Flax names a module's weights after its class and the order of its making, so classes and order are the published ones;
the arithmetic is written out here: filters by inserting zeros and correlating, attention by einsum.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

TAPS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def correlate(x: jax.Array, gain: float) -> jax.Array:
    """(B, H, W, C) with the filter, where it fits."""
    kernel = jnp.asarray(np.repeat(TAPS[:, :, None, None] * gain, x.shape[-1], axis=3), x.dtype)
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1]
    )


def halve(x: jax.Array) -> jax.Array:
    return correlate(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 1.0)[:, ::2, ::2]


def double(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    spread = jnp.zeros((b, 2 * h, 2 * w, c)).at[:, ::2, ::2].set(x)
    return correlate(jnp.pad(spread, ((0, 0), (2, 1), (2, 1), (0, 0))), 4.0)


def normed(x: jax.Array) -> jax.Array:
    return nn.GroupNorm(num_groups=min(x.shape[-1] // 4, 32))(x)


def conv(x: jax.Array, width: int, side: int) -> jax.Array:
    return nn.Conv(width, (side, side), padding="SAME", bias_init=nn.initializers.normal(0.1))(x)


class GaussianFourierProjection(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        w = self.param("W", nn.initializers.normal(1.0), (self.width,))
        angle = 2 * jnp.pi * x[:, None] * w
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)


class NIN(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        n = x.shape[-1]
        return x @ self.param("W", nn.initializers.lecun_normal(), (n, n)) + self.param(
            "b", nn.initializers.normal(0.1), (n,)
        )


class AttnBlockpp(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = normed(x)
        q, k, v = (NIN()(y).reshape(b, h * w, c) for _ in range(3))
        weights = jax.nn.softmax(jnp.einsum("bic,bjc->bij", q, k) / np.sqrt(c), -1)
        return (x + NIN()(jnp.einsum("bij,bjc->bic", weights, v).reshape(x.shape))) / np.sqrt(2)


class ResnetBlockBigGANpp(nn.Module):
    width: int
    resample: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, told: jax.Array) -> jax.Array:
        change = {"": lambda t: t, "up": double, "down": halve}[self.resample]
        h = conv(change(nn.silu(normed(x))), self.width, 3)
        h = h + nn.Dense(self.width)(nn.silu(told))[:, None, None]
        h = conv(nn.silu(normed(h)), self.width, 3)
        n = x.shape[-1]
        x = change(x)
        if n != self.width or self.resample:
            x = conv(x, self.width, 1)
        return (x + h) / np.sqrt(2)


class Combine(nn.Module):
    @nn.compact
    def __call__(self, picture: jax.Array, h: jax.Array) -> jax.Array:
        return conv(picture, h.shape[-1], 1) + h


class NCSNpp(nn.Module):
    """``widths`` per level, ``n_blocks`` a level, attention at the resolutions ``attends``."""

    first: int
    widths: tuple[int, ...]
    n_blocks: int
    attends: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array, sigma: jax.Array) -> jax.Array:
        """The score of x (B, H, W, C) at noise levels (B,)."""
        channels = x.shape[-1]
        told = GaussianFourierProjection(self.first)(jnp.log(sigma))
        told = nn.Dense(4 * self.first)(told)
        told = nn.Dense(4 * self.first)(nn.silu(told))
        picture = x = 2 * x - 1
        h = conv(x, self.first, 3)
        kept = [h]
        for level, width in enumerate(self.widths):
            for _ in range(self.n_blocks):
                h = ResnetBlockBigGANpp(width)(h, told)
                h = AttnBlockpp()(h) if h.shape[1] in self.attends else h
                kept.append(h)
            if level < len(self.widths) - 1:
                h = ResnetBlockBigGANpp(h.shape[-1], "down")(h, told)
                picture = halve(picture)
                h = Combine()(picture, h)
                kept.append(h)
        h = ResnetBlockBigGANpp(h.shape[-1])(h, told)
        h = AttnBlockpp()(h)
        h = ResnetBlockBigGANpp(h.shape[-1])(h, told)
        answer = None
        for level, width in reversed(list(enumerate(self.widths))):
            for _ in range(self.n_blocks + 1):
                h = ResnetBlockBigGANpp(width)(jnp.concatenate([h, kept.pop()], -1), told)
            h = AttnBlockpp()(h) if h.shape[1] in self.attends else h
            part = conv(nn.silu(normed(h)), channels, 3)
            answer = part if answer is None else double(answer) + part
            if level:
                h = ResnetBlockBigGANpp(h.shape[-1], "up")(h, told)
        return answer / sigma[:, None, None, None]
