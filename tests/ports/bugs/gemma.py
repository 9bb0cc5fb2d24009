"""Bugs planted in `gemma_torch.py` and `gemma_jax.py`."""

from tests.ports.bugs.bug import jax_bug

BUGS = (
    jax_bug(
        "gemma-embedding-not-scaled",
        "        x = x * jnp.sqrt(self.dim).astype(x.dtype)\n",
        "",
        ("x = x * x.shape[-1] ** 0.5",),
        ("x = table[tokens]", "wide = x.astype(jnp.float32)", 'y = RMSNorm(name="pre_attention_norm")(x)'),
        "sqrt",
    ),
    jax_bug(
        "gemma-logits-not-capped",
        "return jnp.tanh(logits / 30.0) * 30.0",
        "return logits",
        "return 30.0 * torch.tanh(logits / 30.0)",
        ("return logits", "logits = jnp.dot(x, table.T)"),
    ),
    jax_bug(
        "gemma-bfloat16-softmax",
        "jax.nn.softmax(logits.astype(jnp.float32), axis=-1)",
        "jax.nn.softmax(logits.astype(jnp.bfloat16), axis=-1)",
        "weights = F.softmax(scores.float(), dim=-1).type_as(q)",
        "probs = jax.nn.softmax(logits.astype(jnp.bfloat16), axis=-1).astype(x.dtype)",
        "bfloat16",
    ),
    jax_bug(
        "gemma-cap-before-the-scale",
        "logits = jnp.tanh(logits / self.softcap) * self.softcap",
        "logits = jnp.tanh(logits / (2 * self.softcap)) * self.softcap",
        "scores = self.softcap * torch.tanh(scores / self.softcap)",
        "logits = jnp.tanh(logits / (2 * self.softcap)) * self.softcap",
    )._replace(name="gemma-cap-of-the-scores"),
    jax_bug(
        "gemma-exact-gelu",
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]))",
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]), approximate=False)",
        'y = F.gelu(self.gate_proj(y), approximate="tanh") * self.up_proj(y)',
        "gate = jax.nn.gelu(jnp.dot(x, gating[0]), approximate=False)",
        "tanh",
    ),
    jax_bug(
        "gemma-rms-epsilon",
        "normed = wide * jax.lax.rsqrt(var + 1e-6)",
        "normed = wide * jax.lax.rsqrt(var + 1e-4)",
        "normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)",
        "normed = wide * jax.lax.rsqrt(var + 1e-4)",
        "epsilon",
    ),
)
