"""A step whose random numbers are drawn outside: each draw is an input of its equations, loops' among their rows.

JAX is not imported: what is changed are jaxprs, JAX's or those of a record.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from parity.sides.random_draws import JAX, draws_numbers
from parity.trace.jax_eval import BODIES, line_of
from parity.trace.program import Aval, Variable
from parity.training.program import StepProgram
from parity.training.supply import OFF


class Slot(NamedTuple):
    """An input that takes the place of a draw."""

    equation: int  # id of the draw
    shape: tuple[int, ...]
    dtype: Any
    loops: tuple[tuple[int, bool], ...] = ()  # around it, outermost first: length, and whether it runs backwards

    @property
    def times(self) -> int:
        """Return how many times it draws."""
        return math.prod(length for length, _ in self.loops)


def lifted(program: StepProgram) -> tuple[StepProgram, list[Slot]]:
    """Return a program that is given what it draws behind its batch, and what that is.

    Raises:
        UserError: numbers are drawn in a loop of which nobody knows how often it runs.
    """
    jaxpr, slots = _lifted(program.closed.jaxpr)
    found = copy.copy(program)
    found.closed, found.single = SimpleNamespace(jaxpr=jaxpr, consts=program.closed.consts), program.single
    vars(found).pop("backward", None)
    return found, slots


def is_draw(equation: Any) -> bool:
    """Tell whether an equation is a draw: a call of `jax.random`, or bits outside of one."""
    named = str(equation.params.get("name", "")) in JAX and "jaxpr" in equation.params
    return named or equation.primitive.name == "random_bits"


def filled(slots: Sequence[Slot], drawn: Mapping[int, Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
    """Return the inputs.

    Args:
        slots: what they are.
        drawn: the numbers of each draw, in the order of evaluation.

    Raises:
        UserError: a draw is made another number of times than its loops say.
    """
    used: dict[int, int] = {}
    found = []
    for slot in slots:
        arrays = drawn.get(slot.equation, ())
        start = used.get(slot.equation, 0)
        used[slot.equation] = start + slot.times
        part = arrays[start : start + slot.times]
        if arrays and len(part) < slot.times:
            raise UserError(f"random numbers are drawn in a branch inside a loop: {OFF}")
        if not part:  # a branch that is not taken
            part = [np.zeros(slot.shape, slot.dtype)] * slot.times
        whole = np.stack([np.asarray(array).reshape(slot.shape) for array in part])
        whole = whole.reshape((*(length for length, _ in slot.loops), *slot.shape))
        backwards = tuple(axis for axis, (_, reverse) in enumerate(slot.loops) if reverse)
        found.append(np.flip(whole, backwards) if backwards else whole)
    return tuple(found)


def _lifted(jaxpr: Any) -> tuple[Any, list[Slot]]:
    equations, slots, inputs = [], list[Slot](), []
    for equation in jaxpr.eqns:
        if is_draw(equation):
            aval = equation.outvars[0].aval
            slots.append(Slot(id(equation), tuple(aval.shape), aval.dtype))
            inputs.append(equation.outvars[0])
            if len(equation.outvars) == 1:
                continue
            # What it computes beside is computed still; nothing is drawn for that.
            spare = Variable(Aval(tuple(aval.shape), aval.dtype))
            equation = _with(equation, outvars=[spare, *equation.outvars[1:]])
        if draws_numbers(equation):
            equation, more = _inside(equation)
            slots += more
            inputs += equation.invars[len(equation.invars) - len(more) :]
        equations.append(equation)
    parts = {"constvars": jaxpr.constvars, "invars": [*jaxpr.invars, *inputs], "outvars": jaxpr.outvars}
    return SimpleNamespace(eqns=equations, **parts), slots


def _inside(equation: Any) -> tuple[Any, list[Slot]]:
    """Return an equation whose bodies are given what they draw."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "while":
        raise UserError(f"random numbers are drawn in a while loop at {line_of(equation)}: {OFF}")
    if name == "cond":
        params["branches"], slots = _branches(params["branches"])
    else:
        key = next(key for key in BODIES if key in params)
        params[key], slots = _body(params[key])
    if name == "scan":
        around = ((params["length"], bool(params["reverse"])),)
        slots = [slot._replace(loops=around + slot.loops) for slot in slots]
    new = [Variable(Aval((*(n for n, _ in s.loops), *s.shape), s.dtype)) for s in slots]
    return _with(equation, params=params, invars=[*equation.invars, *new]), slots


def _with(equation: Any, **changes: Any) -> Any:
    names = ("primitive", "params", "invars", "outvars", "source_info")
    return SimpleNamespace(**{name: getattr(equation, name) for name in names} | changes)


def _body(body: Any) -> tuple[Any, list[Slot]]:
    if not hasattr(body, "consts"):
        return _lifted(body)
    jaxpr, slots = _lifted(body.jaxpr)
    return SimpleNamespace(jaxpr=jaxpr, consts=body.consts), slots


def _branches(branches: Sequence[Any]) -> tuple[tuple[Any, ...], list[Slot]]:
    """Return branches that are each given what all of them draw."""
    found = [_body(branch) for branch in branches]
    slots = [slot for _, own in found for slot in own]
    bodies, before = [], 0
    for body, own in found:
        jaxpr = getattr(body, "jaxpr", body)
        first = len(jaxpr.invars) - len(own)
        spare = [Variable(Aval(s.shape, s.dtype)) for s in slots]
        spare[before : before + len(own)] = jaxpr.invars[first:]
        jaxpr.invars = [*jaxpr.invars[:first], *spare]
        before += len(own)
        bodies.append(body)
    return tuple(bodies), slots
