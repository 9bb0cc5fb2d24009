"""The lesson: training as pure functions of explicit state. Nothing here is jitted; the call site does that."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from data import Batch
from data.augment import views
from experiment.config import Config

Variables = dict[str, Any]  # what `model.apply` takes: "params" and, with BatchNorm, "batch_stats"
Array = jax.Array | np.ndarray
Loss = Callable[[Array, Array], jax.Array]  # of logits and labels


class TrainState(NamedTuple):
    """All that changes in training."""

    step: jax.Array  # () int32
    variables: Variables
    opt_state: optax.OptState
    key: jax.Array  # of dropout; folded with the step, so that a step's mask depends on nothing else
    average: Variables | None = None  # the moving average of `variables`, if one is kept


def as_targets(labels: Array, logits: Array, smoothing: float) -> jax.Array:
    """Return each class's share of each example, (N, classes): of labels (N,), or of shares already (mixup).

    With `smoothing` that much of every example is spread evenly over all classes, its own too: Szegedy et al. 2016,
    arXiv 1512.00567.
    """
    classes = logits.shape[1]
    targets = labels if labels.ndim == 2 else jax.nn.one_hot(labels, classes)
    return jnp.asarray(targets, logits.dtype) * (1 - smoothing) + smoothing / classes


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> jax.Array:
    """Return the mean over the batch of softmax cross-entropy; logits (N, classes), labels as in `as_targets`."""
    check_labels(logits, labels)
    if smoothing or labels.ndim == 2:
        return optax.softmax_cross_entropy(logits, as_targets(labels, logits, smoothing)).mean()
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def binary_cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> jax.Array:
    """Return the mean over batch and classes (trap 18) of each class against the rest."""
    check_labels(logits, labels)
    return optax.sigmoid_binary_cross_entropy(logits, as_targets(labels, logits, smoothing)).mean()


def check_labels(logits: Array, labels: Array) -> None:
    """Refuse labels that are neither (N,) nor (N, classes): those of (N, 1) would broadcast, silently."""
    chex.assert_shape(labels, logits.shape if labels.ndim == 2 else logits.shape[:1])


def count_correct(logits: Array, labels: Array) -> jax.Array:
    """Return how many of the predictions are right; of a mixed example, its larger share."""
    return (logits.argmax(axis=1) == (labels.argmax(axis=1) if labels.ndim == 2 else labels)).sum()


def clip_by_norm(grads: Any, limit: float) -> Any:
    """Scale the gradients so that the norm of them all is at most `limit`: Pascanu et al. 2013, arXiv 1211.5063."""
    norm = optax.tree.norm(grads)
    # PyTorch adds 1e-6 to the norm; optax's own transformation does not (trap 30).
    scale = jnp.minimum(limit / (norm + 1e-6), 1.0)
    return jax.tree.map(lambda g: g * scale, grads)


def update_average(average: Variables, variables: Variables, step: jax.Array, decay: float) -> Variables:
    """Return the moving average of weights and statistics after a step; the first step's is that step's own.

    Counters are not averaged: they are the latest.
    """

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        mixed = old + (1 - decay) * (new - old) if jnp.issubdtype(new.dtype, jnp.floating) else new
        return jnp.where(step == 0, new, mixed)

    return jax.tree.map(mix, average, variables)


def absolute(x: jax.Array) -> jax.Array:
    """Return |x| with gradient 0 at 0, as in PyTorch; that of jnp.abs is 1 there, where a BatchNorm's bias starts."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


LOSSES: dict[str, Callable[..., jax.Array]] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}


def split_params(model: nn.Module, params: Any) -> tuple[Any, Any]:
    """Return the parameters that are trained, and the frozen ones, for which no gradient and no state is ever made."""
    is_trained = getattr(model, "is_trained", None)
    trained = {name: layer for name, layer in params.items() if is_trained is None or is_trained(name)}
    return trained, {name: layer for name, layer in params.items() if name not in trained}


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, variables: Variables, seed: int, *, average: bool = False
) -> TrainState:
    """Return the state before the first step; `seed` is dropout's; `average` keeps a moving average, too."""
    key = jax.random.fold_in(jax.random.key(seed), 1)  # 0 is the initial weights'
    trained, _ = split_params(model, variables["params"])
    # A copy: the state is donated, and no buffer can be given away twice (trap 23).
    copy = jax.tree.map(jnp.array, variables) if average else None
    return TrainState(jnp.zeros((), jnp.int32), variables, tx.init(trained), key, copy)


