"""Weights that are exchanged for each other: orders of those that met the same data, and whether names forbid one."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from parity.align.found import CONFIRMED, FOLLOWS, Found
from parity.align.names import alike
from parity.align.symbols import Piece


def orders(pieces: Sequence[Piece], found: Mapping[Piece, Found]) -> Iterator[dict[Piece, Found]]:
    """Yield the rules of some pieces in other orders, among pieces of one shape."""
    mine = [found[piece] for piece in pieces]
    for order in itertools.permutations(mine):
        if list(order) == mine or any(f.rule is None for f in order):
            continue
        if all(_fits(p, q) for p, f in zip(pieces, order, strict=True) for q in pieces if found[q] is f):
            yield dict(zip(pieces, order, strict=True))


def against_names(option: Mapping[Piece, Found], found: Mapping[Piece, Found]) -> bool:
    """Tell whether an option exchanges weights, query and key for example, whose names say that they are right."""
    before = {piece: found[piece] for piece in option if piece in found}
    taken = {f.rule for f in found.values() if f.why in (*CONFIRMED, FOLLOWS)}
    if len(before) < len(option) or not {f.rule for f in option.values()} <= taken:
        return False
    return _by_names(option) < _by_names(before) - 1e-9


def _by_names(found: Mapping[Piece, Found]) -> float:
    """Return how much alike the names of pieces and of their sources are."""
    return sum(alike(p.path, key) for p, f in found.items() if f.rule is not None for key in f.rule.sources)


def _fits(piece: Piece, other: Piece) -> bool:
    return piece.shape == other.shape
