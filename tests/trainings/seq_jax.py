"""A decoder with padding: Noam's rate, Adam, label smoothing, ignored padding. Linen's attention."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Model(nn.Module):
    d: int = 8

    @nn.compact
    def __call__(self, x):
        h = nn.Embed(11, self.d)(x) * self.d**0.5 + self.param("pos", nn.initializers.normal(), (6, self.d))
        mask = nn.combine_masks(nn.make_causal_mask(x), nn.make_attention_mask(jnp.ones_like(x) > 0, x > 0))
        a = nn.MultiHeadDotProductAttention(num_heads=2)(h, h, mask=mask)
        h = nn.LayerNorm(epsilon=1e-5)(h + a)
        f = nn.Dense(self.d)(nn.relu(nn.Dense(16)(h)))
        return nn.Dense(11)(nn.LayerNorm(epsilon=1e-5)(h + f))


model: Any = Model()


def noam(step):
    s = step + 1
    return 0.1 * 8**-0.5 * jnp.minimum(s**-0.5, s * 4**-1.5)


def zero_padding(updates, _=None):
    return {**updates, "Embed_0": {"embedding": updates["Embed_0"]["embedding"].at[0].set(0.0)}}


tx = optax.chain(optax.stateless(zero_padding), optax.adam(noam, b1=0.9, b2=0.98, eps=1e-9))


@jax.jit
def step(state, x, y):
    params, opt_state = state

    def loss_fn(params):
        logits = model.apply({"params": params}, x)
        soft = optax.smooth_labels(jax.nn.one_hot(y, 11), 0.1)
        keep = (y != 0).astype(logits.dtype)
        return (optax.softmax_cross_entropy(logits, soft) * keep).sum() / keep.sum()

    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


def training():
    params = model.init(jax.random.key(0), jnp.ones((1, 6), jnp.int32))["params"]
    return (params, tx.init(params)), step
