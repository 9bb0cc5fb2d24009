"""JAX models and inputs from the user's files; PyTorch is not imported."""

from typing import Any

import jax
from flax import linen, nnx

from parity.sides.arrays import x64
from parity.sides.opened import is_equinox
from parity.sides.signatures import is_key_word, parameters
from parity.sides.target import loaded, parted


def load_jax(target: str) -> Any:
    """Return the JAX model that a target names, made with 64 bits: a module, a pair (apply, params), a function.

    Raises:
        UserError: the file, the name or the call is wrong; one line.
    """
    with x64():
        return loaded(target, _is_model, _generators)


def load_inputs(target: str) -> tuple[Any, Any]:
    """Return PyTorch's inputs and JAX's, or None if they are the same, of the function that a target names.

    Raises:
        UserError: the file, the name or the call is wrong; one line.
    """
    with x64():
        made = loaded(target, lambda value: not callable(value), _generators)
    return parted(made)


def _is_model(value: Any) -> bool:
    """Return whether a value is a model, not what makes one: that can be called without an argument."""
    if isinstance(value, type):
        return False
    if (
        isinstance(value, linen.Module | nnx.Module | tuple | list)
        or is_equinox(value)
        or hasattr(value, "params_shape_tree")
    ):
        return True
    found = parameters(value).values()
    wanted = (p for p in found if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return not callable(value) or any(not is_key_word(p.name) for p in wanted)


def _generators(make: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return the generators of random numbers that a class or a function wants."""
    found = parameters(make.__init__ if isinstance(make, type) else make)  # NNX's metaclass hides its parameters
    needed = [n for n, p in found.items() if is_key_word(n) and n not in given and p.default is p.empty]
    return {n: nnx.Rngs(0) if n == "rngs" else jax.random.PRNGKey(0) for n in needed}
