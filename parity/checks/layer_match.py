"""Which layer of a Flax module is which of a PyTorch module, whatever they are called.

Names decide first, then shapes. Layers of equal shape are told apart by what they are given: PyTorch's activations are
fed through the Flax module, every layer that has been matched returning PyTorch's own output, so that a bug in one
layer hides nothing behind it. Where several are given the same, as in the branches of an Inception block, it is tried
which order lets what follows agree. The order of use is what is left, and what nothing decides is reported.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, permutations, product
from typing import Any, NamedTuple

import numpy as np
from torch import nn as torch_nn

from experiment.weights.layout import by_path, layouts
from parity.checks.structure import torch_structure, without_counters
from parity.checks.tensors import Shapes, Tensors, in_order, kind_of, layer_of, layers_of, tensor_pairs
from parity.diagnose.one_layer import same
from parity.sides.calls import Call, CallName, Run
from parity.sides.flax_side import FlaxSide
from parity.sides.names import Names
from parity.sides.torch_side import TorchSide, randomised

NAME, GIVEN, SHAPE, INPUT, FOLLOWS, ORDER, SWAP = (
    "its name",
    "the mapping given",
    "its shape",
    "what it is given",
    "what follows it",
    "its order of use alone: what it is given is not what PyTorch's is",
    "its order of use: exchanged with its like, it would do the same",
)
MOST_TRIALS = 200  # of orders of branches
LOOK_AHEAD = 3  # rounds of matching, to tell such orders apart
MOST_GROUPS = 3  # of layers that are named, where nothing decides


class Found(NamedTuple):
    """A layer of PyTorch's and the one of Flax's that is taken for the same."""

    layer: str
    native: str
    why: str


class Match(NamedTuple):
    """What has been found out."""

    names: Names
    found: tuple[Found, ...]
    keys: dict[str, str]  # PyTorch's keys to the paths of the Flax module's tensors
    ambiguous: str = ""  # what nothing decides, in words

    @property
    def certain(self) -> dict[str, str]:
        """Return the keys if names, shapes or the mapping given tell all layers, and no activation; else nothing."""
        told = all(found.why in (NAME, GIVEN, SHAPE) for found in self.found)
        return self.keys if told and not self.ambiguous else {}


def match(
    torch_module: torch_nn.Module,
    flax_side: FlaxSide,
    inputs: np.ndarray,
    given: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Match:
    """Find PyTorch's layers in a Flax module.

    Args:
        torch_module: the reference.
        flax_side: the other, in float64.
        inputs: (N, ..., C).
        given: what is known already: keys of the state_dict to the paths of Flax's variables.
        seed: of the norm layers' statistics.
    """
    native = {path: tuple(t.shape) for path, t in flax_side.structure(inputs.shape[1:]).items()}
    ours = without_counters({path: shape for path, (shape, _) in torch_structure(torch_module).items()}, native)
    names = dropouts(TorchSide(torch_module, np.float64), flax_side, native, inputs)
    if not given and ours == native:
        result = _matched(torch_module, ours, native, [Found(n, n, NAME) for n in layers_of(ours)], {})
        return result._replace(names=result.names._replace(dropouts=names))
    reference = TorchSide(randomised(torch_module, inputs, seed), np.float64).forward(inputs)
    paths = {key: path for path, key, _ in by_path(layouts(torch_module))}
    known = {paths[key]: path for key, path in (given or {}).items()}
    searches = []
    for trust_names in (True, False):
        search = _Search(flax_side, inputs, reference, layers_of(ours), layers_of(native))
        search.run(known, trust_names=trust_names)
        searches.append(search)
        if not search.doubtful:
            break
    best = min(searches, key=lambda search: len(search.doubtful))
    found = [Found(name, *best.found[name]) for name in best.ours if name in best.found]
    result = _matched(torch_module, ours, native, found, known)
    return result._replace(names=result.names._replace(dropouts=names), ambiguous=best.ambiguous)


class _Search:
    """The search for each layer's counterpart: first what is certain, then what only the activations can tell."""

    def __init__(
        self,
        flax_side: FlaxSide,
        inputs: np.ndarray,
        reference: Run,
        ours: dict[str, Tensors],
        theirs: dict[str, Tensors],
    ):
        self.flax_side, self.inputs, self.reference = flax_side, inputs, reference
        rng = np.random.default_rng(0)  # of weights that no layer has: what is not matched yet matches nothing
        self.variables = {
            path: rng.uniform(0.5, 1.5, shape) for tensors in theirs.values() for path, shape in tensors.items()
        }
        self.called = self.calls = self._trace({})
        self.ours, self.theirs = in_order(ours, reference.calls), in_order(theirs, self.calls)
        self.found: dict[str, tuple[str, str]] = {}  # PyTorch's layer to Flax's, and why
        self.loose = False  # whether the largest tensor of a layer is enough to compare shapes
        self.ambiguous = ""

    @property
    def doubtful(self) -> list[str]:
        """Return the layers that no evidence but their place confirms."""
        return [name for name in self.ours if name not in self.found or self.found[name][1] == ORDER]

    def run(self, known: Mapping[str, str], *, trust_names: bool) -> None:
        """Match all that can be matched."""
        for path, native in known.items():
            self._take(layer_of(path), layer_of(native), GIVEN)
        if trust_names:
            for name, tensors in self.ours.items():
                if name in self._left(self.theirs) and self._shapes(tensors) == self._shapes(self.theirs[name]):
                    self._take(name, name, NAME)
        while self._left(self.ours) and self._left(self.theirs):
            if not (self._by_shape() or self._by_input() or self._by_what_follows() or self._by_order()):
                if self.loose:
                    break
                self.loose = True  # a layer may lack its bias: that is said later, by name
        rest = [list(group) for group in self._groups() if all(group)]
        self.ambiguous = "; ".join(
            f"{_listed(a)} of PyTorch and {_listed(b)} of Flax have the same shapes, and nothing tells which is which"
            for a, b in rest[:MOST_GROUPS]
        ) + (f"; and {len(rest) - MOST_GROUPS} more such groups" if len(rest) > MOST_GROUPS else "")

    def _by_shape(self) -> bool:
        single = [(a[0], b[0]) for a, b in self._groups() if len(a) == len(b) == 1]
        return self._take_all(single, SHAPE)

    def _by_input(self) -> bool:
        self.calls = self._trace(self._pairs())
        certain = []
        for links in self._links(self.calls):
            counts = Counter(name for names in links.values() for name in names)
            certain += [(ours[0], b) for b, ours in links.items() if len(ours) == 1 and counts[ours[0]] == 1]
        return self._take_all(certain, INPUT)

    def _by_what_follows(self) -> bool:
        """Try all orders of layers that are given the same, and take the one that lets most of the rest agree."""
        ties = [
            (ours, list(natives))
            for links in self._links(self.calls)
            for ours in {tuple(names) for names in links.values() if len(names) > 1}
            if len(natives := [b for b, names in links.items() if tuple(names) == ours]) == len(ours)
        ]
        while np.prod([len(list(permutations(ours))) for ours, _ in ties], initial=1) > MOST_TRIALS:
            ties.pop()
        if not ties:
            return False
        orders = [[list(zip(order, natives, strict=True)) for order in permutations(ours)] for ours, natives in ties]
        before = top = self._agreement()
        best = [*product(*orders)]
        for rounds in range(LOOK_AHEAD + 1):
            scored = [(self._trial(trial, rounds), trial) for trial in best]
            top = max(score for score, _ in scored)
            best = [trial for score, trial in scored if score == top]
            if len(best) == 1 or top <= before:
                break
        if top <= before:  # whatever the order, nothing agrees that did not agree before
            return False
        settled = [parts[0] for parts in zip(*best, strict=True) if all(part == parts[0] for part in parts)]
        if settled:
            return self._take_all([pair for part in settled for pair in part], FOLLOWS)
        return self._take_all([pair for part in best[0] for pair in part], SWAP)

    def _by_order(self) -> bool:
        """Take the next layer, if all that are left are of the same shapes in the same order on both sides."""
        ours, theirs = ([n for n in self._left(side) if n in called] for side, called in self._sides())
        shapes = [[self._shapes(side[n]) for n in names] for side, names in ((self.ours, ours), (self.theirs, theirs))]
        if not ours or shapes[0] != shapes[1]:
            return False
        return self._take_all([(ours[0], theirs[0])], ORDER)

    def _trial(self, orders: Iterable[Any], rounds: int) -> int:
        """Return how much would agree after this, and after some rounds of matching what follows."""
        found, calls = dict(self.found), self.calls
        self._take_all([pair for order in orders for pair in order], FOLLOWS)
        for _ in range(rounds):
            self._by_input()
        score = self._agreement()
        self.found, self.calls = found, calls
        return score

    def _agreement(self) -> int:
        """Count the layers that are given what PyTorch's are; the output counts, too."""
        calls = self._trace(self._pairs())
        output = int(OUTPUT in calls and _alike(self.reference.output, calls[OUTPUT].output))
        matched = sum(self._same_input(name, calls.get(CallName.of(native))) for name, native in self._pairs().items())
        return output + matched + sum(bool(n) for links in self._links(calls) for n in links.values())

    def _links(self, calls: Mapping[str, Call]) -> Iterator[dict[str, list[str]]]:
        """Yield, for each shape, the layers of PyTorch's that are given what each of Flax's is."""
        for ours, theirs in self._groups():
            yield {b: [a for a in ours if self._same_input(a, calls.get(CallName.of(b)))] for b in theirs}

    def _same_input(self, name: str, call: Call | None) -> bool:
        ours = self.reference.calls.get(CallName.of(name))
        return ours is not None and call is not None and _alike(ours.input, call.input)

    def _trace(self, pairs: Mapping[str, str]) -> dict[str, Call]:
        natives = {**pairs}
        forced: dict[str, Call] = {
            name.renamed(natives[name.layer]): call
            for name, call in ((CallName(name), call) for name, call in self.reference.calls.items())
            if name.layer in natives
        }
        calls, output = self.flax_side.traced(self.variables, self.inputs, forced)
        return calls if output is None else calls | {OUTPUT: Call(None, output)}

    def _groups(self) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the layers left on both sides, by their shapes."""
        ours, theirs = self._left(self.ours), self._left(self.theirs)
        for shapes in dict.fromkeys(self._shapes(self.ours[name]) for name in ours):
            a = [name for name in ours if self._shapes(self.ours[name]) == shapes]
            b = [name for name in theirs if self._shapes(self.theirs[name]) == shapes]
            yield a, b

    def _shapes(self, tensors: Tensors) -> Shapes:
        kinds = sorted((kind_of(path, shape) for path, shape in tensors.items()), key=lambda kind: len(kind[1]))
        return tuple(kinds[-1:] if self.loose else sorted(kinds))

    def _left(self, side: Mapping[str, Tensors]) -> list[str]:
        taken = set(self.found) if side is self.ours else {native for native, _ in self.found.values()}
        return [name for name in side if name not in taken]

    def _sides(self) -> Sequence[tuple[Mapping[str, Tensors], set[str]]]:
        return [
            (side, {CallName(call).layer for call in calls})
            for side, calls in ((self.ours, self.reference.calls), (self.theirs, self.called))
        ]

    def _pairs(self) -> dict[str, str]:
        return {name: native for name, (native, _) in self.found.items()}

    def _take_all(self, pairs: Iterable[tuple[str, str]], why: str) -> bool:
        pairs = list(pairs)
        for name, native in pairs:
            self._take(name, native, why)
        return bool(pairs)

    def _take(self, name: str, native: str, why: str) -> None:
        self.found[name] = native, why


OUTPUT = "output"


def _matched(
    torch_module: torch_nn.Module,
    ours: Tensors,
    native: Tensors,
    found: Sequence[Found],
    known: Mapping[str, str],
) -> Match:
    """Go from layers to their tensors."""
    mine, theirs = layers_of(ours), layers_of(native)
    tensors = dict(known)
    for layer, other, _ in found:
        tensors |= dict(tensor_pairs(mine[layer], theirs[other], tensors))
    back = {path: key for path, key, _ in by_path(layouts(torch_module))}
    names = Names(
        {path: other for path, other in tensors.items() if path != other},
        {layer: other for layer, other, _ in found} if any(layer != other for layer, other, _ in found) else {},
        {},
        {path: (ours[path], native[other]) for path, other in tensors.items() if ours[path] != native[other]},
    )
    return Match(names, tuple(found), {back[path]: other for path, other in tensors.items()})


def dropouts(torch_side: TorchSide, flax_side: FlaxSide, native: Tensors, inputs: np.ndarray) -> dict[str, str]:
    """Match the calls of dropout layers by their order, if both sides have as many of the same shapes and rates."""
    try:
        ours = torch_side.sites(inputs)
        theirs = flax_side.sites({path: np.zeros(shape) for path, shape in native.items()}, inputs)
    except Exception:  # a module that cannot be trained: the check of its training says why
        return {}
    same_sites = list(ours.values()) == list(theirs.values())
    return {a: b for a, b in zip(ours, theirs, strict=False) if same_sites and a != b}


def _alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return same(np.squeeze(ours), np.squeeze(np.asarray(theirs)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(islice(names, 6)) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
