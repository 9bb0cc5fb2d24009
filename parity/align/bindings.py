"""Which of PyTorch's tensors a leaf of the JAX side is made of, found where the leaf first meets data.

There, PyTorch's operations that have the same data are known. Each rule from their parameters to the leaf is tried, and the
one whose result is among PyTorch's values is taken. Nothing is guessed: what no result confirms is said to be unconfirmed.
"""

import difflib
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from parity.align import symbols
from parity.align.symbols import Piece, Symbol
from parity.mapping.candidates import rules
from parity.mapping.rule import Rule
from parity.trace.index import laid_out, nearest_layout
from parity.trace.jax_eval import bind, floating

if TYPE_CHECKING:
    from parity.align.lockstep import Cell, Walk

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
CONFIRMED = (VALUE, OTHER_ORDER, GIVEN, OWN)
MOST_JOINT = 400  # combinations of rules for several leaves that meet data at once
MOST_NAMES = 3  # parameters that are considered because of their names
MOST_LOST = 5  # operations that a value may be behind the last one that was met, for a weight to be looked for with it
BACK = 4  # operations back to the product of which a value is a part
HOPS = 3  # how many operations further on parameters are looked for
MOST_NEAR = 60  # rules whose results are compared with PyTorch's values, if none agrees
MOST_PARTS = 60  # rules that are tried for a part of a leaf
MOST_FAR = 60  # rules that are tried from parameters elsewhere in the network
NEAR_ENOUGH, CLEARLY = 0.9, 0.02  # of correlations: the best, and how much the next source's must be below
ZEROS = ("dot_general", "conv_general_dilated", "mul", "gather")  # operations that turn zeros into zeros


class Stop(Exception):
    """A walk has gone as far as it should."""


class Found(NamedTuple):
    """What a piece of a leaf is made of."""

    rule: Rule | None  # None: its own value
    why: str


class Bindings:
    """Leaves of the JAX side, and what is known of them."""

    def __init__(
        self,
        leaves: Mapping[str, np.ndarray],
        trained: Iterable[str],
        state: Mapping[str, np.ndarray],
        given: Mapping[Piece, Found] | None = None,
    ):
        self.leaves, self.trained, self.state = leaves, frozenset(trained), state
        self.shapes = {key: array.shape for key, array in state.items()}
        self.found: dict[Piece, Found] = {}
        self.arrays: dict[Piece, np.ndarray] = {}
        self.trials: dict[Piece, _Trial] = {}  # where each was found, to see later what else it could be
        self._used = {key: np.zeros(array.size, bool) for key, array in state.items()}
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
        trial = _Trial(walk, equation, cells, self, unknown, keys)
        if any(cell.lost > MOST_LOST for cell in cells):  # behind a difference nothing can be confirmed
            if walk.hasty:
                raise Stop
            trial.hopeless = trial.take_names()
        elif not trial.near():
            if walk.hasty and trial.again is None:
                raise Stop
            trial.far()
        if trial.best is None and not trial.chosen:
            if not trial.take_nearest():
                trial.take_names()
        for piece, found in trial.chosen.items():
            if self._value(piece) is None:
                self._take(piece, found)
            self.trials[piece] = trial
        if trial.given and any(found.why not in CONFIRMED for found in trial.chosen.values()):
            walk.doubt(list(trial.chosen))

    def rules_for(self, keys: Sequence[str], piece: Piece, equation: Any = None) -> Iterator[Found]:
        """Yield what a piece could be made of, from these parameters; what is used already comes last."""
        kind = _kind(equation)
        if piece.path not in self.trained:
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
            for group in _groups(keys, self.state):
                several = tuple((key, self.shapes[key]) for key in group)
                yield from (Found(r, VALUE) for r in _rules_of(several, piece.shape, kind) if len(r.sources) > 1)

    def is_fresh(self, found: Found) -> bool:
        """Tell whether a rule uses no number of PyTorch's that another leaf is made of already."""
        if found.rule is None:
            return True
        return not any(self._used[key][numbers].any() for key, numbers in self._numbers(found.rule))

    def keeps_all(self, found: Iterable[Found]) -> bool:
        """Tell whether rules use no number twice."""
        rules = [f.rule for f in found if f.rule is not None]
        indices = [rule.table(self.shapes).indices.ravel() for rule in rules]
        return all(len(np.unique(index[index >= 0])) == (index >= 0).sum() for index in indices)

    def _numbers(self, rule: Rule) -> Iterator[tuple[str, np.ndarray]]:
        start, indices = 0, rule.table(self.shapes).indices.ravel()
        for key in dict.fromkeys(rule.sources):
            size = int(np.prod(self.shapes[key], dtype=int))
            yield key, indices[(indices >= start) & (indices < start + size)] - start
            start += size

    def array_of(self, piece: Piece, found: Found) -> np.ndarray:
        """Return the numbers that a piece has by a rule."""
        if found.rule is None:
            leaf = self.leaves[piece.path]
            return symbols.inside(piece, symbols.whole(piece.path, leaf.shape), leaf)
        return np.asarray(found.rule(self.state))

    def _joint(self, keys: Sequence[str], pieces: Sequence[Piece], equation: Any) -> Iterator[dict[Piece, Found]]:
        """Yield what several pieces could be made of together, the likely ones first."""
        if len(pieces) == 1:
            yield from ({pieces[0]: found} for found in self.rules_for(keys, pieces[0], equation))
            return
        options = [list(self.rules_for(keys, piece, equation)) for piece in pieces]
        yield from itertools.islice(_in_order(pieces, options), MOST_JOINT)
        combinations = itertools.islice(_nearest_first(options), MOST_JOINT)
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
            for key, numbers in self._numbers(found.rule):
                self._used[key][numbers] = True
        self.arrays[piece] = self.array_of(piece, found).astype(self.leaves[piece.path].dtype)


