"""Bugs in trainings with an average, pieces of a batch, mixed precision, dropout."""

from tests.trainings.bug import Bug

EMA = (
    Bug(
        "ema-before",
        "averaged(state.ema, params, decay)",
        "averaged(state.ema, state.params, decay)",
        "average",
        "before",
    ),
    Bug("ema-warmup-missing", "jnp.minimum(DECAY, (1 + count) / (10 + count))", "DECAY", "average", "0.95"),
    Bug("ema-warmup-late", "count = state.updates + 1", "count = state.updates", "average", "decay"),
    Bug("ema-statistics-missing", "averaged(state.ema_stats, stats, decay)", "stats", "average", ""),
    Bug("ema-decay-swapped", "decay * a + (1 - decay) * b", "(1 - decay) * a + decay * b", "average", "swapped"),
    Bug("ema-nesterov-missing", "nesterov=True", "nesterov=False", "update", "nesterov"),
    Bug(
        "ema-statistics-share",
        '0.8 * stats["mean"] + 0.2 * mean',
        '0.9 * stats["mean"] + 0.1 * mean',
        "statistics",
        "0.1",
    ),
    Bug(
        "ema-pool",
        "-jnp.inf, jax.lax.max, (1, 2, 2, 1)",
        "jnp.inf, jax.lax.min, (1, 2, 2, 1)",
        "forward",
    ),
)
ACCUMULATE = (
    Bug(
        "accumulate-summed",
        "lambda a: a / PIECES, total)",
        "lambda a: a, total)\n    loss = loss / PIECES",
        "gradients",
        "sum",
    ),
    Bug(
        "accumulate-last-piece",
        "jax.tree.map(jnp.add, total, (loss, grads))",
        "(total[0] + loss, jax.tree.map(lambda g: g * PIECES, grads))",
        "gradients",
        "last",
    ),
    Bug(
        "accumulate-clip-pieces",
        "loss, grads = jax.value_and_grad(loss_fn)(params, *batch)\n",
        "loss, grads = jax.value_and_grad(loss_fn)(params, *batch)\n        grads = clipped(grads)\n",
        "gradients",
        "before",
    ),
    Bug("accumulate-clip-missing", "    grads = clipped(grads)\n", "", "update", "not clipped"),
    Bug("accumulate-clip-norm", "PIECES, CLIP = 4, 0.3", "PIECES, CLIP = 4, 0.03", "update", "0.03"),
)
MIXED = (
    Bug("mixed-float32", "dtype: Dtype = jnp.bfloat16", "dtype: Dtype = jnp.float32", "forward", "bfloat16"),
    Bug("mixed-head-float32", "nn.Dense(5, dtype=self.dtype", "nn.Dense(5, dtype=jnp.float32", "forward", "product 3"),
    Bug("mixed-loss-half", ".astype(jnp.float32)", "", "loss", "the loss"),
    Bug("mixed-slots-half", "optax.adam(1e-3)", "optax.adam(1e-3, mu_dtype=jnp.bfloat16)", "update", "exp_avg"),
    Bug(
        "mixed-decay-decoupled",
        "optax.chain(optax.add_decayed_weights(1e-2), optax.adam(1e-3))",
        "optax.adamw(1e-3, weight_decay=1e-2)",
        "update",
        "decoupled",
    ),
    Bug(
        "mixed-slope",
        'nn.Dense(16, dtype=self.dtype, name="fc2")(x), 0.1)',
        'nn.Dense(16, dtype=self.dtype, name="fc2")(x), 0.01)',
        "forward",
    ),
)
DROPOUT = (
    Bug("dropout-rate", "nn.Dropout(0.1,", "nn.Dropout(0.2,", "forward", "drops 0.1, JAX 0.2"),
    Bug("dropout-missing", "        x = nn.Dropout(0.1, deterministic=False)(x)\n", "", "forward", "2 masks"),
    Bug("dropout-off", "self.training)", "False)", "forward", "1 mask in training mode, JAX 2", "torch"),
    Bug(
        "dropout-decay-decoupled",
        "optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))",
        "optax.chain(optax.trace(0.9), optax.add_decayed_weights(1e-2), optax.scale(-0.1))",
        "update",
        "decoupled",
    ),
)
# What people have in such ports: dm-haiku's issue 120, and nanoGPT with optax's own clipping, schedule and defaults.
PIECES = (
    Bug(
        "pieces-last",
        "jax.value_and_grad(loss_fn, has_aux=True)(state.params, stats, *batch)",
        "jax.value_and_grad(loss_fn, has_aux=True)(state.params, state.stats, *batch)",
        "statistics",
        "once per batch, by its last piece",
    ),
    Bug(
        "pieces-mean",
        """jax.value_and_grad(loss_fn, has_aux=True)(state.params, stats, *batch)
""",
        """jax.value_and_grad(loss_fn, has_aux=True)(state.params, state.stats, *batch)
        stats = jax.tree.map(lambda a, b, c: a + (b - c) / PIECES, carry[1], stats, state.stats)
""",
        "statistics",
        "once per batch, by the mean of its pieces",
    ),
    Bug(
        "pieces-frozen",
        "updates), stats, opt_state)",
        "updates), state.stats, opt_state)",
        "statistics",
        "does not keep",
    ),
    Bug("pieces-warmup-from-one", "step / WARMUP", "(step + 1) / WARMUP", "update", "one step ahead"),
    Bug("pieces-warmup-steps", "PIECES, WARMUP = 3, 4", "PIECES, WARMUP = 3, 5", "update", "denominator", step=2),
    Bug(
        "pieces-decay-after",
        """tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(rate, momentum=0.9, nesterov=True))
""",
        """rule = optax.sgd(rate, momentum=0.9, nesterov=True)


def update(grads, state, params):
    updates, state = rule.update(grads, state, params)
    return jax.tree.map(lambda u, p: u - 1e-3 * (p + u), updates, params), state


tx = optax.GradientTransformation(rule.init, update)
""",
        "update",
        "not multiplied by the rate",
    ),
    Bug(
        "pieces-deviation",
        "logits, stats = apply(params, stats, x)",
        "logits, stats = apply(params, stats, x / 0.5)",
        "forward",
        "times 2",
    ),
)
BUGS = (*EMA, *ACCUMULATE, *MIXED, *DROPOUT, *PIECES)
