"""Llama in Flax NNX: complex-free rotary tables, keys and values broadcast over their groups."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class RMSNorm(nnx.Module):
    def __init__(self, dim, *, eps=1e-5):
        self.scale = nnx.Param(jnp.ones(dim))
        self.eps = eps

    def __call__(self, x):
        mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(mean_square + self.eps) * self.scale[...]


def rotary_table(length, dim, theta):
    exponents = jnp.arange(0, dim, 2) / dim
    frequencies = theta**-exponents
    angles = jnp.arange(length)[:, None] * frequencies[None, :]
    return jnp.sin(angles)[:, None, :], jnp.cos(angles)[:, None, :]


def rotate(x, sin, cos):
    """x: (batch, length, heads, dim)"""
    x1, x2 = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)


class GroupedAttention(nnx.Module):
    def __init__(self, dim, heads, kv_heads, theta, *, rngs):
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.theta = theta
        self.wq = nnx.Linear(dim, heads * self.head_dim, use_bias=False, rngs=rngs)
        self.wkv = nnx.LinearGeneral(dim, (2, kv_heads, self.head_dim), use_bias=False, rngs=rngs)
        self.wo = nnx.Linear(heads * self.head_dim, dim, use_bias=False, rngs=rngs)

    def __call__(self, x):
        batch, length, _ = x.shape
        q = self.wq(x).reshape(batch, length, self.heads, self.head_dim)
        kv = self.wkv(x)
        k, v = kv[:, :, 0], kv[:, :, 1]
        sin, cos = rotary_table(length, self.head_dim, self.theta)
        q = rotate(q, sin, cos)
        k = rotate(k, sin, cos)
        q = q.reshape(batch, length, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
        scores = jnp.einsum("bqkgd,bskd->bkgqs", q, k) * self.head_dim**-0.5
        mask = jnp.arange(length)[:, None] >= jnp.arange(length)[None, :]
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        probs = jax.nn.softmax(scores, axis=-1)
        y = jnp.einsum("bkgqs,bskd->bqkgd", probs, v)
        return self.wo(y.reshape(batch, length, -1))


class SwiGLU(nnx.Module):
    def __init__(self, dim, hidden, *, rngs):
        self.w_in = nnx.Linear(dim, 2 * hidden, use_bias=False, rngs=rngs)
        self.w_out = nnx.Linear(hidden, dim, use_bias=False, rngs=rngs)

    def __call__(self, x):
        gate, up = jnp.split(self.w_in(x), 2, axis=-1)
        return self.w_out(nnx.silu(gate) * up)


class Block(nnx.Module):
    def __init__(self, dim, heads, kv_heads, hidden, theta, *, rngs):
        self.norm1 = RMSNorm(dim)
        self.attention = GroupedAttention(dim, heads, kv_heads, theta, rngs=rngs)
        self.norm2 = RMSNorm(dim)
        self.ffn = SwiGLU(dim, hidden, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Llama(nnx.Module):
    def __init__(self, vocab=53, dim=32, layers=2, heads=4, kv_heads=2, hidden=44, theta=500.0, *, rngs):
        self.embedding = nnx.Embed(vocab, dim, rngs=rngs)
        self.blocks = nnx.List([Block(dim, heads, kv_heads, hidden, theta, rngs=rngs) for _ in range(layers)])
        self.final_norm = RMSNorm(dim)
        self.unembedding = nnx.Linear(dim, vocab, use_bias=False, rngs=rngs)

    def __call__(self, input_ids):
        x = self.embedding(input_ids)
        for block in self.blocks:
            x = block(x)
        return self.unembedding(self.final_norm(x))


def make():
    return Llama(rngs=nnx.Rngs(jax.random.key(0, impl="unsafe_rbg")))  # compiles in half the time


def weights(state):
    leaves = {
        "embedding/embedding": state["embed_tokens.weight"],
        "final_norm/scale": state["norm.weight"],
        "unembedding/kernel": state["lm_head.weight"].T,
    }
    for i in range(2):
        old, new = f"layers.{i}.", f"blocks/{i}/"
        keys, values = (state[f"{old}self_attn.{name}_proj.weight"].T.reshape(32, 2, 8) for name in "kv")
        leaves |= {
            new + "norm1/scale": state[old + "input_layernorm.weight"],
            new + "norm2/scale": state[old + "post_attention_layernorm.weight"],
            new + "attention/wq/kernel": state[old + "self_attn.q_proj.weight"].T,
            new + "attention/wkv/kernel": np.stack([keys, values], axis=1),
            new + "attention/wo/kernel": state[old + "self_attn.o_proj.weight"].T,
            new + "ffn/w_in/kernel": np.concatenate(
                [state[old + "mlp.gate_proj.weight"].T, state[old + "mlp.up_proj.weight"].T], axis=1
            ),
            new + "ffn/w_out/kernel": state[old + "mlp.down_proj.weight"].T,
        }
    return leaves
