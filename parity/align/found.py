"""What a piece of a leaf is made of, and by what that was found out."""

from typing import NamedTuple

from parity.mapping.rule import Rule

VALUE, OTHER_ORDER, NEAREST, NAME, OWN, NOTHING, GIVEN = (
    "its values",
    "its values, in another order",
    "the nearest values",
    "its name and shape",
    "its own value: PyTorch has no counterpart",
    "nothing",
    "the mapping given",
)
PART = "a part of its product"  # weaker: PyTorch may cut it up in another way, which is tried first
FOLLOWS = "what follows it"
CONFIRMED = (VALUE, OTHER_ORDER, GIVEN, OWN)


class Stop(Exception):
    """A walk has gone as far as it should."""


class Found(NamedTuple):
    """What a piece of a leaf is made of."""

    rule: Rule | None  # None: its own value
    why: str
