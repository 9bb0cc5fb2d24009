"""The vision transformer in Flax Linen, with `nn.MultiHeadDotProductAttention`."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

LAYOUT = "channels last"


class MlpBlock(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(self.width)(x)
        y = nn.gelu(y, approximate=False)
        return nn.Dense(x.shape[-1])(y)


class Encoder1DBlock(nn.Module):
    num_heads: int
    width: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        y = nn.MultiHeadDotProductAttention(num_heads=self.num_heads)(y, y)
        x = x + y
        y = nn.LayerNorm()(x)
        y = MlpBlock(self.width)(y)
        return x + y


class ViT(nn.Module):
    patch: int = 8
    dim: int = 32
    depth: int = 2
    num_heads: int = 4
    width: int = 48
    num_classes: int = 5

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(self.dim, (self.patch, self.patch), strides=self.patch, padding="VALID", name="embedding")(images)
        x = x.reshape(x.shape[0], -1, self.dim)
        cls = self.param("cls", nn.initializers.zeros, (1, 1, self.dim))
        cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.dim))
        x = jnp.concatenate([cls, x], axis=1)
        x = x + self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.dim))
        for i in range(self.depth):
            x = Encoder1DBlock(self.num_heads, self.width, name=f"block{i}")(x)
        x = nn.LayerNorm(name="encoder_norm")(x)
        x = x[:, 0]
        return nn.Dense(self.num_classes, name="head")(x)


def make():
    return ViT()


def weights(state):
    leaves = {
        "params/embedding/kernel": state["conv_proj.weight"].transpose(2, 3, 1, 0),
        "params/embedding/bias": state["conv_proj.bias"],
        "params/cls": state["class_token"],
        "params/pos": state["pos_embedding"],
        "params/encoder_norm/scale": state["ln.weight"],
        "params/encoder_norm/bias": state["ln.bias"],
        "params/head/kernel": state["head.weight"].T,
        "params/head/bias": state["head.bias"],
    }
    for i in range(2):
        old, new = f"layers.{i}.", f"params/block{i}/"
        for number in (0, 1):
            leaves[f"{new}LayerNorm_{number}/scale"] = state[f"{old}ln_{number + 1}.weight"]
            leaves[f"{new}LayerNorm_{number}/bias"] = state[f"{old}ln_{number + 1}.bias"]
            leaves[f"{new}MlpBlock_0/Dense_{number}/kernel"] = state[f"{old}mlp.{2 * number}.weight"].T
            leaves[f"{new}MlpBlock_0/Dense_{number}/bias"] = state[f"{old}mlp.{2 * number}.bias"]
        attention = f"{new}MultiHeadDotProductAttention_0/"
        kernels = np.split(state[old + "self_attention.in_proj_weight"], 3)
        biases = np.split(state[old + "self_attention.in_proj_bias"], 3)
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            leaves[f"{attention}{name}/kernel"] = kernel.T.reshape(32, 4, 8)
            leaves[f"{attention}{name}/bias"] = bias.reshape(4, 8)
        leaves[attention + "out/kernel"] = state[old + "self_attention.out_proj.weight"].T.reshape(4, 8, 32)
        leaves[attention + "out/bias"] = state[old + "self_attention.out_proj.bias"]
    return leaves
