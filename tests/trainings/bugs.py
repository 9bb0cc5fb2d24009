"""Bugs planted in the trainings of this folder: one edit of one file, the stage at which the sides part.

`word` (in any case) is to be in the diagnosis; "" asks for none. `step` is the first at which the stage differs.
"""

from pathlib import Path
from typing import NamedTuple

from tests.trainings import FOLDER


class Bug(NamedTuple):
    """One planted bug."""

    name: str  # the pair is its first word
    old: str
    new: str
    stage: str
    word: str = ""
    side: str = "jax"
    step: int = 1

    @property
    def pair(self) -> str:
        """Return the name of the pair that it is planted in."""
        return self.name.split("-")[0]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both files of the pair, one of them edited."""
        written = []
        for side in ("torch", "jax"):
            text = (FOLDER / f"{self.pair}_{side}.py").read_text()
            if side == self.side:
                assert text.count(self.old) == 1, f"{self.name}: {text.count(self.old)} times {self.old!r}"
                text = text.replace(self.old, self.new)
            written.append(folder / f"{self.name.replace('-', '_')}_{side}.py")
            written[-1].write_text(text)
        return written[0], written[1]


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
HAIKU = (
    Bug(
        "haiku-decay-in-optimizer",
        "optax.adam(1e-3)",
        "optax.chain(optax.add_decayed_weights(5e-4), optax.adam(1e-3))",
        "update",
        "decay",
    ),
    Bug("haiku-decoupled-too", "optax.adam(1e-3)", "optax.adamw(1e-3, weight_decay=5e-4)", "update", "decay"),
    Bug("haiku-half", "loss + 0.5 * 5e-4", "loss + 5e-4", "loss", "half"),
    Bug("haiku-no-decay", "loss + 0.5 * 5e-4", "loss + 0 * 5e-4", "loss", "L2"),
    Bug("haiku-loss-sum", "log_softmax(logits)) / images.shape[0]", "log_softmax(logits))", "loss"),
    Bug("haiku-epsilon", "optax.adam(1e-3)", "optax.adam(1e-3, eps=0.0, eps_root=1e-8)", "update", "square root"),
    Bug(
        "haiku-channel-means",
        "logits = model.apply(params, images)",
        "logits = model.apply(params, images - jnp.array([0.485, 0.456, 0.406]))",
        "forward",
        "another mean for each channel",
    ),
    Bug(
        "haiku-channel-deviations",
        "logits = model.apply(params, images)",
        "logits = model.apply(params, (images - 0.5) / jnp.array([0.229, 0.224, 0.225]))",
        "forward",
        "another mean or deviation for each channel",
    ),
    Bug("haiku-padding", 'hk.Conv2D(8, 3, padding="VALID"', "hk.Conv2D(8, 3, padding=((0, 0), (1, -1))", "forward"),
)
GPT = (
    Bug(
        "gpt-clip-optax",
        "grads = clipped(grads)\n",
        "grads = optax.clip_by_global_norm(CLIP).update(grads, optax.EmptyState())[0]\n",
        "update",
        "1e-06",
    ),
    Bug("gpt-decay-all", "weight_decay=0.1, mask=matrices", "weight_decay=0.1", "update", "all"),
    Bug(
        "gpt-schedule-optax",
        "optax.adamw(rate,",
        "optax.adamw(optax.warmup_cosine_decay_schedule(0.0, RATE, WARMUP, DECAY_STEPS, MIN_RATE),",
        "update",
    ),
    Bug("gpt-warmup", "RATE * (step + 1) / (WARMUP + 1)", "RATE * (step + 1) / WARMUP", "update", ""),
    Bug(
        "gpt-no-floor",
        "MIN_RATE + 0.5 * (1 + jnp.cos(jnp.pi * share)) * (RATE - MIN_RATE)",
        "0.5 * (1 + jnp.cos(jnp.pi * share)) * RATE",
        "update",
        "",
        step=6,
    ),
    Bug("gpt-gelu", "approximate=False", "approximate=True", "forward", "gelu"),
    Bug("gpt-norm-epsilon", 'epsilon=1e-5, name="ln_f"', 'name="ln_f"', "forward"),
    Bug("gpt-beta", "b2=0.95", "b2=0.999", "update", "0.999"),
    Bug("gpt-dropout-missing", "deterministic=False", "deterministic=True", "forward", "1 mask"),
)
# Other styles: statistics moved by pieces of a batch, optax.MultiSteps, two optimizers in Equinox, a recurrent NNX.
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
LIGHTNING = (
    Bug(
        "lightning-summed", "mask=kernels)), EVERY", "mask=kernels)), EVERY, use_grad_mean=False", "update", "", step=2
    ),
    Bug("lightning-every", "0.1, 0.25, 2, 0.9", "0.1, 0.25, 3, 0.9", "update", "", step=2),
    Bug(
        "lightning-clip-pieces",
        "apply_gradients(grads=grads)",
        "apply_gradients(grads=clip(grads))",
        "update",
        "",
        step=2,
    ),
    Bug(
        "lightning-schedule-per-batch",
        "return RATE * jnp",
        "update = 2 * update\n    return RATE * jnp",
        "update",
        "",
        step=6,
    ),
    Bug("lightning-decay-norm", 'path[-1].key == "kernel"', 'path[-1].key != "bias"', "update", "norm/scale", step=2),
    Bug("lightning-decay-all", ", mask=kernels", "", "update", "all", step=2),
    Bug(
        "lightning-average-every-batch",
        "jnp.where(updated, EMA * e + (1 - EMA) * p, e)",
        "EMA * e + (1 - EMA) * p",
        "average",
        "does not move",
        step=3,
    ),
    Bug(
        "lightning-average-decay",
        "0.1, 0.25, 2, 0.9",
        "0.1, 0.25, 2, 0.99",
        "average",
        "0.99",
        step=2,
    ),
    Bug(
        "lightning-clip-optax",
        "norm = optax.tree.norm(grads)\n",
        "norm = optax.tree.norm(grads) - 1e-6\n",
        "update",
        "1e-06",
        step=2,
    ),
    Bug("lightning-float32", "dtype: Any = jnp.bfloat16", "dtype: Any = jnp.float32", "forward", "bfloat16"),
    Bug(
        "lightning-params-half",
        'jnp.zeros((1, 12)))["params"]\n',
        'jnp.zeros((1, 12)))["params"]\n    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)\n',
        "update",
        "mixed precision",
    ),
)
GAN = (
    Bug("gan-beta", "b1=B1)\ngenerator_tx", "b1=0.9)\ngenerator_tx", "update", "0.9"),
    Bug("gan-rate", "optax.adam(RATE / 2", "optax.adam(RATE", "update", "rate"),
    Bug(
        "gan-order",
        "eqx.filter_grad(generator_loss)(generator, critic, noise)",
        "eqx.filter_grad(generator_loss)(generator, state[1], noise)",
        "update",
    ),
    Bug("gan-loss-half", "-score(real)).mean() +", "-score(real)).mean() + 0.5 *", "loss"),
    Bug(
        "gan-generator-loss",
        "return jax.nn.softplus(-jax.vmap(critic)",
        "return -jax.nn.softplus(jax.vmap(critic)",
        "update",
    ),
    Bug("gan-slope", "(8, 16, 1), 0.2", "(8, 16, 1), 0.01", "loss", "slope"),
    Bug(
        "gan-generator-frozen", "generator = eqx.apply_updates(generator, updates)", "pass", "update", "does not train"
    ),
)
RNN = (
    Bug("rnn-clip-missing", "tx.update(clipped(grads)", "tx.update(grads", "update", "not clipped"),
    Bug("rnn-clip-epsilon", " + 1e-6))", "))", "update", "1e-06"),
    Bug("rnn-state-not-carried", "updates), opt_state, h)", "updates), opt_state, state.carried)", "forward", step=2),
    Bug("rnn-momentum", "optax.trace(0.5)", "optax.trace(0.9)", "update", "0.9", step=2),
    Bug("rnn-decay", "optax.scale_by_rms(0.9,", "optax.scale_by_rms(0.99,", "update", "0.99"),
    Bug("rnn-epsilon-inside", "eps_in_sqrt=False", "eps_in_sqrt=True", "update", "square root"),
    Bug(
        "rnn-truncated-each-step",
        "h = jnp.tanh(self.input(x) + self.hidden(h))",
        "h = jnp.tanh(self.input(x) + self.hidden(jax.lax.stop_gradient(h)))",
        "gradients",
    ),
    Bug("rnn-relu", "h = jnp.tanh(", "h = jax.nn.relu(", "forward", "relu"),
    Bug("rnn-reversed", "x.swapaxes(0, 1))", "x.swapaxes(0, 1), reverse=True)", "forward"),
)
BUGS = (*SGD, *ADAMW, *L2, *BCE, *EMA, *ACCUMULATE, *MIXED, *DROPOUT, *HAIKU, *GPT, *PIECES, *LIGHTNING, *GAN, *RNN)
