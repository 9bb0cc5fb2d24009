"""Bugs planted in `wav_torch.py` and `wav_jax.py`."""

from tests.ports.bugs.bug import jax_bug

BUGS = (
    jax_bug(
        "wav-biased-deviation",
        "jnp.std(x, axis=1, ddof=1)",
        "jnp.std(x, axis=1)",
        ("mean, std = x.mean(dim=2), x.std(dim=2)",),
        "pooled = jnp.concatenate([jnp.mean(x, axis=1), jnp.std(x, axis=1)], axis=-1)",
        "biased",
    ),
    jax_bug(
        "wav-leaky-slope",
        "negative_slope=0.1",
        "negative_slope=0.01",
        "return x + F.leaky_relu(self.norm(y), 0.1)",
        "return x + nn.leaky_relu(y, negative_slope=0.01)",
        "slope",
    ),
    jax_bug(
        "wav-stride-offset",
        "padding=[(1, 1)]",
        "padding=[(0, 2)]",
        "return F.gelu(self.conv1(x))",
        "padding=[(0, 2)]",
        "padding",
    ),
    jax_bug(
        "wav-even-kernel",
        "padding=[(half, half - 1)],",
        "padding=[(half - 1, half)],",
        "y = self.conv(x)[:, :, :-1]",
        ("x = jax.lax.conv_general_dilated(", "padding=[(half - 1, half)],"),
        "padding",
    ),
    jax_bug(
        "wav-one-group",
        "num_groups=self.channels",
        "num_groups=1",
        "x = F.gelu(self.norm(self.conv0(x)))",
        'x = nn.GroupNorm(num_groups=1, epsilon=1e-5, name="norm")(x)',
        "group",
    ),
    jax_bug(
        "wav-kernel-flipped",
        "wave = wave[:, 1:] - 0.875 * wave[:, :-1]",
        "wave = wave[:, :-1] - 0.875 * wave[:, 1:]",
        "wave = F.conv1d(wave, self.emphasis)",
        "wave = wave[:, :-1] - 0.875 * wave[:, 1:]",
        "flip",
    ),
    jax_bug(
        "wav-gelu-of-the-sum",
        'x = x + nn.gelu(NormedConv(6, 3, name="where")(x), approximate=False)',
        'x = nn.gelu(x + NormedConv(6, 3, name="where")(x), approximate=False)',
        "return x + F.gelu(y)",
        'x = nn.gelu(x + NormedConv(6, 3, name="where")(x), approximate=False)',
    ),
    jax_bug(
        "wav-not-dilated",
        "            kernel_dilation=self.dilation,\n",
        "",
        "y = self.pointwise(self.depthwise(x))",
        ("y = nn.Conv(", 'name="depthwise",'),
        "dilation",
    ),
    jax_bug(
        "wav-weight-norm-of-channels",
        "jnp.sum(direction**2, axis=(1, 2), keepdims=True)",
        "jnp.sum(direction**2, axis=(0, 1), keepdims=True)",
        "y = self.conv(x)[:, :, :-1]",
        (
            "length = jnp.sqrt(jnp.sum(direction**2, axis=(0, 1), keepdims=True))",
            "kernel = scale * direction / length",
            "x = jax.lax.conv_general_dilated(",
        ),
        "axis",
    ),
)
