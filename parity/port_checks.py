"""The checks of any port: each a function from the aligned pair to results.

What the walk of `parity.align` found equal, it found operation by operation, with PyTorch's numbers in JAX's place.
Here the JAX model computes by itself, as its user would run it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiment.weights.layout import CopyError
from parity.align.explain import explained
from parity.align.frontier import Difference
from parity.align.lockstep import NEAR, Walk
from parity.align.pair import PortPair
from parity.align.places import line_without, lines_of, lines_of_outputs
from parity.compare import Difference as Compared
from parity.compare import describe, relative_error, total_norm, worst
from parity.report import Failure, Result
from parity.sides.arrays import to_numpy, x64
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import twins
from parity.sides.torch_module import TorchModule
from parity.trace.lines import Line

# In float64 two right implementations of a deep network differ by 1e-14 or so, and wrong ones by 1e-7 or more.
FORWARD, GRADIENT, STATISTICS = 1e-12, 1e-10, 1e-12
# Where a port computes in float32, it must be as near to PyTorch's float64 as PyTorch's float32 is, times this.
AS_NEAR, FLOAT32 = 5.0, 1e-6
ZERO = 1e-13  # a gradient this small against all of them is zero but for rounding (trap 28)


def check_weights(pair: PortPair) -> Result:
    """Check that every leaf of the JAX model is made of PyTorch's tensors, or is a table of its own."""
    lost = [
        path
        for path in pair.weights.kept_leaves
        if path in pair.jax.trained and (path in pair.unconfirmed or not _own(pair, path))
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
        bad = {row.name for row in found if not row.ok}
        lines = lines_of_outputs(
            pair.aligned.walk, pair.aligned.results, [(ours, theirs) for name, ours, theirs in compared if name in bad]
        )
        words = top.detail + _swapped(compared)
        failures = [Failure("forward, eval", "forward", top.name, top.error, top.bound, words, None, *lines)]
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
    looks = explained(walk, found)
    before = looks.op is not None
    found = found._replace(op=looks.op) if looks.op is not None else found
    op = walk.trace.ops[found.op]
    cell = walk.cells[found.cell] if found.cell is not None else None
    theirs = lines_of(walk, found)[1] if looks.given is None else line_without(walk, found, looks.given, before)
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
    return f"float32 inside, judged by PyTorch's own float32 error times {AS_NEAR:g}" if pair.float32 else ""


def _bounds(pair: PortPair, bound: float, compared: Any, mask: Any) -> dict[str, float]:
    """Return the bound of each output: wider where the JAX side computes in float32."""
    if not pair.float32:
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
    if pair.float32:
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
    mine, theirs = _lines_of(pair, last.name)
    words = f"{last.detail}; it is used at {mine} against {theirs}"
    failure = Failure("gradients", "backward", last.name, last.error, last.bound, words, None, mine, theirs)
    return [Result("gradients", top.error, top.bound, last.name, "", failure)]


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
        outputs = {
            name: array
            for name, array in named_leaves(module.call(args, kwargs, train=False)).items()
            if isinstance(array, torch.Tensor) and array.requires_grad
        }
        if cotangents is None:
            cotangents = {name: rng.normal(size=tuple(array.shape)) for name, array in outputs.items()}
        total = sum((outputs[n] * torch.from_numpy(c).to(outputs[n].dtype)).sum() for n, c in cotangents.items())
        named = {k: t for k, t in module.tensors.items() if k in module.trained and t.requires_grad} | floats
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)  # type: ignore[arg-type]
    return {
        name: np.zeros(tuple(tensor.shape)) if grad is None else to_numpy(grad)
        for (name, tensor), grad in zip(named.items(), gradients, strict=True)
    }, dict(cotangents)


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
        gradients = jax.grad(weighted, allow_int=True)(trained, given)
    found: dict[str, np.ndarray] = {}
    for path, gradient in gradients.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            found[key] = found[key] + array if key in found else array
    return found


def check_statistics(pair: PortPair, accept: Collection[str]) -> list[Result]:
    """Compare what a training step makes of running statistics, if there are any."""
    module = pair.torch
    layers = [m for m in module.module.modules() if isinstance(getattr(m, "running_mean", None), torch.Tensor)]
    if not layers:
        return []
    noisy = [m for m in module.module.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0]
    if noisy:
        return [Result("statistics", 0.0, STATISTICS, "", "not compared: dropout draws its own masks on each side")]
    state = pair.torch.parameters
    args, kwargs = pair.torch_inputs
    with module.kept():
        with torch.no_grad():
            module.call(args, kwargs, train=True)
        after = module.parameters
    module.module.eval()
    with x64():
        changed = pair.jax.call(pair.leaves, *pair.jax_inputs, train=True)[1]
    moved = {k for k in state if "running_" in k}
    rows, biased = [], 0
    for path, rule in pair.weights.rules.items():
        if not moved & set(rule.sources):
            continue
        ours = np.asarray(rule(after), np.float64)
        theirs = np.asarray(changed.get(path, pair.leaves[path]), np.float64)
        row = Compared(
            path, relative_error(ours, theirs), STATISTICS if not pair.float32 else 1e-5, describe(ours, theirs)
        )
        share = _share(module.module, rule.sources[0])
        if not row.ok and _is_biased(np.asarray(rule(state), np.float64), ours, theirs, share):
            biased += 1
            words = "; the running variance is the biased one, divided by n instead of n - 1 (trap 1)"
            row = row._replace(detail=row.detail + words)
            if "trap-1" in accept:
                row = row._replace(error=0.0)
        rows.append(row)
    if not rows:
        return []
    top = worst(rows)
    if top.ok:
        note = f"accepted by name: trap-1, in {biased} tensors" if biased else ""
        return [Result("statistics", top.error, top.bound, top.name, note)]
    failure = Failure("statistics", "statistics", top.name, top.error, top.bound, top.detail)
    return [Result("statistics", top.error, top.bound, top.name, "", failure)]


def _is_biased(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray, share: float) -> bool:
    """Tell whether both moved to a variance, JAX's smaller by one factor throughout, (n - 1) / n."""
    ratio = (theirs - (1 - share) * before) / (ours - (1 - share) * before)
    return bool(np.ptp(ratio) < 1e-6 and 0 < ratio.mean() < 1)


def _share(module: torch.nn.Module, key: str) -> float:
    """Return the share of a batch in the statistics of the layer that a buffer belongs to."""
    momentum = getattr(module.get_submodule(key.rpartition(".")[0]), "momentum", None)
    return 1.0 if momentum is None else float(momentum)
