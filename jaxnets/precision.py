"""Computing in a narrower dtype than that of the weights."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.step import Model, Variables


@dataclasses.dataclass(frozen=True)
class InPrecision:
    """A network that computes in `dtype`; logits are float32.

    As under PyTorch's autocast, the weights of layers that multiply are rounded; BatchNorm keeps its own.
    """

    model: Model
    dtype: Any

    def apply(self, variables: Variables, inputs: Any, **options: Any) -> Any:
        """Apply the network; as Flax's `apply`, return a pair if collections are `mutable`."""
        rounded = {**variables, "params": round_products(variables["params"], self.dtype)}
        found = self.model.apply(rounded, jnp.asarray(inputs, self.dtype), **options)
        if "mutable" not in options:
            return found.astype(jnp.float32)
        logits, updated = found
        return logits.astype(jnp.float32), updated


def round_products(params: Any, dtype: Any) -> Any:
    """Return the parameters, those of layers with a kernel in `dtype`; their gradients keep their own dtype."""
    if "kernel" in params:
        return cast(params, dtype)
    return {name: round_products(value, dtype) if isinstance(value, dict) else value for name, value in params.items()}


def cast(tree: Any, dtype: Any) -> Any:
    """Return a tree with its floating-point leaves in `dtype`."""
    return jax.tree.map(lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)
