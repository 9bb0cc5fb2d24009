"""A pass in training mode, both sides given the same random numbers: outputs, running statistics, gradients.

Neither framework is imported: a side may be a record.
"""

import importlib
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.align.pair import PortPair
from parity.checks.draw_order import Given, idle, in_order
from parity.checks.moved import GRADIENT_FLOAT32, nearest
from parity.checks.operations import statistics_compared
from parity.checks.padding import padding_rows, without_padding
from parity.checks.shared_draws import Shared, not_compared, other_laws, shared_draws
from parity.checks.training_crash import crashed
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import difference, relative_error, total_norm, worst
from parity.sides.numbers import to_numpy
from parity.sides.pairing import twins
from parity.sides.random_draws import MASK, Draw, counted
from parity.trace.fingerprint import comparable, sized

FORWARD, GRADIENT, STATISTICS = 1e-11, 1e-10, 1e-12
NARROW_FORWARD, NARROW_STATISTICS, AS_NEAR = 1e-5, 1e-5, 5.0
ROUNDED = 1e-6  # an error up to which a rate that is rounded to float32 may be the cause
ZERO = (
    1e-11  # a gradient this small against all of them is zero but for rounding: of a bias before a BatchNorm (trap 28)
)
Arrays = dict[str, np.ndarray]


class Both(NamedTuple):
    """Both sides in training mode."""

    pair: PortPair
    torch: Any  # `TorchTrainingMode`, or that of a record
    jax: Any  # `JaxTrainingMode`, or that of a record

    @property
    def among(self) -> set[str]:
        """Return the outputs that both sides have."""
        return {twin.name for twin in self.pair.shared}


def check_training_mode(pair: PortPair, accept: Collection[str]) -> list[Result]:
    """Compare a pass in training mode, if there is anything that differs from evaluation mode."""
    both: Both | None = None
    try:
        both = _both(pair)
        return _checked(both, accept)
    except Exception as error:  # a side may have no training mode, or draw in a loop
        if both is not None and (found := crashed(both)) is not None:
            return [found]
        why = " ".join(str(error).split())[:200]
        return [not_compared(f"a side cannot be followed in training mode: {type(error).__name__}: {why}")]


def _both(pair: PortPair) -> Both:
    """Return both sides; what is no record needs its framework."""
    ours, theirs = (getattr(side, "training", None) for side in (pair.torch, pair.jax))
    if ours is None:
        ours = importlib.import_module("parity.checks.torch_training").TorchTrainingMode(pair.torch, pair.torch_inputs)
    if theirs is None:
        theirs = importlib.import_module("parity.checks.jax_training").JaxTrainingMode(
            pair.jax, pair.leaves, pair.jax_inputs
        )
    return Both(pair, ours, theirs.of(pair.leaves) if hasattr(theirs, "of") else theirs)


def _checked(both: Both, accept: Collection[str]) -> list[Result]:
    ours, run = both.torch.draws(), both.jax
    steady = not ours and not both.torch.moving
    if steady and not run.switched:
        return _of_torch_alone(both)
    theirs = run.draws()
    if steady and not theirs and (found := _without_draws(both)) is not None:
        return found
    if [draw.kind for draw in ours] != [draw.kind for draw in theirs] and both.torch.numbers is None:
        both, ours, theirs = _without_idle(both, ours, theirs)
    if (order := in_order(ours, theirs)) != list(range(len(theirs))):
        both, theirs = both._replace(jax=Given(both.jax, order, {})), [theirs[i] for i in order]
    shared, failure = shared_draws(ours, theirs, accept, both.torch.numbers, switched=run.switched)
    if failure is not None:
        return [failure]
    best: list[Result] = []
    laws = max((len(s.laws) for s in shared), default=1)
    layouts = max((s.layouts for s in shared), default=1)
    for law, layout in itertools.product(range(laws), range(layouts)):
        given = [s.given(law, layout) for s in shared]
        results = _compared(both, shared, [mine for mine, _ in given], [other for _, other in given], accept)
        if not any(r.failure for r in results):
            return results
        best = best or results
    unlike = other_laws(shared)
    return best if unlike is None else [unlike]


def _of_torch_alone(both: Both) -> list[Result]:
    """Return that PyTorch's training mode is not compared with a side that has none, if it is not evaluation mode."""
    if both.torch.as_evaluation:
        return []
    return [not_compared("PyTorch computes something else in training mode, JAX has no training mode")]


