"""One step of both sides, stage by stage, each fed with PyTorch's values."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.mapping.rule import Rule
from parity.report.compare import norm, relative_error, total_norm
from parity.trace.index import Index
from parity.trace.masks import unmasked
from parity.training.gradient_nodes import ZERO, gradient_node
from parity.training.roles import Roles
from parity.training.steps import Arrays, TorchStep
from parity.training.tape import Node, Tape
from parity.training.weights import carried

STAGES = ("forward", "loss", "gradients", "update", "statistics", "average")
# In float64, each stage starting from PyTorch's values. What clipping adds to the norm is 1e-6, bugs are O(1e-3).
BOUNDS: dict[str, float] = dict.fromkeys(STAGES, 1e-10)
MOST_PARTS = 8  # of an output, along an axis that is not the batch's
ROUNDING = 4e-15  # of a parameter, of which a step is a small part


class Found(NamedTuple):
    """One tensor of one stage on both sides."""

    stage: str
    tensor: str
    error: float
    bound: float
    torch: Any  # array or number
    jax: Any
    node: Node | None = None  # where the JAX side has it

    @property
    def ok(self) -> bool:
        """Whether the error is within the bound; never for NaN."""
        return self.error <= self.bound


class Compared(NamedTuple):
    """One step."""

    found: list[Found]
    before: Mapping[str, np.ndarray]  # the state, fed with PyTorch's
    first: Tape  # from PyTorch's state
    fed: Tape  # and from PyTorch's gradients
    raw: dict[str, np.ndarray]  # PyTorch's gradients by leaf, before clipping
    gradient_nodes: dict[str, Node]  # JAX's
    factor: float  # of JAX's gradients to PyTorch's, if all have the same

    def worst(self, stage: str) -> Found | None:
        """Return the tensor of a stage that is furthest off, in units of its bound."""
        rows = [f for f in self.found if f.stage == stage]
        return max(rows, key=lambda f: f.error / f.bound if np.isfinite(f.error) else np.inf, default=None)


def compare_step(
    program: Any, leaves: Mapping[str, np.ndarray], batch: Any, step: TorchStep, roles: Roles
) -> Compared:
    """Compare one step.

    Args:
        program: JAX's step.
        leaves: the state before it, fed with PyTorch's.
        batch: JAX's.
        step: PyTorch's.
        roles: what the leaves are.
    """
    tape = Tape(program).run(leaves, batch)
    found = [*_forward(tape, step), *_loss(tape, step)]
    gradients, nodes = _gradient_nodes(tape, step, roles)
    rows = list(_gradients(nodes, gradients))
    factor = _factor(nodes, gradients) if any(not row.ok for row in rows) else 1.0
    forces = {nodes[leaf].number: factor * gradients[leaf] for leaf in nodes if nodes[leaf].number >= 0}
    fed = Tape(program, forces, tape).run(leaves, batch) if forces else tape
    changed = list(_update(fed, leaves, step, roles))
    if factor != 1.0:
        plain = {number: array / factor for number, array in forces.items()}
        other = Tape(program, plain, tape).run(leaves, batch)
        otherwise = list(_update(other, leaves, step, roles))
        if all(row.ok for row in changed) or _off(changed) <= _off(otherwise):
            rows = [row._replace(error=0.0) for row in rows]  # a convention: the rule takes it out again
        else:
            forces, fed, changed = plain, other, otherwise
    moved = _statistics(fed, step, roles)
    found += [*rows, *changed, *moved]
    right = _with_parameters(fed, program, leaves, batch, roles, [*changed, *moved], forces)
    found += _average(right, leaves, step, roles)
    return Compared(found, leaves, tape, fed, gradients, nodes, factor)


def fed_with_gradients(
    program: Any, leaves: Mapping[str, np.ndarray], batch: Any, step: TorchStep, roles: Roles
) -> Tape:
    """Evaluate a step from PyTorch's gradients."""
    tape = Tape(program).run(leaves, batch)
    gradients, nodes = _gradient_nodes(tape, step, roles)
    forces = {node.number: gradients[leaf] for leaf, node in nodes.items() if node.number >= 0}
    return Tape(program, forces, tape).run(leaves, batch) if forces else tape


def _gradient_nodes(tape: Tape, step: TorchStep, roles: Roles) -> tuple[dict[str, np.ndarray], dict[str, Node]]:
    """Return PyTorch's gradients by leaf, and where JAX has them."""
    gradients = _carried_all(roles.params, step.raw)
    nodes = {leaf: node for leaf in gradients if (node := gradient_node(tape, leaf, gradients)) is not None}
    return gradients, nodes


