"""JAX's random numbers of a pass in training mode, drawn outside and given to both sides (trap 20).

They are seen in the jaxpr, where `jax.random` leaves calls with names of its own. `parity.sides.torch_draws` sees
PyTorch's.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from parity.sides.arrays import is_float
from parity.sides.random_draws import JAX, MASK, OTHER, UNIFORM, Draw, Supply, draws_numbers
from parity.trace.jax_eval import BODIES, is_key, line_of, params_of


def jax_supplied(jaxpr: Any, consts: Sequence[Any], values: Sequence[Any], supply: Supply) -> list[Any]:
    """Evaluate a jaxpr whose random numbers come from a supply; traceable, so that it can be differentiated.

    Raises:
        ValueError: numbers are drawn where it depends on traced values whether they are, or how many.
    """
    env: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))

    def read(variable: Any) -> Any:
        if isinstance(variable, core.Literal):
            return np.asarray(variable.val, cast(Any, variable.aval).dtype)
        return env[variable]

    for equation in jaxpr.eqns:
        outputs = _step(equation, [read(variable) for variable in equation.invars], supply)
        env |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def jax_draws(closed: Any, values: Sequence[Any]) -> tuple[list[Draw], list[int]]:
    """Return what a program draws, in order, and which of these numbers it draws each time: with one key the same.

    Nothing is computed but what depends on no floating-point number, as keys do.
    """
    found, which, traced = list[Draw](), list[int](), [is_float(value) for value in values]
    if not any(e.primitive.name == "random_bits" or draws_numbers(e) for e in closed.jaxpr.eqns):
        return found, which

    def noted(draw: Draw) -> np.ndarray:
        number = next((i for i, known in enumerate(found) if draw.repeats(known)), len(found))
        if number == len(found):
            found.append(draw)
        else:
            found[number] = found[number]._replace(again=(*found[number].again, draw.line))
        which.append(number)
        return np.zeros(draw.shape)

    def run(*floats: Any) -> Any:
        rest = iter(floats)
        given = [next(rest) if at else value for at, value in zip(traced, values, strict=True)]
        return jax_supplied(closed.jaxpr, closed.consts, given, noted)

    jax.eval_shape(run, *(value for at, value in zip(traced, values, strict=True) if at))
    return found, which


def _step(equation: Any, values: list[Any], supply: Supply) -> list[Any]:
    kind = JAX.get(str(equation.params.get("name", "")))
    if kind is not None and "jaxpr" in equation.params:
        return [_drawn(equation, kind, values, supply)]
    if equation.primitive.name == "random_bits":
        supply(Draw(OTHER, tuple(equation.outvars[0].aval.shape), None, line_of(equation), _keys(values)))
    if not draws_numbers(equation):
        with _known(values):
            found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
        return list(found) if equation.primitive.multiple_results else [found]
    name = equation.primitive.name
    if name == "scan":
        return _scan(equation, values, supply)
    if name == "cond" and not isinstance(values[0], Tracer):
        branches = equation.params["branches"]
        return _inside(branches[int(np.clip(int(values[0]), 0, len(branches) - 1))], values[1:], supply)
    body = next((equation.params[key] for key in BODIES if key in equation.params), None)
    if body is None or name in ("cond", "while"):
        raise ValueError(f"random numbers are drawn in a {name} loop or branch at {line_of(equation)}")
    line = line_of(equation)  # of `jax.random.gumbel`, whose own uniform numbers have none
    return _inside(body, values, lambda draw: supply(draw if draw.line else draw._replace(line=line)))


def _known(values: Sequence[Any]) -> Any:
    """Return a context in which what depends on nothing traced is computed: keys, and where a loop is in its rows."""
    return contextlib.nullcontext() if any(isinstance(v, Tracer) for v in values) else jax.ensure_compile_time_eval()


def _keys(values: Sequence[Any]) -> tuple[bytes, ...]:
    """Return the data of the key that numbers are drawn with, or of the keys of several examples."""
    key = next((v for v in values if is_key(v)), None)
    if key is None or isinstance(key, Tracer):
        return ()
    with jax.ensure_compile_time_eval():
        data = np.asarray(jax.random.key_data(key))
    return tuple(row.tobytes() for row in data.reshape(-1, data.shape[-1]))


def _drawn(equation: Any, kind: str, values: list[Any], supply: Supply) -> Any:
    shape = equation.outvars[0].aval
    known = [v for v in values[1:] if not isinstance(v, Tracer)]
    keep = float(np.asarray(known[0])) if kind == MASK and known and np.size(known[0]) == 1 else None
    numbers = jnp.asarray(supply(Draw(kind, tuple(shape.shape), keep, line_of(equation), _keys(values))))
    if kind == UNIFORM and len(values) > 2:
        numbers = values[1] + numbers * (values[2] - values[1])
    return jnp.asarray(numbers, shape.dtype)


def _inside(body: Any, values: Sequence[Any], supply: Supply) -> list[Any]:
    jaxpr, consts = (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
    return jax_supplied(jaxpr, consts, values, supply)


def _scan(equation: Any, values: list[Any], supply: Supply) -> list[Any]:
    p = params_of(equation)
    a, b = p["num_consts"], p["num_consts"] + p["num_carry"]
    fixed, carry, rows = values[:a], values[a:b], values[b:]
    kept: list[list[Any]] = []
    for number in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        with _known(rows):
            given = [row[number] for row in rows]
        found = _inside(p["jaxpr"], [*fixed, *carry, *given], supply)
        carry = found[: b - a]
        kept.append(found[b - a :])
    kept = kept[::-1] if p["reverse"] else kept
    return [*carry, *(jnp.stack(column) for column in zip(*kept, strict=True))]
