"""GPT-2 in Flax Linen: three projections that give heads, the head by `attend`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class CausalSelfAttention(nn.Module):
    num_heads: int

    @nn.compact
    def __call__(self, x):
        length, dim = x.shape[-2:]
        head_dim = dim // self.num_heads
        query = nn.DenseGeneral((self.num_heads, head_dim), name="query")(x)
        key = nn.DenseGeneral((self.num_heads, head_dim), name="key")(x)
        value = nn.DenseGeneral((self.num_heads, head_dim), name="value")(x)
        query = query / jnp.sqrt(head_dim)
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)
        causal = jnp.tril(jnp.ones((length, length), dtype=bool))
        logits = jnp.where(causal, logits, -1e30)
        weights = jax.nn.softmax(logits, axis=-1)
        out = jnp.einsum("bhqk,bkhd->bqhd", weights, value)
        return nn.DenseGeneral(dim, axis=(-2, -1), name="out")(out)


class TransformerBlock(nn.Module):
    num_heads: int

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(epsilon=1e-5, name="norm_attention")(x)
        x = x + CausalSelfAttention(self.num_heads, name="attention")(y)
        y = nn.LayerNorm(epsilon=1e-5, name="norm_mlp")(x)
        y = nn.Dense(4 * x.shape[-1], name="up")(y)
        y = nn.gelu(y)
        y = nn.Dense(x.shape[-1], name="down")(y)
        return x + y


class LanguageModel(nn.Module):
    vocab_size: int = 61
    max_length: int = 16
    dim: int = 24
    num_heads: int = 3
    num_layers: int = 2

    @nn.compact
    def __call__(self, tokens):
        embed = nn.Embed(self.vocab_size, self.dim, name="tokens")
        positions = jnp.arange(tokens.shape[1])
        x = embed(tokens)
        x = x + nn.Embed(self.max_length, self.dim, name="positions")(positions)
        for i in range(self.num_layers):
            x = TransformerBlock(self.num_heads, name=f"block_{i}")(x)
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        return embed.attend(x)


def make():
    return LanguageModel()


def weights(state):
    leaves = {
        "params/tokens/embedding": state["wte.weight"],
        "params/positions/embedding": state["wpe.weight"],
        "params/norm/scale": state["ln_f.weight"],
        "params/norm/bias": state["ln_f.bias"],
    }
    for i in range(2):
        old, new = f"h.{i}.", f"params/block_{i}/"
        kernels = np.split(state[old + "attn.c_attn.weight"], 3, axis=1)
        biases = np.split(state[old + "attn.c_attn.bias"], 3)
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            leaves[f"{new}attention/{name}/kernel"] = kernel.reshape(24, 3, 8)
            leaves[f"{new}attention/{name}/bias"] = bias.reshape(3, 8)
        leaves[new + "attention/out/kernel"] = state[old + "attn.c_proj.weight"].reshape(3, 8, 24)
        leaves[new + "attention/out/bias"] = state[old + "attn.c_proj.bias"]
        for ours, theirs in (("norm_attention", "ln_1"), ("norm_mlp", "ln_2")):
            leaves[f"{new}{ours}/scale"] = state[f"{old}{theirs}.weight"]
            leaves[f"{new}{ours}/bias"] = state[f"{old}{theirs}.bias"]
        for ours, theirs in (("up", "c_fc"), ("down", "c_proj")):
            leaves[f"{new}{ours}/kernel"] = state[f"{old}{theirs}.weight"]
            leaves[f"{new}{ours}/bias"] = state[f"{old}{theirs}.bias"]
    return leaves
