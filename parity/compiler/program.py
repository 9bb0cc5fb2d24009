"""A JAX function as a flat list of equations, each of which can be evaluated by itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive

# Primitives that call a jaxpr once, with their own arguments: their equations take their place.
CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "custom_jvp_call", "custom_vjp_call"}

Values = dict[int, Any]  # by the number of a value


class Constant(NamedTuple):
    """An argument that is written into an equation."""

    value: Any


class Equation(NamedTuple):
    """One operation, from numbered values to numbered values."""

    primitive: Primitive
    params: Mapping[str, Any]
    inputs: tuple[int | Constant, ...]
    outputs: tuple[int, ...]
    line: str  # of the user's source: "my_flax.py:12:8 (__call__)"


class Program(NamedTuple):
    """Equations in order; `inputs` and `outputs` are numbers of values."""

    inputs: tuple[int, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[int, ...]

    def __call__(self, *arguments: Any) -> list[Any]:
        """Compute the outputs from the inputs, so that JAX can trace or compile the program again."""
        known = dict(zip(self.inputs, arguments, strict=True))
        for equation in self.equations:
            known |= named(equation, equation.primitive.bind(*arguments_of(equation, known), **equation.params))
        return [known[number] for number in self.outputs]


def flatten_function(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Program, Values]:
    """Trace a function of arrays and return its equations, and the values of its arguments and constants.

    Nested calls (`jit`, `checkpoint`, `custom_jvp`) are opened. A loop or a branch stays one equation.

    Args:
        function: of flat arguments, returning a sequence of arrays.
        arguments: arrays.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    known: Values = {}
    equations: list[Equation] = []
    numbers = iter(range(10**9))
    inputs = [next(numbers) for _ in arguments]
    known |= dict(zip(inputs, arguments, strict=True))
    sources = _flatten(closed.jaxpr, closed.consts, inputs, known, equations, numbers)
    for at, source in enumerate(sources):  # an output that is a constant
        if isinstance(source, Constant):
            sources[at] = next(numbers)
            known[sources[at]] = jnp.asarray(source.value)
    used = {source for equation in equations for source in equation.inputs if not isinstance(source, Constant)}
    free = tuple(number for number in known if number in used or number in sources)
    return Program(free, tuple(equations), tuple(sources)), {number: known[number] for number in free}


def _flatten(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    inputs: Sequence[Any],
    known: Values,
    equations: list[Equation],
    numbers: Iterator[int],
) -> list[Any]:
    names: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
    for var, const in zip(jaxpr.constvars, consts, strict=True):
        names[var] = next(numbers)
        known[names[var]] = const

    def source(atom: Any) -> Any:
        return Constant(atom.val) if isinstance(atom, Literal) else names[atom]

    for eqn in jaxpr.eqns:
        given = [source(atom) for atom in eqn.invars]
        inner = eqn.params.get("call_jaxpr", eqn.params.get("jaxpr"))
        if eqn.primitive.name in CALLS and isinstance(inner, ClosedJaxpr | Jaxpr):
            opened = (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())
            found = _flatten(*opened, given, known, equations, numbers)
        else:
            found = [next(numbers) for _ in eqn.outvars]
            line = source_info_util.summarize(eqn.source_info).removeprefix(f"{Path.cwd()}/")
            equations.append(Equation(eqn.primitive, eqn.params, tuple(given), tuple(found), line))
        names |= dict(zip(eqn.outvars, found, strict=True))
    return [source(atom) for atom in jaxpr.outvars]


def as_array(value: Any) -> np.ndarray:
    """Return a value as numpy's; that of random keys is their data."""
    return np.asarray(jax.random.key_data(value) if is_key(value) else value)


def is_key(value: Any) -> bool:
    """Return whether a value is an array of random keys."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def arguments_of(equation: Equation, known: Mapping[int, Any]) -> list[Any]:
    """Return what an equation is given."""
    return [source.value if isinstance(source, Constant) else known[source] for source in equation.inputs]


def named(equation: Equation, found: Any) -> Values:
    """Return what an equation has computed, by the numbers of the values."""
    return dict(zip(equation.outputs, found if equation.primitive.multiple_results else [found], strict=True))
