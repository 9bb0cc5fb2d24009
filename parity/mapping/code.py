"""Python expressions as a tree, written as ruff formats them."""

import json
from collections.abc import Sequence
from typing import NamedTuple

WIDTH = 88  # ruff's own


class Code(NamedTuple):
    """An expression: a name or literal, a call, a list, or a comprehension."""

    text: str = ""  # the literal, or the function's name; of a comprehension "for j in range(12)"
    items: "tuple[Code, ...]" = ()
    kind: str = "literal"  # "call", "list", "comprehension"


def literal(value: object) -> Code:
    """Return numbers, tuples of them and strings as an expression."""
    return Code(json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value))


def call(name: str, *items: Code, **named: Code) -> Code:
    """Return a call."""
    return Code(name, (*items, *(Code(f"{key}={value.text}") for key, value in named.items())), "call")


def listed(items: Sequence[Code]) -> Code:
    """Return a list."""
    return Code("", tuple(items), "list")


def each(items: Sequence[Code], variable: str, numbers: range) -> Code:
    """Return a list with the items for each number, one behind the other."""
    loop = f"for {variable} in {spelled(numbers)}"
    if len(items) == 1:
        return Code(loop, (items[0],), "comprehension")
    inner = f"{loop} for part in ({', '.join(map(flat, items))})"
    return Code(inner, (Code("part"),), "comprehension")


def spelled(numbers: range) -> str:
    """Return a range as it is written."""
    return f"range({numbers.stop})" if numbers.start == 0 else f"range({numbers.start}, {numbers.stop})"


def flat(code: Code) -> str:
    """Return an expression in one line."""
    inside = ", ".join(map(flat, code.items))
    if code.kind == "call":
        return f"{code.text}({inside})"
    if code.kind == "list":
        return f"[{inside}]"
    return f"[{inside} {code.text}]" if code.kind == "comprehension" else code.text


def lines(code: Code, indent: int, before: str = "", after: str = "") -> list[str]:
    """Return the lines of an expression between two texts; it is broken where it is too long."""
    margin, one = " " * indent, flat(code)
    if code.kind == "literal" or len(margin + before + one + after) <= WIDTH:
        return [margin + before + one + after]
    opened, closed = (f"{code.text}(", ")") if code.kind == "call" else ("[", "]")
    inner = [line for item in code.items for line in lines(item, indent + 4, "", "" if _loops(code) else ",")]
    if _loops(code):
        inner += [f"{' ' * (indent + 4)}{loop}" for loop in _clauses(code.text)]
    return [margin + before + opened, *inner, margin + closed + after]


def _loops(code: Code) -> bool:
    return code.kind == "comprehension"


def _clauses(loop: str) -> list[str]:
    first, separator, second = loop.partition(" for part in ")
    return [first, separator.strip() + " " + second] if separator else [first]


def f_string(tokens: Sequence[object]) -> str:
    """Return tokens as a string: texts, numbers, and (variable, offset) for a number that a loop counts."""
    if not any(isinstance(token, tuple) for token in tokens):
        return json.dumps("".join(map(str, tokens)), ensure_ascii=False)
    body = "".join(
        "{" + _counted(*token) + "}" if isinstance(token, tuple) else _escaped(str(token)) for token in tokens
    )
    return f'f"{body}"'


def _counted(variable: str, offset: int) -> str:
    return variable if not offset else f"{variable} {'+' if offset > 0 else '-'} {abs(offset)}"


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("{", "{{").replace("}", "}}")
