"""The translator in Flax NNX."""

import jax
import jax.numpy as jnp
from flax import nnx


def relative_bias(table, length, reach=3):
    offsets = jnp.arange(length)[None, :] - jnp.arange(length)[:, None]
    index = jnp.clip(offsets, -reach, reach) + reach
    return jnp.moveaxis(table[index], -1, 0)


class Attention(nnx.Module):
    def __init__(self, dim, heads, *, rngs):
        shape = (heads, dim // heads)
        self.query = nnx.LinearGeneral(dim, shape, use_bias=False, rngs=rngs)
        self.key = nnx.LinearGeneral(dim, shape, use_bias=False, rngs=rngs)
        self.value = nnx.LinearGeneral(dim, shape, use_bias=False, rngs=rngs)
        self.out = nnx.LinearGeneral(shape, dim, axis=(-2, -1), use_bias=False, rngs=rngs)

    def __call__(self, x, context, mask=None, bias=None):
        q, k, v = self.query(x), self.key(context), self.value(context)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        if bias is not None:
            logits = logits + bias
        if mask is not None:
            logits = jnp.where(mask, logits, -1e9)
        probs = jax.nn.softmax(logits, axis=-1)
        return self.out(jnp.einsum("bhqk,bkhd->bqhd", probs, v))


class FeedForward(nnx.Module):
    def __init__(self, dim, hidden, *, rngs):
        self.up = nnx.Linear(dim, hidden, use_bias=False, rngs=rngs)
        self.down = nnx.Linear(hidden, dim, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.down(nnx.relu(self.up(x)))


class Layer(nnx.Module):
    """A layer of the encoder, or with `cross` of the decoder."""

    def __init__(self, dim, heads, hidden, *, cross, rngs):
        self.attention = Attention(dim, heads, rngs=rngs)
        self.attention_norm = nnx.RMSNorm(dim, rngs=rngs)
        self.cross = Attention(dim, heads, rngs=rngs) if cross else None
        self.cross_norm = nnx.RMSNorm(dim, rngs=rngs) if cross else None
        self.ffn = FeedForward(dim, hidden, rngs=rngs)
        self.ffn_norm = nnx.RMSNorm(dim, rngs=rngs)

    def __call__(self, x, mask, bias, memory=None, memory_mask=None):
        y = self.attention_norm(x)
        x = x + self.attention(y, y, mask, bias)
        if self.cross is not None and self.cross_norm is not None:
            x = x + self.cross(self.cross_norm(x), memory, memory_mask)
        return x + self.ffn(self.ffn_norm(x))


class Translator(nnx.Module):
    def __init__(self, vocab=30, dim=24, heads=4, hidden=32, reach=3, *, rngs):
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (vocab, dim)))
        self.source_bias = nnx.Param(jnp.zeros((2 * reach + 1, heads)))
        self.target_bias = nnx.Param(jnp.zeros((2 * reach + 1, heads)))
        self.encoder = Layer(dim, heads, hidden, cross=False, rngs=rngs)
        self.decoder = Layer(dim, heads, hidden, cross=True, rngs=rngs)
        self.encoder_norm = nnx.RMSNorm(dim, rngs=rngs)
        self.decoder_norm = nnx.RMSNorm(dim, rngs=rngs)

    def encode(self, source, source_mask):
        bias = relative_bias(self.source_bias[...], source.shape[1])
        x = self.encoder(self.embedding[...][source], source_mask, bias)
        return self.encoder_norm(x)

    def decode(self, target, memory, memory_mask):
        length = target.shape[1]
        causal = jnp.tril(jnp.ones((length, length), bool))
        bias = relative_bias(self.target_bias[...], length)
        x = self.decoder(self.embedding[...][target], causal, bias, memory, memory_mask)
        x = self.decoder_norm(x)
        x = x / jnp.sqrt(x.shape[-1])
        return x @ self.embedding[...].T

    def __call__(self, source, source_mask, target):
        mask = source_mask[:, None, None, :]
        memory = self.encode(source, mask)
        return self.decode(target, memory, mask), memory


def make():
    return Translator(rngs=nnx.Rngs(jax.random.key(0, impl="unsafe_rbg")))  # compiles in half the time


def weights(state):
    leaves = {
        "embedding": state["shared.weight"],
        "source_bias": state["encoder_bias.table.weight"],
        "target_bias": state["decoder_bias.table.weight"],
        "encoder_norm/scale": state["encoder_norm.weight"],
        "decoder_norm/scale": state["decoder_norm.weight"],
        "encoder/attention_norm/scale": state["encoder.norm1.weight"],
        "encoder/ffn_norm/scale": state["encoder.norm2.weight"],
        "decoder/attention_norm/scale": state["decoder.norm1.weight"],
        "decoder/cross_norm/scale": state["decoder.norm2.weight"],
        "decoder/ffn_norm/scale": state["decoder.norm3.weight"],
    }
    for path in ("encoder/attention", "decoder/attention", "decoder/cross"):
        name = path.replace("/", ".")
        kv = state[name + ".kv.weight"].reshape(4, 2, 6, 24)
        leaves[path + "/query/kernel"] = state[name + ".q.weight"].T.reshape(24, 4, 6)
        leaves[path + "/key/kernel"] = kv[:, 0].transpose(2, 0, 1)
        leaves[path + "/value/kernel"] = kv[:, 1].transpose(2, 0, 1)
        leaves[path + "/out/kernel"] = state[name + ".o.weight"].T.reshape(4, 6, 24)
    for side in ("encoder", "decoder"):
        leaves[side + "/ffn/up/kernel"] = state[side + ".wi.weight"].T
        leaves[side + "/ffn/down/kernel"] = state[side + ".wo.weight"].T
    return leaves
