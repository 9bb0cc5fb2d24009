"""Walking as often as it takes: until all agrees, or what differs differs whatever the weights are.

A weight that meets data where several fit (query and key of equal shape), or where no single operation shows it (a
bias that PyTorch adds elsewhere), is settled by what follows: each possibility is walked on for a while, and the one
under which most agrees is kept. A difference that no choice removes is real; PyTorch's value is put in its place, and
the walk goes on.
"""

import itertools
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.align.bindings import Bindings
from parity.align.exchanges import against_names, orders
from parity.align.found import CONFIRMED, FOLLOWS, GIVEN, Found, Stop
from parity.align.frontier import Difference, counterparts, differences, handed_on, torch_frontier
from parity.align.lockstep import NEAR, Cell, Walk
from parity.align.made import Made
from parity.align.places import lines_of
from parity.align.symbols import Piece, whole
from parity.align.tables import table_parting
from parity.mapping.rule import Rule
from parity.trace.index import Index
from parity.trace.jax_eval import evaluate
from parity.trace.values import Trace

MOST_DIFFERENCES, MOST_CELLS = 12, 10**9
MOST_OF_A_LINE = 2  # differences between the same two lines for which other weights are tried
MOST_TRIES, MOST_SOLID = 150, 40  # trials for one difference, and for one that no weight in doubt is near
SETTLED = 10  # operations in a row that are not met, as some are in any port
FEW = 6  # options of a weight that are tried before other weights
MOST_COUNTERPARTS = 5  # of a value that differs, which are tried
ALIKE = 0.5  # how much alike a counterpart must be behind which nothing more agrees
MOST_TIED = 6  # weights that met the same data, of which all orders are tried
# What is tried for one weight, how far it is walked on, how far back one is looked for, how far ahead.
MOST_OPTIONS, WINDOW, BEHIND, AHEAD = 80, 60, 60, 30


class Aligned(NamedTuple):
    """What was found out."""

    walk: Walk
    results: list[Cell]
    differences: list[tuple[Walk, Difference]]  # each with the walk that found it
    targets: frozenset[int] = frozenset()  # PyTorch's outputs, by number


