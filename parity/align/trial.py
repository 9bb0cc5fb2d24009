"""Rules for weights, tried on the equation at which they meet data."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.align import symbols
from parity.align.combinations import chunks
from parity.align.found import NAME, NEAREST, NOTHING, OTHER_ORDER, OWN, PART, VALUE, Found
from parity.align.names import alike
from parity.align.nearby import nearby_keys, nearby_ops
from parity.align.symbols import Piece
from parity.mapping.rule import Rule
from parity.trace.index import laid_out, nearest_layout
from parity.trace.jax_eval import bind, floating

if TYPE_CHECKING:
    from parity.align.bindings import Bindings
    from parity.align.lockstep import Cell, Walk

MOST_JOINT = 400  # combinations of rules for several leaves that meet data at once
MOST_NAMED = 24  # rules that are tried where a mapping tells the tensor
MOST_NAMES = 3  # parameters that are considered because of their names
MOST_LOST = 5  # operations that a value may be behind the last one that was met, for a weight to be looked for with it
HOPS = 3  # how many operations further on parameters are looked for
MOST_NEAR = 60  # rules whose results are compared with PyTorch's values, if none agrees
MOST_PARTS = 60  # rules that are tried for a part of a leaf
MOST_SUMS = 4  # sums of two biases that are tried though nothing confirms them
MOST_FAR = 60  # rules that are tried from parameters elsewhere in the network
NEAR_ENOUGH, CLEARLY = 0.9, 0.02  # of correlations: the best, and how much the next source's must be below
FEW, MANY = 8, 512  # numbers of a result that are looked for before all are: of a whole one, of a part
LEAST_SHARE = 4  # of a result that is a part
ZEROS = ("dot_general", "conv_general_dilated", "mul", "gather")  # operations that turn zeros into zeros


class Trial:
    """Rules for the unknown leaves of one equation, tried on it."""

    def __init__(
        self,
        walk: "Walk",
        equation: Any,
        cells: Sequence["Cell"],
        known: "Bindings",
        pieces: list[Piece],
        keys: list[str],
    ):
        self.walk, self.equation, self.cells, self.known = walk, equation, cells, known
        self.pieces, self.keys = pieces, keys
        self.chosen: dict[Piece, Found] = {}
        self.best: dict[Piece, Found] | None = None
        self.tried: list[tuple[dict[Piece, Found], np.ndarray]] = []
        self.met = all(cell.lost <= 1 for cell in cells)  # else only a whole result is looked for
        self.hopeless = False  # whether the data itself is behind a difference
        self.again: dict[Piece, Found] | None = None  # what is confirmed, but is another leaf's already
        self.given = {n for cell in cells for n in cell.same}
        self.named = all(piece.path in known.sources for piece in pieces)  # the mapping tells what they are made of
        self.at = len(walk.cells)

    def options(self) -> Iterator[dict[Piece, Found]]:
        """Yield what the pieces could be made of, by the parameters nearby."""
        return self.known._joint(self.keys, self.pieces, self.equation)

    def near(self) -> bool:
        """Find the pieces among the parameters that PyTorch uses with the same data."""
        if self.named and all(len(self.known.sources[piece.path]) == 1 for piece in self.pieces):
            return self.confirm(itertools.islice(self.options(), MOST_NAMED))
        if self.confirm(self.options()):
            return True
        return self.again is None and self.met and (self.one_by_one() or self.in_parts())

    def far(self) -> bool:
        """Find the pieces among the parameters further on, then elsewhere; else they are tied to another leaf."""
        known = self.known
        further = [key for key in nearby_keys(self.walk, self.cells, HOPS) if key not in self.keys]
        keys, self.keys = self.keys, [*self.keys, *further]
        if self.confirm(known._joint(further, self.pieces, self.equation)):
            return True
        if self.again is not None:
            return self.choose(self.again, VALUE)
        elsewhere = known._joint(known._elsewhere([*keys, *further]), self.pieces, self.equation)
        return self.confirm(itertools.islice(elsewhere, MOST_FAR)) or (
            self.again is not None and self.choose(self.again, VALUE)
        )

    def confirm(self, combinations: Iterable[dict[Piece, Found]]) -> bool:
        """Take the first combination whose result is among PyTorch's values; tell whether there is one."""
        weak: dict[str, dict[Piece, Found]] = {}
        for combination in combinations:
            result = self._result(combination)
            if result is None:
                continue
            self.tried.append((combination, result))
            found = self._is_found(result, combination)
            if found and not all(self.known.is_fresh(f) for f in combination.values()):
                self.again = self.again or (combination if found != OTHER_ORDER else None)
                continue
            if found == VALUE and not self.known.keeps_all(combination.values()):
                found = PART  # numbers that are there twice: a value of PyTorch's that was repeated for itself
            if found == VALUE:
                return self.choose(combination, VALUE)
            if found:
                weak.setdefault(found, combination)
        for why in (PART, OTHER_ORDER):
            if why in weak:
                return self.choose(weak[why], VALUE if why == PART else why)
        return False

    def alternatives(self, piece: Piece) -> list[Found]:
        """Return all that a piece could be made of by this equation alone, if it is the only one unknown there.

        Another order of the numbers is possible, too: a flattened picture whose channels come last.
        """
        if len(self.pieces) > 1:
            return []
        result: dict[str, list[Found]] = {VALUE: [], PART: [], OTHER_ORDER: []}
        sums: list[
            Found
        ] = []  # of two biases: what follows tells, as both are in no value before the gates are summed
        further = [key for key in nearby_keys(self.walk, self.cells, HOPS) if key not in self.keys]
        for option in self.known.rules_for([*self.keys, *further], piece, self.equation):
            computed = self._result({piece: option})
            why = self._is_found(computed, {piece: option}) if computed is not None else ""
            if why and self.known.keeps_all([option]):
                result[why].append(option)
            elif option.rule is not None and len(sums) < MOST_SUMS and _of_two_biases(option.rule):
                sums.append(option)
        return [*result[VALUE], *result[PART], *result[OTHER_ORDER], *sums]

    def one_by_one(self) -> bool:
        """Find the pieces one after another, each by a part of the result, where all meet data at once."""
        if len(self.pieces) < 2:
            return False
        rng = np.random.default_rng(0)
        dummy = {piece: rng.normal(size=piece.shape) for piece in self.pieces}
        found: dict[Piece, Found] = {}
        for piece in self.pieces:
            for option in self.known.rules_for(self.keys, piece, self.equation):
                arrays = {**dummy, piece: self.known.array_of(piece, option)}
                result = self._computed(arrays)
                if result is not None and self._in_part(result):
                    found[piece] = option
                    dummy[piece] = arrays[piece]
                    break
        return len(found) == len(self.pieces) and self.choose(found, VALUE)

    def in_parts(self) -> bool:
        """Find a piece part by part, where it is put together of several tensors."""
        if len(self.pieces) != 1:
            return False
        (piece,) = self.pieces
        for axis, count in itertools.product(reversed(range(len(piece.shape))), (2, 3, 4)):
            if piece.shape[axis] % count or (piece.shape[axis] == count > 2 and len(piece.shape) < 3):
                continue
            parts, found = symbols.parted(piece, axis, count), {}
            array = np.random.default_rng(0).normal(size=piece.shape)
            for part in parts:
                option = self._part(piece, part, array)
                if option is None:
                    break
                found[part] = option
            if len(found) == count and len({o.rule for o in found.values()}) == count:
                return self.choose(found, VALUE)
        return False

    def _part(self, piece: Piece, part: Piece, array: np.ndarray) -> Found | None:
        """Find a part; the numbers are written into the whole."""
        view, before = symbols.inside(part, piece, array), symbols.inside(part, piece, array).copy()
        for option in itertools.islice(self.known.rules_for(self.keys, part, self.equation), MOST_PARTS):
            if option.rule is None:
                continue
            view[...] = self.known.array_of(part, option)
            result = self._computed({piece: array.copy()})
            if result is not None and self._in_part(result):
                return option
        view[...] = before
        return None

    def take_nearest(self) -> bool:
        """Take the combination whose result is most like one of PyTorch's, if it is by far."""
        walk, scores = self.walk, []
        targets = self._targets()
        arrays = [a for n in targets if isinstance(a := walk.trace.values[n].array, np.ndarray)]
        for combination, result in self.tried[:MOST_NEAR]:
            near = [array for array in arrays if array.size == result.size and array.dtype.kind == "f"]
            score = max((nearest_layout(reference, result)[0] for reference in near), default=-1.0)
            scores.append((score, combination))
        if not scores:
            return False
        best, chosen = max(scores, key=lambda pair: pair[0])
        sources = _sources(chosen)
        others = max((score for score, other in scores if _sources(other) != sources), default=-1.0)
        if best < NEAR_ENOUGH or best - others < CLEARLY:
            return False
        return self.choose(chosen, NEAREST)

    def take_names(self) -> bool:
        """Take what is most alike by name, else the leaf's own numbers."""
        used = {key for found in self.known.found.values() if found.rule for key in found.rule.sources}
        for piece in self.pieces:
            keys = sorted(self.known.state, key=lambda k: (k in used, k not in self.keys, -alike(piece.path, k)))
            size = int(np.prod(piece.shape, dtype=int))
            fit = [key for key in keys if self.known.state[key].size in (size, 2 * size, 3 * size, 4 * size)]
            options = self.known.rules_for(fit[:MOST_NAMES], piece, self.equation)
            best = next((o for o in options if o.rule is not None and self.known.is_fresh(o)), None)
            self.chosen[piece] = best._replace(why=NAME) if best else Found(None, NOTHING)
            used |= set(best.rule.sources) if best and best.rule else set()
        return True

    def _targets(self) -> list[int]:
        ops = set(nearby_ops(self.walk, self.cells))
        return [n for n, value in enumerate(self.walk.trace.values) if value.maker in ops and value.data]

    def _result(self, combination: Mapping[Piece, Found]) -> np.ndarray | None:
        try:
            arrays = {piece: self.known.array_of(piece, found) for piece, found in combination.items()}
        except Exception:  # a rule that does not fit after all
            return None
        return self._computed(arrays)

    def _computed(self, arrays: Mapping[Piece, np.ndarray]) -> np.ndarray | None:
        operands = []
        for cell in self.cells:
            if cell.symbol is None:
                operands.append(cell.array)
                continue
            rest = [piece for piece in cell.symbol.pieces if piece not in arrays]
            values = {**(self.known.values(rest) or {}), **arrays}
            operands.append(np.asarray(cell.symbol.compute(values)))
        output = bind(self.equation, operands)[0]
        return np.asarray(output, np.float64) if floating(output) else None

    def _is_found(self, result: np.ndarray, combination: Mapping[Piece, Found]) -> str:
        if self.walk.zeros and not np.any(result):  # PyTorch has zeros, too, and they tell nothing
            return ""
        numbers = [n for n in self._matches(result) if n not in self.given]
        same = [number for number in numbers if self._alike(number, result)]
        if any(not self.walk.trace.values[number].part for number in same):
            return VALUE
        if same:
            return PART
        several = len(combination) > 1 or any(f.rule and len(f.rule.sources) > 1 for f in combination.values())
        if (
            self.met
            and self._holds(result, _places(result.size, FEW)).all()  # most are refused by a few numbers
            and self._holds(result).all()
            and self.known.keeps_all(combination.values())
            and any(all(self._strict(part) for part in parts) for parts in chunks(result))
        ):
            return VALUE if several else PART
        if self._by_sources(combination) or self._without_padding(result, combination):
            return VALUE
        return OTHER_ORDER if numbers else ""

    def _by_sources(self, combination: Mapping[Piece, Found]) -> bool:
        """Tell whether each source alone, the others being zero, gives a value of PyTorch's and zeros."""
        if len(combination) != 1 or self.equation.primitive.name not in ZEROS:
            return False
        ((piece, found),) = combination.items()
        if (
            found.rule is None
            or len(found.rule.sources) < 2
            or any(s.startswith(("sum", "add")) for s in found.rule.steps)
        ):
            return False
        for key in found.rule.sources:
            state = {k: self.known.state[k] * (k == key) for k in found.rule.sources}
            result = self._computed({piece: np.asarray(found.rule(state))})
            if result is None or not self._matches(result[result != 0]):
                return False
        return True

    def _in_part(self, result: np.ndarray) -> bool:
        """Tell whether a part of a result is among PyTorch's values."""
        some = np.ones(result.shape, bool)
        places = _places(result.size, MANY)
        some.flat[places] = self._holds(result, places)
        if not any(may.all() for mays in chunks(some) for may in mays):  # most are refused by some numbers
            return False
        held = self._holds(result).reshape(result.shape)
        if held.sum() < result.size / LEAST_SHARE:
            return False
        return any(
            may.all() and self._strict(part)
            for parts, mays in zip(chunks(result), chunks(held), strict=True)
            for part, may in zip(parts, mays, strict=True)
        )

    def _holds(self, array: np.ndarray, places: np.ndarray | None = None) -> np.ndarray:
        return self.walk.holds(array, min(cell.bits for cell in self.cells), places)

    def _without_padding(self, result: np.ndarray, combination: Mapping[Piece, Found]) -> bool:
        """Tell whether a result is PyTorch's but for zeros, which the padding of a weight gives."""
        steps = [step for found in combination.values() if found.rule is not None for step in found.rule.steps]
        return any(step.startswith("pad") for step in steps) and bool(self._matches(result[result != 0]))

    def _strict(self, array: np.ndarray) -> bool:
        return any(self._alike(number, array) for number in self._matches(array))

    def _matches(self, array: np.ndarray) -> list[int]:
        bits = min(cell.bits for cell in self.cells)
        return self.walk.matches(array, bits) if array.size > 2 else []

    def _alike(self, number: int, array: np.ndarray) -> bool:
        return laid_out(self.walk.trace.values[number].array, array, 3e-6) is not None

    def choose(self, combination: Mapping[Piece, Found], why: str) -> bool:
        """Settle on a combination."""
        self.best = dict(combination)
        self.chosen = {p: f if f.why == OWN else f._replace(why=why) for p, f in combination.items()}
        return True


@lru_cache(maxsize=64)
def _places(size: int, count: int) -> np.ndarray:
    """Return places of an array, at random: in equal steps they could all be of one channel."""
    return np.random.default_rng(0).integers(size, size=count) if size else np.zeros(0, int)


def _of_two_biases(rule: Rule) -> bool:
    """Tell whether a rule adds the two biases of a recurrent cell, in PyTorch's order of gates."""
    rearranged = any(step.startswith(("reorder", "add")) for step in rule.steps)
    return "sum" in rule.steps and "_hh" in rule.sources[-1] and not rearranged


def _sources(combination: Mapping[Piece, Found]) -> tuple[Any, ...]:
    return tuple(found.rule.sources if found.rule else None for found in combination.values())
