"""Both sides' backward passes: PyTorch's cotangents of every value, and JAX's tape, with what is the same on both."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from parity.align.cotangents import TorchCotangents, torch_cotangents
from parity.align.lockstep import Walk
from parity.align.matched import Group, equal, grouped, placed
from parity.align.pair import PortPair
from parity.align.search import Search
from parity.align.tape import Node, Tape
from parity.sides.arrays import is_float, to_numpy
from parity.sides.outputs import named_leaves
from parity.sides.pairing import twins
from parity.trace.jax_eval import evaluate
from parity.trace.jax_trace import traced_pass

# How near cotangents must be, relative to themselves and to the largest one, in float64 and where JAX has float32.
NEAR, FLOOR = {False: 1e-8, True: 1e-4}, {False: 1e-13, True: 1e-8}


class Passes(NamedTuple):
    """Both sides' backward passes."""

    pair: PortPair
    torch: TorchCotangents
    tape: Tape
    leaves: dict[str, Node]
    seeds: dict[Node, np.ndarray]
    groups: dict[Node, Group]
    near: float
    floor: float

    def same(self, ours: np.ndarray, theirs: Any) -> bool:
        """Tell whether two cotangents agree."""
        return equal(ours, theirs, self.near, self.floor)


def both_passes(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> Passes:
    """Record both backward passes for cotangents of PyTorch's outputs."""
    module: Any = pair.torch
    torch = torch_cotangents(module, pair.torch_inputs, cotangents)
    closed, arrays, shapes = traced_pass(pair.jax, pair.jax_inputs)
    walk = _walk(pair, torch, closed, arrays)
    tape = Tape()
    leaves = {
        path: Node(np.asarray(pair.leaves[path]), active=path in pair.jax.trained and is_float(pair.leaves[path]))
        for path in sorted(pair.jax.leaves)
    }
    inputs = [Node(np.asarray(array), True, is_float(array)) for array in arrays]
    with np.errstate(all="ignore"):
        results = evaluate(closed.jaxpr, closed.consts, [*leaves.values(), *inputs], tape)
    seeds = _seeds(pair, cotangents, shapes, results)
    nodes = [n for entry in tape.entries for n in entry.outputs if n.number >= 0]
    groups = grouped(torch, nodes, [cell.same for cell in walk.cells])
    _add_inputs(torch, groups, inputs)
    sizes = [
        np.linalg.norm(a) for a in (*cotangents.values(), *(torch.arrays.get(e, 0.0) for e in torch.keys.values()))
    ]
    largest = max((float(size) for size in sizes if np.isfinite(size)), default=0.0)
    low = pair.narrow
    return Passes(pair, torch, tape, leaves, seeds, groups, NEAR[low], FLOOR[low] * largest)


def _add_inputs(torch: TorchCotangents, groups: dict[Node, Group], inputs: Sequence[Node]) -> None:
    """Put the inputs into the groups of what holds the same numbers, or into groups of their own."""
    values = torch.trace.values
    known = {number: group for group in groups.values() for number in group.numbers}
    for node in inputs:
        for number in torch.edges if node.active else ():
            value = values[number]
            if value.maker is not None or not value.data or value.array.size != np.size(node.array):
                continue
            if placed(np.asarray(value.array, np.float64), np.asarray(node.array, np.float64)) is None:
                continue
            group = known.get(number) or Group([number], [], np.asarray(value.array, np.float64))
            group.nodes.append(node)
            groups[node] = group
            break


def _walk(pair: PortPair, torch: TorchCotangents, closed: Any, arrays: Sequence[Any]) -> Walk:
    """Return the walk along the trace that has the gradients: the one there is, if the operations are the same."""
    walk = pair.aligned.walk
    if [op.name for op in walk.trace.ops] == [op.name for op in torch.trace.ops]:
        return walk
    side = pair.jax
    search = Search(torch.trace, closed, arrays, side.leaves, side.trained, pair.torch.parameters, ())
    return search.walk(walk.bindings.found)


def _seeds(
    pair: PortPair, cotangents: Mapping[str, np.ndarray], shapes: Any, results: Sequence[Node]
) -> dict[Node, np.ndarray]:
    """Return the cotangents of JAX's outputs."""
    numbers = {id(leaf): number for number, leaf in enumerate(jax.tree.leaves(shapes))}
    found = {name: results[numbers[id(leaf)]] for name, leaf in named_leaves(shapes).items() if id(leaf) in numbers}
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    seeds: dict[Node, np.ndarray] = {}
    for twin in twins(reference, {name: np.asarray(node.array) for name, node in found.items()}):
        if twin.way is not None and twin.name in cotangents and twin.jax_name in found:
            node = found[twin.jax_name]
            seed = twin.way.back(cotangents[twin.name], np.shape(node.array))
            seeds[node] = seeds[node] + seed if node in seeds else seed
    return seeds
