"""Reading a pickle without running it: a small interpreter that creates plain values only.

Python's own loader imports and calls whatever a pickle names, so an untrusted file can execute any code. Here a name
is only a pair of strings; the few names that numpy arrays need are known, and any other is an error.

Format: the docstrings of Python's `pickletools`, which also splits the file into operations.
"""

import math
import pickletools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.base import DataError

MAX_BYTES = 2**28
MARK = object()
NUMBERS = re.compile(r"[iu][1248]|f[248]|b1")  # dtypes allowed in an array


class Name(NamedTuple):
    """A name that Python's own loader would import."""

    module: str
    name: str


ENCODE, NDARRAY, DTYPE = Name("_codecs", "encode"), Name("numpy", "ndarray"), Name("numpy", "dtype")
RECONSTRUCT = {Name(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
KNOWN = {ENCODE, NDARRAY, DTYPE} | RECONSTRUCT


class Refused(Exception):
    """The fault of a pickle, without the name of its file."""


class Unfinished:
    """An array or a dtype between the two operations that create it."""

    def __init__(self, code: str | None):
        self.code = code  # "u1" or similar for a dtype, None for an array
        self.slots: list[int] = []  # its places in the memo


def read_pickled(path: Path) -> Any:
    """Read a pickle of dicts, lists, tuples, integers, booleans, None, text, bytes and plain numpy arrays.

    Python 2's strings are returned as bytes. Arrays are read-only views of the file's content.

    Raises:
        DataError: the file is missing, damaged or too large, or contains anything else; nothing is imported or run.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected a pickle of at most {MAX_BYTES} bytes, found {size}")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        with warnings.catch_warnings():  # pickletools warns of invalid escapes in the file
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Machine(content).run()
    except Refused as error:
        raise DataError(f"{path}: {error}") from None
    except (ValueError, IndexError, KeyError) as error:  # raised for a truncated file
        raise DataError(f"{path}: not a whole pickle ({' '.join(str(error).split())[:100]})") from None


class _Machine:
    """The pickle machine: its stack, its memo and its memory budget."""

    def __init__(self, content: bytes):
        self.content = content
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = len(content)  # bytes that may be allocated: a small file must not fill the memory

    def run(self) -> Any:
        end = 0
        for code, argument, position in pickletools.genops(self.content):
            if code.name in VALUES:
                self.stack.append(argument)
            elif code.name in OPERATIONS:
                OPERATIONS[code.name](self, argument)
            elif code.name != "STOP":
                raise Refused(f"holds the operation {code.name} at byte {position}, which plain data does not need")
            end = (position or 0) + 1
        result = self.pop()
        if self.stack or end != len(self.content):
            raise Refused("not a whole pickle (something is left over at its end)")
        return result

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise Refused("not a pickle that Python writes (a mark where a value should be)")
        return value

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]

    def put(self, slot: int) -> None:
        self.memo[slot] = self.pop()
        self.stack.append(self.memo[slot])
        if isinstance(self.memo[slot], Unfinished):
            self.memo[slot].slots.append(slot)

    def append(self, items: list[Any]) -> None:
        _top(self, list).extend(items)

    def update(self, items: list[Any]) -> None:
        if len(items) % 2 or not all(isinstance(key, (str, bytes, int)) for key in items[::2]):
            raise Refused("holds a dict whose keys are neither text nor numbers")
        _top(self, dict).update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: Any, name: Any) -> None:
        if not type(module) is type(name) is str:  # not shown: its text may be arbitrarily long
            raise Refused("names something by what is no text; nothing was run")
        if Name(module, name) not in KNOWN:
            shown = ascii(f"{module}.{name}")[1:-1][:100]
            raise Refused(f"names {shown}, which plain data does not need; nothing was run")
        self.stack.append(Name(module, name))

    def reduce(self) -> None:
        """Emulate the three calls in an array's pickle, with the arguments they have there; refuse any other."""
        arguments, function = self.pop(), self.pop()
        match (function, arguments):
            case (Name() as name, (Name() as kind, (0,), b"b" | "b")) if name in RECONSTRUCT and kind == NDARRAY:
                made = Unfinished(None)
            case (Name() as name, (str() | bytes() as code, 0, 1)) if name == DTYPE:
                made = Unfinished(_number_code(code))
            case (Name() as name, (str() as text, "latin1" | "latin-1")) if name == ENCODE:
                self.budget -= len(text)
                if self.budget < 0:
                    raise Refused("would need more memory than its own size")
                made = text.encode("latin-1")
            case _:
                raise Refused("calls something, which plain data does not need; nothing was run")
        self.stack.append(made)

    def build(self) -> None:
        """Complete an array or a dtype, also in the memo."""
        state, thing = self.pop(), self.pop()
        if not isinstance(thing, Unfinished):
            raise Refused("sets the state of something that is no array; nothing was run")
        made = _array(state) if thing.code is None else _dtype(thing.code, state)
        for slot in thing.slots:
            self.memo[slot] = made
        self.stack.append(made)


def _top(machine: _Machine, kind: type) -> Any:
    if type(machine.stack[-1]) is not kind:
        raise Refused(f"not a pickle that Python writes (it fills a {kind.__name__} that is none)")
    return machine.stack[-1]


def _number_code(code: str | bytes) -> str:
    text = code if isinstance(code, str) else code.decode("latin-1")
    if not NUMBERS.fullmatch(text):
        raise Refused(f"holds an array of {text[:20]!a}; expected plain numbers")
    return text


def _dtype(code: str, state: Any) -> np.dtype:
    match state:
        case (3, ("<" | ">" | "|" | b"<" | b">" | b"|") as order, None, None, None, -1, -1, 0):
            return np.dtype((order if isinstance(order, str) else order.decode()) + code)
    raise Refused(f"holds an array of a dtype that is not plain ({code})")


def _array(state: Any) -> np.ndarray:
    match state:
        case (1, tuple() as shape, np.dtype() as dtype, bool() as fortran, bytes() as content):
            plain = all(type(size) is int and size >= 0 for size in shape) and len(shape) <= 32
            if not plain or math.prod(shape) * dtype.itemsize != len(content):
                shown = str(shape)[:60] if plain else "that is no shape"
                raise Refused(f"holds an array of shape {shown} {dtype} in {len(content)} bytes")
            return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    raise Refused("holds an array whose state is not a shape, a dtype and bytes")


def _tuple(machine: _Machine, size: int) -> None:
    items = [machine.pop() for _ in range(size)]
    machine.stack.append(tuple(items[::-1]))


def _stack_name(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


VALUES = {"BININT", "BININT1", "BININT2", "LONG1"}
VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda m, a: None,  # noqa: ARG005
    "FRAME": lambda m, a: None,  # noqa: ARG005
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "SHORT_BINSTRING": lambda m, text: m.stack.append(text.encode("latin-1")),
    "BINSTRING": lambda m, text: m.stack.append(text.encode("latin-1")),
    "MARK": lambda m, _: m.stack.append(MARK),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: _tuple(m, 1),
    "TUPLE2": lambda m, _: _tuple(m, 2),
    "TUPLE3": lambda m, _: _tuple(m, 3),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.pop_to_mark()),
    "BINPUT": lambda m, slot: m.put(slot),
    "LONG_BINPUT": lambda m, slot: m.put(slot),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "LONG_BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "GLOBAL": lambda m, words: m.name(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: _stack_name(m),
    "REDUCE": lambda m, _: m.reduce(),
    "BUILD": lambda m, _: m.build(),
}