def _forward(tape: Tape, step: TorchStep) -> list[Found]:
    """Look for the module's outputs among JAX's values."""
    index, wanted = Index(), _sizes(step.outputs)
    kept: dict[int, Node] = {}
    for node in tape.nodes:
        array = np.asarray(node.array) if not node.back and np.size(node.array) in wanted else None
        if array is not None and array.dtype.kind == "f":
            index.add(node.number, array)
            kept[node.number] = node
    rows, pieces = [], functools.cache(lambda: _in_pieces(index, step.outputs))
    for number, array in enumerate(step.outputs):
        if array.dtype.kind != "f" or array.size < 2:
            continue
        name = f"output {number}" if len(step.outputs) > 1 else "output"
        if same := index.find(array, BOUNDS["forward"]):
            error = min(_rounding(kept[number].array, array) for number in same)
            rows.append(Found("forward", name, error, BOUNDS["forward"], array, array))
            continue
        if pieces() or _in_parts(index, array):
            rows.append(Found("forward", name, 0.0, BOUNDS["forward"], array, array))
            continue
        near = min(kept.values(), key=lambda node, array=array: _distance(node.array, array), default=None)
        error = _distance(near.array, array) if near is not None else np.inf
        value = near.array if near is not None else np.array(np.nan)
        rows.append(Found("forward", name, max(error, 2 * BOUNDS["forward"]), BOUNDS["forward"], array, value, near))
    return rows


