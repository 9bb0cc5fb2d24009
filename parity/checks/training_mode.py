"""A pass in training mode, both sides given the same random numbers: outputs, running statistics, gradients.

Neither framework is imported: a side may be a record.
"""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.align.pair import PortPair
from parity.checks.moved import GRADIENT_FLOAT32, nearest
from parity.checks.operations import statistics_compared
from parity.checks.padding import padding_rows, without_padding
from parity.checks.training_crash import crashed
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import difference, relative_error, total_norm, worst
from parity.sides.pairing import twins, ways_between
from parity.sides.random_draws import MASK, NORMAL, OTHER, Draw
from parity.trace.fingerprint import comparable, sized

FORWARD, GRADIENT, STATISTICS = 1e-11, 1e-10, 1e-12
NARROW_FORWARD, NARROW_STATISTICS, AS_NEAR = 1e-5, 1e-5, 5.0
ROUNDED = 1e-6  # an error up to which a rate that is rounded to float32 may be the cause
ZERO = (
    1e-11  # a gradient this small against all of them is zero but for rounding: of a bias before a BatchNorm (trap 28)
)
SAME_RATE = 1e-6
ACCEPTED = "trap-20"
Arrays = dict[str, np.ndarray]


class Shared(NamedTuple):
    """Random numbers for one draw of each side, one pair for each layout that may be meant."""

    ours: Draw
    theirs: Draw
    for_torch: tuple[np.ndarray, ...]
    for_jax: tuple[np.ndarray, ...]
    words: str = ""  # what a report should say


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
        return [_not_compared(f"a side cannot be followed in training mode: {type(error).__name__}: {why}")]


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
    if not ours and not both.torch.moving and not run.switched:
        return []
    theirs = run.draws()
    if not ours and not theirs and not both.torch.moving:
        return []
    shared, failure = _shared(ours, theirs, accept, both.torch.numbers, switched=run.switched)
    if failure is not None:
        return [failure]
    best: list[Result] = []
    for number in range(max((len(s.for_torch) for s in shared), default=1)):
        results = _compared(both, shared, number, accept)
        if not any(r.failure for r in results):
            return results
        best = best or results
    return best


def _not_compared(why: str) -> Result:
    return Result("training mode", 0.0, 0, "", f"not compared: {why}")


def _shared(
    ours: Sequence[Draw],
    theirs: Sequence[Draw],
    accept: Collection[str],
    numbers: Sequence[np.ndarray] | None,
    *,
    switched: bool,
) -> tuple[list[Shared], Result | None]:
    """Draw the numbers for both sides, or take PyTorch's of a record; or say why they cannot be the same."""
    if any(draw.kind == OTHER for draw in [*ours, *theirs]):
        return [], _not_compared("a side draws random numbers that the other cannot be given")
    if len(ours) != len(theirs):
        words = f"PyTorch draws {_counted(ours)} in training mode, JAX {_counted(theirs)}"
        if not theirs and not switched:
            return [], _not_compared(f"{words}: it has no training mode")
        if any(draw.kind != MASK for draw in [*ours, *theirs]):
            return [], _not_compared(words)
        if ACCEPTED in accept:
            return [], _not_compared(f"{words}, accepted by name: {ACCEPTED}")
        mine, other = (next((d.line for d in draws if d.line), None) for draws in (ours, theirs))
        failure = Failure("dropout", "forward", "dropout", np.inf, 0, f"{words} (trap 20)", None, mine, other)
        return [], Result("dropout", np.inf, 0, "dropout", "", failure)
    found = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.kind != other.kind:
            return [], _not_compared(f"PyTorch draws {mine.kind} at {mine.line}, JAX {other.kind} at {other.line}")
        if mine.keep is not None and other.keep is not None and abs(mine.keep - other.keep) > SAME_RATE:
            rates = f"PyTorch drops {1 - mine.keep:.3g} at {mine.line}, JAX {1 - other.keep:.3g} at {other.line}"
            failure = Failure(
                "dropout",
                "forward",
                "dropout",
                abs(mine.keep - other.keep),
                SAME_RATE,
                f"{rates}: the rates differ (trap 20)",
                None,
                mine.line,
                other.line,
            )
            return [], Result("dropout", failure.error, SAME_RATE, "dropout", "", failure)
        if numbers is None:
            shared = _draw(mine, other, np.random.default_rng([20, number]))
        else:
            shared = _given(mine, other, numbers[number])
        if shared is None:
            shapes = f"{mine.shape} at {mine.line}, JAX {other.shape} at {other.line}"
            return [], _not_compared(f"PyTorch draws {shapes}, which cannot be the same mask")
        found.append(shared)
    return found, None


def _counted(draws: Sequence[Draw]) -> str:
    kinds = list(dict.fromkeys(d.kind for d in draws))
    if not draws:
        return "none"
    if kinds == [MASK]:
        return f"{len(draws)} mask{'s' if len(draws) > 1 else ''}"
    return f"random numbers {len(draws)} times"


def _draw(ours: Draw, theirs: Draw, rng: np.random.Generator) -> Shared | None:
    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        if ours.kind == MASK:
            keep = next((k for k in (ours.keep, theirs.keep) if k is not None), 0.5)
            return (rng.random(shape) < keep).astype(np.float64)
        return rng.normal(size=shape) if ours.kind == NORMAL else rng.random(shape)

    if np.prod(ours.shape) == np.prod(theirs.shape):
        drawn = numbers(theirs.shape)
        laid = tuple(way(drawn) for way in ways_between(ours.shape, theirs.shape))
        return Shared(ours, theirs, laid, (drawn,) * len(laid))
    sizes = list(zip(ours.shape, theirs.shape, strict=False))
    if len(ours.shape) != len(theirs.shape) or any(a != b and 1 not in (a, b) for a, b in sizes):
        return None
    drawn = numbers(tuple(min(a, b) for a, b in sizes))
    words = f"PyTorch draws a mask {ours.shape} at {ours.line}, JAX {theirs.shape} at {theirs.line}"
    both = np.broadcast_to(drawn, ours.shape), np.broadcast_to(drawn, theirs.shape)
    return Shared(ours, theirs, (both[0],), (both[1],), words)


def _given(ours: Draw, theirs: Draw, numbers: np.ndarray) -> Shared | None:
    """Return PyTorch's numbers of a record for both."""
    if np.prod(ours.shape) == np.prod(theirs.shape):
        laid = tuple(way(numbers) for way in ways_between(theirs.shape, ours.shape))
        return Shared(ours, theirs, (numbers,) * len(laid), laid)
    sizes = list(zip(ours.shape, theirs.shape, strict=False))
    if len(ours.shape) != len(theirs.shape) or any(a not in (1, b) for a, b in sizes):
        return None
    words = f"PyTorch draws a mask {ours.shape} at {ours.line}, JAX {theirs.shape} at {theirs.line}"
    return Shared(ours, theirs, (numbers,), (np.broadcast_to(numbers, theirs.shape),), words)


def _compared(both: Both, shared: Sequence[Shared], number: int, accept: Collection[str]) -> list[Result]:
    """Run both sides with the same numbers, and compare what they make of them."""
    pair = both.pair
    mine = [s.for_torch[min(number, len(s.for_torch) - 1)] for s in shared]
    theirs = [s.for_jax[min(number, len(s.for_jax) - 1)] for s in shared]
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
            Result("dropout", 0.0, 0, "", f"{_counted([s.ours for s in shared])}, the same on both sides{more}")
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
