"""Evaluating a jaxpr, JAX's or that of a record, equation by equation, into every call, loop and branch.

Whoever evaluates (`Visitor`) is shown each equation with its operands, and says what comes out. The operands are
cells: a number of the visitor's choosing around an array, or what stands for one.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from parity.trace.lines import Line, line_of_frames
from parity.trace.numpy_ops import computed

BODIES = ("jaxpr", "call_jaxpr", "fun_jaxpr")
MOST_ROUNDS = 100_000  # of a while loop


class Visitor(Protocol):
    """What is done at each equation."""

    def constant(self, array: Any) -> Any:
        """Return the cell of a constant or a literal."""

    def step(self, equation: Any, line: Line | None, cells: Sequence[Any]) -> list[Any]:
        """Return the cells of an equation's results."""
        ...

    def value(self, cell: Any) -> Any:
        """Return a cell's array, for a condition or an index."""

    def take(self, cell: Any, index: int) -> Any:
        """Return the cell of one row."""

    def stack(self, cells: Sequence[Any], line: Line | None) -> Any:
        """Return the cell of rows put together."""


def evaluate(
    jaxpr: Any, consts: Sequence[Any], cells: Sequence[Any], visitor: Visitor, called_at: Line | None = None
) -> list[Any]:
    """Evaluate a jaxpr; return the cells of its results.

    `called_at` is the line of equations that have none: JAX traces a function with derivatives of its own, such as
    `jax.nn.relu`, apart from those who call it.
    """
    env: dict[Any, Any] = {}
    env |= zip(jaxpr.constvars, [visitor.constant(c) for c in consts], strict=True)
    env |= zip(jaxpr.invars, cells, strict=True)

    def read(variable: Any) -> Any:
        return visitor.constant(_literal(variable)) if hasattr(variable, "val") else env[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        outputs = _run(equation, operands, visitor, line_of(equation) or called_at)
        env |= zip(equation.outvars, outputs, strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _literal(literal: Any) -> Any:
    """Return a literal in its dtype, which its value may not tell: a number of Python's stands for float32, too."""
    return literal.val if is_key(literal.val) else np.asarray(literal.val, literal.aval.dtype)


def _run(equation: Any, cells: list[Any], visitor: Visitor, line: Line | None) -> list[Any]:
    name = equation.primitive.name
    if name in LOOPS:
        return LOOPS[name](equation, cells, visitor, line)
    body = next((equation.params[key] for key in BODIES if key in equation.params), None)
    if body is not None:
        inside = lambda: evaluate(*_open(body), cells, visitor, line)  # noqa: E731
        call = getattr(visitor, "call", None)  # of a visitor that wants to know where a call begins and ends
        return inside() if call is None else call(equation, cells, inside)
    return visitor.step(equation, line, cells)


def bind(equation: Any, values: Sequence[Any]) -> list[Any]:
    """Compute an equation's results: by numpy where it can, else by JAX; of a record, by what is there."""
    found = computed(equation.primitive.name, values, equation.params)
    if found is not None:
        return found
    if hasattr(equation, "compute"):
        return equation.compute(equation, values)
    return importlib.import_module("parity.trace.jax_trace").compute(equation, values)  # here: JAX may be missing


def is_key(array: Any) -> bool:
    """Tell whether an array holds keys of random numbers."""
    return not isinstance(array, np.ndarray) and str(getattr(array, "dtype", "")).startswith("key<")


def as_numpy(array: Any) -> Any:
    """Return an array as numpy's, but for keys of random numbers."""
    return array if is_key(array) else np.asarray(array)


def line_of(equation: Any) -> Line | None:
    """Return the user's line that an equation comes from."""
    if hasattr(equation, "line"):
        return equation.line
    traceback = equation.source_info.traceback
    if traceback is None:
        return None
    return line_of_frames((f.file_name, f.line_num, f.function_name) for f in traceback.frames)


def _open(body: Any) -> tuple[Any, Sequence[Any]]:
    return (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())


def params_of(equation: Any) -> dict[str, Any]:
    """Return an equation's parameters; those of a scan name its constants and carries in every version of JAX."""
    p = equation.params
    if equation.primitive.name != "scan" or "ft_in" not in p:
        return p
    consts, carry, _ = p["ft_in"].unpack()  # from JAX 0.12 on: trees of operands
    sizes = {"num_consts": len(list(consts.vals)), "num_carry": len(list(carry.vals))}
    return {name: value for name, value in p.items() if not name.startswith("ft_")} | sizes


def _scan(equation: Any, cells: list[Any], visitor: Visitor, line: Line | None) -> list[Any]:
    p = params_of(equation)
    a, b = p["num_consts"], p["num_consts"] + p["num_carry"]
    fixed, carry, rows = cells[:a], cells[a:b], cells[b:]
    kept: list[list[Any]] = []
    numbers = range(p["length"])
    for number in reversed(numbers) if p["reverse"] else numbers:
        given = [*fixed, *carry, *(visitor.take(row, number) for row in rows)]
        step = evaluate(*_open(p["jaxpr"]), given, visitor, line)
        carry = step[: b - a]
        kept.append(step[b - a :])
    if p["reverse"]:
        kept.reverse()
    return [*carry, *(visitor.stack(column, line) for column in zip(*kept, strict=True))]


def _while(equation: Any, cells: list[Any], visitor: Visitor, line: Line | None) -> list[Any]:
    p = equation.params
    a, b = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    state = cells[b:]
    for _ in range(MOST_ROUNDS):
        (going,) = evaluate(*_open(p["cond_jaxpr"]), [*cells[:a], *state], visitor, line)
        if not bool(visitor.value(going)):
            return state
        state = evaluate(*_open(p["body_jaxpr"]), [*cells[a:b], *state], visitor, line)
    raise ValueError(f"a while loop does not end within {MOST_ROUNDS} rounds")


def _cond(equation: Any, cells: list[Any], visitor: Visitor, line: Line | None) -> list[Any]:
    branches = equation.params["branches"]
    index = int(np.clip(np.asarray(visitor.value(cells[0])).astype(int), 0, len(branches) - 1))
    return evaluate(*_open(branches[index]), cells[1:], visitor, line)


LOOPS = {"scan": _scan, "while": _while, "cond": _cond}


def floating(array: Any) -> bool:
    """Tell whether an array holds floating-point numbers."""
    return is_floating(array.dtype)


def is_floating(dtype: Any) -> bool:
    """Tell whether a dtype is one of real numbers, bfloat16 among them."""
    if getattr(dtype, "kind", "V") != "V":  # of numpy's own, whose name takes long to find
        return dtype.kind == "f"
    return getattr(dtype, "name", str(dtype)).startswith(("float", "bfloat"))
