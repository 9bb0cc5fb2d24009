"""Equations of JAX's that make float64 where they say less."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
from jax.extend import core

from parity.trace.jax_eval import BODIES, as_numpy
from parity.trace.low import AS_IS, is_low, restored
from parity.trace.program import Aval, Variable


def wide_equation(equation: Any) -> Any:
    """Return an equation that makes float64 where it says float32."""
    params = equation.params
    wanted = any(_is_single(value) for value in params.values()) or params.get("update_jaxpr") is not None
    if equation.primitive.name in AS_IS or not wanted:
        return equation
    wide = {key: np.dtype(np.float64) if _is_single(value) else value for key, value in params.items()}
    if (scalar := params.get("update_jaxpr")) is not None:
        wide["update_jaxpr"] = _of_numbers(scalar)
    return SimpleNamespace(primitive=equation.primitive, params=wide)


def widened(jaxpr: Any) -> Any:
    """Return a jaxpr in which every equation makes float64 where it says less, for others that evaluate it."""
    wide = _Variables()
    equations = []
    for equation in jaxpr.eqns:
        params = wide_equation(equation).params
        for key in (*BODIES, "cond_jaxpr", "body_jaxpr"):
            if key in params:
                params = {**params, key: _opened(params[key])}
        if "branches" in params:
            params = {**params, "branches": tuple(map(_opened, params["branches"]))}
        given, made = wide.all(equation.invars), wide.all(equation.outvars)
        before = [*equation.invars, *equation.outvars]
        same = params is equation.params and all(a is b for a, b in zip([*given, *made], before, strict=True))
        parts = {"params": params, "invars": given, "outvars": made, "source_info": equation.source_info}
        equations.append(equation if same else SimpleNamespace(primitive=equation.primitive, **parts))
    named = {name: wide.all(getattr(jaxpr, name)) for name in ("constvars", "invars", "outvars")}
    return SimpleNamespace(eqns=equations, **named)


class _Variables:
    """Variables of float64 in place of those of less."""

    def __init__(self) -> None:
        self.known: dict[Any, Variable] = {}

    def all(self, variables: Sequence[Any]) -> list[Any]:
        """Return variables and literals, each in its own type if that is not of low precision."""
        return [self.one(variable) for variable in variables]

    def one(self, variable: Any) -> Any:
        """Return one of them."""
        if not is_low(getattr(variable.aval, "dtype", None)):
            return variable
        if isinstance(variable, core.Literal):
            return _literal(variable)
        if variable not in self.known:
            self.known[variable] = Variable(Aval(variable.aval.shape, np.dtype(np.float64)))
        return self.known[variable]


def widened_program(closed: Any) -> Any:
    """Return a closed jaxpr that is widened, with constants that are the numbers they stand for."""
    return SimpleNamespace(jaxpr=widened(closed.jaxpr), consts=[restored(as_numpy(c)) for c in closed.consts])


def _of_numbers(scalar: Any) -> Any:
    """Return what a scatter does to two numbers, in float64."""
    variables = scalar.invars if hasattr(scalar, "invars") else scalar.jaxpr.invars
    if not all(is_low(v.aval.dtype) for v in variables):
        return scalar
    inner = getattr(scalar, "jaxpr", scalar)
    made = jax.make_jaxpr(core.jaxpr_as_fun(core.ClosedJaxpr(inner, ())))(*(np.zeros(()) for _ in variables))
    return made if hasattr(scalar, "consts") else made.jaxpr


def _opened(body: Any) -> Any:
    if not hasattr(body, "consts"):
        return widened(body)
    return SimpleNamespace(jaxpr=widened(body.jaxpr), consts=[restored(c) for c in body.consts])


def _literal(variable: core.Literal) -> Any:
    value = restored(np.asarray(variable.val, cast(Any, variable.aval).dtype))
    return core.Literal(value, cast(Any, variable.aval).update(dtype=value.dtype))


def _is_single(value: Any) -> bool:
    return isinstance(value, np.dtype | type) and is_low(value)
