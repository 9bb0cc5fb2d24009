"""Which of PyTorch's tensors a leaf of the JAX side is made of, found where the leaf first meets data.

There, PyTorch's operations that have the same data are known. Each rule from their parameters to the leaf is tried,
and the one whose result is among PyTorch's values is taken.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.align import symbols
from parity.align.combinations import in_order, is_whole, nearest_first
from parity.align.found import CONFIRMED, GIVEN, OWN, VALUE, Found, Stop
from parity.align.made import Made
from parity.align.names import alike, groups
from parity.align.nearby import nearby_keys
from parity.align.symbols import Piece, Symbol
from parity.align.trial import MOST_JOINT, MOST_LOST, Trial
from parity.mapping.candidates import rules
from parity.mapping.rule import Rule, Table

if TYPE_CHECKING:
    from parity.align.lockstep import Cell, Walk

LIKELY, MOST_LIKELY = 6, 40  # rules of each of several leaves, and combinations of them, that are tried first


class Bindings:
    """Leaves of the JAX side, and what is known of them."""

    def __init__(
        self,
        leaves: Mapping[str, np.ndarray],
        trained: Iterable[str],
        made: Made,
        given: Mapping[Piece, Found] | None = None,
        sources: Mapping[str, Sequence[str]] | None = None,
    ):
        """Keep the leaves.

        Args:
            leaves: of the JAX side, by path.
            trained: the paths of those that are no tables of its own.
            made: PyTorch's tensors.
            given: what is known of pieces.
            sources: of leaves, the tensors that they are made of, by rules that are to be found.
        """
        self.leaves, self.trained, self.made, self.state = leaves, frozenset(trained), made, made.state
        self.shapes, self.sources = made.shapes, sources or {}
        self.found: dict[Piece, Found] = {}
        self.arrays: dict[Piece, np.ndarray] = {}
        self.trials: dict[Piece, Trial] = {}  # where each was found, to see later what else it could be
        self._used = {key: np.zeros(array.size, bool) for key, array in self.state.items()}
        for piece, found in (given or {}).items():
            self._take(piece, found)

    def symbol(self, path: str) -> Symbol:
        """Return the symbol of a leaf."""
        return symbols.of_piece(symbols.whole(path, self.leaves[path].shape), self.leaves[path].dtype)

    def dtype(self, symbol: Symbol) -> Any:
        """Return the dtype of a symbol's first leaf."""
        return self.leaves[symbol.pieces[0].path].dtype

    def values(self, pieces: Iterable[Piece]) -> dict[Piece, np.ndarray] | None:
        """Return the numbers of some pieces, None if one is not known."""
        result = {}
        for piece in pieces:
            array = self._value(piece)
            if array is None:
                return None
            result[piece] = array
        return result

    def resolve(self, walk: "Walk", equation: Any, cells: Sequence["Cell"]) -> None:
        """Find what the unknown leaves of an equation's operands are made of; its other operands are data."""
        ordered = dict.fromkeys(p for cell in cells if cell.symbol is not None for p in cell.symbol.pieces)
        unknown = [piece for piece in ordered if self._value(piece) is None]
        keys = nearby_keys(walk, cells)
        trial = Trial(walk, equation, cells, self, unknown, keys)
        if any(cell.lost > MOST_LOST for cell in cells):  # behind a difference nothing can be confirmed
            if walk.hasty:
                raise Stop
            trial.hopeless = trial.take_names()
        elif not trial.near() and not trial.named:
            if walk.hasty and trial.again is None:
                raise Stop
            trial.far()
        if trial.best is None and not trial.chosen and not ((trial.met or not trial.named) and trial.take_nearest()):
            trial.take_names()
        given = {p: f._replace(why=GIVEN) for p, f in trial.chosen.items() if p.path in self.sources and f.rule}
        trial.chosen |= {p: f for p, f in given.items() if trial.chosen[p].why not in CONFIRMED}
        for piece, found in trial.chosen.items():
            if self._value(piece) is None:
                self._take(piece, found)
            self.trials[piece] = trial
        if trial.given and any(found.why not in CONFIRMED for found in trial.chosen.values()):
            walk.doubt(list(trial.chosen))

    def rules_for(self, keys: Sequence[str], piece: Piece, equation: Any = None) -> Iterator[Found]:
        """Yield what a piece could be made of, from these parameters; what is used already comes last."""
        kind, keys = _kind(equation), self.sources.get(piece.path, keys)
        if piece.path not in self.trained and piece.path not in self.sources:
            yield Found(None, OWN)
        used = []
        size = int(np.prod(piece.shape, dtype=int))
        order = sorted(keys, key=lambda key: (self.state[key].size != size, -alike(piece.path, key)))
        for found in self._rules(order, piece, kind):
            if self.is_fresh(found):
                yield found
            else:
                used.append(found)
        yield from used

    def _rules(self, keys: Sequence[str], piece: Piece, kind: str) -> Iterator[Found]:
        for key in keys:
            yield from (Found(rule, VALUE) for rule in _rules_of(((key, self.shapes[key]),), piece.shape, kind))
        if len(keys) > 1:
            for group in groups(keys, self.state):
                several = tuple((key, self.shapes[key]) for key in group)
                yield from (Found(r, VALUE) for r in _rules_of(several, piece.shape, kind) if len(r.sources) > 1)

    def is_fresh(self, found: Found) -> bool:
        """Tell whether a rule uses no number of PyTorch's that another leaf is made of already."""
        if found.rule is None:
            return True
        return not any(self._used[key][numbers].any() for key, numbers in self.made.numbers(found.rule))

    def keeps_all(self, found: Iterable[Found]) -> bool:
        """Tell whether rules use no number twice."""
        rules = (f.rule for f in found if f.rule is not None)
        return all(rule.is_permutation or _each_once(rule.table(self.shapes)) for rule in rules)

    def array_of(self, piece: Piece, found: Found) -> np.ndarray:
        """Return the numbers that a piece has by a rule."""
        if found.rule is None:
            leaf = self.leaves[piece.path]
            return symbols.inside(piece, symbols.whole(piece.path, leaf.shape), leaf)
        return self.made.array(found.rule)

    def _joint(self, keys: Sequence[str], pieces: Sequence[Piece], equation: Any) -> Iterator[dict[Piece, Found]]:
        """Yield what several pieces could be made of together, the likely ones first."""
        if len(pieces) == 1:
            yield from ({pieces[0]: found} for found in self.rules_for(keys, pieces[0], equation))
            return
        # Whole tensors of the likeliest names first: parts of tensors are many, and in vain for each BatchNorm.
        likely = [list(itertools.islice(self.rules_for(keys, piece, equation), LIKELY)) for piece in pieces]
        soon = (c for c in itertools.islice(nearest_first(likely), MOST_LIKELY) if all(map(is_whole, c)))
        yield from (dict(zip(pieces, combination, strict=True)) for combination in soon)
        options = [list(self.rules_for(keys, piece, equation)) for piece in pieces]
        yield from itertools.islice(in_order(pieces, options), MOST_JOINT)
        combinations = itertools.islice(nearest_first(options), MOST_JOINT)
        yield from (dict(zip(pieces, combination, strict=True)) for combination in combinations)

    def _elsewhere(self, keys: Sequence[str]) -> list[str]:
        used = {key for found in self.found.values() if found.rule for key in found.rule.sources}
        return [key for key in self.state if key not in used and key not in keys]

    def _value(self, piece: Piece) -> np.ndarray | None:
        if piece in self.arrays:
            return self.arrays[piece]
        for outer, array in self.arrays.items():
            if symbols.within(piece, outer):
                return symbols.inside(piece, outer, array)
        return self._joined(piece)

    def _joined(self, piece: Piece) -> np.ndarray | None:
        """Return a piece that has been found in parts, if they cover it."""
        parts = [other for other in self.arrays if symbols.within(other, piece)]
        if sum(int(np.prod(part.shape)) for part in parts) < np.prod(piece.shape) or not parts:
            return None
        result = np.full(piece.shape, np.nan)
        for part in parts:
            symbols.inside(part, piece, result)[...] = self.arrays[part]
        return None if np.isnan(result).any() else result

    def _take(self, piece: Piece, found: Found) -> None:
        self.found[piece] = found
        if found.rule:
            for key, numbers in self.made.numbers(found.rule):
                self._used[key][numbers] = True
        self.arrays[piece] = self.array_of(piece, found).astype(self.leaves[piece.path].dtype)


def _each_once(table: Table) -> bool:
    """Tell whether a rule uses no number twice; by marking them, as sorting millions takes a second."""
    index = table.indices[table.indices >= 0]
    seen = np.zeros(table.size, bool)
    seen[index] = True
    return int(np.count_nonzero(seen)) == index.size


def _kind(equation: Any) -> str:
    """Return what `rules` calls the kind of layer."""
    if equation is None or equation.primitive.name != "conv_general_dilated":
        return ""
    return "conv_transpose" if any(n > 1 for n in equation.params["lhs_dilation"]) else "conv"


@functools.lru_cache(maxsize=4096)
def _rules_of(sources: tuple[tuple[str, tuple[int, ...]], ...], shape: tuple[int, ...], kind: str) -> tuple[Rule, ...]:
    """Return the rules from tensors of these names and shapes; the same are asked for again and again."""
    return tuple(rules(dict(sources), shape, kind))
