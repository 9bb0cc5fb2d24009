"""ConvNeXt in Flax Linen, channels last, so that nothing is permuted."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

LAYOUT = "channels last"


class ConvNeXtBlock(nn.Module):
    dim: int

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(self.dim, (7, 7), padding=3, feature_group_count=self.dim, name="depthwise")(x)
        y = nn.LayerNorm(epsilon=1e-6, name="norm")(y)
        y = nn.Conv(4 * self.dim, (1, 1), name="expand")(y)
        y = nn.gelu(y, approximate=False)
        y = nn.Conv(self.dim, (1, 1), name="project")(y)
        scale = self.param("layer_scale", nn.initializers.constant(1e-6), (self.dim,))
        y = y * scale
        return x + y


class ConvNeXt(nn.Module):
    dims: Sequence[int] = (8, 12)
    depths: Sequence[int] = (1, 2)
    num_classes: int = 6

    @nn.compact
    def __call__(self, x):
        for stage, (dim, depth) in enumerate(zip(self.dims, self.depths, strict=True)):
            if stage == 0:
                x = nn.Conv(dim, (2, 2), strides=(2, 2), padding="VALID", name="stem_conv")(x)
                x = nn.LayerNorm(epsilon=1e-6, name="stem_norm")(x)
            else:
                x = nn.LayerNorm(epsilon=1e-6, name=f"down{stage}_norm")(x)
                x = nn.Conv(dim, (2, 2), strides=(2, 2), padding="VALID", name=f"down{stage}_conv")(x)
            for i in range(depth):
                x = ConvNeXtBlock(dim, name=f"stage{stage}_block{i}")(x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.LayerNorm(epsilon=1e-6, name="final_norm")(x)
        return nn.Dense(self.num_classes, name="classifier")(x)


def make():
    return ConvNeXt()


def weights(state):
    leaves = {}

    def conv(ours, theirs):
        leaves[f"params/{ours}/kernel"] = state[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    def pointwise(ours, theirs):
        leaves[f"params/{ours}/kernel"] = state[f"{theirs}.weight"].T[None, None]
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    def norm(ours, theirs):
        leaves[f"params/{ours}/scale"] = state[f"{theirs}.weight"]
        leaves[f"params/{ours}/bias"] = state[f"{theirs}.bias"]

    conv("stem_conv", "stem.0")
    norm("stem_norm", "stem.1")
    norm("down1_norm", "downsample.0")
    conv("down1_conv", "downsample.1")
    for stage, number in ((0, 0), (1, 0), (1, 1)):
        ours, theirs = f"stage{stage}_block{number}", f"stage{stage + 1}.{number}"
        conv(f"{ours}/depthwise", f"{theirs}.dwconv")
        norm(f"{ours}/norm", f"{theirs}.norm")
        pointwise(f"{ours}/expand", f"{theirs}.pwconv1")
        pointwise(f"{ours}/project", f"{theirs}.pwconv2")
        leaves[f"params/{ours}/layer_scale"] = state[f"{theirs}.gamma"]
    norm("final_norm", "norm")
    leaves["params/classifier/kernel"] = state["head.weight"].T
    leaves["params/classifier/bias"] = state["head.bias"]
    return leaves
