"""Bugs in trainings of language and speech."""

from tests.trainings.bug import Bug

NANOGPT = (
    Bug(
        "nanogpt-pieces-summed", "lambda a, g: a + g / 2, carry[1]", "lambda a, g: a + g, carry[1]", "gradients", "sum"
    ),
    Bug("nanogpt-decay-all", '"decay" if p.ndim >= 2 else "no_decay"', '"decay"', "update", "all"),
    Bug(
        "nanogpt-decay-embeddings",
        'lambda _, p: "decay" if p.ndim >= 2 else',
        'lambda path, p: "decay" if p.ndim >= 2 and path[0] not in ("wte", "wpe") else',
        "update",
        "decay",
    ),
    Bug("nanogpt-clip-optax", "chain(clip(1.0)", "chain(optax.clip_by_global_norm(0.5)", "update", "clip"),
    Bug("nanogpt-schedule-late", "warm = 6e-3 * (count + 1) / 4", "warm = 6e-3 * count / 4", "update", "behind"),
    Bug(
        "nanogpt-untied",
        "return wte.attend(x)",
        'return nn.Dense(c.vocab_size, use_bias=False, name="lm_head")(x)',
        "forward",
    ),
    Bug("nanogpt-scale", "* (C // h) ** -0.5", "* C ** -0.5", "forward"),
    Bug(
        "nanogpt-positions-late",
        "jnp.arange(idx.shape[1])[None]",
        "jnp.maximum(jnp.arange(idx.shape[1]) - 1, 0)[None]",
        "forward",
    ),
    Bug("nanogpt-loss-last-piece", "(carry[0] + loss / 2,", "(loss,", "loss"),
)
SEQ = (
    Bug(
        "seq-padding-counted", "keep = (y != 0).astype(logits.dtype)", "keep = jnp.ones_like(y, logits.dtype)", "loss"
    ),
    Bug("seq-mask", ", x > 0))", ", x >= 0))", "forward"),
    Bug("seq-embedding-scale", "(x) * self.d**0.5", "(x)", "forward"),
    Bug("seq-noam", "s = step + 1", "s = jnp.maximum(step, 1)", "update", step=2),
    Bug("seq-epsilon", "eps=1e-9", "eps=1e-8", "update", "eps"),
    Bug("seq-smoothing", "/ keep.sum()", "/ len(y)", "loss"),
)
LORA = (
    Bug("lora-trains-norm", 'k[-1].startswith("lora")', 'k[-1].startswith("lora") or k[-1] == "scale"', "update"),
    Bug("lora-scale", "@ b * 2.0", "@ b * 4.0", "forward", step=2),  # b starts at zero
    Bug("lora-decay", "weight_decay=0.0", "weight_decay=0.01", "update", "decay"),
    Bug("lora-frozen-a", 'k[-1].startswith("lora")', 'k[-1] == "lora_b"', "gradients", step=2),
)
CTC = (
    Bug("ctc-length", "each / lengths", "each", "loss"),
    Bug("ctc-epsilon", "log_epsilon=-1e30", "log_epsilon=-3.0", "loss"),
    Bug("ctc-pad", ">= lengths", "> lengths", "loss"),
)
BUGS = (*NANOGPT, *SEQ, *LORA, *CTC)
