"""Bugs in trainings of representations, students and graphs."""

from tests.trainings.bug import Bug

BYOL = (
    Bug(
        "byol-target-before",
        'state["target"], params["online"])',
        'state["target"], state["params"]["online"])',
        "average",
        "before",
    ),
    Bug("byol-tau", 'jnp.pi * state["it"] / 20', 'jnp.pi * (state["it"] + 1) / 20', "average", "decay"),
    Bug(
        "byol-views-not-swapped",
        "regression(p1, t2) + regression(p2, t1)",
        "regression(p1, t1) + regression(p2, t2)",
        "loss",
    ),
    Bug(
        "byol-statistics-second-missing",
        'run(encoder, params["online"], enc, b)',
        'run(encoder, params["online"], stats["online"], b)',
        "statistics",
    ),
    Bug("byol-loss-half", "return 2 - 2 *", "return 1 -", "loss"),
)
SIMCLR = (
    Bug("simclr-temperature", "temperature=0.2", "temperature=0.5", "loss"),
    Bug("simclr-diagonal", "sim = jnp.where(jnp.eye(len(z), dtype=bool), -9e15, sim)", "pass", "loss"),
    Bug(
        "simclr-decoupled",
        "optax.chain(optax.add_decayed_weights(1e-4), optax.adam(optax.cosine_decay_schedule(3e-3, 10)))",
        "optax.adamw(optax.cosine_decay_schedule(3e-3, 10), weight_decay=1e-4)",
        "update",
        "decoupled",
    ),
)
DISTILL = (
    Bug("distill-temperature", ".mean() * T**2", ".mean() * T", "loss"),
    Bug(
        "distill-alpha",
        "ALPHA * optax.softmax_cross_entropy_with_integer_labels(logits, y).mean() + (1 - ALPHA) * kd",
        "(1 - ALPHA) * optax.softmax_cross_entropy_with_integer_labels(logits, y).mean() + ALPHA * kd",
        "loss",
    ),
    Bug("distill-milestones", "{3: 0.2, 6: 0.2}", "{4: 0.2, 7: 0.2}", "update", step=4),
    Bug(
        "distill-variance",
        "+ (self.var[...] - self.momentum * old) * n / (n - 1)",
        "+ (self.var[...] - self.momentum * old)",
        "statistics",
        "biased",
    ),
)
TRIPLET = (
    Bug("triplet-margin", "+ 0.5, 0)", "+ 0.2, 0)", "loss"),
    Bug("triplet-epsilon", "x - y + 1e-6", "x - y", "loss"),
    Bug("triplet-accumulator", "jnp.full_like(p, 0.1)", "jnp.full_like(p, 0.0)", "update"),
    Bug("triplet-swapped", "distance(x, y) - distance(x, z)", "distance(x, z) - distance(x, y)", "loss"),
)
GCN = (
    Bug("gcn-mask-missing", "jnp.sum(nll * mask) / jnp.sum(mask)", "jnp.mean(nll)", "loss"),
    Bug("gcn-mask-mean", "/ jnp.sum(mask)", "/ len(mask)", "loss"),
    Bug("gcn-decay-all", '"gc2": "plain"', '"gc2": "decay"', "update", "decay"),
    Bug("gcn-keep-rate", "nn.Dropout(0.5,", "nn.Dropout(0.4,", "forward", "rate"),
    Bug("gcn-bias", "return adj @ (x @ w) + b", "return adj @ (x @ w + b)", "forward", step=2),  # b starts at zero
)
SPECTRAL = (
    Bug(
        "spectral-iterations",
        "    v = normalize(weight.T @ u)\n    u = normalize(weight @ v)\n",
        "    v = normalize(weight.T @ u)\n    u = normalize(weight @ v)\n    v = normalize(weight.T @ u)\n",
        "forward",
    ),
    Bug("spectral-no-stop", "u, v = jax.lax.stop_gradient((u, v))", "pass", "gradients"),
    Bug("spectral-u-kept", "opt_state, u, v), loss", "opt_state, state[2], v), loss", "statistics"),
    Bug("spectral-norm-axis", "axis=1, keepdims=True)\n", "axis=0, keepdims=True)\n", "forward"),
)
BUGS = (*BYOL, *SIMCLR, *DISTILL, *TRIPLET, *GCN, *SPECTRAL)