def _kind(equation: Any) -> str:
    """Return what `rules` calls the kind of layer."""
    if equation is None or equation.primitive.name != "conv_general_dilated":
        return ""
    return "conv_transpose" if any(n > 1 for n in equation.params["lhs_dilation"]) else "conv"


@functools.lru_cache(maxsize=4096)
def _rules_of(sources: tuple[tuple[str, tuple[int, ...]], ...], shape: tuple[int, ...], kind: str) -> tuple[Rule, ...]:
    """Return the rules from tensors of these names and shapes; the same are asked for again and again."""
    return tuple(rules(dict(sources), shape, kind))


def nearby_ops(walk: "Walk", cells: Sequence["Cell"], hops: int = 1) -> list[int]:
    """Return PyTorch's operations that take the same data, that made it, and that take what they made."""
    trace, numbers = walk.trace, set()
    for cell in cells:
        if cell.data:
            numbers |= walk.sources(cell)
    makers = {m for number in numbers if (m := trace.values[number].maker) is not None}
    numbers |= {n for maker in makers for n in trace.ops[maker].outputs}
    for number in numbers:
        if trace.values[number].partial:  # a part of what was computed before: what was added to the whole counts, too
            makers |= set(trace.makers(number, BACK))
    ops = makers | {op for number in numbers for op in trace.takers(number)}
    for _ in range(hops - 1):
        ops |= {user for op in ops for number in trace.ops[op].outputs for user in trace.takers(number)}
    return sorted(ops)


def nearby_keys(walk: "Walk", cells: Sequence["Cell"], hops: int = 1) -> list[str]:
    """Return the parameters that PyTorch's operations on the same data use, in their order."""
    trace, keys = walk.trace, {}
    ops = nearby_ops(walk, cells, hops)
    for op in ops:
        for number in trace.ops[op].inputs:
            keys |= dict.fromkeys(sorted(trace.values[number].keys))
    if hops > 1:  # what else is put together with the data there: the other half of a recurrent layer's gates
        sides = [
            n for op in ops for n in trace.ops[op].inputs if trace.values[n].data and trace.values[n].maker not in ops
        ]
        for number in sides:
            for op in trace.makers(number, hops):
                for n in trace.ops[op].inputs:
                    keys |= dict.fromkeys(sorted(trace.values[n].keys))
    return list(keys)


