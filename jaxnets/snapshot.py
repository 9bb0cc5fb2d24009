"""Snapshots: the complete state of a training as named arrays, and back; a checkpoint stores them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiment.runs.snapshot import check_fitting
from jaxnets.steps import TrainState


def to_arrays(state: TrainState) -> dict[str, np.ndarray]:
    """Return all of a state but the key: "variables/params/fc1/kernel" and so on; valid until the next step."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state._replace(key=None)).items()}


def from_arrays(state: TrainState, arrays: Mapping[str, np.ndarray]) -> TrainState:
    """Return the state that `arrays` stand for; `state` is the template, and gives the key.

    Raises:
        UserError: an array is missing, or of another shape or dtype, or one too many.
    """
    template = state._replace(key=None)
    check_fitting(named_leaves(template), arrays)
    # As copies, since training donates them (trap 23).
    leaves = [jnp.array(arrays[name]) for name in named_leaves(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)._replace(key=state.key)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return a tree's leaves by their paths."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in jax.tree.leaves_with_path(tree)
    }
