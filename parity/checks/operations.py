"""The checks of any port: each a function from the aligned pair to results.

What the walk of `parity.align` found equal, it found operation by operation, with PyTorch's numbers in JAX's place.
Here the JAX model computes by itself, as its user would run it.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from experiment.weights.layout import CopyError
from parity.align.lockstep import NEAR
from parity.align.pair import UNMET, PortPair
from parity.align.places import lines_of_outputs
from parity.checks.below_float32 import below_float32
from parity.checks.failures import failures_of
from parity.checks.float32_operations import LEAST, float32_bounds, yardstick
from parity.report import Failure, Result
from parity.report.compare import difference, relative_error, worst
from parity.sides.frameworks import x64
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves, paired

# In float64 two right implementations of a deep network differ by 1e-14 or so, and wrong ones by 1e-7 or more.
FORWARD, STATISTICS = 1e-12, 1e-12
MOST_AXES = 4  # of an output, for which all orders are tried
MOST_MOVED = 20  # leaves in doubt that are moved, to see whether the outputs depend on them
BIASED = "the running variance is the biased one, divided by n instead of n - 1 (trap 1)"
ACCEPT_BIASED = (
    "give --accept trap-1 (accept=['trap-1']) if Flax's BatchNorm is to stay; or keep the unbiased variance"
)


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
    compared, notes = paired(reference, named_leaves(output), mask)
    bounds = float32_bounds(pair, LEAST, mask) if pair.narrow else {}
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
        cause = _swapped(compared) or _transposed(compared)
        words = "; ".join(filter(None, (top.detail, cause)))
        failure = Failure("forward, eval", "forward", top.name, top.error, top.bound, words, None, mine, other)
        failures = [failure._replace(values=top.values, cause=cause)]
    if not failures:
        laid_out = (note for note in notes if not note.startswith(("only ", "not compared")))  # those are the pair's
        note = "; ".join(filter(None, (yardstick(pair), *laid_out)))
        return [Result("forward, eval", top.error, top.bound, top.name, note)]
    return [Result("forward, eval", top.error, top.bound, f.layer, "", f) for f in failures]


def _swapped(compared: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Say that outputs are in another order, if they are."""
    for name, ours, _ in compared:
        for other, _, theirs in compared:
            if name != other and ours.shape == theirs.shape and relative_error(ours, theirs) < NEAR[4]:
                return f"PyTorch's {name} is JAX's {other}: the outputs are in another order"
    return ""


def _transposed(compared: list[tuple[str, np.ndarray, np.ndarray]]) -> str:
    """Say that an output has its axes in another order, if it has: of a square, the shape does not tell."""
    for name, ours, theirs in compared:
        if ours.shape != theirs.shape or ours.ndim > MOST_AXES or relative_error(ours, theirs) < NEAR[4]:
            continue
        for axes in itertools.permutations(range(ours.ndim)):
            turned = ours.transpose(axes)
            if turned.shape == theirs.shape and relative_error(turned, theirs) < NEAR[4]:
                return f"JAX's {name} is PyTorch's with the axes in the order {', '.join(map(str, axes))}"
    return ""


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


def still_open(pair: PortPair) -> dict[str, str]:
    """Return the leaves whose origin the outputs do not confirm either: those that can be moved without an effect.

    The outputs agree, so whatever moves them is what it should be.
    """
    bound, rng = LEAST if pair.narrow else FORWARD, np.random.default_rng(3)
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
        moves = np.asarray(rule(state), np.float64), ours, theirs, share(rule.sources[0])
        if not row.ok and _is_biased(*moves, narrow=pair.narrow):
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


def _is_biased(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray, share: float, *, narrow: bool) -> bool:
    """Tell whether both moved to a variance, JAX's smaller by one factor throughout, (n - 1) / n."""
    ratio = (theirs - (1 - share) * before) / (ours - (1 - share) * before)
    missing = 1 - ratio.mean()  # 1 / n: float32's rounding is a tenth of that at most, up to a million examples
    return bool(np.ptp(ratio) < (missing / 10 if narrow else 1e-6) and 0 < missing < 1)
