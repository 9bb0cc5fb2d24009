"""Bugs in trainings of generators."""

from tests.trainings.bug import Bug

DDPM = (
    Bug(
        "ddpm-ema-late",
        "n = state.step + 1\n    decay = jnp.minimum(0.99, (1 + n) / (10 + n))",
        "n = state.step + 1\n    decay = jnp.minimum(0.99, (1 + state.step) / (10 + state.step))",
        "average",
        "decay",
    ),
    Bug("ddpm-ema-swapped", "state.ema_params, 1 - decay", "state.ema_params, decay", "average", "swapped"),
    Bug("ddpm-target-sample", "noisy, t) - noise) ** 2)", "noisy, t) - x) ** 2)", "loss"),
    Bug("ddpm-sqrt-missing", "jnp.sqrt(1 - a) * noise", "(1 - a) * noise", "forward"),
    Bug("ddpm-sin-cos", "[jnp.sin(args), jnp.cos(args)]", "[jnp.cos(args), jnp.sin(args)]", "forward"),
    Bug(
        "ddpm-warmup", "optax.linear_schedule(5e-4, 2e-3, 3)", "optax.linear_schedule(0.0, 2e-3, 4)", "update", "rate"
    ),
    Bug("ddpm-freqs", "jnp.arange(half) / half)", "jnp.arange(half) / (half - 1))", "forward"),
    Bug(
        "ddpm-groups",
        "h = nn.silu(nn.GroupNorm(num_groups=2, epsilon=1e-5)(h))",
        "h = nn.silu(nn.GroupNorm(num_groups=4, epsilon=1e-5)(h))",
        "forward",
    ),
)
VAE = (
    Bug("vae-logvar", "std = jnp.exp(0.5 * logvar)", "std = jnp.exp(logvar)", "forward"),
    Bug("vae-kl-mean", "-0.5 * jnp.sum(1 + logvar", "-0.5 * jnp.mean(1 + logvar", "loss"),
    Bug("vae-mean", ").sum()\n\n    loss, grads", ").mean()\n\n    loss, grads", "loss", "mean"),
)
WGAN = (
    Bug(
        "wgan-penalty",
        "penalty = jnp.mean((jnp.linalg.norm(grads, axis=1) - 1) ** 2)",
        "penalty = jnp.mean((jnp.linalg.norm(grads) - 1) ** 2)",
        "loss",
    ),
    Bug("wgan-lambda", "10.0 * penalty", "1.0 * penalty", "loss"),
    Bug("wgan-order", "n = n + 1\n", "", "update", "does not train", step=2),
    Bug("wgan-sign", "return -disc.apply(d_params, gen", "return disc.apply(d_params, gen", "update", step=2),
    Bug("wgan-b1", "b1=0.0", "b1=0.5", "update", "0.5"),
)
BUGS = (*DDPM, *VAE, *WGAN)
