"""Equations of JAX's that make float64 where they say less."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
from jax.extend import core

from parity.trace.jax_eval import BODIES
from parity.training.numbers import is_low, restored
from parity.training.tape import AS_IS


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
    equations = []
    for equation in jaxpr.eqns:
        params = wide_equation(equation).params
        for key in (*BODIES, "cond_jaxpr", "body_jaxpr"):
            if key in params:
                params = {**params, key: _opened(params[key])}
        if "branches" in params:
            params = {**params, "branches": tuple(map(_opened, params["branches"]))}
        given = [_literal(variable) for variable in equation.invars]
        same = params is equation.params and all(a is b for a, b in zip(given, equation.invars, strict=True))
        parts = {"params": params, "invars": given, "outvars": equation.outvars, "source_info": equation.source_info}
        equations.append(equation if same else SimpleNamespace(primitive=equation.primitive, **parts))
    return SimpleNamespace(constvars=jaxpr.constvars, invars=jaxpr.invars, eqns=equations, outvars=jaxpr.outvars)


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


def _literal(variable: Any) -> Any:
    low = isinstance(variable, core.Literal) and is_low(getattr(variable.aval, "dtype", None))
    if not low:
        return variable
    value = restored(np.asarray(variable.val, cast(Any, variable.aval).dtype))
    return core.Literal(value, cast(Any, variable.aval).update(dtype=value.dtype))


def _is_single(value: Any) -> bool:
    return isinstance(value, np.dtype | type) and is_low(value)
