"""Random numbers of a pass in training mode, drawn outside and given to both sides (trap 20).

PyTorch's draws are seen by a mode, JAX's in the jaxpr, where `jax.random` leaves calls with names of its own.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
import torch
from jax.core import Tracer
from jax.extend import core
from torch.utils._python_dispatch import TorchDispatchMode

from parity.trace.jax_eval import BODIES, line_of
from parity.trace.lines import Line, line_of_stack

MASK, UNIFORM, NORMAL, OTHER = "mask", "uniform numbers", "normal numbers", "other random numbers"
TORCH = {
    **dict.fromkeys(("bernoulli", "bernoulli_", "native_dropout"), MASK),
    **dict.fromkeys(("rand", "rand_like", "uniform_"), UNIFORM),
    **dict.fromkeys(("randn", "randn_like", "normal_"), NORMAL),
    **dict.fromkeys(
        ("randint", "randint_like", "random_", "randperm", "multinomial", "exponential_", "normal"), OTHER
    ),
}
JAX = {"_bernoulli": MASK, "_uniform": UNIFORM, "_normal": NORMAL}


class Draw(NamedTuple):
    """Random numbers that one operation asks for."""

    kind: str
    shape: tuple[int, ...]
    keep: float | None = None  # of a mask: the share of ones; None: not known
    line: Line | None = None


Supply = Callable[[Draw], np.ndarray]  # called once for each draw, in order


class TorchDraws(TorchDispatchMode):
    """A mode under which PyTorch's random numbers come from a supply."""

    def __init__(self, supply: Supply):
        super().__init__()
        self.supply = supply

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation; what it draws is replaced."""
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.").partition(".")[0]
        if name not in TORCH:
            return out
        tensor = out[1] if name == "native_dropout" else out
        keep, scale, shift = _torch_numbers(name, args, kwargs or {})
        draw = Draw(TORCH[name], tuple(tensor.shape), keep, line_of_stack(sys._getframe(1)))
        numbers = torch.from_numpy(np.asarray(np.asarray(self.supply(draw), np.float64) * scale + shift))
        if name == "native_dropout":
            tensor.copy_(numbers)
            out[0].copy_(args[0] * numbers / keep)
        else:
            tensor.copy_(numbers)
        return out


def _torch_numbers(name: str, args: Any, kwargs: Any) -> tuple[float | None, float, float]:
    """Return the share of ones of a mask, and the scale and shift of other numbers."""
    if name == "native_dropout":
        return 1 - float(args[1]), 1.0, 0.0
    if TORCH[name] == MASK:
        chance = args[1] if len(args) > 1 else kwargs.get("p", args[0] if name == "bernoulli" else 0.5)
        if not isinstance(chance, torch.Tensor):
            return float(chance), 1.0, 0.0
        values = chance.unique()
        return (float(values[0]) if values.numel() == 1 else None), 1.0, 0.0
    if name == "uniform_":
        low = float(args[1] if len(args) > 1 else kwargs.get("from", 0.0))
        return None, float(args[2] if len(args) > 2 else kwargs.get("to", 1.0)) - low, low
    if name == "normal_":
        mean = float(args[1] if len(args) > 1 else kwargs.get("mean", 0.0))
        return None, float(args[2] if len(args) > 2 else kwargs.get("std", 1.0)), mean
    return None, 1.0, 0.0


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


def draws_numbers(equation: Any) -> bool:
    """Tell whether an equation draws random numbers anywhere inside."""
    bodies = [equation.params[key] for key in (*BODIES, "cond_jaxpr", "body_jaxpr") if key in equation.params]
    bodies += list(equation.params.get("branches", ()))
    inner = (e for body in bodies for e in getattr(body, "jaxpr", body).eqns)
    return any(e.primitive.name == "random_bits" or draws_numbers(e) for e in inner)


def _inside(body: Any, values: Sequence[Any], supply: Supply) -> list[Any]:
    jaxpr, consts = (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
    return jax_supplied(jaxpr, consts, values, supply)


def _scan(equation: Any, values: list[Any], supply: Supply) -> list[Any]:
    p = equation.params
    a, b = p["num_consts"], p["num_consts"] + p["num_carry"]
    fixed, carry, rows = values[:a], values[a:b], values[b:]
    kept: list[list[Any]] = []
    for number in reversed(range(p["length"])) if p["reverse"] else range(p["length"]):
        found = _inside(p["jaxpr"], [*fixed, *carry, *(row[number] for row in rows)], supply)
        carry = found[: b - a]
        kept.append(found[b - a :])
    kept = kept[::-1] if p["reverse"] else kept
    return [*carry, *(jnp.stack(column) for column in zip(*kept, strict=True))]
