"""The checks of any port: each a function from the aligned pair to results.

What the walk of `parity.align` found equal, it found operation by operation, with PyTorch's numbers in JAX's place.
Here the JAX model computes by itself, as its user would run it.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from experiment.weights.layout import CopyError
from parity.align.lockstep import NEAR
from parity.align.pair import UNMET, PortPair
from parity.align.places import lines_of_outputs
from parity.checks.below_float32 import below_float32
from parity.checks.failures import failures_of
from parity.checks.padding import ACCEPTED, ADVICE, WORDS, padding_rows, without_padding
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import difference, relative_error, total_norm, worst
from parity.sides.frameworks import x64
from parity.sides.numbers import is_array, to_numpy, tree_leaves
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import twins, way_between
from parity.trace.fingerprint import comparable, sized
from parity.trace.lines import Line

# In float64 two right implementations of a deep network differ by 1e-14 or so, and wrong ones by 1e-7 or more.
FORWARD, GRADIENT, STATISTICS = 1e-12, 1e-10, 1e-12
# Where a port computes in float32, it must be as near to PyTorch's float64 as PyTorch's float32 is, times this.
AS_NEAR, FLOAT32 = 5.0, 1e-6
MOST_MOVED = 20  # leaves in doubt that are moved, to see whether the outputs depend on them
BIASED = "the running variance is the biased one, divided by n instead of n - 1 (trap 1)"
ACCEPT_BIASED = (
    "give --accept trap-1 (accept=['trap-1']) if Flax's BatchNorm is to stay; or keep the unbiased variance"
)
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
    found = [difference(name, ours, theirs, bounds.get(name, FORWARD)) for name, ours, theirs in compared]
    if not found:
        failure = Failure("forward, eval", "forward", "output", np.inf, 0, "the outputs have nothing in common")
        return [Result("forward, eval", np.inf, 0, "output", "", failure)]
    top = worst(found)
    failures = failures_of(pair.aligned.differences)
    if not top.ok and not any(f.cause for f in failures):
        failures = below_float32(pair, top, failures)
    if not failures and not top.ok:
        bad = {row.name for row in found if not row.ok}
        apart = [(ours, theirs) for name, ours, theirs in compared if name in bad]
        mine, other = lines_of_outputs(pair.aligned.walk, pair.aligned.results, apart)
        cause = _swapped(compared)
        words = "; ".join(filter(None, (top.detail, cause)))
        failure = Failure("forward, eval", "forward", top.name, top.error, top.bound, words, None, mine, other)
        failures = [failure._replace(values=top.values, cause=cause)]
    if not failures:
        return [Result("forward, eval", top.error, top.bound, top.name, _yardstick(pair))]
    return [Result("forward, eval", top.error, top.bound, f.layer, "", f) for f in failures]


def _swapped(compared: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Say that outputs are in another order, if they are."""
    for name, ours, _ in compared:
        for other, _, theirs in compared:
            if name != other and ours.shape == theirs.shape and relative_error(ours, theirs) < NEAR[4]:
                return f"PyTorch's {name} is JAX's {other}: the outputs are in another order"
    return ""


def _yardstick(pair: PortPair) -> str:
    return f"float32 inside, judged by PyTorch's own float32 error times {AS_NEAR:g}" if pair.narrow else ""


def _bounds(pair: PortPair, bound: float, compared: Any, mask: Any) -> dict[str, float]:
    """Return the bound of each output: wider where the JAX side computes in float32."""
    if not pair.narrow:
        return {name: bound for name, *_ in compared}
    output = pair.torch.float32_outputs(pair.torch_inputs)
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    rows, _ = paired(reference, output, mask)
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


