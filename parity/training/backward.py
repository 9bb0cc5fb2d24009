"""Which equations of a step are those of backward passes."""

from collections.abc import Sequence
from typing import Any

from parity.trace.jax_eval import BODIES


def program_backward(program: Any) -> set[int]:
    """Return the ids of the equations of backward passes, those inside of loops among them."""
    if not hasattr(program, "backward"):
        program.backward = set()
        _mark(program.closed.jaxpr, False, program.backward)
    return program.backward


def _mark(jaxpr: Any, inside: bool, found: set[int]) -> None:
    for equation in jaxpr.eqns:
        back = inside or "transpose(" in str(equation.source_info.name_stack)
        if back:
            found.add(id(equation))
        for body in _bodies(equation):
            _mark(body, back, found)


def holds_any(equation: Any, marked: set[int]) -> bool:
    """Tell whether an equation or one inside of it is marked."""
    inside = (inner for body in _bodies(equation) for inner in body.eqns)
    return id(equation) in marked or any(holds_any(inner, marked) for inner in inside)


def _bodies(equation: Any) -> Sequence[Any]:
    named = (equation.params.get(key) for key in (*BODIES, "cond_jaxpr", "body_jaxpr"))
    found = [body for body in (*named, *equation.params.get("branches", ())) if body is not None]
    return [getattr(body, "jaxpr", body) for body in found]
