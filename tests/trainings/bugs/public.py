"""Bugs in trainings as public code writes them."""

from tests.trainings.bug import Bug

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
BUGS = (*HAIKU, *GPT, *LIGHTNING, *GAN, *RNN)
