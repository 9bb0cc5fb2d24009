"""Bugs planted in `vit_torch.py` and `vit_jax.py`."""

from tests.ports.bugs.bug import backward, jax_bug, permuted, torch_bug

BUGS = (
    jax_bug(
        "vit-mean-for-class-token",
        "x = x[:, 0]",
        "x = x.mean(axis=1)",
        "return self.head(x[:, 0])",
        "x = x.mean(axis=1)",
        "mean",
    ),
    jax_bug(
        "vit-class-token-last",
        "x = jnp.concatenate([cls, x], axis=1)",
        "x = jnp.concatenate([x, cls], axis=1)",
        ("x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)", "x = x + self.pos_embedding"),
        ("x = jnp.concatenate([x, cls], axis=1)", 'x = x + self.param("pos"'),
        "order",
    ),
    permuted(
        jax_bug(
            "vit-patches-by-columns",
            "x = x.reshape(x.shape[0], -1, self.dim)",
            "x = x.swapaxes(1, 2).reshape(x.shape[0], -1, self.dim)",
            ("x = x.flatten(2).transpose(1, 2)", "x = torch.cat([self.class_token", "x = x + self.pos_embedding"),
            (
                "x = x.swapaxes(1, 2).reshape(x.shape[0], -1, self.dim)",
                "x = jnp.concatenate([cls, x], axis=1)",
                'x = x + self.param("pos"',
            ),
        )
    ),
    jax_bug(
        "vit-tanh-gelu",
        "y = nn.gelu(y, approximate=False)",
        "y = nn.gelu(y)",
        "return x + self.mlp(self.ln_2(x))",
        "y = nn.gelu(y)",
        "tanh",
    ),
    jax_bug(
        "vit-last-norm-epsilon",
        'x = nn.LayerNorm(name="encoder_norm")(x)',
        'x = nn.LayerNorm(epsilon=1e-5, name="encoder_norm")(x)',
        "x = self.ln(x)",
        'x = nn.LayerNorm(epsilon=1e-5, name="encoder_norm")(x)',
        "epsilon",
    ),
    jax_bug(
        "vit-positions-twice",
        'x = x + self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.dim))',
        'x = x + 2 * self.param("pos", nn.initializers.normal(0.02), (1, x.shape[1], self.dim))',
        "x = x + self.pos_embedding",
        'x = x + 2 * self.param("pos"',
    ),
    torch_bug(
        "vit-keys-not-normed",
        "y, _ = self.self_attention(y, y, y, need_weights=False)",
        "y, _ = self.self_attention(y, x, y, need_weights=False)",
        "y, _ = self.self_attention(y, x, y, need_weights=False)",
        "y = nn.MultiHeadDotProductAttention(num_heads=self.num_heads)(y, y)",
    ),
    backward(
        jax_bug(
            "vit-class-token-stopped",
            "cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.dim))",
            "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
            "x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)",
            "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
            "stop_gradient",
        )._replace(
            edits=(
                (
                    "cls = jnp.broadcast_to(cls, (x.shape[0], 1, self.dim))",
                    "cls = jax.lax.stop_gradient(jnp.broadcast_to(cls, (x.shape[0], 1, self.dim)))",
                ),
                ("import flax.linen as nn\n", "import flax.linen as nn\nimport jax\n"),
            )
        )
    ),
)