def _without_draws(both: Both) -> list[Result] | None:
    """Compare sides that draw nothing and keep no statistics; None: outputs and gradients are to be compared.

    A module may scale, stop gradients or return something else in training mode. A record whose module does nothing
    of that has no pass.
    """
    if both.torch.as_evaluation and getattr(both.jax, "as_evaluation", False):
        return []
    if hasattr(both.torch, "module") or not both.torch.as_evaluation:
        return None
    mine = {name: to_numpy(array) for name, array in both.pair.outputs.items() if name in both.among}
    found = both.jax.outputs([])[0]
    outputs = {t.name: t.way(found[t.jax_name]) for t in twins(mine, found) if t.way is not None}
    rows = _rows(mine, outputs, FORWARD, NARROW_FORWARD, {} if both.pair.narrow else None)
    if not rows or (top := worst(rows)).ok:
        return []
    words = f"{top.detail}; PyTorch returns the same in evaluation mode, JAX does not"
    failure = Failure("forward, train", "forward", top.name, top.error, top.bound, words)
    return [Result("forward, train", top.error, top.bound, top.name, "", failure)]


def _without_idle(both: Both, ours: list[Draw], theirs: list[Draw]) -> tuple[Both, list[Draw], list[Draw]]:
    """Leave out what is drawn for nothing."""
    mine = idle(ours, lambda numbers: both.torch.outputs(numbers, both.among))
    other = idle(theirs, lambda numbers: both.jax.outputs(numbers)[0])
    places = [[i for i in range(len(draws)) if i not in out] for draws, out in ((ours, mine), (theirs, other))]
    sides = Given(both.torch, places[0], mine), Given(both.jax, places[1], other)
    ours, theirs = [ours[i] for i in places[0]], [theirs[i] for i in places[1]]
    return both._replace(torch=sides[0], jax=sides[1]), ours, theirs


def _compared(
    both: Both,
    shared: Sequence[Shared],
    mine: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    accept: Collection[str],
) -> list[Result]:
    """Run both sides with the same numbers, and compare what they make of them."""
    pair = both.pair
    ours = both.torch.passed(mine, both.among)
    found, changed = both.jax.outputs(theirs)
    pairs = twins(ours.outputs, found)
    outputs = {t.name: t.way(found[t.jax_name]) for t in pairs if t.way is not None}
    forward = _rows(ours.outputs, outputs, FORWARD, NARROW_FORWARD, None)
    # A rate of dropout that one side keeps in float32 scales what is kept: judged as what is float32 inside.
    rounded = bool(shared and forward) and FORWARD < max(row.error for row in forward) <= ROUNDED
    single = both.torch.float32_errors(mine, ours) if pair.narrow or rounded else None
    results = []
    if shared:
        notes = list(dict.fromkeys(s.words for s in shared if s.words))
        more = f"; {notes[0]}" + (f" and {len(notes) - 1} more such" if len(notes) > 1 else "") if notes else ""
        results.append(
            Result("dropout", 0.0, 0, "", f"{counted([s.ours for s in shared])}, the same on both sides{more}")
        )
    forward = _rows(ours.outputs, outputs, FORWARD, NARROW_FORWARD, single and single[0])
    top = worst(forward) if forward else None
    if top is not None and not top.ok:
        words, lines = _first_mask(both, shared, mine, theirs)
        failure = Failure(
            "forward, train", "forward", top.name, top.error, top.bound, top.detail + words, None, *lines
        )
        return [*results, Result("forward, train", top.error, top.bound, top.name, "", failure)]
    if top is not None:
        note = "a rate is rounded to float32 on one side" if rounded else ""
        results.append(Result("forward, train", top.error, top.bound, top.name, note))
    bound = NARROW_STATISTICS if single is not None else STATISTICS
    results += statistics_compared(pair, ours.after, changed, accept, bound, both.torch.share)
    cotangents = {
        t.jax_name: t.way.back(ours.cotangents[t.name], found[t.jax_name].shape)
        for t in pairs
        if t.way is not None and t.name in ours.cotangents
    }
    gradients = _by_key(pair, both.jax.gradients(theirs, cotangents))
    padding = padding_rows(pair.torch)
    kept = {k: without_padding(padding, k, ours.gradients[k], g) for k, g in gradients.items() if k in padding}
    gradients |= {k: g for k, g in kept.items() if g is not None}  # judged in evaluation mode
    compared = _gradients_compared(ours.gradients, gradients, single and single[1])
    if single is not None and any(result.failure for result in compared):
        exact = lambda: _by_key(pair, both.jax.gradients(theirs, cotangents, in_float64=True))  # noqa: E731
        compared = _with_float64(both, mine, ours.gradients, gradients, exact) or compared
    return results + compared


