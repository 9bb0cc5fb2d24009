"""The encoder of sound in Flax Linen, channels last; weight norm by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp

LAYOUT = "channels last"


class FeatureExtractor(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.channels, (10,), strides=(5,), padding="VALID", use_bias=False, name="conv_a")(x)
        x = nn.GroupNorm(num_groups=self.channels, epsilon=1e-5, name="norm")(x)
        x = nn.gelu(x, approximate=False)
        x = nn.Conv(self.channels, (4,), strides=(2,), padding=[(1, 1)], use_bias=False, name="conv_b")(x)
        return nn.gelu(x, approximate=False)


class NormedConv(nn.Module):
    """A grouped convolution whose kernel is `scale * direction / |direction|`, the length that of each tap."""

    kernel_size: int
    groups: int

    @nn.compact
    def __call__(self, x):
        dim = x.shape[-1]
        shape = (self.kernel_size, dim // self.groups, dim)
        direction = self.param("direction", nn.initializers.lecun_normal(), shape)
        scale = self.param("scale", nn.initializers.ones, (self.kernel_size, 1, 1))
        bias = self.param("bias", nn.initializers.zeros, (dim,))
        length = jnp.sqrt(jnp.sum(direction**2, axis=(1, 2), keepdims=True))
        kernel = scale * direction / length
        half = self.kernel_size // 2
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1,),
            padding=[(half, half - 1)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=self.groups,
        )
        return x + bias


class DilatedBlock(nn.Module):
    dilation: int

    @nn.compact
    def __call__(self, x):
        dim = x.shape[-1]
        y = nn.Conv(
            dim,
            (3,),
            padding="SAME",
            kernel_dilation=self.dilation,
            feature_group_count=dim,
            name="depthwise",
        )(x)
        y = nn.Dense(dim, name="pointwise")(y)
        y = nn.GroupNorm(num_groups=2, epsilon=1e-5, name="norm")(y)
        return x + nn.leaky_relu(y, negative_slope=0.1)


class SoundEncoder(nn.Module):
    channels: int = 8
    dim: int = 12
    classes: int = 5

    @nn.compact
    def __call__(self, wave):
        wave = wave[:, 1:] - 0.875 * wave[:, :-1]
        x = FeatureExtractor(self.channels, name="extractor")(wave)
        x = nn.Dense(self.dim, name="project")(x)
        x = x + nn.gelu(NormedConv(6, 3, name="where")(x), approximate=False)
        for number, dilation in enumerate((1, 2)):
            x = DilatedBlock(dilation, name=f"block{number}")(x)
        pooled = jnp.concatenate([jnp.mean(x, axis=1), jnp.std(x, axis=1, ddof=1)], axis=-1)
        return nn.Dense(self.classes, name="logits")(pooled), x


def make():
    return SoundEncoder()


def weights(state):
    leaves = {
        "params/extractor/conv_a/kernel": state["features.conv0.weight"].transpose(2, 1, 0),
        "params/extractor/norm/scale": state["features.norm.weight"],
        "params/extractor/norm/bias": state["features.norm.bias"],
        "params/extractor/conv_b/kernel": state["features.conv1.weight"].transpose(2, 1, 0),
        "params/project/kernel": state["projection.weight"][..., 0].T,
        "params/project/bias": state["projection.bias"],
        "params/where/direction": state["positions.conv.parametrizations.weight.original1"].transpose(2, 1, 0),
        "params/where/scale": state["positions.conv.parametrizations.weight.original0"].transpose(2, 1, 0),
        "params/where/bias": state["positions.conv.bias"],
        "params/logits/kernel": state["head.weight"].T,
        "params/logits/bias": state["head.bias"],
    }
    for i in range(2):
        old, new = f"blocks.{i}.", f"params/block{i}/"
        leaves[new + "depthwise/kernel"] = state[old + "depthwise.weight"].transpose(2, 1, 0)
        leaves[new + "depthwise/bias"] = state[old + "depthwise.bias"]
        leaves[new + "pointwise/kernel"] = state[old + "pointwise.weight"][..., 0].T
        leaves[new + "pointwise/bias"] = state[old + "pointwise.bias"]
        leaves[new + "norm/scale"] = state[old + "norm.weight"]
        leaves[new + "norm/bias"] = state[old + "norm.bias"]
    return leaves
