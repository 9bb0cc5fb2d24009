"""Calling a side abstractly: does it take these inputs, and what would it return?"""

from collections.abc import Mapping
from typing import Any

import jax

from parity.sides.arrays import is_array
from parity.sides.jax_faults import is_traced_value
from parity.sides.jax_noise import noted


def settle(side: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Set `side.output`, shapes and dtypes of what evaluation mode returns, and `side.noise`; nothing is computed.

    Where the module decides in Python by the value of an input, the inputs stay concrete, and `side.concrete` says so.
    """
    leaves, treedef = jax.tree.flatten((args, dict(kwargs)))
    slots = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

    def run(own: Any, arrays: Any) -> Any:
        new = list(leaves)
        for slot, array in zip(slots, arrays, strict=True):
            new[slot] = array
        args, kwargs = jax.tree.unflatten(treedef, new)
        return only_arrays(side.call(own, args, kwargs, train=False)[0], kept)

    kept: list[Any] = []
    try:
        with noted() as drawn:
            shapes = jax.eval_shape(run, side.leaves, [leaves[i] for i in slots])
    except Exception as error:
        if not is_traced_value(error):
            raise
        with noted() as drawn:
            shapes = jax.eval_shape(lambda own: run(own, [leaves[i] for i in slots]), side.leaves)
        side.concrete = True
        side.notes.append("the JAX side decides in Python by the values of its inputs, which therefore are constants")
    side.output, side.noise = kept[-1](shapes), tuple(drawn)


def only_arrays(output: Any, kept: list[Any]) -> list[Any]:
    """Return the arrays of an output; append what puts them, or others, in their place to `kept`."""
    leaves, treedef = jax.tree.flatten(output)
    slots = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

    def filled(arrays: Any) -> Any:
        new = list(leaves)
        for slot, array in zip(slots, arrays, strict=True):
            new[slot] = array
        return jax.tree.unflatten(treedef, new)

    kept.append(filled)
    return [leaves[i] for i in slots]
