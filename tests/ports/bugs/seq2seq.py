"""Bugs planted in `seq2seq_torch.py` and `seq2seq_jax.py`."""

from tests.ports.bugs.bug import backward, jax_bug, torch_bug

BUGS = (
    jax_bug(
        "seq2seq-distance-off-by-one",
        "jnp.clip(offsets, -reach, reach) + reach",
        "jnp.clip(offsets + 1, -reach, reach) + reach",
        ("return self.table(bucket).permute(2, 0, 1)[None]", "scores = scores + bias", "bucket = distance.clamp("),
        (
            "index = jnp.clip(offsets + 1, -reach, reach) + reach",
            "return jnp.moveaxis(table[index], -1, 0)",
            "logits = logits + bias",
        ),
        "position",
    ),
    jax_bug(
        "seq2seq-padding-seen-by-the-decoder",
        "self.cross(self.cross_norm(x), memory, memory_mask)",
        "self.cross(self.cross_norm(x), memory)",
        (
            "scores = scores.masked_fill(~mask, -1e9)",
            "out = scores.softmax(-1) @ v",
            "x = x + self.cross(self.norm2(x), memory, memory_mask)",
        ),
        ("probs = jax.nn.softmax(logits, axis=-1)", "x = x + self.cross(self.cross_norm(x), memory)"),
        "mask",
    ),
    jax_bug(
        "seq2seq-attention-scaled",
        "probs = jax.nn.softmax(logits, axis=-1)",
        "probs = jax.nn.softmax(logits / jnp.sqrt(q.shape[-1]), axis=-1)",
        "out = scores.softmax(-1) @ v",
        "probs = jax.nn.softmax(logits / jnp.sqrt(q.shape[-1]), axis=-1)",
        "scale",
    ),
    jax_bug(
        "seq2seq-logits-not-scaled",
        "        x = x / jnp.sqrt(x.shape[-1])\n",
        "",
        ("y = self.decoder_norm(y) * y.shape[-1] ** -0.5", "return y @ self.shared.weight.t(), memory"),
        ("return x @ self.embedding[...].T", "x = self.decoder_norm(x)"),
        "scale",
    ),
    jax_bug(
        "seq2seq-residual-from-the-norm",
        "x = x + self.attention(y, y, mask, bias)",
        "x = y + self.attention(y, y, mask, bias)",
        (
            "x = x + self.attention(y, y, mask, bias)",
            "x = self.encoder(self.shared(source), mask, self.encoder_bias(source.shape[1]))",
        ),
        "x = y + self.attention(y, y, mask, bias)",
        "residual",
    ),
    torch_bug(
        "seq2seq-decoder-not-causal",
        "device=target.device).tril()",
        "device=target.device)",
        ("scores = scores.masked_fill(~mask, -1e9)", "out = scores.softmax(-1) @ v", "device=target.device)"),
        ("logits = jnp.where(mask, logits, -1e9)", "probs = jax.nn.softmax(logits, axis=-1)"),
        "causal",
    ),
    backward(
        torch_bug(
            "seq2seq-memory-detached",
            "y = self.decoder(self.shared(target), memory, mask,",
            "y = self.decoder(self.shared(target), memory.detach(), mask,",
            "y = self.decoder(self.shared(target), memory.detach(), mask, causal, self.decoder_bias(length))",
            (
                "return self.decode(target, memory, mask), memory",
                "x = x + self.cross(self.cross_norm(x), memory, memory_mask)",
                "x = self.decoder(self.embedding[...][target], causal, bias, memory, memory_mask)",
            ),
            "detach",
        )
    ),
)
