"""A trace as a header and arrays, and back.

Arrays are kept once, by their bytes. What is larger than a limit is kept as a fingerprint, unless it is a weight, an
input or an output. Lines are kept with their texts: the file is not on the machine that compares.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from parity.trace.fingerprint import (
    PLACES,
    PROJECTIONS,
    SORTED,
    Fingerprint,
    fingerprint,
    fingerprint_in_place,
    nothing_of,
)
from parity.trace.lines import Line, short_file
from parity.trace.values import Constant, Op, Ref, Trace, Value

NAME = re.compile(r"[A-Za-z_]\w*")
CONSTANT = re.compile(r"torch\.[A-Za-z_]\w*")
PARTS = {"moments": 2, "sorted": SORTED, "places": PLACES, "projections": PROJECTIONS}  # of a fingerprint
SAMPLE = 64  # numbers by which two arrays are told apart before all of them are compared
LONGEST = 2000  # characters of a line that are kept


class Arrays:
    """Arrays to be written, each once."""

    def __init__(self, limit: int):
        self.limit = limit
        self.named: dict[str, np.ndarray] = {}
        self.prints: list[Fingerprint] = []
        self.bytes = 0
        self._known: dict[tuple[str, int, bytes], list[str]] = {}  # by some of the numbers: names

    def add(self, name: str, array: np.ndarray) -> list[Any]:
        """Add an array; return where it is found: the name of one with the same numbers, and its shape."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        flat = array.reshape(-1)
        key = str(array.dtype), flat.size, flat[:: max(1, flat.size // SAMPLE)].tobytes()
        names = self._known.setdefault(key, [])
        known = next((n for n in names if _same_bytes(self.named[n], array)), None)
        if known is None:
            names.append(name)
            self.named[name] = array
            self.bytes += array.nbytes
        return [known or name, list(array.shape)]

    def sketch(
        self, name: str, array: np.ndarray, make: Callable[[np.ndarray], Fingerprint] = fingerprint_in_place
    ) -> list[Any]:
        """Add an array, or its fingerprint if it is larger than the limit, which has a number in place of a name."""
        if array.size <= self.limit or array.dtype.kind not in "fiub":
            return self.add(name, array)
        self.prints.append(make(array))
        return [len(self.prints) - 1, list(array.shape), str(array.dtype)]

    def all(self) -> dict[str, np.ndarray]:
        """Return all that is to be written, the fingerprints stacked."""
        rows = [{**{n: getattr(p, n) for n in PARTS if n != "moments"}, "moments": [p.norm, p.total]}
                for p in self.prints]  # fmt: skip
        stacked = {f"fingerprints/{name}": np.array([row[name] for row in rows], np.float64) for name in PARTS}
        return self.named | (stacked if rows else {})


def _same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.reshape(-1).view(np.uint8), b.reshape(-1).view(np.uint8))


class Found:
    """The arrays of a file, by what the header says of them; nothing that it says is taken for granted."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = arrays
        self.prints = {name: arrays[f"fingerprints/{name}"] for name in PARTS if f"fingerprints/{name}" in arrays}
        counts = {len(array) for array in self.prints.values()}
        widths = all(array.shape[1:] == (PARTS[name],) for name, array in self.prints.items())
        if self.prints and (len(self.prints) < len(PARTS) or len(counts) != 1 or not widths):
            raise ValueError("the fingerprints are not whole")

    def get(self, where: Any) -> Any:
        """Return an array, or a fingerprint."""
        name, shape, *rest = where
        shape = tuple(_count(side) for side in shape)
        if isinstance(name, str):
            return self.arrays[name].reshape(shape)
        parts = {part: rows[_below(name, len(rows))] for part, rows in self.prints.items()}
        norm, total = map(float, parts.pop("moments"))
        return Fingerprint(shape, np.dtype(str(rest[0])), norm, total, **parts)

    def array(self, where: Any) -> np.ndarray:
        """Return an array that is no fingerprint."""
        found = self.get(where)
        if not isinstance(found, np.ndarray):
            raise TypeError("an array is a fingerprint where all of it is needed")
        return found


def trace_header(trace: Trace, arrays: Arrays) -> dict[str, Any]:
    """Return a trace as data for JSON; its arrays are added to `arrays`."""
    lines: dict[Line, int] = {}
    keys: dict[str, int] = {}
    ops = [
        [
            op.name,
            list(op.inputs),
            list(op.outputs),
            None if op.line is None else lines.setdefault(op.line, len(lines)),
            op.scope,
            packed(op.settings),
            packed(op.keywords),
        ]
        for op in trace.ops
    ]
    values = [
        [
            arrays.sketch(f"values/{number}", value.array, fingerprint if value.data else nothing_of),
            value.maker,
            [keys.setdefault(key, len(keys)) for key in sorted(value.keys)],
            value.data | value.low << 1 | value.partial << 2 | value.part << 3,
        ]
        for number, value in enumerate(trace.values)
    ]
    return {"ops": ops, "values": values, "lines": [line_header(line) for line in lines], "keys": list(keys)}


def trace_of(header: Mapping[str, Any], found: Found) -> Trace:
    """Return the trace of a header."""
    lines, keys, trace = (
        [line_of(line) for line in header["lines"]],
        [text(key) for key in header["keys"]],
        Trace(foreign=True),
    )
    for where, maker, numbers, flags in header["values"]:
        maker = None if maker is None else _below(maker, len(header["ops"]))
        known = frozenset(keys[_below(number, len(keys))] for number in numbers)
        data, low, partial, part = (bool(_count(flags) >> bit & 1) for bit in range(4))
        trace.add(Value(found.get(where), maker, data, known, low, partial, part))
    for number, (name, inputs, outputs, line, scope, settings, keywords) in enumerate(header["ops"]):
        given, made = (tuple(_below(n, len(trace.values)) for n in numbers) for numbers in (inputs, outputs))
        earlier = all((maker := trace.values[n].maker) is None or maker < number for n in given)
        if not earlier or any(trace.values[n].maker != number for n in made) or not NAME.fullmatch(name):
            raise ValueError(f"operation {number} does not follow from those before it")
        place = None if line is None else lines[_below(line, len(lines))]
        arguments = unpacked(settings, len(trace.values)), unpacked(keywords, len(trace.values))
        trace.add_op(Op(name, given, made, place, text(scope), *arguments))
    return trace


def line_header(line: Line) -> list[Any]:
    """Return a line as data; of the file's path what people look for, and no more."""
    return [short_file(line.file), line.number, line.function, line.text[:LONGEST]]


def line_of(header: Any) -> Line:
    """Return the line of a header."""
    file, number, function, written = header
    return Line(text(file), _count(number), text(function), text(written) or " ")


def text(value: Any) -> str:
    """Return a text of a header without control characters: a terminal would obey them."""
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs") else c for c in value)


def packed(tree: Any) -> Any:
    """Return an operation's arguments as data."""
    if isinstance(tree, np.generic):
        tree = tree.item()
    if isinstance(tree, Ref):
        return {"value": tree.number}
    if isinstance(tree, Mapping):
        return {"names": {str(name): packed(child) for name, child in tree.items()}}
    if isinstance(tree, list | tuple):
        return [packed(child) for child in tree]
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"float": str(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    return {"constant": str(tree)}


def unpacked(tree: Any, count: int) -> Any:
    """Return the arguments of a header; `count`: how many values there are."""
    if isinstance(tree, list):
        return tuple(unpacked(child, count) for child in tree)
    if not isinstance(tree, dict):
        return text(tree) if isinstance(tree, str) else tree
    ((kind, inner),) = tree.items()
    if kind == "value":
        return Ref(_below(inner, count))
    if kind == "names":
        return {text(name): unpacked(child, count) for name, child in inner.items()}
    if kind == "float":
        return float({"inf": "inf", "-inf": "-inf", "nan": "nan"}[inner])
    return Constant(text(inner))


def named_header(arrays: Mapping[str, np.ndarray], add: Callable[[str, np.ndarray], Any], kind: str) -> dict[str, Any]:
    """Return arrays by name as data."""
    return {name: add(f"{kind}/{name}", array) for name, array in arrays.items()}


def tree_header(tree: Any, add: Callable[[str, np.ndarray], Any], name: str) -> Any:
    """Return inputs as data: arrays in dicts, lists and tuples, and plain values."""
    if isinstance(tree, np.ndarray | np.generic):
        return {"array": add(name, np.asarray(tree))}
    if isinstance(tree, Mapping):
        return {"names": {str(key): tree_header(child, add, f"{name}/{key}") for key, child in tree.items()}}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [tree_header(child, add, f"{name}/{i}") for i, child in enumerate(tree)]}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {"float": str(tree)}
    if tree is None or isinstance(tree, bool | int | float | str):
        return {"plain": tree}
    raise TypeError(f"{name} is {type(tree).__name__}, which a record cannot hold")


def tree_of(header: Any, found: Found) -> Any:
    """Return the inputs of a header."""
    ((kind, inner),) = header.items()
    if kind == "array":
        return found.array(inner)
    if kind == "names":
        return {text(name): tree_of(child, found) for name, child in inner.items()}
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](tree_of(child, found) for child in inner)
    if kind == "float":
        return float({"inf": "inf", "-inf": "-inf", "nan": "nan"}[inner])
    if kind != "plain" or not (inner is None or isinstance(inner, bool | int | float | str)):
        raise ValueError(f"an input is of the kind {kind!r}")
    return inner


def texts(values: Iterable[Any]) -> list[str]:
    """Return texts of a header."""
    return [text(value) for value in values]


def _count(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"a number is {number!r}")
    return number


def _below(number: Any, count: int) -> int:
    if _count(number) >= count:
        raise ValueError(f"the number {number} is not below {count}")
    return number