class Search:
    """Walks over one pair of traces."""

    def __init__(
        self,
        trace: Trace,
        closed: Any,
        inputs: Sequence[Any],
        leaves: Mapping[str, np.ndarray],
        trained: Collection[str],
        state: Mapping[str, np.ndarray],
        targets: Collection[int],
        given: Mapping[str, Rule] | None = None,
        sources: Mapping[str, Sequence[str]] | None = None,  # by leaf: the tensors that it is made of
        seconds: float = 40,  # of the processor: the verdict must not depend on what else the machine does
        near: float = NEAR[8],
        zeros: bool = False,  # whether a product with zeros leaves a weight unknown
    ):
        self.zeros, self.sources = zeros, sources or {}
        self.trace, self.closed, self.inputs, self.targets = trace, closed, inputs, frozenset(targets)
        self.leaves, self.trained, self.state = leaves, trained, state
        self.given = {whole(path, leaves[path].shape): Found(rule, GIVEN) for path, rule in (given or {}).items()}
        self.index, self.low, low = Index(), Index(), trace.low()
        for number, value in enumerate(trace.values):
            if value.data and value.array.dtype.kind in "fiub":
                self.index.add(number, value.array)
                if low[number]:
                    self.low.add(number, value.array)
        self.made, self.near = Made(state), near
        self.forces: dict[int, np.ndarray] = {}
        self.results: list[Cell] | None = []
        self.settled_at: dict[Piece, int] = {}  # at which step weights were settled by what follows
        self.given_up: set[Piece] = set()
        self.length = MOST_CELLS  # of a whole walk
        self.walks, self.until = 0, time.process_time() + seconds

    def run(self) -> Aligned:
        """Walk until nothing new is found."""
        found: list[tuple[Walk, Difference]] = []
        tried: set[Any] = set()
        # By both lines, as layers of one kind have them in common. One line may also hold several weights in doubt,
        # such as the gates of a recurrent cell.
        failed = Counter[Any]()
        walk = self.walk()
        while True:
            here = differences(walk, self.targets, self.results)
            here = [d for d in here if d.op not in {f.op for _, f in found}]
            lines = self._lines(walk, here[0]) if here else None
            better = self._improved(walk, here[0], tried) if here and failed[lines] < MOST_OF_A_LINE else None
            failed[lines] += 1
            if better is not None:  # what was found under other weights means nothing
                walk, found = better, []
                failed.clear()
                if self.forces:
                    self.forces = {}
                    walk = self.walk()
                continue
            if self.results is None:  # nothing is known but that this weight is in doubt
                self.given_up |= {p for p, f in walk.bindings.found.items() if f.why not in (*CONFIRMED, FOLLOWS)}
                walk = self.walk()
                continue
            if not here:
                break
            self._forget_behind(walk, {d.cell or 0 for d in here})
            here = [self._placed(walk, d) for d in here]
            found += [(walk, d) for d in here]
            new = {d.counterpart: d.arranged for d in here if d.counterpart is not None and d.arranged is not None}
            if not new or len(found) >= MOST_DIFFERENCES:
                break
            self.forces |= new
            walk = self.walk()
        parted = [(w, d._replace(tables=table_parting(w, d))) for w, d in found]
        return Aligned(walk, self.results or [], parted, self.targets)

    def walk(
        self,
        given: Mapping[Piece, Found] | None = None,
        stop: int | None = None,
        before: Sequence[Cell] = (),
        forces: Mapping[int, np.ndarray] | None = None,
    ) -> Walk:
        """Walk once.

        Args:
            given: what is taken to be known of weights.
            stop: step at which the walk ends.
            before: cells of an earlier walk that are the same in this one.
            forces: by step, what is put in its place, beside what is known to be.
        """
        self.walks += 1
        known = Bindings(self.leaves, self.trained, self.made, {**self.given, **(given or {})}, self.sources)
        given_up = self.given_up if stop is None else None
        walk = Walk(
            self.trace,
            self.index,
            self.low,
            known,
            {**self.forces, **(forces or {})},
            self.near,
            stop=stop,
            hasty=stop is not None,
            given_up=given_up,
            before=before,
            zeros=self.zeros,
        )
        cells = [Cell(symbol=known.symbol(path)) for path in sorted(self.leaves)]
        cells += [walk.input(array) for array in self.inputs]
        try:
            with np.errstate(all="ignore"):  # masks are near the largest number of their precision
                results = evaluate(self.closed.jaxpr, self.closed.consts, cells, walk)
        except Stop:
            if stop is None:
                self.results = None
            return walk
        if stop is None:
            self.results, self.length = results, len(walk.cells)
        return walk

    def _improved(self, walk: Walk, difference: Difference, tried: set[Any]) -> Walk | None:
        """Return a walk that gets further because of another choice for a weight, None if there is none."""
        front = difference.cell if difference.cell is not None else len(walk.cells)
        stop = front + WINDOW
        reached = {n for cell in walk.cells[:stop] if cell.alike for n in cell.same}
        best, chosen, start = len(reached), None, 0
        left = MOST_TRIES if self._in_doubt(walk, front) else MOST_SOLID
        for at, options in self._choices(walk, front):
            sure = self._sure(walk, at)
            for option in itertools.islice(options, MOST_OPTIONS):
                key = (frozenset(self.forces), tuple(option.items()))
                if key in tried or left <= 0 or time.process_time() > self.until:
                    continue
                tried.add(key)
                left -= 1
                trial = self.walk({**sure, **option}, stop, walk.cells[:at])
                if against_names(option, walk.bindings.found) and not self._settles(trial, difference, front, stop):
                    continue
                if len(trial.found) > best:
                    best, start = len(trial.found), at
                    chosen = {**sure, **{p: f._replace(why=FOLLOWS) for p, f in option.items()}}
                    if self._settles(trial, difference, front, stop):
                        return self._taken(walk, chosen, start)
        return self._taken(walk, chosen, start) if chosen is not None else None

    def _placed(self, walk: Walk, difference: Difference) -> Difference:
        """Return a difference with the counterpart behind which most of what follows agrees."""
        options = [
            *_likely(counterparts(walk, difference)),
            *itertools.islice(handed_on(walk, difference), MOST_COUNTERPARTS),
        ]
        if not options:
            return difference
        at = min(option.counterpart or 0 for option in options)
        stop = max(option.counterpart or 0 for option in options) + WINDOW
        sure, before = self._sure(walk, at), walk.cells[:at]
        steps = {piece: trial.at for piece, trial in walk.bindings.trials.items()}
        # A weight that meets data here cannot be confirmed: it would end each trial.
        sure |= {p: f for p, f in walk.bindings.found.items() if steps.get(p) == difference.cell}
        # What is put in place is found itself: more than that has to agree.
        best = len(self.walk(sure, stop, before).found) + 1
        chosen = options[0] if options[0].score > ALIKE else difference  # an operand that is handed on has no score
        for option in options:
            if option.counterpart is not None and option.arranged is not None:
                trial = self.walk(sure, stop, before, {option.counterpart: option.arranged})
                if len(trial.found) > best:
                    best, chosen = len(trial.found), option
        return chosen

    def _sure(self, walk: Walk, at: int) -> dict[Piece, Found]:
        """Return what was known of weights before a step."""
        known = walk.bindings
        steps = self.settled_at | {piece: trial.at for piece, trial in known.trials.items()}
        return {piece: found for piece, found in known.found.items() if steps.get(piece, -1) < at}

    def _forget_behind(self, walk: Walk, steps: Collection[int]) -> None:
        """Forget what was settled about weights that met what is computed from these steps: their data was wrong."""
        behind = set[int]()
        for cell in walk.cells:
            if cell.number in steps or any(id(parent) in behind for parent in cell.parents):
                behind.add(id(cell))
        numbers = {cell.number for cell in walk.cells if id(cell) in behind} - {*steps}
        self.given = {
            piece: found for piece, found in self.given.items() if self.settled_at.get(piece, -1) not in numbers
        }

    def _lines(self, walk: Walk, found: Difference) -> Any:
        """Return both lines of a difference: layers of one kind have them in common."""
        lines = lines_of(walk, found)
        return lines if all(lines) else (found.op, found.cell)

    def _taken(self, walk: Walk, chosen: Mapping[Piece, Found], start: int) -> Walk:
        trials = walk.bindings.trials
        new = {*chosen} - {*self.given} if not self.forces else set[Piece]()  # behind what is put right it may stay
        self.settled_at |= {piece: trials[piece].at if piece in trials else start for piece in new}
        self.given = {**self.given, **chosen}
        return self.walk(before=walk.cells[:start])

    def _settles(self, trial: Walk, difference: Difference, front: int, stop: int) -> bool:
        """Tell whether a difference is gone and all of what follows it for a while agrees."""
        ended = len(trial.cells) > stop or len(trial.cells) >= self.length
        if not ended or any(cell.lost > SETTLED for cell in trial.cells[front:]):
            return False
        return difference.op not in torch_frontier(self.trace, trial.found, self.targets)

    def _near(self, walk: Walk, front: int) -> Iterator[Any]:
        trials = {id(t): t for t in walk.bindings.trials.values()}
        return (t for t in trials.values() if front - BEHIND <= t.at <= front + AHEAD and not t.hopeless)

    def _in_doubt(self, walk: Walk, front: int) -> bool:
        found = walk.bindings.found
        return any(found[p].why not in (*CONFIRMED, FOLLOWS) for t in self._near(walk, front) for p in t.chosen)

    def _above(self, walk: Walk, front: int) -> set[int]:
        """Return the numbers of the cells that one comes from."""
        numbers, open_ = set(), walk.cells[front : front + 1]
        if not open_:
            return set(range(len(walk.cells)))
        while open_:
            cell = open_.pop()
            if cell.number not in numbers:
                numbers.add(cell.number)
                open_ += [parent for parent in cell.parents if parent.data and parent.number >= 0]
        return numbers

    def _choices(self, walk: Walk, front: int) -> Iterator[tuple[int, Iterator[dict[Piece, Found]]]]:
        """Yield weights near a difference that could be others, each with the step at which it met data.

        First those that nothing confirms, then those that met the same data, in all orders, then whatever else fits.
        """
        known, above = walk.bindings, self._above(walk, front)
        trials = {id(t): t for t in self._near(walk, front)}
        unsure = [t for t in trials.values() if any(known.found[p].why not in (*CONFIRMED, FOLLOWS) for p in t.chosen)]
        rest = []
        for trial in unsure:
            options = trial.options()
            yield trial.at, itertools.islice(options, FEW)
            rest.append((trial.at, options))
        late = [trial for trial in reversed(trials.values()) if trial.at <= front]
        groups: dict[Any, list[Any]] = {}
        for trial in late:
            groups.setdefault(frozenset(trial.given), []).append(trial)
        for given, group in groups.items():
            pieces = [p for trial in reversed(group) for p in trial.chosen]
            if given and 1 < len(pieces) <= MOST_TIED and not any(p.path in self.sources for p in pieces):
                yield min(trial.at for trial in group), orders(pieces, known.found)
        later = []
        for trial in late:
            if len(trial.pieces) == 1 and trial.at in above:
                others = trial.alternatives(trial.pieces[0])
                yield trial.at, ({trial.pieces[0]: other} for other in others[:FEW])
                later.append((trial, others[FEW:]))
        for trial, others in later:
            yield trial.at, ({trial.pieces[0]: other} for other in others)
        yield from rest


def _likely(ranked: Sequence[Difference]) -> list[Difference]:
    """Return the counterparts to try, one for each of JAX's values: the most alike, and the last of the line."""
    by_cell: dict[int | None, Difference] = {}
    for difference in ranked:
        by_cell.setdefault(difference.counterpart, difference)
    options = list(by_cell.values())
    here = sorted((d for d in options if d.here), key=lambda d: d.counterpart or 0)
    chosen = [*options[:MOST_COUNTERPARTS], *here[-2:], *here[:1]]
    return list({d.counterpart: d for d in chosen}.values())
