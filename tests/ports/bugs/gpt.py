"""Bugs planted in `gpt_torch.py` and `gpt_jax.py`."""

from tests.ports.bugs.bug import backward, jax_bug, torch_bug

BUGS = (
    jax_bug(
        "gpt-attention-scale-missing",
        "        query = query / jnp.sqrt(head_dim)\n",
        "",
        "scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])",
        ('logits = jnp.einsum("bqhd,bkhd->bhqk", query, key)', "logits = jnp.where(causal, logits, -1e30)"),
        "scale",
    ),
    jax_bug(
        "gpt-attention-scale-twice",
        "weights = jax.nn.softmax(logits, axis=-1)",
        "weights = jax.nn.softmax(logits / jnp.sqrt(head_dim), axis=-1)",
        "attention = F.softmax(scores, dim=-1)",
        "weights = jax.nn.softmax(logits / jnp.sqrt(head_dim), axis=-1)",
        "scale",
    ),
    jax_bug(
        "gpt-softmax-axis",
        "weights = jax.nn.softmax(logits, axis=-1)",
        "weights = jax.nn.softmax(logits, axis=-2)",
        "attention = F.softmax(scores, dim=-1)",
        "weights = jax.nn.softmax(logits, axis=-2)",
        "axis",
    ),
    jax_bug(
        "gpt-not-causal",
        "causal = jnp.tril(jnp.ones((length, length), dtype=bool))",
        "causal = jnp.ones((length, length), dtype=bool)",
        ('scores = scores.masked_fill(~self.mask[:, :, :length, :length], float("-inf"))', "attention = F.softmax("),
        (
            "causal = jnp.ones((length, length), dtype=bool)",
            "logits = jnp.where(causal, logits, -1e30)",
            "weights = jax.nn.softmax(logits, axis=-1)",
        ),
        "causal",
    ),
    jax_bug(
        "gpt-exact-gelu",
        "y = nn.gelu(y)",
        "y = nn.gelu(y, approximate=False)",
        'hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")',
        "y = nn.gelu(y, approximate=False)",
        "tanh",
    ),
    jax_bug(
        "gpt-layer-norm-epsilon",
        'y = nn.LayerNorm(epsilon=1e-5, name="norm_mlp")(x)',
        'y = nn.LayerNorm(name="norm_mlp")(x)',
        'hidden = F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")',
        'y = nn.LayerNorm(name="norm_mlp")(x)',
        "epsilon",
    ),
    jax_bug(
        "gpt-residual-left-out",
        'y = nn.Dense(x.shape[-1], name="down")(y)\n        return x + y',
        'y = nn.Dense(x.shape[-1], name="down")(y)\n        return y',
        "return x + self.c_proj(hidden)",
        (
            "return y",
            'y = nn.Dense(x.shape[-1], name="down")(y)',
            'x = TransformerBlock(self.num_heads, name=f"block_{i}")(x)',
        ),
        "residual",
    ),
    jax_bug(
        "gpt-positions-from-one",
        "positions = jnp.arange(tokens.shape[1])",
        "positions = jnp.arange(tokens.shape[1]) + 1",
        ("x = self.wte(idx) + self.wpe(positions)", "positions = torch.arange(idx.shape[1], device=idx.device)"),
        (
            "positions = jnp.arange(tokens.shape[1]) + 1",
            'nn.Embed(self.max_length, self.dim, name="positions")(positions)',
        ),
        "position",
    ),
    torch_bug(
        "gpt-head-not-tied",
        "        self.lm_head.weight = self.wte.weight\n",
        "",
        "return self.lm_head(self.ln_f(x))",
        "return embed.attend(x)",
        "tied",
    ),
    backward(
        torch_bug(
            "gpt-positions-under-no-grad",
            "        x = self.wte(idx) + self.wpe(positions)\n",
            "        with torch.no_grad():\n            places = self.wpe(positions)\n"
            "        x = self.wte(idx) + places\n",
            ("places = self.wpe(positions)", "x = self.wte(idx) + places"),
            'nn.Embed(self.max_length, self.dim, name="positions")(positions)',
            "no_grad",
        )
    ),
    backward(
        torch_bug(
            "gpt-head-detached",
            "return self.lm_head(self.ln_f(x))",
            "return F.linear(self.ln_f(x), self.lm_head.weight.detach())",
            "return F.linear(self.ln_f(x), self.lm_head.weight.detach())",
            "return embed.attend(x)",
            "detach",
        )
    ),
)