def train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    loss: Loss = cross_entropy,
    l1: float = 0.0,
    clip_norm: float = 0.0,
    accumulate: int = 1,
    ema: float = 0.0,
    skip: bool = False,
    dtype: Any = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Take one step; return the new state, and the batch's mean `loss` (without L1), `correct` count and `grad_norm`.

    The options are those of `experiment.config.Config`; 0 and 1 piece leave them out. With `skip` a step whose loss
    or gradients are not finite changes nothing but the count of steps.
    """
    params, frozen = split_params(model, state.variables["params"])
    dropout_key = jax.random.fold_in(state.key, state.step)
    grads, updated, metrics = compute_grads(
        model, state.variables, batch, dropout_key, loss=loss, l1=l1, accumulate=accumulate, dtype=dtype
    )
    metrics["grad_norm"] = optax.tree.norm(grads)
    if clip_norm:
        grads = clip_by_norm(grads, clip_norm)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    params: Any = optax.apply_updates(params, updates)
    variables: Variables = {**updated, "params": {**frozen, **params}}
    average = update_average(state.average, variables, state.step, ema) if state.average else None
    after = TrainState(state.step + 1, variables, opt_state, state.key, average)
    return (skip_unless(is_finite(metrics), after, state) if skip else after), metrics


def is_finite(metrics: dict[str, jax.Array]) -> jax.Array:
    """Return whether a step's loss and gradients are finite; the norm is if all gradients are."""
    return jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])


def skip_unless(ok: jax.Array, after: TrainState, before: TrainState) -> TrainState:
    """Return the state after a step if all is well, else the one before; the step counts either way."""
    whole = jax.tree.map(partial(jnp.where, ok), after._replace(key=None), before._replace(key=None))
    return whole._replace(step=after.step, key=after.key)


def compute_grads(
    model: nn.Module,
    variables: Variables,
    batch: Batch,
    key: jax.Array,
    *,
    loss: Loss,
    l1: float,
    accumulate: int,
    dtype: Any = None,
) -> tuple[Any, Variables, dict[str, jax.Array]]:
    """Return the trained parameters' gradients, all other variables after the forward pass, and the metrics.

    The batch is taken in `accumulate` pieces, one after another, as if there were memory for no more.
    """
    params, frozen = split_params(model, variables["params"])

    def objective(params: Any, rest: Any, piece: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        every, options = (
            {**rest, "params": {**frozen, **params}},
            {"mutable": ["batch_stats"], "rngs": {"dropout": key}},
        )
        logits, updated = forward(model, every, piece.inputs, dtype, train=True, **options)
        value = loss(logits, piece.labels)
        penalty = l1 * sum(absolute(p).sum() for p in jax.tree.leaves(params)) if l1 else 0.0
        share = len(piece.inputs) / len(batch.inputs)  # pieces may differ in size, and then do not count alike
        metrics = {"loss": value * share, "correct": count_correct(logits, piece.labels)}
        return (value + penalty) * share, (updated, metrics)

    rest, results = {name: value for name, value in variables.items() if name != "params"}, []
    for i, piece in enumerate(split_batch(batch, accumulate)):
        grads, (rest, metrics) = jax.grad(objective, has_aux=True)(params, rest, piece, jax.random.fold_in(key, i))
        results.append((grads, metrics))
    grads, metrics = jax.tree.map(lambda *parts: reduce(add, parts), *results)
    return grads, rest, metrics


def split_batch(batch: Batch, pieces: int) -> list[Batch]:
    """Return a batch in that many pieces, or fewer: BatchNorm has no variance of one example."""
    pieces = max(1, min(pieces, len(batch.inputs) // 2))
    if pieces == 1:
        return [batch]
    return [Batch(*piece) for piece in zip(*(jnp.array_split(part, pieces) for part in batch), strict=True)]


def forward(model: nn.Module, variables: Variables, inputs: Array, dtype: Any, **options: Any) -> Any:
    """Return what `model.apply` does, computed in `dtype` (None: in that of the inputs), the logits float32 at least.

    As under PyTorch's autocast, layers that multiply get their weights rounded, while BatchNorm keeps its own.
    """
    if dtype is None:
        return model.apply(variables, inputs, **options)
    rounded = {**variables, "params": round_products(variables["params"], dtype)}
    found: Any = model.apply(rounded, jnp.asarray(inputs, dtype), **options)
    return (found[0].astype(jnp.float32), found[1]) if "mutable" in options else found.astype(jnp.float32)


def round_products(params: Any, dtype: Any) -> Any:
    """Return the parameters, those of layers with a kernel in `dtype`; gradients come back in their own."""
    if "kernel" in params:
        return cast(params, dtype)
    return {name: round_products(value, dtype) if isinstance(value, dict) else value for name, value in params.items()}


def cast(tree: Any, dtype: Any) -> Any:
    """Return a tree with all that is floating in `dtype`."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def compute_dtype(config: Config) -> Any:
    """Return what is computed in, if it is not what the weights are in."""
    return jnp.bfloat16 if config.precision == "bfloat16" else None


def step_options(config: Config) -> dict[str, Any]:
    """Return what `config` says to `train_step`."""
    loss = partial(LOSSES[config.loss], smoothing=config.label_smoothing)
    options = {name: getattr(config, name) for name in ("l1", "clip_norm", "accumulate", "ema")}
    return {"loss": loss, "dtype": compute_dtype(config), "skip": config.on_nan == "skip", **options}


def eval_step(
    model: nn.Module, variables: Variables, inputs: Array, *, dtype: Any = None, tta: str = "none"
) -> jax.Array:
    """Return logits (N, classes) of inputs (N, ..., C), dropout off and BatchNorm by its kept statistics.

    With `tta` they are the mean of those of several views (`data.augment.views`).
    """
    seen = views(inputs, tta, jnp)
    return reduce(add, [share * forward(model, variables, view, dtype, train=False) for share, view in seen])
