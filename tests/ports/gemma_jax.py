"""Gemma's manner in Flax Linen: norms and softmax in float32, einsums with weights of three and four axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

RELATIVE = 1e-6


class RMSNorm(nn.Module):
    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.zeros_init(), (x.shape[-1],))
        wide = x.astype(jnp.float32)
        var = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(var + 1e-6)
        return (normed * (1 + scale.astype(jnp.float32))).astype(x.dtype)


class Einsum(nn.Module):
    shape: tuple

    @nn.compact
    def __call__(self, equation, x):
        w = self.param("w", nn.initializers.normal(), self.shape)
        return jnp.einsum(equation, x, w)


class Attention(nn.Module):
    num_heads: int
    head_dim: int
    softcap: float

    @nn.compact
    def __call__(self, x):
        dim, length = x.shape[-1], x.shape[1]
        q = Einsum((self.num_heads, dim, self.head_dim), name="q_einsum")("btd,ndh->btnh", x)
        kv = Einsum((2, dim, self.head_dim), name="kv_einsum")("btd,cdh->cbth", x)
        k, v = kv
        q = q * self.head_dim**-0.5
        logits = jnp.einsum("btnh,bsh->bnts", q, k)
        logits = jnp.tanh(logits / self.softcap) * self.softcap
        mask = jnp.tril(jnp.ones((length, length), dtype=bool))
        logits = jnp.where(mask, logits, -2.3819763e38)
        probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1).astype(x.dtype)
        encoded = jnp.einsum("bnts,bsh->btnh", probs, v)
        return Einsum((self.num_heads, self.head_dim, dim), name="attn_vec_einsum")("btnh,nhd->btd", encoded)


class FeedForward(nn.Module):
    hidden_dim: int

    @nn.compact
    def __call__(self, x):
        gating = self.param("gating_einsum", nn.initializers.normal(), (2, x.shape[-1], self.hidden_dim))
        linear = self.param("linear", nn.initializers.normal(), (self.hidden_dim, x.shape[-1]))
        gate = jax.nn.gelu(jnp.dot(x, gating[0]))
        return jnp.dot(gate * jnp.dot(x, gating[1]), linear)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = RMSNorm(name="pre_attention_norm")(x)
        x = x + Attention(3, 8, 5.0, name="attn")(y)
        y = RMSNorm(name="pre_ffw_norm")(x)
        return x + FeedForward(32, name="mlp")(y)


class Transformer(nn.Module):
    vocab: int = 41
    dim: int = 24
    layers: int = 2

    @nn.compact
    def __call__(self, tokens):
        table = self.param("input_embedding", nn.initializers.normal(), (self.vocab, self.dim))
        x = table[tokens]
        x = x * jnp.sqrt(self.dim).astype(x.dtype)
        for i in range(self.layers):
            x = Block(name=f"layer_{i}")(x)
        x = RMSNorm(name="final_norm")(x)
        logits = jnp.dot(x, table.T)
        return jnp.tanh(logits / 30.0) * 30.0


def make():
    return Transformer()


def weights(state):
    leaves = {
        "params/input_embedding": state["embedder.weight"],
        "params/final_norm/scale": state["norm.weight"],
    }
    for i in range(2):
        old, new = f"layers.{i}.", f"params/layer_{i}/"
        query, key, value = np.split(state[old + "attn.qkv_proj.weight"], [24, 32])
        gates = [state[f"{old}{name}_proj.weight"].T for name in ("gate", "up")]
        leaves |= {
            new + "pre_attention_norm/scale": state[old + "attn_norm.weight"],
            new + "pre_ffw_norm/scale": state[old + "mlp_norm.weight"],
            new + "attn/q_einsum/w": query.reshape(3, 8, 24).transpose(0, 2, 1),
            new + "attn/kv_einsum/w": np.stack([key.T, value.T]),
            new + "attn/attn_vec_einsum/w": state[old + "attn.o_proj.weight"].T.reshape(3, 8, 24),
            new + "mlp/gating_einsum": np.stack(gates),
            new + "mlp/linear": state[old + "down_proj.weight"].T,
        }
    return leaves
