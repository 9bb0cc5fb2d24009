"""What is asked of a JAX side beside its forward pass: gradients of a weighted sum of its outputs."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.sides.draw import Inputs
from parity.sides.outputs import named_leaves
from parity.trace.shadow import Shadow, run_twice


def gradients(
    side: Any, leaves: Mapping[str, Any], inputs: Inputs, cotangents: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the gradients of each trained leaf, under `x64`; traceable.

    Args:
        side: the model.
        leaves: its arrays.
        inputs: its inputs.
        cotangents: weights of the sum, by output, in the outputs' layouts.
    """
    trained, given = _asked(side, leaves, inputs)
    return jax.grad(_weighted(side, leaves, cotangents), allow_int=True)(trained, given)


def gradients_by_all(
    side: Any, leaves: Mapping[str, Any], inputs: Inputs, cotangents: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Any]:
    """Return the gradients of each trained leaf and of the inputs; of these None if Python looks at their values."""
    if side.concrete:
        return gradients(side, leaves, inputs, cotangents), None
    trained, given = _asked(side, leaves, inputs)
    return jax.grad(_weighted(side, leaves, cotangents), argnums=(0, 1), allow_int=True)(trained, given)


def gradients_in_float64(
    side: Any, leaves: Mapping[str, Any], inputs: Inputs, cotangents: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Any]:
    """Return the same as `gradients_by_all`, of the program that is float64 where the side says less."""
    return in_float64(lambda leaves: gradients_by_all(side, leaves, inputs, cotangents), dict(leaves))


def in_float64(function: Callable[..., Any], *trees: Any) -> Any:
    """Return what a function makes of trees if its program is float64 wherever it says less; under `x64`."""
    trees = jax.tree.map(jnp.asarray, trees)
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*trees)
    found = run_twice(closed, jax.tree.leaves(trees), Shadow())
    return jax.tree.unflatten(jax.tree.structure(shape), [cell.exact for cell in found])


def _asked(side: Any, leaves: Mapping[str, Any], inputs: Inputs) -> tuple[dict[str, Any], Any]:
    trained = {path: jnp.asarray(leaves[path]) for path in side.trained}
    return trained, jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))


def _weighted(side: Any, leaves: Mapping[str, Any], cotangents: Mapping[str, np.ndarray]) -> Callable[..., Any]:
    """Return the weighted sum of the outputs as a function of the trained leaves and the inputs."""
    fixed = {path: array for path, array in leaves.items() if path not in side.trained}

    def weighted(trained: Mapping[str, Any], given: Any) -> Any:
        found = named_leaves(side.call({**fixed, **trained}, *given, train=False)[0])
        return sum(((found[name] * weight).sum() for name, weight in cotangents.items()), jnp.zeros(()))

    return weighted
