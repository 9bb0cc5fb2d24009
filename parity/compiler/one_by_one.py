"""Evaluate equations one at a time: what is exact by numpy, the rest by XLA, each operation compiled by itself."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from parity.compiler.program import Equation, Program, Values, arguments_of, is_key, named
from parity.sides.compilation import QUICK_COMPILATION

Params = Mapping[str, Any]


def _broadcast(params: Params, x: np.ndarray) -> np.ndarray:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _slice(params: Params, x: np.ndarray) -> np.ndarray:
    strides = params["strides"] or (1,) * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _select(_: Params, which: np.ndarray, *cases: np.ndarray) -> np.ndarray:
    return np.where(which, cases[1], cases[0]) if which.dtype == bool else np.choose(which, cases)


def _plain(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda _, *arrays: function(*arrays)


# Moves of data, and arithmetic that IEEE 754 rounds in one way: numpy's result is XLA's, bit by bit, and compiling
# these would take most of the time. XLA's own way of each is seen inside the compiled program.
NUMPY: dict[str, Callable[..., np.ndarray]] = {
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "select_n": _select,
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "concatenate": lambda params, *arrays: np.concatenate(arrays, params["dimension"]),
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    **dict.fromkeys(("add", "add_any"), _plain(np.add)),
    **{name: _plain(getattr(np, function)) for name, function in (("sub", "subtract"), ("mul", "multiply"))},
    **{name: _plain(getattr(operator, name)) for name in ("gt", "lt", "ge", "le", "eq", "ne")},
    **{name: _plain(getattr(np, f"{name}imum")) for name in ("max", "min")},
    "neg": _plain(np.negative),
    "abs": _plain(np.abs),
    "copy": _plain(np.copy),
}


class Evaluator:
    """Evaluates programs one equation at a time; each is compiled once for its parameters, by XLA's own code."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], tuple[Equation, Callable[..., Any]]] = {}

    def __call__(self, program: Program, values: Values) -> Values:
        """Return the values of all equations, those of the inputs among them."""
        known = dict(values)
        for equation in program.equations:
            known |= named(equation, self._single(equation, arguments_of(equation, known)))
        return known

    def _single(self, equation: Equation, given: list[Any]) -> Any:
        if equation.primitive.name == "reshape" and equation.params["dimensions"] is None and not is_key(given[0]):
            return np.reshape(np.asarray(given[0]), equation.params["new_sizes"])
        if equation.primitive.name in NUMPY and not any(map(is_key, given)):
            return NUMPY[equation.primitive.name](equation.params, *map(np.asarray, given))
        return self._by_xla(equation)(*given)

    def _by_xla(self, equation: Equation) -> Callable[..., Any]:
        key = equation.primitive.name, repr(sorted(equation.params.items(), key=lambda item: item[0]))
        if key not in self._compiled:

            def single(*arguments: Any) -> Any:
                return equation.primitive.bind(*arguments, **equation.params)

            compiled = jax.jit(single, compiler_options=QUICK_COMPILATION)
            if "jaxpr" in key[1]:  # its constants are not in its text, so that the text does not say which one it is
                return compiled
            # The equation is kept, so that no other object can get the address that stands in the text.
            self._compiled[key] = equation, compiled
        return self._compiled[key][1]