def check_gradients(pair: PortPair, accept: Collection[str] = ()) -> list[Result]:
    """Compare the gradients of every trained tensor and floating-point input."""
    # An output that the JAX side does not have has no say in it.
    reference, cotangents = pair.torch.gradients(pair.torch_inputs, among={twin.name for twin in pair.shared})
    found = _jax_gradients(pair, cotangents)
    bounds = dict.fromkeys(reference, GRADIENT)
    if pair.narrow:
        errors = pair.torch.float32_errors(pair.torch_inputs, reference, cotangents)
        bounds = {name: max(FLOAT32 * 10, AS_NEAR * error) for name, error in errors.items()}
    whole, rows = total_norm({name: sized(array) for name, array in reference.items()}), []
    padding, padded = padding_rows(pair.torch), dict[str, Compared]()
    for name, ours in reference.items():
        theirs = found.get(name)
        if theirs is None:
            continue
        scale = whole if np.linalg.norm(sized(ours)) <= ZERO * whole else None
        ours, theirs = comparable(ours, theirs)
        kept = without_padding(padding, name, ours, theirs)
        if kept is not None:
            padded[name], theirs = difference(name, ours, theirs, bounds[name], scale), kept
        rows.append(difference(name, ours, theirs, bounds[name], scale))
    if not rows:
        return []
    top = worst(rows)
    bad = [row for row in rows if not row.ok]
    if not bad and padded and ACCEPTED not in accept:
        return [_padding_trained(pair, name, padding[name], row) for name, row in padded.items()]
    if not bad:
        note = f"accepted by name: {ACCEPTED}, in {len(padded)} tensors" if padded else _yardstick(pair)
        return [Result("gradients", top.error, top.bound, top.name, note)]
    # The last layer is the first of the backward pass; the inputs come last of all.
    last = next((row for row in reversed(bad) if not row.name.startswith("input")), bad[-1])
    located = _located(pair, cotangents)
    if not located:
        mine, theirs = _lines_of(pair, last.name)
        words = f"{last.detail}; it is used at {mine} against {theirs}"
        failure = Failure("gradients", "backward", last.name, last.error, last.bound, words, None, mine, theirs)
        located = [failure._replace(values=last.values)]
    return [Result("gradients", top.error, top.bound, last.name, "", failure) for failure in located]


def _padding_trained(pair: PortPair, key: str, row: int, apart: Compared) -> Result:
    """Return the failure of a table whose row of padding is trained on the JAX side alone."""
    mine, theirs = _lines_of(pair, key)
    cause = WORDS.format(row=row)
    words = f"{mine} against {theirs}: {cause}; {apart.detail}"
    failure = Failure("gradients", "backward", key, apart.error, apart.bound, words, None, mine, theirs)
    return Result(
        "gradients",
        apart.error,
        apart.bound,
        key,
        "",
        failure._replace(values=apart.values, cause=cause, advice=ADVICE),
    )


