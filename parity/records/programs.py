"""A jaxpr as data, and back: equations by their names, never code. JAX is not imported."""

import enum
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from parity.records.encode import Arrays, Found, line_of, text
from parity.trace import jax_eval
from parity.trace.lines import Line
from parity.trace.low import is_low
from parity.trace.program import Aval, Closed, Equation, Jaxpr, Literal, Primitive, Variable

KINDS = "fiubcV"  # of dtypes; bfloat16 is of the kind V


class Writer:
    """Jaxprs to be written, with their lines and constants."""

    def __init__(self, arrays: Arrays, wide: Callable[[Any], Any] | None = None):
        """Begin with no jaxpr.

        Args:
            arrays: where the constants are kept.
            wide: what numbers of low precision stand for; given, equations make float64 where they say less.
        """
        self.arrays, self.lines, self.wide = arrays, dict[Line, int](), wide
        self._constants = 0

    def closed(self, program: Any) -> dict[str, Any]:
        """Return a closed jaxpr as data."""
        return {"jaxpr": self._jaxpr(program.jaxpr), "consts": [self._array(const) for const in program.consts]}

    def _jaxpr(self, jaxpr: Any) -> dict[str, Any]:
        numbers: dict[int, int] = {}
        avals: list[list[Any]] = []

        def number(variable: Any) -> int:
            if id(variable) not in numbers:
                numbers[id(variable)] = len(avals)
                avals.append(self._aval(variable.aval))
            return numbers[id(variable)]

        def atom(variable: Any) -> Any:
            return (
                [self._literal(variable), self._aval(variable.aval)] if hasattr(variable, "val") else number(variable)
            )

        header: dict[str, Any] = {
            "constvars": [number(v) for v in jaxpr.constvars],
            "invars": [number(v) for v in jaxpr.invars],
        }
        header["eqns"] = [
            [
                equation.primitive.name,
                bool(equation.primitive.multiple_results),
                {name: self._param(value) for name, value in jax_eval.params_of(equation).items()},
                [atom(v) for v in equation.invars],
                [number(v) for v in equation.outvars],
                self._line(jax_eval.line_of(equation)),
            ]
            for equation in jaxpr.eqns
        ]
        return {**header, "outvars": [atom(v) for v in jaxpr.outvars], "avals": avals}

    def _line(self, line: Line | None) -> int | None:
        return None if line is None else self.lines.setdefault(line, len(self.lines))

    def _literal(self, literal: Any) -> Any:
        value = np.asarray(literal.val)
        if self.wide is not None:  # Python's 0.1 may stand for float32's
            value = np.asarray(self.wide(np.asarray(literal.val, literal.aval.dtype)))
        return _number(value.item()) if value.ndim == 0 else self._array(value)

    def _array(self, array: Any) -> Any:
        self._constants += 1
        array = np.asarray(array)
        return {"array": self.arrays.add(f"constants/{self._constants}", self.wide(array) if self.wide else array)}

    def _param(self, value: Any) -> Any:
        if hasattr(value, "jaxpr") and hasattr(value, "consts"):
            return {"closed": self.closed(value)}
        if hasattr(value, "eqns"):
            return {"open": self._jaxpr(value)}
        if isinstance(value, enum.Enum):
            return {"constant": value.name}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {"fields": {name: self._param(getattr(value, name)) for name in vars(type(value))["_fields"]}}
        if isinstance(value, list | tuple):
            return [self._param(child) for child in value]
        if isinstance(value, Mapping):
            return {"names": {str(name): self._param(child) for name, child in value.items()}}
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            return {"dtype": self._name(np.dtype(value))}
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if hasattr(value, "bind"):  # a primitive: by which select_and_scatter_add compares
            return {"constant": str(value)}
        return _number(value) if isinstance(value, float) else {"constant": type(value).__name__}

    def _aval(self, aval: Any) -> list[Any]:
        return [list(getattr(aval, "shape", ())), self._name(getattr(aval, "dtype", None))]

    def _name(self, dtype: Any) -> str:
        return "float64" if self.wide is not None and is_low(dtype) else getattr(dtype, "name", "none")


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return value


class Reader:
    """Jaxprs of a file."""

    def __init__(self, lines: list[Any], found: Found, compute: Callable[..., list[Any]]):
        self.lines, self.found, self.compute = [line_of(line) for line in lines], found, compute

    def closed(self, header: Mapping[str, Any]) -> Closed:
        """Return a closed jaxpr."""
        return Closed(self._jaxpr(header["jaxpr"]), [self._param(const) for const in header["consts"]])

    def _jaxpr(self, header: Mapping[str, Any]) -> Jaxpr:
        variables = [Variable(_aval_of(aval)) for aval in header["avals"]]

        def variable(number: Any) -> Variable:
            if not isinstance(number, int) or not 0 <= number < len(variables):
                raise ValueError(f"a jaxpr names the variable {number!r}")
            return variables[number]

        def atom(given: Any) -> Variable | Literal:
            if not isinstance(given, list):
                return variable(given)
            aval = _aval_of(given[1])
            return Literal(np.asarray(self._param(given[0]), aval.dtype), aval)

        equations = []
        for name, several, params, operands, results, line in header["eqns"]:
            named = {text(key): self._param(value) for key, value in params.items()}
            place = None if line is None else self.lines[line]
            primitive = Primitive(text(name), bool(several))
            given, made = [atom(v) for v in operands], [variable(v) for v in results]
            equations.append(Equation(primitive, named, given, made, place, self.compute))
        constants, inputs = ([variable(v) for v in header[key]] for key in ("constvars", "invars"))
        return Jaxpr(constants, inputs, equations, [atom(v) for v in header["outvars"]])

    def _param(self, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(self._param(child) for child in value)
        if not isinstance(value, dict):
            return text(value) if isinstance(value, str) else value
        ((kind, inner),) = value.items()
        simple = {
            "closed": self.closed,
            "open": self._jaxpr,
            "constant": text,
            "dtype": _dtype,
            "float": lambda x: float({"inf": "inf", "-inf": "-inf", "nan": "nan"}[x]),
            "complex": lambda x: complex(*map(float, x)),
            "array": self.found.array,
            "names": lambda x: {text(name): self._param(child) for name, child in x.items()},
            "fields": lambda x: SimpleNamespace(**{text(name): self._param(child) for name, child in x.items()}),
        }
        return simple[kind](inner)


def _aval_of(header: Any) -> Aval:
    shape, dtype = header
    return Aval(tuple(int(side) for side in shape), _dtype(dtype))


def _dtype(name: Any) -> Any:
    """Return numpy's dtype; one that numpy has not, such as that of keys, as its name."""
    try:
        dtype = np.dtype(text(name))
    except TypeError:
        return text(name)
    if dtype.kind not in KINDS:
        raise ValueError(f"a jaxpr has the dtype {name!r}")
    return dtype
