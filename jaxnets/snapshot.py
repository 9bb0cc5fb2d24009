"""Snapshots: the complete state of a training as named arrays, and back; a checkpoint stores them."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiment.runs.snapshot import check_fitting
from jaxnets.averaging import AveragedState, State

# What `compose.update_rule` puts around the update rule; the names in a checkpoint are the same without it.
COMPOSED = re.compile(r"^opt_state/(inner_states/trained/inner_state/)?(rule/)?")


def to_arrays(state: State) -> dict[str, np.ndarray]:
    """Return all of a state but the key: "variables/params/fc1/kernel" and so on; valid until the next step."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state._replace(key=None)).items()}


def from_arrays(state: State, arrays: Mapping[str, np.ndarray]) -> State:
    """Return the state that `arrays` stand for; `state` is the template, and gives the key.

    Raises:
        UserError: an array is missing, or of another shape or dtype, or one too many.
    """
    template = state._replace(key=None)
    if isinstance(state, AveragedState) and "averaged" not in arrays:  # saved before steps in the average were counted
        arrays = {**arrays, "averaged": arrays["step"]}
    check_fitting(named_leaves(template), arrays)
    # As copies, since training donates them (trap 23).
    leaves = [jnp.array(arrays[name]) for name in named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)._replace(key=state.key)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return a tree's leaves by their paths, those of an optimizer without the transformations around it."""
    paths = jax.tree.leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}
    return {COMPOSED.sub("opt_state/", name): leaf for name, leaf in named.items()}
