"""Copying weights between PyTorch and Flax by name; the rules are in `experiment.weights.conversion`."""

from experiment.weights.conversion import (
    COUNTER,
    as_array,
    belongs,
    flatten,
    is_flax,
    leaves,
    state_dict_from_weights,
    to_flax,
    to_torch,
    unflatten,
    variables_from_weights,
)
from experiment.weights.layout import CopyError

__all__ = [
    "COUNTER",
    "CopyError",
    "as_array",
    "belongs",
    "flatten",
    "is_flax",
    "leaves",
    "state_dict_from_weights",
    "to_flax",
    "to_torch",
    "unflatten",
    "variables_from_weights",
]
