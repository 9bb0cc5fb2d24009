"""Operations and values of a trace: numpy arrays, which operation made each, from what, on which line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from parity.trace.lines import Line

# Operations whose result holds the same numbers.
VIEWS = frozenset(
    [
        "view",
        "_unsafe_view",
        "reshape",
        "t",
        "transpose",
        "permute",
        "unsqueeze",
        "squeeze",
        "clone",
        "contiguous",
        "alias",
        "detach",
        "_to_copy",
    ]
)
SINGLE_BITS = 12  # a number of float32 that needs more bits than this was rounded to float32


class Op(NamedTuple):
    """One operation of PyTorch's."""

    name: str  # "aten.addmm"
    inputs: tuple[int, ...]  # numbers of values
    outputs: tuple[int, ...]
    line: Line | None
    scope: str  # the module that it ran in, "encoder.layers.0.norm1"
    settings: tuple[Any, ...]  # arguments, tensors as numbers of values: `Ref`
    keywords: dict[str, Any]


class Ref(NamedTuple):
    """A tensor among the arguments of an operation."""

    number: int


class Constant(NamedTuple):
    """A dtype, a device or a layout among the arguments of a recorded operation: "torch.float64"."""

    text: str


@dataclass(slots=True)
class Value:
    """A tensor at one time of the computation."""

    array: Any  # numpy's; or, in a record, the fingerprint of one that was too large
    maker: int | None = None  # number of the operation; None for inputs, parameters and constants
    data: bool = False  # whether it depends on the inputs
    keys: frozenset[str] = frozenset()  # parameters and buffers that it is computed from, if not from data
    low: bool = False  # whether it holds float32's precision only
    partial: bool = False  # whether it is a step inside of the operation, which PyTorch does not return
    part: bool = False  # whether it is an equal part of a product, which PyTorch may never cut up so


@dataclass(slots=True)
class Trace:
    """All operations of one pass, and the values between them."""

    ops: list[Op] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    users: dict[int, list[int]] = field(default_factory=dict)  # operations by the value that they take
    foreign: bool = False  # whether it was read from a file, which may ask for anything

    def add(self, value: Value) -> int:
        """Add a value; return its number."""
        self.values.append(value)
        return len(self.values) - 1

    def add_op(self, op: Op) -> int:
        """Add an operation; return its number."""
        self.ops.append(op)
        number = len(self.ops) - 1
        for value in op.inputs:
            self.users.setdefault(value, []).append(number)
        return number

    def takers(self, value: int) -> Iterator[int]:
        """Yield the operations that take a value, or a view of it."""
        for op in self.users.get(value, ()):
            yield op
            if self.ops[op].name in VIEWS:
                for other in self.ops[op].outputs:
                    yield from self.takers(other)

    def makers(self, value: int, depth: int) -> Iterator[int]:
        """Yield the operations that a value comes from, so many steps back."""
        maker = self.values[value].maker
        if maker is not None and depth:
            yield maker
            for number in self.ops[maker].inputs:
                if self.values[number].data:
                    yield from self.makers(number, depth - 1)

    def low(self) -> list[bool]:
        """Tell of each value whether it, or one that it comes from, holds float32's precision only."""
        result = list[bool]()
        for value in self.values:
            given = () if value.maker is None else self.ops[value.maker].inputs
            result.append(value.low or any(result[number] for number in given))
        return result

    def masks(self) -> list[bool]:
        """Tell of each value whether it is of two numbers, made from integers or truth values of the inputs alone."""
        whole = list[bool]()
        for value in self.values:
            given = () if value.maker is None else self.ops[value.maker].inputs
            root = value.maker is not None or not value.data or value.array.dtype.kind in "iub"
            whole.append(root and not value.keys and all(whole[number] for number in given))
        return [w and v.data and two_numbers(v.array) for w, v in zip(whole, self.values, strict=True)]

    def results(self, op: int) -> Iterator[Value]:
        """Yield what an operation returned."""
        return (self.values[n] for n in self.ops[op].outputs)


def is_single(array: np.ndarray) -> bool:
    """Tell whether floats are float32's: all are exactly, and some need most of its bits."""
    if array.dtype.kind != "f" or array.size == 0:
        return False
    finite = array[np.isfinite(array)].astype(np.float64)
    with np.errstate(over="ignore"):
        if not np.array_equal(finite.astype(np.float32).astype(np.float64), finite):
            return False
    mantissa = np.frexp(finite)[0] * 2.0**SINGLE_BITS
    return bool((mantissa != np.round(mantissa)).any())


def two_numbers(array: np.ndarray) -> bool:
    """Tell whether an array holds no more than two different numbers."""
    return array.size > 0 and bool(((array == array.min()) | (array == array.max())).all())
