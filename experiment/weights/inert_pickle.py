"""Interpreting a pickle without running it: every name stays a name, and every call is only recorded.

Python's own loader imports and calls what a pickle names, so a file can execute any code. Here a global is a pair of
strings, and calling it makes an `Opaque` that remembers the name and the arguments. Format: Python's `pickletools`.
"""

import pickletools
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

MARK = object()
PLAIN_KEYS = (str, bytes, int, float, bool, type(None))  # a nested tuple as a key would be hashed recursively
LIMIT = 5 * 10**6  # operations in a pickle: a tensor takes about 20
DICTS = {"collections.OrderedDict", "collections.defaultdict", "dict"}
BUILTIN = ("builtins", "__builtin__")


class Refused(Exception):
    """The fault of a pickle, without the name of its file."""


class Name(NamedTuple):
    """A name that Python's own loader would import."""

    module: str
    name: str

    def __str__(self) -> str:
        shown = self.name if self.module in BUILTIN else f"{self.module}.{self.name}"
        return shown[:100] if shown.isprintable() else ascii(shown)[1:-1][:100]


class Opaque:
    """An object that is not created: what would have been called, with which arguments, and the state it would get."""

    def __init__(self, called: Any, arguments: Any = ()):
        self.called, self.arguments = called, arguments
        self.state: Any = None
        self.items: dict[Any, Any] = {}  # of a class derived from dict

    @property
    def name(self) -> str:
        """The name of the class or function, "pathlib.PosixPath"."""
        called = self.called
        while isinstance(called, Opaque):
            called = called.called
        if isinstance(called, Reference) and isinstance(called.value, tuple):  # PyTorch's old form of a module's class
            called = next((one for one in called.value if isinstance(one, Name)), called)
        return str(called) if isinstance(called, Name) else type(called).__name__


class Reference(NamedTuple):
    """What a pickle's writer has stored elsewhere (a persistent id); PyTorch's storages are that."""

    value: Any


class Seen(NamedTuple):
    """What a pickle names, filled as it is interpreted."""

    names: set[str]  # of classes and functions
    references: list[Reference]