def _located(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> list[Failure]:
    """Return a failure for each operation whose gradient differs, none if none could be found."""
    if not hasattr(pair.torch, "module") or hasattr(pair.jax, "program"):  # a record holds no backward pass
        return []
    culprits = importlib.import_module("parity.align.culprits")  # here: a framework may be missing
    try:
        found = culprits.gradient_differences(pair, cotangents)
    except Exception:  # a pass that cannot be walked backwards: the tensor is all there is to say
        return []
    bound = GRADIENT if not pair.narrow else FLOAT32 * 10
    failures = []
    for one in found:
        apart = difference("", one.ours, one.theirs, bound)
        words = f"{one.torch_line} against {one.jax_line}: {one.words}; {apart.detail}"
        lines = one.torch_line, one.jax_line
        failure = Failure("gradients", "backward", one.scope or "gradient", apart.error, bound, words, None, *lines)
        failures.append(failure._replace(values=apart.values))
    return failures


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


def _jax_gradients(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return JAX's gradients of the same sum, as gradients of PyTorch's tensors."""
    side: Any = pair.jax
    shapes = {key: array.shape for key, array in pair.torch.parameters.items()}
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    with x64():
        # The layout of square outputs is told by their values.
        output = named_leaves(side.call(pair.leaves, *pair.jax_inputs, train=False)[0])
        pairs = twins(reference, {name: to_numpy(array) for name, array in output.items()})
        given = {
            twin.jax_name: twin.way.back(cotangents[twin.name], tuple(output[twin.jax_name].shape))
            for twin in pairs
            if twin.way is not None and twin.name in cotangents
        }
        if hasattr(side, "gradients"):  # a record's
            gradients, by_input = side.gradients(pair.leaves, given), None
        else:
            passes = importlib.import_module("parity.sides.jax_passes")  # here: JAX may be missing
            gradients, by_input = passes.gradients_by_all(side, pair.leaves, pair.jax_inputs, given)
    found = {} if by_input is None else _input_gradients(pair, by_input)
    for path, gradient in gradients.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            found[key] = found[key] + array if key in found else array
    return found


def _input_gradients(pair: PortPair, gradients: Any) -> dict[str, np.ndarray]:
    """Return JAX's gradients of inputs by PyTorch's numbers for them, in PyTorch's layout.

    An input of whole numbers may be a mask: what lies behind it has a gradient of no meaning.
    """
    ours = [a for a in tree_leaves((pair.torch_inputs.args, dict(pair.torch_inputs.kwargs))) if is_array(a)]
    given = tree_leaves((pair.jax_inputs.args, dict(pair.jax_inputs.kwargs)))
    theirs = list(zip(map(np.asarray, given), tree_leaves(gradients), strict=False))
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


def check_statistics(pair: PortPair, accept: Collection[str]) -> list[Result]:
    """Compare what a training step makes of running statistics, if there are any."""
    step = pair.torch.statistics(pair.torch_inputs)
    if not step.layers:
        return []
    if step.noisy:
        return [Result("statistics", 0.0, STATISTICS, "", "not compared: dropout draws its own masks on each side")]
    state = pair.torch.parameters
    after = {**state, **step.after}
    with x64():
        changed = pair.jax.call(pair.leaves, *pair.jax_inputs, train=True)[1]
    shares = lambda key: step.shares.get(key.rpartition(".")[0], 1.0)  # noqa: E731
    return statistics_compared(pair, after, changed, accept, STATISTICS if not pair.narrow else 1e-5, shares)


def statistics_compared(
    pair: PortPair,
    after: Mapping[str, np.ndarray],
    changed: Mapping[str, Any],
    accept: Collection[str],
    bound: float,
    share: Callable[[str], float],
) -> list[Result]:
    """Compare what a training step made of running statistics.

    Args:
        pair: both sides, as they were before.
        after: PyTorch's tensors.
        changed: the leaves that the JAX side has changed.
        accept: conventions that are no fault here.
        bound: of the relative error.
        share: of a batch in the statistics, by the key of a buffer.
    """
    state = pair.torch.parameters
    moved = {key for key in state if "running_" in key}
    rows, biased = [], set[str]()
    for path, rule in pair.weights.rules.items():
        if not moved & set(rule.sources):
            continue
        ours = np.asarray(rule(after), np.float64)
        theirs = np.asarray(changed.get(path, pair.leaves[path]), np.float64)
        row = difference(path, ours, theirs, bound)
        if not row.ok and _is_biased(np.asarray(rule(state), np.float64), ours, theirs, share(rule.sources[0])):
            biased.add(path)
            row = row._replace(detail=f"{row.detail}; {BIASED}")
            if "trap-1" in accept:
                row = row._replace(error=0.0)
        rows.append(row)
    if not rows:
        return []
    top = worst(rows)
    if top.ok:
        note = f"accepted by name: trap-1, in {len(biased)} tensors" if biased else ""
        return [Result("statistics", top.error, top.bound, top.name, note)]
    cause, advice = (BIASED, ACCEPT_BIASED) if top.name in biased else ("", "")
    failure = Failure("statistics", "statistics", top.name, top.error, top.bound, top.detail)
    failure = failure._replace(values=top.values, cause=cause, advice=advice)
    return [Result("statistics", top.error, top.bound, top.name, "", failure)]


def _is_biased(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray, share: float) -> bool:
    """Tell whether both moved to a variance, JAX's smaller by one factor throughout, (n - 1) / n."""
    ratio = (theirs - (1 - share) * before) / (ours - (1 - share) * before)
    return bool(np.ptp(ratio) < 1e-6 and 0 < ratio.mean() < 1)
