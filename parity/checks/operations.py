"""The checks of any port: each a function from the aligned pair to results.

What the walk of `parity.align` found equal, it found operation by operation, with PyTorch's numbers in JAX's place.
Here the JAX model computes by itself, as its user would run it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiment.weights.layout import CopyError
from parity.align.culprits import gradient_differences
from parity.align.explain import explained
from parity.align.frontier import Difference
from parity.align.lockstep import NEAR, Walk
from parity.align.pair import UNMET, PortPair
from parity.align.places import line_without, lines_of
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import describe, relative_error, total_norm, worst
from parity.sides.arrays import is_array, to_numpy, x64
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import twins, way_between
from parity.sides.torch_module import TorchModule, gradients
from parity.trace.lines import Line

# In float64 two right implementations of a deep network differ by 1e-14 or so, and wrong ones by 1e-7 or more.
FORWARD, GRADIENT, STATISTICS = 1e-12, 1e-10, 1e-12
# Where a port computes in float32, it must be as near to PyTorch's float64 as PyTorch's float32 is, times this.
AS_NEAR, FLOAT32 = 5.0, 1e-6
MOST_MOVED = 20  # leaves in doubt that are moved, to see whether the outputs depend on them
ZERO = 1e-13  # a gradient this small against all of them is zero but for rounding (trap 28)


def check_weights(pair: PortPair) -> Result:
    """Check that every leaf of the JAX model is made of PyTorch's tensors, or is a table of its own."""
    lost = [
        path
        for path in pair.weights.kept_leaves
        if path in pair.jax.trained and pair.unconfirmed.get(path) != UNMET
        if path in pair.unconfirmed or not _own(pair, path)
    ]
    if not lost or pair.aligned.differences:
        count = len(pair.weights.rules)
        return Result("weights", 0.0, 0, f"{count} of {len(pair.jax.leaves)} leaves are made of PyTorch's tensors")
    words = f"no tensor of PyTorch's gives {lost[0]} {pair.jax.leaves[lost[0]].shape}"
    more = f"; and {len(lost) - 1} more leaves" if len(lost) > 1 else ""
    failure = Failure("weights", "structure", lost[0], np.inf, 0, f"{words}{more}; say it with a mapping")
    return Result("weights", np.inf, 0, lost[0], "", failure)


def _own(pair: PortPair, path: str) -> bool:
    return any(piece.path == path for piece in pair.aligned.walk.bindings.found)


def check_forward(pair: PortPair, mask: Any = None) -> list[Result]:
    """Compare the outputs; a failure for each independent difference, with both lines."""
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    with x64():
        output = pair.jax.call(pair.leaves, *pair.jax_inputs, train=False)[0]
    compared, _ = paired(reference, named_leaves(output), mask)
    bounds = _bounds(pair, FORWARD, compared, mask)
    found = [
        Compared(name, relative_error(ours, theirs), bounds.get(name, FORWARD), describe(ours, theirs))
        for name, ours, theirs in compared
    ]
    if not found:
        failure = Failure("forward, eval", "forward", "output", np.inf, 0, "the outputs have nothing in common")
        return [Result("forward, eval", np.inf, 0, "output", "", failure)]
    top = worst(found)
    failures = _failures(pair.aligned.differences)
    if not failures and not top.ok:
        failures = [
            Failure("forward, eval", "forward", top.name, top.error, top.bound, top.detail + _swapped(compared))
        ]
    if not failures:
        return [Result("forward, eval", top.error, top.bound, top.name, _yardstick(pair))]
    return [Result("forward, eval", top.error, top.bound, f.layer, "", f) for f in failures]


