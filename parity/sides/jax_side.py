"""Any JAX model behind one interface: its arrays by path, and a pure function of them and of the inputs."""

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from flax import linen as nn
from flax import nnx

from data import UserError
from parity.sides.arrays import is_narrow, narrowing, to_jax, x64
from parity.sides.faults import described, explained
from parity.sides.function import FunctionSide
from parity.sides.jax_faults import is_mixed
from parity.sides.linen import made
from parity.sides.opened import is_equinox, of_nnx, opened
from parity.sides.outputs import named_leaves
from parity.sides.pair import pair, transformed, wrapper
from parity.sides.stateful import equinox_with_state


class JaxSide(Protocol):
    """What is asked of a JAX model."""

    kind: str  # "Linen", "NNX", "Equinox", "function"
    leaves: dict[str, np.ndarray]  # every array by path, "params/Dense_0/kernel"; floats in float64
    trained: frozenset[str]  # the paths of what is differentiated: no statistics, tables, integers
    notes: list[str]  # what a report should say of how it is called
    output: Any  # the output tree in evaluation mode, shapes and dtypes alone
    concrete: bool  # it decides in Python by the values of its inputs, so that only its leaves may be traced
    narrow: bool  # it computes in float32, whatever its leaves and inputs are

    def call(
        self, leaves: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output tree, and the leaves that a training step changes; pure and traceable, under `x64`."""
        ...

    def native(self, leaves: Mapping[str, Any]) -> Any:
        """Return leaves in the model's own form (variables, a module, a tree) and in its own dtypes."""
        ...


def jax_side(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JaxSide:
    """Return a model behind the interface; it is called abstractly on the inputs to find out how.

    Args:
        model: a Linen, NNX or Equinox module; a pair of a Linen module or a function and its parameters, Haiku's
            transformed functions among them; a partial, vmapped or jitted function that holds its parameters.
        args: positional inputs; numpy's arrays will do.
        kwargs: inputs by name.

    Raises:
        UserError: it cannot be called so; one line.
    """
    with x64():
        args, kwargs = to_jax((args, dict(kwargs)))
        try:
            side = _made(model, args, kwargs)
        except UserError:
            raise
        except Exception as error:
            if (narrow := _narrow(model, args, kwargs) if is_mixed(error) else None) is not None:
                return narrow
            raise UserError(
                f"the JAX side cannot be called: {explained(error)}; {described(model, args, kwargs)}"
            ) from error

    if not named_leaves(side.output):
        raise UserError("the JAX side returns no array")
    return side


def _narrow(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JaxSide | None:
    """Return the side of a model that mixes its own float32 with float64 in a way that JAX refuses, in float32."""
    try:
        with narrowing():
            side = _made(model, args, kwargs)
    except Exception:
        return None
    side.notes.append("the JAX side computes in float32: it fails in float64, as it makes arrays of float32 itself")
    return side


def _made(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JaxSide:
    if isinstance(model, nn.Module) and model.scope is None:
        return made(model, args, kwargs)
    if isinstance(model, tuple | list) and hasattr(model, "init") and hasattr(model, "apply"):
        return transformed(model, args, kwargs)
    if isinstance(model, tuple | list):
        return _of_tuple(tuple(model), args, kwargs)
    if hasattr(model, "params_shape_tree") and isinstance(getattr(model, "module", None), nn.Module):
        return wrapper(model, args, kwargs)
    if isinstance(model, type):
        raise UserError(f"the JAX side is the class {model.__name__}: call it, {model.__name__}(...)")
    if not callable(model):
        raise UserError(f"the JAX side is {type(model).__name__}: {EXPECTED}")
    if isinstance(model, nnx.Module) and not is_narrow() and (wide := of_nnx(model, widen=True)).notes:
        with contextlib.suppress(Exception):  # a carry of its own may be float32 in any case
            return FunctionSide(wide, model, args, kwargs)
    if (found := opened(model)) is None:
        raise UserError(f"the JAX function holds no arrays: {EXPECTED}")
    if found.kind == "Equinox":
        return equinox_with_state(model, found, args, kwargs)
    return FunctionSide(found, model, args, kwargs)


def _of_tuple(model: tuple[Any, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> JaxSide:
    if len(model) not in (2, 3):
        raise UserError(f"the JAX side is a tuple of {len(model)}: {EXPECTED}")
    first, *others = model
    if isinstance(first, nnx.GraphDef):
        module = nnx.merge(first, *others)
        return FunctionSide(_of(opened(module)), module, args, kwargs)
    owner = getattr(first, "__self__", None)
    if isinstance(owner, nn.Module) and first.__name__ == "apply":
        first = owner
    if isinstance(first, nn.Module):
        return made(first, args, kwargs, *others)
    if is_equinox(first):
        return equinox_with_state(first, _of(opened(first)), args, kwargs, *others)
    if not callable(getattr(first, "apply", first)) and callable(others[0]):
        first, others = others[0], [first, *others[1:]]
    function = getattr(first, "apply", first)
    if not callable(function):
        raise UserError(f"the JAX side is a pair of {type(first).__name__}, {type(others[0]).__name__}: {EXPECTED}")
    return pair(function, others, args, kwargs)


def _of(found: Any) -> Any:
    if found is None:
        raise UserError(f"the JAX module holds no arrays: {EXPECTED}")
    return found


EXPECTED = "expected a Linen, NNX or Equinox module, a pair (apply, params), or a function that holds its parameters"