class _Trial:
    """Rules for the unknown leaves of one equation, tried on it."""

    def __init__(
        self,
        walk: "Walk",
        equation: Any,
        cells: Sequence["Cell"],
        known: Bindings,
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
        self.at = len(walk.cells)

    def options(self) -> Iterator[dict[Piece, Found]]:
        """Yield what the pieces could be made of, by the parameters nearby."""
        return self.known._joint(self.keys, self.pieces, self.equation)

    def near(self) -> bool:
        """Find the pieces among the parameters that PyTorch uses with the same data."""
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
        further = [key for key in nearby_keys(self.walk, self.cells, HOPS) if key not in self.keys]
        for option in self.known.rules_for([*self.keys, *further], piece, self.equation):
            computed = self._result({piece: option})
            why = self._is_found(computed, {piece: option}) if computed is not None else ""
            if why:
                result[why].append(option)
        return [*result[VALUE], *result[PART], *result[OTHER_ORDER]]

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
                if result is not None and any(self._strict(part) for parts in _chunks(result) for part in parts):
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
            if result is not None and any(self._strict(p) for chunks in _chunks(result) for p in chunks):
                return option
        view[...] = before
        return None

    def take_nearest(self) -> bool:
        """Take the combination whose result is most like one of PyTorch's, if it is by far."""
        walk, scores = self.walk, []
        targets = self._targets()
        arrays = [walk.trace.values[n].array for n in targets]
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
        numbers = [n for n in self._matches(result) if n not in self.given]
        same = [number for number in numbers if self._alike(number, result)]
        if any(not self.walk.trace.values[number].part for number in same):
            return VALUE
        if same:
            return PART
        several = len(combination) > 1 or any(f.rule and len(f.rule.sources) > 1 for f in combination.values())
        if (
            self.met
            and self.known.keeps_all(combination.values())
            and any(all(self._strict(part) for part in parts) for parts in _chunks(result))
        ):
            return VALUE if several else PART
        if self._by_sources(combination):
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

    def _strict(self, array: np.ndarray) -> bool:
        return any(self._alike(number, array) for number in self._matches(array))

    def _matches(self, array: np.ndarray) -> list[int]:
        bits = min(cell.bits for cell in self.cells)
        return self.walk.matches(array, bits) if array.size > 2 else []

    def _alike(self, number: int, array: np.ndarray) -> bool:
        reference = np.asarray(self.walk.trace.values[number].array, np.float64)
        return laid_out(reference, array, 3e-6) is not None

    def choose(self, combination: Mapping[Piece, Found], why: str) -> bool:
        """Settle on a combination."""
        self.best = dict(combination)
        self.chosen = {p: f if f.why == OWN else f._replace(why=why) for p, f in combination.items()}
        return True


def _in_order(pieces: Sequence[Piece], options: Sequence[Sequence[Found]]) -> Iterator[dict[Piece, Found]]:
    """Yield combinations in which pieces of one shape are the successive parts of one tensor."""
    first = options[0]
    for option in first:
        if option.rule is None:
            continue
        turns = [_next(option, i) for i in range(len(pieces))]
        chosen = [
            next((o for o in list_ if o.rule is not None and o.rule == turn), None)
            for list_, turn in zip(options, turns, strict=True)
        ]
        if turns[0] == option.rule and all(c is not None for c in chosen):
            yield dict(zip(pieces, chosen, strict=True))  # type: ignore[arg-type]


def _nearest_first(options: Sequence[Sequence[Found]]) -> Iterator[tuple[Found, ...]]:
    """Yield combinations, those of the first options of all before those of a late one."""
    for total in range(sum(len(several) - 1 for several in options) + 1):
        yield from _of_total(options, total)


def _of_total(options: Sequence[Sequence[Found]], total: int) -> Iterator[tuple[Found, ...]]:
    if not options:
        if total == 0:
            yield ()
        return
    for number, option in enumerate(options[0][: total + 1]):
        yield from ((option, *rest) for rest in _of_total(options[1:], total - number))


def _next(option: Found, by: int) -> Rule | None:
    """Return the rule that takes a later part of the same tensors."""
    steps = []
    for step in option.rule.steps if option.rule else ():
        match = re.fullmatch(r"take (\d+) of (.*)", step)
        steps.append(f"take {int(match[1]) + by} of {match[2]}" if match else step)
    return option.rule._replace(steps=tuple(steps)) if option.rule else None


def _chunks(result: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the parts of an array that several weights may have given: along an axis, or in turns along the last."""
    for axis in reversed(range(result.ndim)):
        for count in (2, 3, 4):
            if result.shape[axis] % count == 0 and result.shape[axis] > count:
                yield np.split(result, count, axis)
            elif result.shape[axis] == count and result.ndim > 2:
                yield [part.squeeze(axis) for part in np.split(result, count, axis)]
    size = result.shape[-1] if result.ndim else 1
    for count in (3, 2):
        for groups in range(2, size // count + 1):
            if size % (groups * count) == 0:
                turned = result.reshape(*result.shape[:-1], groups, count, -1)
                yield [turned[..., i, :] for i in range(count)]


def _groups(keys: Sequence[str], state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Yield sets of parameters that may be put together: neighbours of one shape, or of one rank."""
    shapes: dict[Any, list[str]] = {}
    for key in keys:
        shapes.setdefault(state[key].shape, []).append(key)
    for group in shapes.values():
        for count in (3, 2, 4):
            for start in range(len(group) - count + 1):
                yield tuple(group[start : start + count])
    ranks: dict[int, list[str]] = {}
    for key in keys:
        ranks.setdefault(state[key].ndim, []).append(key)
    for group in ranks.values():
        if len({state[key].shape for key in group}) > 1 and 1 < len(group) <= 4:
            yield tuple(group)


def _sources(combination: Mapping[Piece, Found]) -> tuple[Any, ...]:
    return tuple(found.rule.sources if found.rule else None for found in combination.values())


WORDS = {"kernel": "weight", "scale": "weight", "embedding": "weight", "query": "q", "key": "k", "value": "v", "gamma": "weight", "beta": "bias"}  # fmt: skip


def alike(path: str, key: str) -> float:
    """Return how much alike two names are, from 0 to 1."""
    ours, theirs = _words(path), _words(key)
    return difflib.SequenceMatcher(None, ours, theirs).ratio() + 0.5 * (ours[-1:] == theirs[-1:])


def _words(name: str) -> list[str]:
    parts = re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return [WORDS.get(part, part) for part in parts if part != "params"]