def _failures(differences: Sequence[tuple[Walk, Difference]]) -> list[Failure]:
    """Return one failure for each cause: layers of one kind have their lines in common, and are listed."""
    groups: dict[Any, list[tuple[Walk, Difference]]] = {}
    for walk, found in differences:
        lines = lines_of(walk, found)
        groups.setdefault(lines if all(lines) else len(groups), []).append((walk, found))
    causes: dict[Any, tuple[Failure, dict[str, None]]] = {}
    for group in groups.values():
        failure = _failure(*group[0])
        lines = failure.torch_line, failure.jax_line
        _, layers = causes.setdefault(lines if all(lines) else len(causes), (failure, {}))
        layers |= dict.fromkeys(w.trace.ops[d.op].scope or w.trace.ops[d.op].name for w, d in group)
    return [
        f._replace(diagnosis=f"{f.diagnosis}; in {len(layers)} layers: {', '.join(layers)}") if len(layers) > 1 else f
        for f, layers in causes.values()
    ]


def _failure(walk: Walk, found: Difference) -> Failure:
    """Return a difference in words, with the line on each side."""
    op = walk.trace.ops[found.op]
    cell = walk.cells[found.cell] if found.cell is not None else None
    looks = explained(walk, found)
    theirs = lines_of(walk, found)[1] if looks.given is None else line_without(walk, found, looks.given)
    words, error = f"{op.line or op.name} against {theirs or (cell.name if cell else 'nothing')}", np.inf
    if found.arranged is not None and found.counterpart is not None:
        other = np.asarray(walk.cells[found.counterpart].computed, np.float64)
        error = relative_error(found.arranged, other)
        words += f": {describe(found.arranged, other)}"
    if looks.words:
        words += f"; {looks.words}"
    layer = op.scope or op.name
    return Failure("forward, eval", "forward", layer, error, NEAR[8], words, None, op.line, theirs)