def _sizes(outputs: Sequence[np.ndarray]) -> set[int]:
    """Return the sizes of outputs, of all together, and of the parts of one that may be computed piece by piece."""
    found = {array.size for array in outputs} | {sum(array.size for array in outputs)}
    parts = {array.size // n for array in outputs for axis in range(array.ndim) for n in _counts(array, axis)}
    return found | {size for size in parts if size > 1}


def _counts(array: np.ndarray, axis: int) -> list[int]:
    """Return into how many parts an array can be split along an axis: any of the first, else few."""
    length = array.shape[axis]
    return [n for n in range(2, (length if axis == 0 else min(length, MOST_PARTS)) + 1) if not length % n]


def _in_parts(index: Index, array: np.ndarray) -> bool:
    """Tell whether JAX has the parts of an output instead, as the states of stacked layers."""
    splits = ((axis, n) for axis in range(array.ndim) for n in _counts(array, axis) if array.size // n > 1)
    return any(all(index.find(p, BOUNDS["forward"]) for p in np.split(array, n, axis)) for axis, n in splits)


def _in_pieces(index: Index, outputs: Sequence[np.ndarray]) -> bool:
    """Tell whether JAX computes outputs in other pieces of the batch than PyTorch: all at once, or one by one."""
    floats = [array for array in outputs if array.dtype.kind == "f" and array.ndim and array.size > 1]
    if not floats or len({array.shape[1:] for array in floats}) > 1:
        return False
    whole = np.concatenate(floats)
    if len(floats) > 1 and index.find(whole, BOUNDS["forward"]):
        return True
    counts = (n for n in range(2, len(whole) + 1) if not len(whole) % n and whole.size // n > 1)
    return any(all(index.find(part, BOUNDS["forward"]) for part in np.split(whole, n)) for n in counts)


def _off(rows: Sequence[Found]) -> float:
    """Return how far all tensors together are off."""
    return sum(min(row.error, 1.0) if np.isfinite(row.error) else 1.0 for row in rows)


def _distance(found: np.ndarray, reference: np.ndarray) -> float:
    if found.shape == reference.shape:
        return relative_error(reference, np.asarray(found, np.float64))
    return relative_error(np.sort(reference, axis=None), np.sort(np.asarray(found, np.float64), axis=None))


def _rounding(found: np.ndarray, reference: np.ndarray) -> float:
    """Return how far a value is off that holds PyTorch's numbers in some order; what a mask has put aside is not."""
    ours, theirs = np.sort(reference, axis=None), np.sort(np.asarray(found, np.float64), axis=None)
    kept = unmasked(ours)
    return relative_error(ours[kept], theirs[kept])


def _loss(tape: Tape, step: TorchStep) -> list[Found]:
    reference = step.loss if step.loss is not None else float(np.sum(step.roots))
    value = float(np.asarray(tape.loss.array, np.float64))
    error = abs(value - reference) / max(abs(reference), 1e-12)
    return [
        Found("loss", "loss", error if np.isfinite(error) else np.inf, BOUNDS["loss"], reference, value, tape.loss)
    ]


def _carried_all(rules: Mapping[str, Rule], tensors: Arrays) -> dict[str, np.ndarray]:
    """Return tensors of PyTorch's by leaf; those of which a leaf has no part alone are left out."""
    uses: dict[str, int] = {}
    for rule in rules.values():
        for key in rule.sources:
            uses[key] = uses.get(key, 0) + (not any(step.startswith("take") for step in rule.steps))
    found = {}
    for leaf, rule in rules.items():
        array = carried(rule, tensors, constant=False) if all(uses[key] <= 1 for key in rule.sources) else None
        if array is not None and "sum" not in rule.steps:
            found[leaf] = array
    return found


def _gradients(nodes: Mapping[str, Node], gradients: Mapping[str, np.ndarray]) -> list[Found]:
    whole, rows = total_norm(gradients), []
    for leaf, node in nodes.items():
        reference, value = gradients[leaf], np.asarray(node.array, np.float64)
        scale = whole if norm(reference) <= ZERO * whole else None
        error = relative_error(reference, value, scale)
        rows.append(Found("gradients", leaf, error, BOUNDS["gradients"], reference, value, node))
    return rows


def _factor(nodes: Mapping[str, Node], gradients: Mapping[str, np.ndarray]) -> float:
    """Return the one number by which all of JAX's gradients are larger, 1 if there is none."""
    if not nodes:
        return 1.0
    ours = np.concatenate([gradients[leaf].ravel() for leaf in nodes])
    theirs = np.concatenate([np.asarray(nodes[leaf].array, np.float64).ravel() for leaf in nodes])
    size = float(ours @ ours)
    ratio = float(ours @ theirs) / size if size else 1.0
    return ratio if ratio and relative_error(ours * ratio, theirs) <= BOUNDS["gradients"] else 1.0


def moved_error(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return how far a parameter's step is off, relative to the step; what rounding makes of the parameter is none."""
    step, gap = norm(ours - before), norm(theirs - ours)
    if not np.isfinite(gap):
        return np.inf
    gap = max(0.0, gap - ROUNDING * norm(before))
    return gap / step if step else (np.inf if gap else 0.0)


def _update(tape: Tape, leaves: Mapping[str, np.ndarray], step: TorchStep, roles: Roles) -> list[Found]:
    rows = []
    for leaf, rule in roles.params.items():
        ours = carried(rule, {**step.after.buffers, **step.after.params})
        if ours is None:
            continue
        node = tape.outputs[leaf]
        theirs = np.asarray(node.array, np.float64)
        error = moved_error(leaves[leaf], ours, theirs)
        rows.append(Found("update", leaf, error, BOUNDS["update"], ours, theirs, node))
    for leaf, (slot, rule) in roles.slots.items():
        ours = carried(rule, step.after.slots.get(slot, {}), constant=False)
        if ours is None:
            continue
        node = tape.outputs[leaf]
        theirs = np.asarray(node.array, np.float64)
        rows.append(Found("update", leaf, relative_error(ours, theirs), BOUNDS["update"], ours, theirs, node))
    return rows


def _with_parameters(
    fed: Tape,
    program: Any,
    leaves: Mapping[str, np.ndarray],
    batch: Any,
    roles: Roles,
    changed: Sequence[Found],
    forces: Mapping[int, np.ndarray],
) -> Tape:
    """Return the step with PyTorch's new parameters and statistics in place of wrong ones, for the averages."""
    wrong = {
        row.node.number: row.torch
        for row in changed
        if not row.ok and row.tensor not in roles.slots and row.node is not None and row.node.number >= 0
    }
    if not wrong or not roles.averages:
        return fed
    return Tape(program, {**forces, **wrong}, fed).run(leaves, batch)


def _statistics(tape: Tape, step: TorchStep, roles: Roles) -> list[Found]:
    rows = []
    for leaf, rule in roles.statistics.items():
        ours, node = carried(rule, step.after.buffers), tape.outputs[leaf]
        if ours is not None:
            theirs = np.asarray(node.array, np.float64)
            error = relative_error(ours, theirs, _scale_of_zero(rule.sources[0], ours, step.after.buffers))
            rows.append(Found("statistics", leaf, error, BOUNDS["statistics"], ours, theirs, node))
    return rows


def _scale_of_zero(name: str, mean: np.ndarray, buffers: Mapping[str, np.ndarray]) -> float | None:
    """Return what a running mean is judged by that is zero but for rounding: the spread of what is averaged.

    It is zero where a layer without a bias follows a norm whose bias is zero.
    """
    var = buffers.get(f"{name.removesuffix('mean')}var") if name.endswith("mean") else None
    spread = norm(np.sqrt(np.abs(var))) if var is not None else 0.0
    return spread if norm(mean) <= ZERO * spread else None


def _average(tape: Tape, leaves: Mapping[str, np.ndarray], step: TorchStep, roles: Roles) -> list[Found]:
    rows = []
    for leaf, (name, rule) in roles.averages.items():
        ours, node = carried(rule, step.after.averages.get(name, {})), tape.outputs[leaf]
        if ours is not None:
            theirs = np.asarray(node.array, np.float64)
            error = moved_error(leaves[leaf], ours, theirs)
            rows.append(Found("average", leaf, error, BOUNDS["average"], ours, theirs, node))
    return rows
