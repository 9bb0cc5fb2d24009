"""Bugs in update rules, schedules and steps written by hand."""

from tests.trainings.bug import Bug

SWA = (
    Bug("swa-start", "n >= 3", "n >= 4", "average", "does not move", step=3),
    Bug("swa-restart", "(n % 4) / 4", "(n % 5) / 5", "update", step=2),
    Bug("swa-count", "(count + 1), s)", "(count + 2), s)", "average", step=3),
    Bug("swa-floor", "lr = 0.01 + 0.5 * (0.1 - 0.01)", "lr = 0.5 * 0.1", "update", "rate", step=2),
)
ONECYCLE = (
    Bug("onecycle-total", "(TOTAL - 1 - PEAK)", "(TOTAL - PEAK)", "update", step=4),
    Bug("onecycle-momentum-constant", "b1=lambda count: anneal(0.95, 0.85, 0.95, count)", "b1=0.9", "update", "beta1"),
    Bug("onecycle-gamma", "** 2.0 * ce", "** 1.5 * ce", "loss"),
    Bug("onecycle-alpha", "(0.25 * (1", "(0.75 * (1", "loss", "3"),
    Bug("onecycle-decay", "weight_decay=0.05", "weight_decay=0.5", "update", "decay"),
)
PLATEAU = (
    Bug("plateau-patience", "drop = bad > 1", "drop = bad > 0", "update", "rate", step=3),
    Bug("plateau-delta", "delta=0.7", "delta=1.0", "loss"),
)
LION = (
    Bug("lion-betas", "b1=0.9, b2=0.99", "b1=0.99, b2=0.9", "update"),
    Bug("lion-decay", "weight_decay=0.1", "weight_decay=0.01", "update", "decay"),
    Bug("lion-mish", "x = x * jnp.tanh(jax.nn.softplus(x))", "x = jax.nn.silu(x)", "forward"),
)
SCALER = (
    Bug("scaler-not-unscaled", "a + g / SCALE", "a + g", "update", step=2),
    Bug("scaler-mean", "SCALE / ACCUM, loss", "SCALE, loss", "gradients"),
    Bug("scaler-not-zeroed", "jax.tree.map(jnp.zeros_like, grads)\n\n    i =", "grads\n    i =", "update", step=4),
)
PLAIN = (
    Bug("plain-decay", "(g / n + 1e-3 * p)", "(g / n) + 1e-3 * p", "update"),
    Bug("plain-sum", "0.1 * (g / n", "0.1 * (g", "gradients"),
)
SAM = (
    # What differs is where the second pass is made, so its outputs are the first to tell.
    Bug("sam-rho", "p + 0.05 * g", "p + 0.1 * g", "forward"),
    Bug("sam-at-old", "jax.grad(loss_fn)(noised)", "jax.grad(loss_fn)(state.params)", "forward"),
    Bug("sam-by-tensor", "g / (norm + 1e-12)", "g / (jnp.linalg.norm(g) + 1e-12)", "forward"),
    Bug(
        "sam-from-noised",
        "return state.apply_gradients",
        "return state.replace(params=noised).apply_gradients",
        "update",
    ),
)
CLOSURE = (
    Bug(
        "closure-staircase",
        "optax.exponential_decay(1e-2, 1, 0.9)",
        "optax.exponential_decay(1e-2, 10, 0.9)",
        "update",
        "rate",
        step=2,
    ),
    Bug(
        "closure-momentum-before",
        "optax.scale_by_rms(0.9, eps=1e-8, eps_in_sqrt=False), optax.trace(0.5)",
        "optax.trace(0.5), optax.scale_by_rms(0.9, eps=1e-8, eps_in_sqrt=False)",
        "update",
    ),
    Bug("closure-similarity", "(1 - optax.cosine", "(2 - optax.cosine", "loss"),
)
BUGS = (*SWA, *ONECYCLE, *PLATEAU, *LION, *SCALER, *PLAIN, *SAM, *CLOSURE)