def interpret(stream: BinaryIO, make: Callable[[str, Any], Any], seen: Seen) -> Any:
    """Interpret the pickle at the position of `stream`, which is then behind it.

    Args:
        stream: it may hold more behind the pickle.
        make: returns the object for a call, by the called name and its arguments; `NotImplemented` for an `Opaque`.
        seen: every global and every reference in the pickle is added.

    Raises:
        Refused: it is damaged or too large.
    """
    machine = _Machine(make, seen)
    try:
        with warnings.catch_warnings():  # pickletools warns of invalid escapes in the file
            warnings.simplefilter("ignore", DeprecationWarning)
            for number, (code, argument, _) in enumerate(pickletools.genops(stream)):
                if number > LIMIT:
                    raise Refused(f"its pickle has more than {LIMIT:,} operations")
                if code.name == "STOP":
                    break
                machine.do(code.name, argument)
        return machine.pop()
    except (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        raise Refused(f"not a whole pickle ({' '.join(str(error).split())[:100]})") from None


class _Machine:
    """The pickle machine: its stack and its memo."""

    def __init__(self, make: Callable[[str, Any], Any], seen: Seen):
        self.make, self.seen = make, seen
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, code: str, argument: Any) -> None:
        if code in VALUES:
            self.stack.append(_text(argument) if code in TEXTS else argument)
        elif code in OPERATIONS:
            OPERATIONS[code](self, argument)
        else:
            raise Refused(f"holds the pickle operation {code}, which is not known")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise Refused("not a whole pickle (a mark where a value should be)")
        return value

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        into = target.items if isinstance(target, Opaque) else target
        if isinstance(into, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            into.update((key, value) for key, value in pairs if type(key) in PLAIN_KEYS)

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def name(self, module: Any, name: Any) -> None:
        if not type(module) is type(name) is str:
            raise Refused("names something by what is no text; nothing was run")
        found = Name(module, name)
        self.seen.names.add(str(found))
        self.stack.append(found)

    def call(self, function: Any, arguments: Any) -> None:
        if isinstance(function, Name):
            if str(function) in DICTS:
                self.stack.append(_dict_of(arguments))
                return
            made = self.make(str(function), arguments)
            if made is not NotImplemented:
                self.stack.append(made)
                return
        self.stack.append(Opaque(function, arguments))

    def new(self, count: int) -> None:
        parts = [self.pop() for _ in range(count)][::-1]  # a class, arguments, perhaps keyword arguments
        self.call(parts[0], parts[1])

    def refer(self, value: Any) -> None:
        self.seen.references.append(Reference(value))
        self.stack.append(self.seen.references[-1])

    def build(self) -> None:
        state, thing = self.pop(), self.stack[-1]
        if isinstance(thing, Opaque):
            thing.state = state


def _dict_of(arguments: Any) -> dict[Any, Any]:
    """Return the dict for a call of dict or OrderedDict: empty, or, as Python 2 wrote it, of a list of pairs."""
    match arguments:
        case (list() as pairs,):
            return {p[0]: p[1] for p in pairs if isinstance(p, (list, tuple)) and len(p) == 2 and _plain(p[0])}
        case (dict() as found,):
            return dict(found)
    return {}


def _plain(key: Any) -> bool:
    return type(key) in PLAIN_KEYS


def _text(argument: str) -> str:
    """Return a string of Python 2, which `pickletools` has decoded as Latin-1, as text, as PyTorch does."""
    return argument.encode("latin-1", "replace").decode("utf-8", "backslashreplace")


def _pair(machine: _Machine, do: Callable[[Any, Any], None]) -> None:
    second, first = machine.pop(), machine.pop()
    do(first, second)


def _tuple(machine: _Machine, size: int) -> None:
    machine.stack.append(tuple([machine.pop() for _ in range(size)][::-1]))


def _object(machine: _Machine, name: Any = None) -> None:
    parts = machine.pop_to_mark()
    if name is None:
        machine.call(parts[0], tuple(parts[1:]))
    else:
        machine.name(*name.split(" ", 1))
        machine.call(machine.pop(), tuple(parts))


def _dict(machine: _Machine) -> None:
    items = machine.pop_to_mark()
    machine.stack.append({})
    machine.update(items)


def _put(machine: _Machine, slot: int) -> None:
    machine.memo[slot] = machine.stack[-1]


TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
VALUES = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE"} | TEXTS
VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
OPERATIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, a: None,  # noqa: ARG005
    "FRAME": lambda m, a: None,  # noqa: ARG005
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(MARK),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.pop_to_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_SET": lambda m, _: m.stack.append([]),  # as a list: its members are not hashed
    "ADDITEMS": lambda m, _: m.extend(m.pop_to_mark()),
    "FROZENSET": lambda m, _: m.stack.append(m.pop_to_mark()),
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "DICT": lambda m, _: _dict(m),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: _tuple(m, 1),
    "TUPLE2": lambda m, _: _tuple(m, 2),
    "TUPLE3": lambda m, _: _tuple(m, 3),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.update([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, _: m.update(m.pop_to_mark()),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda m, _: _put(m, len(m.memo)),
    "GET": lambda m, slot: m.stack.append(m.memo[slot]),
    "BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "LONG_BINGET": lambda m, slot: m.stack.append(m.memo[slot]),
    "GLOBAL": lambda m, words: m.name(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: _pair(m, m.name),
    "REDUCE": lambda m, _: _pair(m, m.call),
    "NEWOBJ": lambda m, _: m.new(2),
    "NEWOBJ_EX": lambda m, _: m.new(3),
    "INST": lambda m, words: _object(m, words),
    "OBJ": lambda m, _: _object(m),
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, text: m.refer(text),
    "BINPERSID": lambda m, _: m.refer(m.pop()),
}
