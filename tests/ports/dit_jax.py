"""The diffusion transformer in Flax NNX, with `jax.nn.dot_product_attention`, which multiplies in float32."""

import jax
import jax.numpy as jnp
from flax import nnx

LAYOUT = "channels last"
RELATIVE = 1e-6


def plain_norm(x):
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    return centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)


class TimeMLP(nnx.Module):
    def __init__(self, dim, frequencies=8, *, rngs):
        self.frequencies = frequencies
        self.fc1 = nnx.Linear(frequencies, dim, rngs=rngs)
        self.fc2 = nnx.Linear(dim, dim, rngs=rngs)

    def __call__(self, timesteps):
        half = self.frequencies // 2
        table = jnp.power(10000.0, -jnp.arange(half) / half)
        phase = timesteps[:, None] * table[None, :]
        features = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=1)
        return self.fc2(nnx.silu(self.fc1(features)))


class Block(nnx.Module):
    def __init__(self, dim, heads, *, rngs):
        shape = (heads, dim // heads)
        self.to_q = nnx.LinearGeneral(dim, shape, rngs=rngs)
        self.to_k = nnx.LinearGeneral(dim, shape, rngs=rngs)
        self.to_v = nnx.LinearGeneral(dim, shape, rngs=rngs)
        self.to_out = nnx.LinearGeneral(shape, dim, axis=(-2, -1), rngs=rngs)
        self.up = nnx.Linear(dim, 2 * dim, rngs=rngs)
        self.down = nnx.Linear(2 * dim, dim, rngs=rngs)
        self.modulation = nnx.LinearGeneral(dim, (6, dim), rngs=rngs)

    def __call__(self, x, c):
        modulation = self.modulation(nnx.silu(c))[:, :, None, :]  # (batch, 6, 1, dim)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.unstack(modulation, axis=1)
        h = plain_norm(x) * (1 + scale_a) + shift_a
        h = jax.nn.dot_product_attention(self.to_q(h), self.to_k(h), self.to_v(h))
        x = x + gate_a * self.to_out(h)
        h = plain_norm(x) * (1 + scale_m) + shift_m
        h = nnx.gelu(self.up(h), approximate=True)
        return x + gate_m * self.down(h)


class DiffusionTransformer(nnx.Module):
    def __init__(self, channels=3, dim=16, heads=2, depth=2, patch=2, size=(8, 12), classes=5, *, rngs):
        self.patch, self.channels = patch, channels
        tokens = size[0] * size[1] // patch**2
        self.patches = nnx.Linear(patch * patch * channels, dim, rngs=rngs)
        self.positions = nnx.Param(jnp.zeros((tokens, dim)))
        self.time = TimeMLP(dim, rngs=rngs)
        self.classes = nnx.Param(jax.random.normal(rngs.params(), (classes, dim)))
        self.blocks = nnx.List([Block(dim, heads, rngs=rngs) for _ in range(depth)])
        self.final_shift = nnx.Linear(dim, dim, rngs=rngs)
        self.final_scale = nnx.Linear(dim, dim, rngs=rngs)
        self.pixels = nnx.Linear(dim, patch * patch * channels, rngs=rngs)

    def __call__(self, latents, timesteps, labels):
        batch, height, width, channels = latents.shape
        p, rows, columns = self.patch, height // self.patch, width // self.patch
        x = latents.reshape(batch, rows, p, columns, p, channels).swapaxes(2, 3)
        x = self.patches(x.reshape(batch, rows * columns, p * p * channels))
        x = x + self.positions[...]
        c = self.time(timesteps) + self.classes[...][labels]
        for block in self.blocks:
            x = block(x, c)
        c = nnx.silu(c)[:, None]
        x = plain_norm(x) * (1 + self.final_scale(c)) + self.final_shift(c)
        x = self.pixels(x).reshape(batch, rows, columns, p, p, channels)
        return x.swapaxes(2, 3).reshape(batch, height, width, channels)


def make():
    return DiffusionTransformer(rngs=nnx.Rngs(jax.random.key(0, impl="unsafe_rbg")))  # compiles in half the time


def weights(state):
    shift, scale = state["final_modulation.weight"][:16], state["final_modulation.weight"][16:]
    leaves = {
        "patches/kernel": state["x_embedder.weight"].transpose(2, 3, 1, 0).reshape(12, 16),
        "patches/bias": state["x_embedder.bias"],
        "positions": state["pos_embed"][0],
        "time/fc1/kernel": state["t_embedder.mlp.0.weight"].T,
        "time/fc1/bias": state["t_embedder.mlp.0.bias"],
        "time/fc2/kernel": state["t_embedder.mlp.2.weight"].T,
        "time/fc2/bias": state["t_embedder.mlp.2.bias"],
        "classes": state["y_embedder.weight"],
        "final_shift/kernel": shift.T,
        "final_shift/bias": state["final_modulation.bias"][:16],
        "final_scale/kernel": scale.T,
        "final_scale/bias": state["final_modulation.bias"][16:],
        "pixels/kernel": state["linear.weight"].T,
        "pixels/bias": state["linear.bias"],
    }
    for i in range(2):
        old, new = f"blocks.{i}.", f"blocks/{i}/"
        kernel, bias = state[old + "qkv.weight"].reshape(3, 2, 8, 16), state[old + "qkv.bias"].reshape(3, 2, 8)
        for number, name in enumerate("qkv"):
            leaves[f"{new}to_{name}/kernel"] = kernel[number].transpose(2, 0, 1)
            leaves[f"{new}to_{name}/bias"] = bias[number]
        leaves |= {
            new + "to_out/kernel": state[old + "proj.weight"].T.reshape(2, 8, 16),
            new + "to_out/bias": state[old + "proj.bias"],
            new + "up/kernel": state[old + "fc1.weight"].T,
            new + "up/bias": state[old + "fc1.bias"],
            new + "down/kernel": state[old + "fc2.weight"].T,
            new + "down/bias": state[old + "fc2.bias"],
            new + "modulation/kernel": state[old + "adaLN_modulation.1.weight"].T.reshape(16, 6, 16),
            new + "modulation/bias": state[old + "adaLN_modulation.1.bias"].reshape(6, 16),
        }
    return leaves
