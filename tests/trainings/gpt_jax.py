"""A GPT trained as nanoGPT does: AdamW, decay of matrices alone, clipping, warm-up and cosine. A port to optax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

RATE, MIN_RATE, WARMUP, DECAY_STEPS, CLIP = 6e-3, 6e-4, 4, 12, 0.5


class Block(nn.Module):
    width: int
    heads: int

    @nn.compact
    def __call__(self, x):
        b, t, c = x.shape
        parts = jnp.split(nn.Dense(3 * c, name="c_attn")(nn.LayerNorm(epsilon=1e-5, name="ln_1")(x)), 3, axis=2)
        q, k, v = (part.reshape(b, t, self.heads, c // self.heads).swapaxes(1, 2) for part in parts)
        scores = q @ k.swapaxes(-2, -1) / jnp.sqrt(c // self.heads)
        scores = jnp.where(jnp.tril(jnp.ones((t, t))) == 0, -jnp.inf, scores)
        y = (jax.nn.softmax(scores, axis=-1) @ v).swapaxes(1, 2).reshape(b, t, c)
        x = x + nn.Dense(c, name="c_proj")(y)
        h = nn.Dense(2 * c, name="c_fc")(nn.LayerNorm(epsilon=1e-5, name="ln_2")(x))
        return x + nn.Dense(c, name="mlp_proj")(nn.gelu(h, approximate=False))


class GPT(nn.Module):
    vocabulary: int = 11
    length: int = 6
    width: int = 8
    heads: int = 2

    @nn.compact
    def __call__(self, tokens):
        positions = jnp.arange(tokens.shape[1])
        x = nn.Embed(self.vocabulary, self.width, name="wte")(tokens)
        x = x + nn.Embed(self.length, self.width, name="wpe")(positions)
        x = nn.Dropout(0.1, deterministic=False)(x)
        x = Block(self.width, self.heads, name="block")(x)
        x = nn.LayerNorm(epsilon=1e-5, name="ln_f")(x)
        return nn.Dense(self.vocabulary, use_bias=False, name="lm_head")(x)


class TrainState(NamedTuple):
    params: Any
    opt_state: Any
    key: jax.Array


def rate(step):
    warm = RATE * (step + 1) / (WARMUP + 1)
    share = (step - WARMUP) / (DECAY_STEPS - WARMUP)
    cosine = MIN_RATE + 0.5 * (1 + jnp.cos(jnp.pi * share)) * (RATE - MIN_RATE)
    return jnp.where(step < WARMUP, warm, jnp.where(step > DECAY_STEPS, MIN_RATE, cosine))


def clipped(grads):
    scale = jnp.minimum(1.0, CLIP / (optax.tree.norm(grads) + 1e-6))
    return jax.tree.map(lambda g: g * scale, grads)


def matrices(params):
    return jax.tree.map(lambda p: p.ndim >= 2, params)


model = GPT()
tx = optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=0.1, mask=matrices)


@jax.jit
def step(state, tokens, targets):
    key, used = jax.random.split(state.key)

    def loss_fn(params):
        logits: Any = model.apply({"params": params}, tokens, rngs={"dropout": used})
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    grads = clipped(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state, key), loss


def training():
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    params = model.init(keys, jnp.zeros((1, 6), jnp.int32))["params"]
    return TrainState(params, tx.init(params), jax.random.key(2)), step