def _swapped(compared: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Say that outputs are in another order, if they are."""
    for name, ours, _ in compared:
        for other, _, theirs in compared:
            if name != other and ours.shape == theirs.shape and relative_error(ours, theirs) < NEAR[4]:
                return f"; PyTorch's {name} is JAX's {other}: the outputs are in another order"
    return ""


def _yardstick(pair: PortPair) -> str:
    return f"float32 inside, judged by PyTorch's own float32 error times {AS_NEAR:g}" if pair.narrow else ""


def _bounds(pair: PortPair, bound: float, compared: Any, mask: Any) -> dict[str, float]:
    """Return the bound of each output: wider where the JAX side computes in float32."""
    if not pair.narrow:
        return {name: bound for name, *_ in compared}
    single = TorchModule(pair.torch.module, torch.float32)
    args, kwargs = pair.torch_inputs
    with torch.no_grad():
        output = named_leaves(single.call(args, kwargs, train=False))
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    rows, _ = paired(reference, {name: to_numpy(array) for name, array in output.items()}, mask)
    return {name: max(FLOAT32, AS_NEAR * relative_error(ours, own)) for name, ours, own in rows}


def check_round_trip(pair: PortPair) -> Result:
    """Carry the weights to JAX's leaves and back, which must give every bit that a leaf holds."""
    state = {key: array for key, array in pair.torch.parameters.items() if key in pair.torch.saved}
    try:
        back = pair.weights.to_torch(pair.weights.to_flax(state))
    except CopyError as error:  # a tensor that no leaf holds all of: a sum of two biases, a table that is cut off
        return Result("round trip", 0.0, 0, "", f"forward alone: {error}")
    sums = {
        k
        for r in pair.weights.rules.values()
        if "sum" in " ".join(r.steps) or "add" in " ".join(r.steps)
        for k in r.sources
    }
    wrong = [key for key in state if key not in sums and not np.array_equal(state[key], back[key])]
    if not wrong:
        return Result("round trip", 0.0, 0, "", "sums apart" if sums else "")
    failure = Failure("round trip", "copy", wrong[0], np.inf, 0, f"{wrong[0]} does not come back")
    return Result("round trip", np.inf, 0, wrong[0], "", failure)


def check_gradients(pair: PortPair) -> list[Result]:
    """Compare the gradients of every trained tensor and floating-point input."""
    module = pair.torch
    reference, cotangents = _torch_gradients(module, pair)
    found = _jax_gradients(pair, cotangents)
    if pair.narrow:
        single, _ = _torch_gradients(TorchModule(module.module, torch.float32), pair, cotangents)
        bounds = {
            name: max(FLOAT32 * 10, AS_NEAR * relative_error(reference[name], single[name])) for name in reference
        }
    else:
        bounds = dict.fromkeys(reference, GRADIENT)
    whole, rows = total_norm(reference), []
    for name, ours in reference.items():
        theirs = found.get(name)
        if theirs is None:
            continue
        scale = whole if np.linalg.norm(ours) <= ZERO * whole else None
        rows.append(Compared(name, relative_error(ours, theirs, scale), bounds[name], describe(ours, theirs)))
    if not rows:
        return []
    top = worst(rows)
    bad = [row for row in rows if not row.ok]
    if not bad:
        return [Result("gradients", top.error, top.bound, top.name, _yardstick(pair))]
    # The last layer is the first of the backward pass; the inputs come last of all.
    last = next((row for row in reversed(bad) if not row.name.startswith("input")), bad[-1])
    located = _located(pair, cotangents)
    if not located:
        mine, theirs = _lines_of(pair, last.name)
        words = f"{last.detail}; it is used at {mine} against {theirs}"
        located = [Failure("gradients", "backward", last.name, last.error, last.bound, words, None, mine, theirs)]
    return [Result("gradients", top.error, top.bound, last.name, "", failure) for failure in located]


def _located(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> list[Failure]:
    """Return a failure for each operation whose gradient differs, none if none could be found."""
    try:
        found = gradient_differences(pair, cotangents)
    except ZeroDivisionError:  # a pass that cannot be walked backwards: the tensor is all there is to say
        return []
    bound = GRADIENT if not pair.narrow else FLOAT32 * 10
    return [
        Failure(
            "gradients",
            "backward",
            one.scope or "gradient",
            relative_error(one.ours, one.theirs),
            bound,
            f"{one.torch_line} against {one.jax_line}: {one.words}; {describe(one.ours, one.theirs)}",
            None,
            one.torch_line,
            one.jax_line,
        )
        for one in found
    ]


def _lines_of(pair: PortPair, key: str) -> tuple[Line | None, Line | None]:
    """Return the lines at which a tensor meets data on both sides."""
    walk = pair.aligned.walk
    ops = [op for op in walk.trace.ops if any(key in walk.trace.values[n].keys for n in op.inputs)]
    with_data = [op for op in ops if any(walk.trace.values[n].data for n in op.inputs)]
    mine = next((op.line for op in [*with_data, *ops] if op.line), None)
    for piece, found in walk.bindings.found.items():
        trial = walk.bindings.trials.get(piece)
        if found.rule is not None and key in found.rule.sources and trial is not None and trial.at < len(walk.cells):
            return mine, walk.cells[trial.at].line
    return mine, None


def _torch_gradients(
    module: TorchModule, pair: PortPair, cotangents: Mapping[str, np.ndarray] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return PyTorch's gradients of a weighted sum of the outputs, and the weights of the sum."""
    args, kwargs = (module.tensors_of(part) for part in (pair.torch_inputs.args, dict(pair.torch_inputs.kwargs)))
    floats = {
        f"input {i}": tensor.requires_grad_()
        for i, tensor in enumerate(t for t in jax.tree.leaves((args, kwargs)) if isinstance(t, torch.Tensor))
        if tensor.is_floating_point()
    }
    rng = np.random.default_rng(1)
    with module.kept():  # tensors are put back only when the gradients are there: they count what is written to them
        shared = {twin.name for twin in pair.shared}  # an output that the JAX side does not have has no say in it
        outputs = {
            name: array
            for name, array in named_leaves(module.call(args, kwargs, train=False)).items()
            if isinstance(array, torch.Tensor) and array.requires_grad and name in shared
        }
        if cotangents is None:
            cotangents = {name: rng.normal(size=tuple(array.shape)) for name, array in outputs.items()}
        total = sum((outputs[n] * torch.from_numpy(c).to(outputs[n].dtype)).sum() for n, c in cotangents.items())
        named = {k: t for k, t in module.tensors.items() if k in module.trained and t.requires_grad} | floats
        found = gradients(total, named) if isinstance(total, torch.Tensor) else {}
    return found, dict(cotangents)


def _jax_gradients(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return JAX's gradients of the same sum, as gradients of PyTorch's tensors."""
    side, shapes = pair.jax, {key: array.shape for key, array in pair.torch.parameters.items()}
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    fixed = {path: array for path, array in pair.leaves.items() if path not in side.trained}

    def weighted(trained: Mapping[str, Any], given: Any) -> Any:
        output = side.call({**fixed, **trained}, *given, train=False)[0]
        leaves = named_leaves(output)
        shown = {name: np.zeros(array.shape) for name, array in leaves.items()}
        total = jnp.zeros(())
        for twin in twins(reference, ways or shown):
            if twin.way is not None and twin.name in cotangents:
                total = total + (twin.way(leaves[twin.jax_name]) * cotangents[twin.name]).sum()
        return total

    with x64():
        # The layout of square outputs is told by their values.
        output = named_leaves(side.call(pair.leaves, *pair.jax_inputs, train=False)[0])
        ways = {name: to_numpy(array) for name, array in output.items()}
        trained = {path: jnp.asarray(pair.leaves[path]) for path in side.trained}
        given = jax.tree.map(jnp.asarray, (pair.jax_inputs.args, dict(pair.jax_inputs.kwargs)))
        if side.concrete:  # it looks at its inputs' values in Python
            by_leaf, by_input = jax.grad(weighted, allow_int=True)(trained, given), None
        else:
            by_leaf, by_input = jax.grad(weighted, argnums=(0, 1), allow_int=True)(trained, given)
    found = _input_gradients(pair, given, by_input)
    for path, gradient in by_leaf.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            found[key] = found[key] + array if key in found else array
    return found


def _input_gradients(pair: PortPair, given: Any, gradients: Any) -> dict[str, np.ndarray]:
    """Return JAX's gradients of inputs by PyTorch's numbers for them, in PyTorch's layout.

    An input of whole numbers may be a mask: what lies behind it has a gradient of no meaning.
    """
    ours = [a for a in jax.tree.leaves((pair.torch_inputs.args, dict(pair.torch_inputs.kwargs))) if is_array(a)]
    theirs = list(zip(map(np.asarray, jax.tree.leaves(given)), jax.tree.leaves(gradients), strict=False))
    found: dict[str, np.ndarray] = {}
    for number, mine in enumerate(map(np.asarray, ours)):
        if mine.dtype.kind != "f" or np.array_equal(mine, np.round(mine)):
            continue
        for place, (array, gradient) in enumerate(theirs):
            way = way_between(mine, array) if array.dtype.kind == "f" else None
            if way is not None and np.array_equal(way(array), mine):
                found[f"input {number}"] = np.asarray(way(np.asarray(gradient)), np.float64)
                del theirs[place]
                break
    return found


def still_open(pair: PortPair) -> dict[str, str]:
    """Return the leaves whose origin the outputs do not confirm either: those that can be moved without an effect.

    The outputs agree, so whatever moves them is what it should be.
    """
    bound, rng = FLOAT32 if pair.narrow else FORWARD, np.random.default_rng(3)
    doubtful = [path for path in pair.unconfirmed if path in pair.weights.rules][:MOST_MOVED]
    found = dict(pair.unconfirmed)
    with x64():
        before = named_leaves(pair.jax.call(pair.leaves, *pair.jax_inputs, train=False)[0]) if doubtful else {}
        for path in doubtful:
            moved = {**pair.leaves, path: pair.leaves[path] + rng.normal(size=pair.leaves[path].shape)}
            after = named_leaves(pair.jax.call(moved, *pair.jax_inputs, train=False)[0])
            pairs = [(to_numpy(before[twin.jax_name]), to_numpy(after[twin.jax_name])) for twin in pair.shared]
            if any(relative_error(a, b) > 10 * bound for a, b in pairs):
                del found[path]
    return found
