"""Bugs planted in `scanned_torch.py` and `scanned_jax.py`."""

from tests.ports.bugs.bug import jax_bug, torch_bug

BUGS = (
    jax_bug(
        "scanned-scale-of-all-heads",
        "/ np.sqrt(dim // self.heads)",
        "/ np.sqrt(dim)",
        "x = self.encoder(self.project(x))",
        (
            'scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(dim)',
            'y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)',
        ),
        "scale",
    ),
    jax_bug(
        "scanned-tanh-gelu",
        "y = jax.nn.gelu(y, approximate=False)",
        "y = jax.nn.gelu(y)",
        "x = self.encoder(self.project(x))",
        "y = jax.nn.gelu(y)",
        "tanh",
    ),
    jax_bug(
        "scanned-layer-norm-epsilon",
        'y = nn.LayerNorm(epsilon=1e-5, name="ln2")(x)',
        'y = nn.LayerNorm(name="ln2")(x)',
        "x = self.encoder(self.project(x))",
        'y = nn.LayerNorm(name="ln2")(x)',
        "epsilon",
    ),
    torch_bug(
        "scanned-norm-after",
        "norm_first=True",
        "norm_first=False",
        "x = self.encoder(self.project(x))",
        (
            'y = nn.LayerNorm(epsilon=1e-5, name="ln1")(x)',
            'qkv = nn.DenseGeneral((3, self.heads, dim // self.heads), name="qkv")(y)',
        ),
        "norm",
    ),
    jax_bug(
        "scanned-last-step",
        "pooled = jnp.mean(x, axis=1)",
        "pooled = x[:, -1]",
        "return self.head(x.mean(dim=1))",
        ("pooled = x[:, -1]", 'return nn.Dense(self.classes, name="classify")(pooled)'),
        "mean",
    ),
)