def _with_float64(
    both: Both, numbers: Sequence[np.ndarray], reference: Arrays, found: Arrays, exact: Callable[[], Arrays]
) -> list[Result]:
    """Judge gradients by the same program in float64 (see `parity.checks.gradients`); nothing if that fails, too."""
    if hasattr(both.pair.jax, "program") or not hasattr(both.pair.torch, "moved"):
        return []
    (result,) = _gradients_compared(reference, exact(), dict.fromkeys(reference, 0.0), ROUNDED)
    near = nearest(
        both.pair.torch, reference, found, lambda side: both.torch.of(side).passed(numbers, both.among).gradients
    )
    if result.failure or near is None:
        return []
    note = f"float32 inside; in float64 {result.error:.1e}; this one from PyTorch's {near[1]}"
    return [Result(result.check, near[0], GRADIENT_FLOAT32, "the whole gradient", note)]


def _by_key(pair: PortPair, by_leaf: Mapping[str, np.ndarray]) -> Arrays:
    """Return gradients by PyTorch's keys."""
    shapes = {key: array.shape for key, array in pair.torch.parameters.items()}
    back: Arrays = {}
    for path, gradient in by_leaf.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            back[key] = back[key] + array if key in back else array
    return back


def _rows(
    ours: Mapping[str, Any],
    theirs: Arrays,
    bound: float,
    narrow: float,
    single: Mapping[str, float] | None,
    scale: float | None = None,
) -> list[Compared]:
    rows = []
    for name in ours.keys() & theirs.keys():
        near = bound if single is None else max(narrow, AS_NEAR * single.get(name, 0.0))
        mine, other = comparable(ours[name], theirs[name])
        small = scale is not None and np.linalg.norm(sized(ours[name])) <= ZERO * scale
        rows.append(difference(name, mine, other, near, scale if small else None))
    return rows


def _gradients_compared(
    ours: Mapping[str, Any], theirs: Arrays, single: Mapping[str, float] | None, narrow: float = GRADIENT_FLOAT32
) -> list[Result]:
    whole = total_norm({name: sized(array) for name, array in ours.items()}) if ours else None
    rows = _rows(ours, theirs, GRADIENT, narrow, single, whole)
    if not rows:
        return []
    top = worst(rows)
    if top.ok:
        return [Result("gradients, train", top.error, top.bound, top.name)]
    failure = Failure("gradients, train", "backward", top.name, top.error, top.bound, top.detail)
    failure = failure._replace(values=top.values)
    return [Result("gradients, train", top.error, top.bound, top.name, "", failure)]


def _first_mask(
    both: Both, shared: Sequence[Shared], mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> tuple[str, tuple[Any, Any]]:
    """Return in words, and by its lines, from which mask on the two differ, the others keeping everything."""
    if not shared or any(s.ours.kind != MASK for s in shared) or both.torch.numbers is not None:
        return "", (None, None)
    for count in range(len(shared) + 1):
        ours, others = ([m if n < count else np.ones_like(m) for n, m in enumerate(masks)] for masks in (mine, theirs))
        reference = both.torch.outputs(ours, both.among)
        found = both.jax.outputs(others)[0]
        ways = {t.name: t.way(found[t.jax_name]) for t in twins(reference, found) if t.way is not None}
        narrow = NARROW_FORWARD if both.pair.narrow else FORWARD
        if any(relative_error(reference[n], ways[n]) > narrow for n in reference.keys() & ways.keys()):
            if count == 0:
                return "; with masks that keep everything, too: by a scale, or by the batch's statistics", (None, None)
            last = shared[count - 1]
            words = f"; the masks at {last.ours.line} and {last.theirs.line} act at different places (trap 20)"
            return words, (last.ours.line, last.theirs.line)
    return "", (None, None)
