"""MLP-Mixer in Equinox: one image, patches by a convolution."""

import equinox as eqx
import jax
import jax.numpy as jnp

ONE_EXAMPLE = True


class MixerBlock(eqx.Module):
    token_in: eqx.nn.Linear
    token_out: eqx.nn.Linear
    channel_in: eqx.nn.Linear
    channel_out: eqx.nn.Linear
    norm1: eqx.nn.LayerNorm
    norm2: eqx.nn.LayerNorm

    def __init__(self, patches, dim, token_hidden, channel_hidden, *, key):
        k1, k2, k3, k4 = jax.random.split(key, 4)
        self.token_in = eqx.nn.Linear(patches, token_hidden, key=k1)
        self.token_out = eqx.nn.Linear(token_hidden, patches, key=k2)
        self.channel_in = eqx.nn.Linear(dim, channel_hidden, key=k3)
        self.channel_out = eqx.nn.Linear(channel_hidden, dim, key=k4)
        self.norm1 = eqx.nn.LayerNorm(dim)
        self.norm2 = eqx.nn.LayerNorm(dim)

    def __call__(self, x):
        """x: (patches, dim)"""
        y = jax.vmap(self.norm1)(x)
        y = jax.vmap(self.token_in)(y.T)
        y = jax.nn.gelu(y, approximate=False)
        y = jax.vmap(self.token_out)(y)
        x = x + y.T
        z = jax.vmap(self.norm2)(x)
        z = jax.nn.gelu(jax.vmap(self.channel_in)(z), approximate=False)
        return x + jax.vmap(self.channel_out)(z)


class Mixer(eqx.Module):
    patch_embed: eqx.nn.Conv2d
    blocks: list[MixerBlock]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, patch=4, dim=10, depth=2, patches=6, classes=4, *, key):
        first, last, *keys = jax.random.split(key, depth + 2)
        self.patch_embed = eqx.nn.Conv2d(3, dim, patch, stride=patch, key=first)
        self.blocks = [MixerBlock(patches, dim, 14, 18, key=k) for k in keys]
        self.norm = eqx.nn.LayerNorm(dim)
        self.head = eqx.nn.Linear(dim, classes, key=last)

    def __call__(self, image):
        x = self.patch_embed(image)
        x = x.reshape(x.shape[0], -1).T
        for block in self.blocks:
            x = block(x)
        x = jax.vmap(self.norm)(x)
        return self.head(jnp.mean(x, axis=0))


def make():
    return Mixer(key=jax.random.key(0, impl="unsafe_rbg"))  # compiles in a third of the time


def weights(state):
    leaves = {
        "patch_embed/weight": state["to_patches.weight"].reshape(10, 4, 4, 3).transpose(0, 3, 1, 2),
        "patch_embed/bias": state["to_patches.bias"][:, None, None],
    }
    for i in range(2):
        old, new = f"blocks.{i}.", f"blocks/{i}/"
        for ours, theirs in (
            ("token_in", "token_mix.0"),
            ("token_out", "token_mix.2"),
            ("channel_in", "channel_mix.0"),
            ("channel_out", "channel_mix.2"),
            ("norm1", "norm1"),
            ("norm2", "norm2"),
        ):
            leaves[f"{new}{ours}/weight"] = state[f"{old}{theirs}.weight"]
            leaves[f"{new}{ours}/bias"] = state[f"{old}{theirs}.bias"]
    for name in ("norm", "head"):
        leaves[name + "/weight"] = state[name + ".weight"]
        leaves[name + "/bias"] = state[name + ".bias"]
    return leaves
