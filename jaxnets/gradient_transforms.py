"""What happens to gradients before the update rule: L1, clipping, frozen parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnets.step import Model

Grad = Callable[..., Any]  # `jax.grad`, or what behaves like it


def absolute(x: jax.Array) -> jax.Array:
    """Return |x| with gradient 0 at 0, as in PyTorch; `jnp.abs` has 1 there, where a BatchNorm's bias starts."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


def with_l1(grad: Grad, weight: float) -> Grad:
    """Return `grad` of the objective plus `weight` times the sum of the absolute values of all parameters.

    It acts before the update rule's own chain, so that `grad_norm` includes it; the reported loss does not.
    """

    def of(objective: Callable[..., Any], *, has_aux: bool) -> Callable[..., Any]:
        def penalised(params: Any, *rest: Any) -> Any:
            value, aux = objective(params, *rest)
            return value + weight * sum(absolute(p).sum() for p in jax.tree.leaves(params)), aux

        return grad(penalised, has_aux=has_aux)

    return of


def clip_by_norm(limit: float) -> optax.GradientTransformation:
    """Scale the gradients so that their global norm is at most `limit`: Pascanu et al. 2013, arXiv 1211.5063."""

    def clip(grads: Any, _params: Any) -> Any:
        # PyTorch adds 1e-6 to the norm; optax.clip_by_global_norm does not (trap 30).
        scale = jnp.minimum(limit / (optax.tree.norm(grads) + 1e-6), 1.0)
        return jax.tree.map(lambda g: g * scale, grads)

    return optax.stateless(clip)


def has_frozen(model: Model) -> bool:
    """Return whether some of the network's parameters are frozen."""
    return hasattr(model, "is_trained") and getattr(model, "frozen", True)


def split_params(model: Model, params: Any) -> tuple[Any, Any]:
    """Return the trained parameters and the frozen ones."""
    trained = {name: layer for name, layer in params.items() if not has_frozen(model) or model.is_trained(name)}
    return trained, {name: layer for name, layer in params.items() if name not in trained}


def without_frozen(grad: Grad, model: Model) -> Grad:
    """Return `grad` by the trained parameters alone; the frozen ones have zeros, which no backward pass computes."""

    def of(objective: Callable[..., Any], *, has_aux: bool) -> Callable[..., Any]:
        def split(params: Any, *rest: Any) -> Any:
            trained, frozen = split_params(model, params)
            grads, aux = grad(lambda some, *rest: objective({**frozen, **some}, *rest), has_aux=has_aux)(
                trained, *rest
            )
            return {**jax.tree.map(jnp.zeros_like, frozen), **grads}, aux

        return split

    return of


def freeze(tx: optax.GradientTransformation, model: Model) -> optax.GradientTransformation:
    """Return the update rule for the trained parameters; the frozen ones stay as they are and have no state."""

    def labels(params: Any) -> Any:
        trained, _ = split_params(model, params)
        return {name: "trained" if name in trained else "frozen" for name in params}

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)
