"""JAX's random numbers of a pass in training mode, drawn outside and given to both sides (trap 20).

They are seen in the jaxpr, where `jax.random` leaves calls with names of its own. `parity.sides.torch_draws` sees
PyTorch's.
"""

from collections.abc import Sequence
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core

from parity.sides.random_draws import JAX, MASK, OTHER, UNIFORM, Draw, Supply, draws_numbers
from parity.trace.jax_eval import BODIES, line_of, params_of


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


def _step(equation: Any, values: list[Any], supply: Supply) -> list[Any]:
    kind = JAX.get(str(equation.params.get("name", "")))
    if kind is not None and "jaxpr" in equation.params:
        return [_drawn(equation, kind, values, supply)]
    if equation.primitive.name == "random_bits":
        supply(Draw(OTHER, tuple(equation.outvars[0].aval.shape), None, line_of(equation)))
    if not draws_numbers(equation):
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
    return _inside(body, values, supply)


def _drawn(equation: Any, kind: str, values: list[Any], supply: Supply) -> Any:
    shape = equation.outvars[0].aval
    known = [v for v in values[1:] if not isinstance(v, Tracer)]
    keep = float(np.asarray(known[0])) if kind == MASK and known and np.size(known[0]) == 1 else None
    numbers = jnp.asarray(supply(Draw(kind, tuple(shape.shape), keep, line_of(equation))))
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
        found = _inside(p["jaxpr"], [*fixed, *carry, *(row[number] for row in rows)], supply)
        carry = found[: b - a]
        kept.append(found[b - a :])
    kept = kept[::-1] if p["reverse"] else kept
    return [*carry, *(jnp.stack(column) for column in zip(*kept, strict=True))]
