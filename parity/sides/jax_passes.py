"""What is asked of a JAX side beside its forward pass: gradients of a weighted sum of its outputs."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.sides.draw import Inputs
from parity.sides.outputs import named_leaves


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
    fixed = {path: array for path, array in leaves.items() if path not in side.trained}

    def weighted(trained: Mapping[str, Any], given: Any) -> Any:
        found = named_leaves(side.call({**fixed, **trained}, *given, train=False)[0])
        return sum(((found[name] * weight).sum() for name, weight in cotangents.items()), jnp.zeros(()))

    trained = {path: jnp.asarray(leaves[path]) for path in side.trained}
    given = jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))
    return jax.grad(weighted, allow_int=True)(trained, given)
