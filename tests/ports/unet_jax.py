"""The U-Net in Flax Linen, channels last."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

LAYOUT = "channels last"


def sinusoidal(time, dim):
    half = dim // 2
    frequencies = jnp.exp(-np.log(10000.0) * jnp.arange(half) / half)
    angles = time[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def conv3x3(features, stride=1, name=None):
    return nn.Conv(features, (3, 3), strides=(stride, stride), padding=1, name=name)


class ResidualBlock(nn.Module):
    features: int
    groups: int = 4

    @nn.compact
    def __call__(self, x, emb):
        h = nn.GroupNorm(self.groups, epsilon=1e-5, name="in_norm")(x)
        h = conv3x3(self.features, name="in_conv")(nn.swish(h))
        shift = nn.Dense(self.features, name="emb_proj")(nn.swish(emb))
        h = h + shift[:, None, None, :]
        h = nn.GroupNorm(self.groups, epsilon=1e-5, name="out_norm")(h)
        h = conv3x3(self.features, name="out_conv")(nn.swish(h))
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, name="shortcut")(x)
        return x + h


class SpatialAttention(nn.Module):
    @nn.compact
    def __call__(self, x):
        batch, height, width, channels = x.shape
        h = nn.GroupNorm(4, epsilon=1e-5, name="norm")(x)
        h = h.reshape(batch, height * width, channels)
        q = nn.Dense(channels, name="q")(h)
        k = nn.Dense(channels, name="k")(h)
        v = nn.Dense(channels, name="v")(h)
        logits = q @ jnp.swapaxes(k, 1, 2) / jnp.sqrt(channels)
        out = jax.nn.softmax(logits) @ v
        out = nn.Dense(channels, name="out")(out)
        return x + out.reshape(x.shape)


class DiffusionUNet(nn.Module):
    features: int = 8
    time_features: int = 16

    @nn.compact
    def __call__(self, images, time):
        emb = sinusoidal(time, self.features)
        emb = nn.Dense(self.time_features, name="time1")(emb)
        emb = nn.Dense(self.time_features, name="time2")(nn.swish(emb))

        x = conv3x3(self.features, name="stem")(images)
        x = skip = ResidualBlock(self.features, name="down")(x, emb)
        x = conv3x3(2 * self.features, stride=2, name="downsample")(x)

        x = ResidualBlock(2 * self.features, name="middle")(x, emb)
        x = SpatialAttention(name="attention")(x)

        x = nn.ConvTranspose(self.features, (4, 4), strides=(2, 2), padding="SAME", name="upsample")(x)
        x = jnp.concatenate([x, skip], axis=-1)
        x = ResidualBlock(self.features, name="up")(x, emb)

        x = nn.swish(nn.GroupNorm(4, epsilon=1e-5, name="head_norm")(x))
        return conv3x3(3, name="head")(x)


def make():
    return DiffusionUNet()


def weights(state):
    leaves = {}

    def conv(ours, theirs):
        leaves[f"params/{ours}/kernel"] = state[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    def dense(ours, theirs):
        leaves[f"params/{ours}/kernel"] = state[f"{theirs}.weight"].squeeze().T
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    def norm(ours, theirs):
        leaves[f"params/{ours}/scale"] = state[f"{theirs}.weight"]
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    for ours, theirs in (("stem", "input_conv"), ("downsample", "downsample"), ("head", "out_conv")):
        conv(ours, theirs)
    for ours, theirs in (("down", "down_block"), ("middle", "mid_block"), ("up", "up_block")):
        norm(f"{ours}/in_norm", f"{theirs}.norm1")
        conv(f"{ours}/in_conv", f"{theirs}.conv1")
        dense(f"{ours}/emb_proj", f"{theirs}.time_proj")
        norm(f"{ours}/out_norm", f"{theirs}.norm2")
        conv(f"{ours}/out_conv", f"{theirs}.conv2")
    dense("up/shortcut", "up_block.skip")
    dense("time1", "time_embed.0")
    dense("time2", "time_embed.2")
    norm("attention/norm", "mid_attn.norm")
    kernels = np.split(state["mid_attn.qkv.weight"][..., 0], 3)
    biases = np.split(state["mid_attn.qkv.bias"], 3)
    for name, kernel, bias in zip("qkv", kernels, biases, strict=True):
        leaves[f"params/attention/{name}/kernel"] = kernel.T
        leaves[f"params/attention/{name}/bias"] = bias
    dense("attention/out", "mid_attn.proj_out")
    leaves["params/upsample/kernel"] = state["upsample.weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    leaves["params/upsample/bias"] = state["upsample.bias"]
    norm("head_norm", "out_norm")
    return leaves
