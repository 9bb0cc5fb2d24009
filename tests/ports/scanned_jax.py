"""The encoder in Flax Linen: one layer under `nn.scan` and `nn.remat`, so each leaf has an axis of layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class EncoderLayer(nn.Module):
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x, _):
        dim = x.shape[-1]
        y = nn.LayerNorm(epsilon=1e-5, name="ln1")(x)
        qkv = nn.DenseGeneral((3, self.heads, dim // self.heads), name="qkv")(y)
        q, k, v = qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(dim // self.heads)
        y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        y = nn.DenseGeneral(dim, axis=(-2, -1), name="proj")(y)
        x = x + y
        y = nn.LayerNorm(epsilon=1e-5, name="ln2")(x)
        y = nn.Dense(self.hidden, name="wi")(y)
        y = jax.nn.gelu(y, approximate=False)
        y = nn.Dense(dim, name="wo")(y)
        return x + y, None


class ScannedEncoder(nn.Module):
    dim: int = 24
    heads: int = 3
    hidden: int = 40
    layers: int = 3
    classes: int = 4

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.dim, name="embed")(x)
        stack = nn.scan(
            nn.remat(EncoderLayer),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.layers,
        )
        x, _ = stack(self.heads, self.hidden, name="layers")(x, None)
        x = nn.LayerNorm(epsilon=1e-5, name="ln")(x)
        pooled = jnp.mean(x, axis=1)
        return nn.Dense(self.classes, name="classify")(pooled)


def make():
    return ScannedEncoder()


def weights(state):
    def stacked(name, change=lambda a: a):
        return np.stack([change(state[f"encoder.layers.{i}.{name}"]) for i in range(3)])

    def transposed(a):
        return a.T

    return {
        "params/embed/kernel": state["project.weight"].T,
        "params/embed/bias": state["project.bias"],
        "params/classify/kernel": state["head.weight"].T,
        "params/classify/bias": state["head.bias"],
        "params/ln/scale": state["encoder.norm.weight"],
        "params/ln/bias": state["encoder.norm.bias"],
        "params/layers/ln1/scale": stacked("norm1.weight"),
        "params/layers/ln1/bias": stacked("norm1.bias"),
        "params/layers/ln2/scale": stacked("norm2.weight"),
        "params/layers/ln2/bias": stacked("norm2.bias"),
        "params/layers/qkv/kernel": stacked("self_attn.in_proj_weight", lambda a: a.T.reshape(24, 3, 3, 8)),
        "params/layers/qkv/bias": stacked("self_attn.in_proj_bias", lambda a: a.reshape(3, 3, 8)),
        "params/layers/proj/kernel": stacked("self_attn.out_proj.weight", lambda a: a.T.reshape(3, 8, 24)),
        "params/layers/proj/bias": stacked("self_attn.out_proj.bias"),
        "params/layers/wi/kernel": stacked("linear1.weight", transposed),
        "params/layers/wi/bias": stacked("linear1.bias"),
        "params/layers/wo/kernel": stacked("linear2.weight", transposed),
        "params/layers/wo/bias": stacked("linear2.bias"),
    }
