"""Bugs in the plain trainings of classifiers."""

from tests.trainings.bug import Bug

SGD = (
    Bug(
        "sgd-decay-decoupled",
        "optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))",
        "optax.chain(optax.trace(0.9), optax.add_decayed_weights(1e-2), optax.scale(-0.1))",
        "update",
        "decoupled",
    ),
    Bug(
        "sgd-decay-missing",
        "optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))",
        "optax.chain(optax.identity(), optax.sgd(0.1, momentum=0.9))",
        "update",
        "no weight decay",
    ),
    Bug("sgd-nesterov", "momentum=0.9)", "momentum=0.9, nesterov=True)", "update", "nesterov"),
    Bug(
        "sgd-dampening",
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)",
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1, weight_decay=1e-2)",
        "update",
        "dampening",
        "torch",
        2,
    ),
    Bug(
        "sgd-decay-weights-only",
        "optax.add_decayed_weights(1e-2)",
        "optax.add_decayed_weights(1e-2, mask=lambda p: jax.tree.map(lambda a: a.ndim > 1, p))",
        "update",
        "only",
    ),
    Bug(
        "sgd-loss-sum",
        "softmax_cross_entropy_with_integer_labels(logits, y).mean()",
        "softmax_cross_entropy_with_integer_labels(logits, y).sum()",
        "loss",
        "sum",
    ),
    Bug(
        "sgd-gradient-stopped",
        'x = nn.relu(nn.Dense(self.width, name="fc1")(x))',
        'x = jax.lax.stop_gradient(nn.relu(nn.Dense(self.width, name="fc1")(x)))',
        "gradients",
        "zero",
    ),
    Bug("sgd-activation", "x = jnp.tanh(", "x = nn.sigmoid(", "forward", "sigmoid"),
)
ADAMW = (
    Bug("adamw-clip-epsilon", "CLIP / (norm + 1e-6)", "CLIP / norm", "update", "1e-06"),
    Bug(
        "adamw-clip-optax",
        "grads = clipped(grads)\n",
        "grads = optax.clip_by_global_norm(CLIP).update(grads, optax.EmptyState())[0]\n",
        "update",
        "1e-06",
    ),
    Bug(
        "adamw-clip-by-tensor",
        "grads = clipped(grads)\n",
        "grads = jax.tree.map(lambda g: clipped({0: g})[0], grads)\n",
        "update",
        "tensor",
    ),
    Bug("adamw-clip-missing", "    grads = clipped(grads)\n", "", "update", "not clipped"),
    Bug(
        "adamw-clip-value",
        "grads = clipped(grads)\n",
        "grads = jax.tree.map(lambda g: jnp.clip(g, -CLIP / 4, CLIP / 4), grads)\n",
        "update",
        "value",
    ),
    Bug("adamw-warmup-from-zero", "3e-3 * (step + 1) / WARMUP", "3e-3 * step / WARMUP", "update", "one step"),
    Bug(
        "adamw-schedule-denominator",
        "(step - WARMUP) / (STEPS - WARMUP)",
        "(step - WARMUP) / (STEPS - WARMUP - 1)",
        "update",
        "denominator",
        step=6,
    ),
    Bug("adamw-epsilon-inside", "eps=1e-6, weight", "eps=0.0, eps_root=1e-6, weight", "update", "square root"),
    Bug("adamw-decay-all", "weight_decay=0.05, mask=weights", "weight_decay=0.05", "update", "all"),
    Bug(
        "adamw-decay-not-times-rate",
        "tx = optax.adamw(rate, b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.05, mask=weights)",
        "tx = optax.chain(optax.adamw(rate, b1=0.9, b2=0.98, eps=1e-6, weight_decay=0.0),"
        " optax.masked(optax.add_decayed_weights(-0.05), weights))",
        "update",
        "rate",
    ),
    Bug("adamw-beta", "b2=0.98", "b2=0.999", "update", "0.999"),
    Bug(
        "adamw-statistics-momentum",
        "mean.value = 0.9 * mean.value + 0.1 * batch_mean",
        "mean.value = 0.1 * mean.value + 0.9 * batch_mean",
        "statistics",
        "momentum",
    ),
    Bug("adamw-statistics-biased", "0.1 * batch_var * count / (count - 1)", "0.1 * batch_var", "statistics", "biased"),
    Bug(
        "adamw-norm-unbiased",
        "jnp.sqrt(batch_var + 1e-5)",
        "jnp.sqrt(batch_var * count / (count - 1) + 1e-5)",
        "forward",
    ),
    Bug(
        "adamw-channels",
        "logits, changed = model.apply(variables, images,",
        "logits, changed = model.apply(variables, images[..., ::-1],",
        "forward",
        "reverse",
    ),
    Bug("adamw-norm-epsilon", "batch_var + 1e-5", "batch_var + 1e-3", "forward"),
)
L2 = (
    Bug("l2-half", "loss + 0.5 * L2 * penalty", "loss + L2 * penalty", "loss", "half"),
    Bug("l2-missing", "loss + 0.5 * L2 * penalty", "loss + 0 * penalty", "loss", "L2"),
    Bug("l2-all-parameters", "params.values() if p.ndim > 1)", "params.values())", "loss", "all"),
    Bug(
        "l2-smoothing-others",
        "wanted = wanted * 0.9 + 0.1 / classes",
        "wanted = wanted * 0.9 + (1 - wanted) * 0.1 / (classes - 1)",
        "loss",
        "K - 1",
    ),
    Bug("l2-smoothing-missing", "    wanted = wanted * 0.9 + 0.1 / classes\n", "", "loss", "smoothed"),
    Bug("l2-bias-correction-missing", "m / (1 - B1**count)", "m", "update", "bias correction"),
    Bug("l2-bias-correction-late", "1 - B1**count", "1 - B1**(count + 1)", "update", ""),
    Bug("l2-epsilon-inside", "(jnp.sqrt(v) + EPS)", "jnp.sqrt(v + EPS)", "update", "square root"),
    Bug("l2-preprocessing", "x = (x - 0.5) / 2.0", "x = x / 2.0 - 0.5", "forward", "mean"),
    Bug("l2-gelu", "approximate=False", "approximate=True", "forward"),
    Bug("l2-layer-norm-epsilon", "jnp.sqrt(var + 1e-5)", "jnp.sqrt(var + 1e-6)", "forward"),
)
BCE = (
    Bug(
        "bce-sum-over-labels",
        "-(positive + negative).mean()",
        "-(positive + negative).sum(-1).mean()",
        "loss",
        "times 6",
    ),
    Bug("bce-pos-weight", "positive = 2.0 * y", "positive = y", "loss"),
    Bug("bce-epoch-late", "(step // EPOCH // 2)", "((step - 1) // EPOCH // 2)", "update", "one step", step=1),
    Bug("bce-schedule-per-step", "(step // EPOCH // 2)", "(step // 2)", "update", "epoch", step=3),
    Bug("bce-epsilon-inside", "eps_in_sqrt=False", "eps_in_sqrt=True", "update", "square root"),
    Bug("bce-alpha", "decay=0.99", "decay=0.9", "update", "0.9"),
)
BUGS = (*SGD, *ADAMW, *L2, *BCE)
