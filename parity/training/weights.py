"""Which leaves of a JAX state are the weights, and how each is made of PyTorch's: the forward pass of both tells."""

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from parity.align.frontier import Difference
from parity.align.lockstep import Walk
from parity.align.pair import _weights
from parity.align.search import Aligned, Search
from parity.mapping.rule import NONE, Rule
from parity.trace.values import Trace
from parity.training.steps import TorchStep

SECONDS = 25.0  # for which the weights are looked for


class First(NamedTuple):
    """PyTorch's first step, with random weights."""

    trace: Trace  # of its forward pass
    outputs: list[int]  # numbers of the module's outputs in it
    roots: list[int]  # of what is differentiated
    arrays: Mapping[str, np.ndarray]  # parameters and buffers before it
    step: TorchStep


class Forward(NamedTuple):
    """Both forward passes of one step, aligned."""

    aligned: Aligned
    first: First
    rules: dict[str, Rule]  # by leaf
    lost: tuple[str, ...]  # leaves that the forward pass uses and PyTorch does not seem to have

    def differences(self) -> list[tuple[Walk, Difference]]:
        """Return where both part, in PyTorch's order."""
        return sorted(self.aligned.differences, key=lambda pair: pair[1].op)

    def in_loss(self, found: Difference) -> bool:
        """Tell whether a difference is behind the module's last output."""
        makers = [self.first.trace.values[n].maker for n in self.first.outputs]
        inside = [m for m in makers if m is not None]
        return not inside or found.op > max(inside)


def forward(first: First, theirs: Any, batch: Any, known: Mapping[str, Rule] | None = None) -> Forward:
    """Walk through JAX's forward pass with PyTorch's.

    Args:
        first: PyTorch's step.
        theirs: the JAX training.
        batch: JAX's.
        known: rules that are known already.
    """
    program = theirs.program(batch)
    lengths = {len(b) for b in program.flat(batch) if np.ndim(b)}
    kept = _carried(program, theirs, first, lengths)
    zeros = {name for name in kept if not np.any(theirs.leaves[name])}
    best: Forward | None = None
    for idle, constant in ((True, set[str]()), (True, zeros), (False, set[str]())) if zeros else ((False, zeros),):
        found = _walked(first, theirs, batch, known, kept, constant, idle=idle)
        if best is None or len(found.aligned.differences) < len(best.aligned.differences):
            best = found
        if not found.aligned.differences and not found.lost:
            break
    assert best is not None
    return best


def _walked(
    first: First,
    theirs: Any,
    batch: Any,
    known: Mapping[str, Rule] | None,
    kept: Collection[str],
    constant: Collection[str],
    *,
    idle: bool,
) -> Forward:
    """Walk once.

    Args:
        first: PyTorch's step.
        theirs: the JAX training.
        batch: JAX's.
        known: rules that are known already.
        kept: leaves that are carried from step to step and are no weights.
        constant: those of them that are constants rather than inputs.
        idle: whether weights that meet nothing but zeros stay unknown.
    """
    program, arrays = theirs.program(batch), dict(first.arrays)
    closed, used, given = program.loss_alone(kept, {name: theirs.leaves[name] for name in constant})
    leaves = {name: theirs.leaves[name] for name in used}
    trained = frozenset(name for name, array in leaves.items() if array.dtype.kind == "f")
    with program.bits():
        inputs = [*(theirs.leaves[name] for name in given), *program.flat(batch)]

        def search(known: Mapping[str, Rule] | None) -> tuple[Aligned, dict[str, Rule]]:
            found = Search(
                first.trace, closed, inputs, leaves, trained, arrays, first.roots, known, seconds=SECONDS, zeros=idle
            ).run()
            side = SimpleNamespace(leaves=leaves, trained=trained)
            tied = dict[str, str]()
            ours = SimpleNamespace(parameters=arrays, saved=set(arrays), tied=tied)
            weights, _ = _weights(ours, side, found)  # type: ignore[arg-type]
            return found, dict(weights.rules)

        aligned, rules = search(known)
        if turned := _unflipped(rules, arrays):
            aligned, rules = search({**(known or {}), **turned})
    lost = tuple(name for name in trained if name not in rules)
    return Forward(aligned, first, rules, lost)


def _carried(program: Any, theirs: Any, first: First, lengths: Collection[int]) -> set[str]:
    """Return leaves that are carried from step to step and are no weights: PyTorch's module has none of their size."""
    before, leaves = first.step.before, theirs.leaves
    buffers = {array.size for array in before.buffers.values()}
    # A weight whose gradient is stopped moves by its decay alone.
    sizes = buffers | {array.size for array in before.params.values()}
    # A recurrent state may have a weight's size, but it has rows, and moves with the data.
    rows = {name for name in program.moved_by_data() if leaves[name].ndim > 1 and leaves[name].size not in buffers}
    # Or zeros for each example, which nothing changes.
    zeros = {name for name in program.unchanged() if leaves[name].ndim > 1 and not leaves[name].any()}
    found = program.carried() | {name for name in zeros if len(leaves[name]) in lengths}
    return {
        name for name in found if leaves[name].dtype.kind == "f" and (name in rows or leaves[name].size not in sizes)
    }


def _unflipped(rules: Mapping[str, Rule], arrays: Mapping[str, np.ndarray]) -> dict[str, Rule]:
    """Return rules that reverse channels, without that: it is the data that are reversed, not the weights."""
    return {
        leaf: rule._replace(steps=rule.steps[1:])
        for leaf, rule in rules.items()
        if rule.steps and rule.steps[0] in ("flip 0", "flip 1") and arrays[rule.sources[0]].ndim > 1
    }


def carried(rule: Rule, tensors: Mapping[str, np.ndarray], *, constant: bool = True) -> np.ndarray | None:
    """Return a leaf made of tensors by a rule; None if one is missing.

    Args:
        rule: from PyTorch's tensors to the leaf.
        tensors: of PyTorch's: parameters, or gradients and slots of them.
        constant: whether what the rule adds is added, as for weights but not for gradients.
    """
    if any(key not in tensors for key in rule.sources):
        return None
    if constant or not any(step.startswith("add") for step in rule.steps):
        return rule(tensors)
    shapes = {key: tensors[key].shape for key in rule.sources}
    table = rule.table(shapes)
    flat = np.concatenate([np.ravel(tensors[key]) for key in dict.fromkeys(rule.sources)])
    return np.where(table.indices == NONE, 0.0, flat[np.maximum(table.indices, 0)]).sum(0)
