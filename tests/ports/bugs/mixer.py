"""Bugs planted in `mixer_torch.py` and `mixer_jax.py`."""

from tests.ports.bugs.bug import jax_bug, permuted, torch_bug

BUGS = (
    jax_bug(
        "mixer-pool-before-the-norm",
        "        x = jax.vmap(self.norm)(x)\n        return self.head(jnp.mean(x, axis=0))",
        "        x = self.norm(jnp.mean(x, axis=0))\n        return self.head(x)",
        "return self.head(self.norm(x).mean(dim=1))",
        "x = self.norm(jnp.mean(x, axis=0))",
        "norm",
    ),
    permuted(
        jax_bug(
            "mixer-patches-by-columns",
            "x = x.reshape(x.shape[0], -1).T",
            "x = x.swapaxes(1, 2).reshape(x.shape[0], -1).T",
            (
                "y = self.token_mix(y).transpose(1, 2)",
                "x = self.blocks(self.to_patches(x))",
                "y = self.norm1(x).transpose(1, 2)",
            ),
            ("x = x.swapaxes(1, 2).reshape(x.shape[0], -1).T", "y = jax.vmap(self.token_in)(y.T)"),
        )
    ),
    torch_bug(
        "mixer-tanh-gelu",
        "nn.GELU()",
        'nn.GELU(approximate="tanh")',
        ("y = self.token_mix(y).transpose(1, 2)",),
        "y = jax.nn.gelu(y, approximate=False)",
        "tanh",
    ),
)
