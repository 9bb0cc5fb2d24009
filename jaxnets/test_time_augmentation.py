"""Evaluating several views of each example."""

from collections.abc import Callable
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp

from data.augment import views
from jaxnets.losses import Array
from jaxnets.step import Model, Variables

EvalStep = Callable[[Model, Variables, Array], jax.Array]


def with_views(step: EvalStep, kind: str) -> EvalStep:
    """Return `step` with the mean of the logits of several views of each example (`data.augment.views`)."""

    def averaged(model: Model, variables: Variables, inputs: Array) -> jax.Array:
        return reduce(add, [share * step(model, variables, view) for share, view in views(inputs, kind, jnp)])

    return averaged
