"""Bugs planted in `convnext_torch.py` and `convnext_jax.py`."""

from tests.ports.bugs.bug import backward, jax_bug

BUGS = (
    jax_bug(
        "convnext-layer-scale-left-out",
        "        y = y * scale\n",
        "",
        "x = self.gamma * x",
        ("return x + y", 'scale = self.param("layer_scale"', 'y = nn.Conv(self.dim, (1, 1), name="project")(y)'),
        "scale",
    ),
    jax_bug(
        "convnext-norm-over-pixels",
        'x = nn.LayerNorm(epsilon=1e-6, name="stem_norm")(x)',
        'x = nn.LayerNorm(epsilon=1e-6, reduction_axes=(1, 2, 3), name="stem_norm")(x)',
        "x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)",
        'x = nn.LayerNorm(epsilon=1e-6, reduction_axes=(1, 2, 3), name="stem_norm")(x)',
        "axis",
    ),
    jax_bug(
        "convnext-circular",
        "(7, 7), padding=3,",
        '(7, 7), padding="CIRCULAR",',
        "x = self.dwconv(x)",
        'y = nn.Conv(self.dim, (7, 7), padding="CIRCULAR", feature_group_count=self.dim, name="depthwise")(x)',
        "padding",
    ),
    jax_bug(
        "convnext-max-over-pixels",
        "x = jnp.mean(x, axis=(1, 2))",
        "x = jnp.max(x, axis=(1, 2))",
        "x = self.norm(x.mean(dim=(-2, -1)))",
        "x = jnp.max(x, axis=(1, 2))",
        "mean",
    ),
    jax_bug(
        "convnext-scale-before-the-activation",
        '        y = nn.gelu(y, approximate=False)\n        y = nn.Conv(self.dim, (1, 1), name="project")(y)\n',
        '        y = nn.Conv(self.dim, (1, 1), name="project")(y)\n        y = nn.gelu(y, approximate=False)\n',
        ("x = self.act(self.pwconv1(x))", "x = self.pwconv2(x)"),
        ('y = nn.Conv(self.dim, (1, 1), name="project")(y)', "y = nn.gelu(y, approximate=False)"),
    )._replace(name="convnext-gelu-after-the-projection"),
    backward(
        jax_bug(
            "convnext-scale-stopped",
            "y = y * scale\n",
            "y = y * jax.lax.stop_gradient(scale)\n",
            "x = self.gamma * x",
            "y = y * jax.lax.stop_gradient(scale)",
            "stop_gradient",
        )._replace(
            edits=(
                ("y = y * scale\n", "y = y * jax.lax.stop_gradient(scale)\n"),
                ("import flax.linen as nn\n", "import flax.linen as nn\nimport jax\n"),
            )
        )
    ),
)
