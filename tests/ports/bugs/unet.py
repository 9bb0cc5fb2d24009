"""Bugs planted in `unet_torch.py` and `unet_jax.py`."""

from tests.ports.bugs.bug import Bug, backward, jax_bug, permuted, torch_bug

BUGS = (
    permuted(
        jax_bug(
            "unet-cosine-first",
            "[jnp.sin(angles), jnp.cos(angles)]",
            "[jnp.cos(angles), jnp.sin(angles)]",
            (
                "return torch.cat([torch.sin(args), torch.cos(args)], dim=-1)",
                "emb = self.time_embed(timestep_embedding(t",
            ),
            ("return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)", 'name="time1")(emb)'),
            "order",
        )
    ),
    jax_bug(
        "unet-half-minus-one",
        "jnp.arange(half) / half)",
        "jnp.arange(half) / (half - 1))",
        (
            "freqs = torch.exp(-math.log(max_period) * steps / half)",
            "args = t[:, None] * freqs[None]",
        ),
        (
            "frequencies = jnp.exp(-np.log(10000.0) * jnp.arange(half) / (half - 1))",
            "angles = time[:, None] * frequencies",
        ),
    ),
    jax_bug(
        "unet-groups",
        "groups: int = 4",
        "groups: int = 2",
        "h = self.conv1(F.silu(self.norm1(x)))",
        'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="in_norm")(x)',
        "group",
    ),
    jax_bug(
        "unet-group-norm-epsilon",
        'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="out_norm")(h)',
        'h = nn.GroupNorm(self.groups, name="out_norm")(h)',
        "h = self.conv2(F.silu(self.norm2(h)))",
        'h = nn.GroupNorm(self.groups, name="out_norm")(h)',
        "epsilon",
    ),
    jax_bug(
        "unet-same-with-stride",
        "padding=1, name=name)",
        'padding="SAME", name=name)',
        "h = self.mid_block(self.downsample(skip), emb)",
        (
            'return nn.Conv(features, (3, 3), strides=(stride, stride), padding="SAME", name=name)',
            'x = conv3x3(2 * self.features, stride=2, name="downsample")(x)',
        ),
        "padding",
    ),
    permuted(
        jax_bug(
            "unet-skip-first",
            "x = jnp.concatenate([x, skip], axis=-1)",
            "x = jnp.concatenate([skip, x], axis=-1)",
            ("h = torch.cat([self.upsample(h), skip], dim=1)", "h = self.conv1(F.silu(self.norm1(x)))"),
            (
                "x = jnp.concatenate([skip, x], axis=-1)",
                'h = nn.GroupNorm(self.groups, epsilon=1e-5, name="in_norm")(x)',
            ),
            "order",
        )
    ),
    jax_bug(
        "unet-transposed-padding",
        'strides=(2, 2), padding="SAME", name="upsample"',
        'strides=(2, 2), padding=((1, 3), (1, 3)), name="upsample"',
        "h = torch.cat([self.upsample(h), skip], dim=1)",
        'x = nn.ConvTranspose(self.features, (4, 4), strides=(2, 2), padding=((1, 3), (1, 3)), name="upsample")(x)',
        "padding",
    ),
    jax_bug(
        "unet-attention-scale-missing",
        "jnp.swapaxes(k, 1, 2) / jnp.sqrt(channels)",
        "jnp.swapaxes(k, 1, 2)",
        'scores = torch.einsum("bct,bcs->bts", q, k) * channels**-0.5',
        ("logits = q @ jnp.swapaxes(k, 1, 2)", "out = jax.nn.softmax(logits) @ v"),
        "scale",
    ),
    jax_bug(
        "unet-time-without-swish",
        'name="emb_proj")(nn.swish(emb))',
        'name="emb_proj")(emb)',
        "h = h + self.time_proj(F.silu(emb))[:, :, None, None]",
        'shift = nn.Dense(self.features, name="emb_proj")(emb)',
        "silu",
    ),
    jax_bug(
        "unet-attention-rows-and-columns",
        "return x + out.reshape(x.shape)",
        "return x + out.reshape(batch, width, height, channels).swapaxes(1, 2)",
        "return x + self.proj_out(out).reshape(x.shape)",
        "return x + out.reshape(batch, width, height, channels).swapaxes(1, 2)",
    ),
    Bug(
        "unet-skip-detached",
        "unet",
        "jax",
        (("jnp.concatenate([x, skip], axis=-1)", "jnp.concatenate([x, jax.lax.stop_gradient(skip)], axis=-1)"),),
        ("h = torch.cat([self.upsample(h), skip], dim=1)",),
        ("x = jnp.concatenate([x, jax.lax.stop_gradient(skip)], axis=-1)",),
        "stop_gradient",
        backward=True,
    ),
    backward(
        torch_bug(
            "unet-time-under-no-grad",
            "        emb = self.time_embed(timestep_embedding(t, self.channels))\n",
            "        with torch.no_grad():\n            emb = self.time_embed(timestep_embedding(t, self.channels))\n",
            "emb = self.time_embed(timestep_embedding(t, self.channels))",
            ('emb = nn.Dense(self.time_features, name="time2")(nn.swish(emb))',),
            "no_grad",
        )
    ),
)
