"""Bugs planted in `vae_torch.py` and `vae_jax.py`."""

from tests.ports.bugs.bug import Bug, jax_bug

BUGS = (
    jax_bug(
        "vae-divergence-sign",
        "divergence = 0.5 * jnp.sum(",
        "divergence = -0.5 * jnp.sum(",
        "kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)",
        "divergence = -0.5 * jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "sign",
    ),
    jax_bug(
        "vae-variance-for-deviation",
        "jnp.exp(logvar / 2) * noise",
        "jnp.exp(logvar) * noise",
        ("std = torch.exp(0.5 * logvar)", "z = mu + noise * std"),
        "z = mean + jnp.exp(logvar) * noise",
    ),
    jax_bug(
        "vae-selu",
        'x = nn.elu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        'x = nn.selu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        "x = F.elu(self.fc(z)).view(-1, 8, 4, 6)",
        'x = nn.selu(nn.Dense(4 * 6 * 8, name="dense")(z))',
        "elu",
    ),
    jax_bug(
        "vae-divergence-mean",
        "jnp.sum(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "jnp.mean(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)",
        "divergence = 0.5 * jnp.mean(jnp.exp(logvar) + mean**2 - 1 - logvar, axis=-1)",
        "mean",
    ),
    Bug(
        "vae-transposed-padding",
        "vae",
        "torch",
        (
            ("stride=2, padding=1, output_padding=1)", "stride=2)"),
            ("F.elu(self.deconv(x))", "F.elu(self.deconv(x)[..., :8, :12])"),
        ),
        ("x = F.elu(self.deconv(x)[..., :8, :12])",),
        ("x = nn.ConvTranspose(", 'transpose_kernel=True, name="deconv"'),
        "padding",
    ),
)
