"""A GPT as nanoGPT, ported to Flax: tied embeddings by `attend`, optax.multi_transform, a scan over pieces."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState
from flax.traverse_util import path_aware_map


@dataclass(frozen=True)
class GPTConfig:
    block_size: int = 6
    vocab_size: int = 11
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 8
    use_bias: bool = False


class SelfAttention(nn.Module):
    config: GPTConfig

    @nn.compact
    def __call__(self, x):
        B, T, C = x.shape
        h = self.config.n_head
        qkv = nn.Dense(3 * C, use_bias=self.config.use_bias, name="c_attn")(x)
        q, k, v = jnp.split(qkv.reshape(B, T, 3 * h, C // h), 3, axis=2)
        att = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (C // h) ** -0.5
        mask = nn.make_causal_mask(jnp.ones((B, T)), dtype=bool)
        att = jax.nn.softmax(jnp.where(mask, att, jnp.finfo(att.dtype).min), axis=-1)
        y = jnp.einsum("bhqk,bkhd->bqhd", att, v).reshape(B, T, C)
        return nn.Dense(C, use_bias=self.config.use_bias, name="c_proj")(y)


class Block(nn.Module):
    config: GPTConfig

    @nn.compact
    def __call__(self, x):
        c = self.config
        x = x + SelfAttention(c, name="attn")(nn.LayerNorm(epsilon=1e-5, use_bias=c.use_bias, name="ln_1")(x))
        y = nn.LayerNorm(epsilon=1e-5, use_bias=c.use_bias, name="ln_2")(x)
        y = nn.gelu(nn.Dense(4 * c.n_embd, use_bias=c.use_bias, name="c_fc")(y), approximate=False)
        return x + nn.Dense(c.n_embd, use_bias=c.use_bias, name="c_proj")(y)


class GPT(nn.Module):
    config: GPTConfig

    @nn.compact
    def __call__(self, idx):
        c = self.config
        wte = nn.Embed(c.vocab_size, c.n_embd, name="wte")
        x = wte(idx) + nn.Embed(c.block_size, c.n_embd, name="wpe")(jnp.arange(idx.shape[1])[None])
        for i in range(c.n_layer):
            x = Block(c, name=str(i))(x)
        x = nn.LayerNorm(epsilon=1e-5, use_bias=c.use_bias, name="ln_f")(x)
        return wte.attend(x)


def get_lr(count):
    warm = 6e-3 * (count + 1) / 4
    ratio = jnp.clip((count - 3) / (10 - 3), 0.0, 1.0)
    return jnp.where(count < 3, warm, 6e-4 + 0.5 * (1 + jnp.cos(jnp.pi * ratio)) * (6e-3 - 6e-4))


def clip(max_norm):
    def update(updates, _):
        norm = optax.tree.norm(updates)
        return jax.tree.map(lambda g: g * jnp.minimum(1.0, max_norm / (norm + 1e-6)), updates)

    return optax.stateless(update)


def configure_optimizers(params, weight_decay):
    def adamw(decay):
        return optax.adamw(get_lr, b1=0.9, b2=0.95, weight_decay=decay)

    flat = path_aware_map(lambda _, p: "decay" if p.ndim >= 2 else "no_decay", params)
    return optax.chain(clip(1.0), optax.multi_transform({"decay": adamw(weight_decay), "no_decay": adamw(0.0)}, flat))


@jax.jit
def train_step(state, x, y):
    x, y = x.reshape(2, -1, x.shape[-1]), y.reshape(2, -1, y.shape[-1])

    def loss_fn(params, x, y):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def body(carry, batch):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, *batch)
        return (carry[0] + loss / 2, jax.tree.map(lambda a, g: a + g / 2, carry[1], grads)), None

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    (loss, grads), _ = jax.lax.scan(body, (0.0, zeros), (x, y))
    return state.apply_gradients(grads=grads), loss


def training():
    model = GPT(GPTConfig())
    params = model.init(jax.random.PRNGKey(0), jnp.zeros((1, 6), jnp.int32))["params"]
    return TrainState.create(apply_fn=model.apply, params=params, tx=configure_optimizers(params, 0.1)), train_step
