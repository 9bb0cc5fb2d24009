"""A denoising U-Net with timesteps, an average, Adam with warm-up. Linen, a dataclass state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct


def timestep_embedding(t, dim=8):
    half = dim // 2
    freqs = jnp.exp(-jnp.log(10000.0) * jnp.arange(half) / half)
    args = t[:, None] * freqs[None]
    return jnp.concatenate([jnp.sin(args), jnp.cos(args)], axis=-1)


class ResBlock(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, emb):
        h = nn.silu(nn.GroupNorm(num_groups=2, epsilon=1e-5)(x))
        h = nn.Conv(self.features, (3, 3))(h)
        h = h + nn.Dense(self.features)(nn.silu(emb))[:, None, None, :]
        h = nn.silu(nn.GroupNorm(num_groups=2, epsilon=1e-5)(h))
        h = nn.Conv(self.features, (3, 3))(h)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1))(x)
        return h + x


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x, t):
        emb = nn.Dense(16)(nn.silu(nn.Dense(16)(timestep_embedding(t))))
        h1 = ResBlock(4)(nn.Conv(4, (3, 3))(x), emb)
        h = nn.Conv(4, (3, 3), strides=2, padding=1)(h1)
        h = ResBlock(8)(h, emb)
        b, hh, ww, c = h.shape
        h = jax.image.resize(h, (b, 2 * hh, 2 * ww, c), method="nearest")
        h = ResBlock(4)(jnp.concatenate([h, h1], axis=-1), emb)
        return nn.Conv(2, (3, 3))(nn.silu(nn.GroupNorm(num_groups=2, epsilon=1e-5)(h)))


class State(struct.PyTreeNode):
    step: int
    params: Any
    ema_params: Any
    opt_state: Any


BETAS = jnp.linspace(1e-4, 0.02, 20)
ALPHAS = jnp.cumprod(1 - BETAS)
model: Any = UNet()
schedule = optax.join_schedules([optax.linear_schedule(5e-4, 2e-3, 3), optax.constant_schedule(2e-3)], [3])


def clip_by_global_norm(updates, max_norm):
    norm = optax.tree.norm(updates)
    coef = jnp.minimum(max_norm / (norm + 1e-6), 1.0)
    return jax.tree_util.tree_map(lambda g: g * coef, updates)


tx = optax.adam(schedule)


@jax.jit
def train_step(state, x, t, noise):
    alphas = jnp.cumprod(1 - jnp.linspace(1e-4, 0.02, 20))
    a = alphas[t][:, None, None, None]
    noisy = jnp.sqrt(a) * x + jnp.sqrt(1 - a) * noise

    def loss_fn(params):
        return jnp.mean((model.apply({"params": params}, noisy, t) - noise) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    updates, opt_state = tx.update(clip_by_global_norm(grads, 1.0), state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    n = state.step + 1
    decay = jnp.minimum(0.99, (1 + n) / (10 + n))
    ema = optax.incremental_update(params, state.ema_params, 1 - decay)
    return state.replace(step=n, params=params, ema_params=ema, opt_state=opt_state), loss


def training():
    params = model.init(jax.random.PRNGKey(0), jnp.zeros((1, 8, 8, 2)), jnp.zeros((1,), jnp.int32))["params"]
    return State(0, params, params, tx.init(params)), train_step
