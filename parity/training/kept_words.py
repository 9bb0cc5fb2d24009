"""Words for running statistics or a moving average that is not PyTorch's."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.report.compare import norm, relative_error
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.weights import carried

SAME = 1e-9
STILL = "the average does not move at this step"
MOST_TIMES = 4  # that a batch is computed in one step
FEW = 4  # steps that may say nothing of an average, as it is still the parameters


def statistics_words(
    number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles, shares: Mapping[str, Any]
) -> str:
    """Say how running statistics move otherwise, "" if nothing reproduces it."""
    one, step = compared[number], steps[number]
    words = []
    for row in one.found:
        if row.stage != "statistics" or row.ok:
            continue
        key = roles.statistics[row.tensor].sources[0]
        share = shares.get(key.rpartition(".")[0])
        if not isinstance(share, float):
            continue
        old, new, found = step.before.buffers[key], np.asarray(row.torch), np.asarray(row.jax, np.float64)
        pieces = [old, *(call[key] for call in step.calls if key in call)]
        words.append(_by_piece(pieces, found, share) or _moved(old, new, found, share, "var" in key))
    return next((word for word in words if word), "")


def _by_piece(pieces: list[np.ndarray], found: np.ndarray, share: float) -> str:
    """Compare with statistics that one piece of the batch has moved, or all of them at once.

    Args:
        pieces: PyTorch's statistics before the step and after each piece.
        found: JAX's after the step.
        share: PyTorch's momentum.
    """
    old, count = pieces[0], len(pieces) - 1
    if count < 2:
        return ""
    each = [(b - (1 - share) * a) / share for a, b in itertools.pairwise(pieces)]
    ways = {
        "by its last piece alone": each[-1],
        "by its first piece alone": each[0],
        "by the mean of its pieces": np.mean(each, axis=0),
    }
    for how, batch in ways.items():
        if relative_error((1 - share) * old + share * batch, found) <= 1e-8:
            return f"the statistics are updated once per batch, {how}; PyTorch's once per piece, {count} times"
    return ""


def _times(own: float, share: float) -> str:
    """Say that the same batch moves statistics several times, as where a forward pass is computed again."""
    for times in range(2, MOST_TIMES + 1):
        several = 1 - (1 - share) ** times
        if abs(own - several) <= 1e-8:
            return f"the batch moves the statistics {times} times in a step, in PyTorch once"
        if abs(own - share / (several / share)) <= 1e-8:
            return f"the batch moves the statistics once in a step, in PyTorch {times} times"
    return ""


def _moved(old: np.ndarray, new: np.ndarray, found: np.ndarray, share: float, variance: bool) -> str:
    batch = (new - (1 - share) * old) / share
    if np.array_equal(found, old):
        return "the statistics do not move (trap 21)"
    own = float(np.vdot(batch - old, found - old) / np.vdot(batch - old, batch - old))
    if relative_error(old + own * (batch - old), found) <= 1e-8:
        if words := _times(own, share):
            return words
        swapped = ": it is the old one's share, momentum is swapped" if abs(own - (1 - share)) < 1e-6 else ""
        return f"the batch's share is {own:.6g} where PyTorch's momentum is {share:g}{swapped} (trap 2)"
    ratios = (found - (1 - share) * old) / (share * batch)
    if variance and np.ptp(ratios) < 1e-6 and 0 < ratios.mean() < 1:
        count = 1 / (1 - ratios.mean())
        return f"the variance is the biased one, divided by n instead of n - 1, n = {count:.0f} (trap 1)"
    return ""


def average_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    """Say how a moving average is made otherwise, "" if nothing reproduces it."""
    some = range(number, min(number + FEW, len(steps)))
    found = [words for n in some if (words := _average_words(n, compared, steps, roles))]
    if found and found[0] == STILL and len({*found} - {STILL}) > 1:
        return STILL  # it begins later: what follows is another average at each step
    return next((words for words in found if words != STILL), found[0] if found else "")


def _average_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    one, step = compared[number], steps[number]
    bad = [row for row in one.found if row.stage == "average" and not row.ok]
    fine = {row.tensor for row in one.found if row.stage == "average"} - {row.tensor for row in bad}
    rules = {row.tensor: roles.averages[row.tensor] for row in bad}
    now, before = ({**s.params, **s.buffers} for s in (step.after, step.before))
    old, ours, theirs, new, last = ([] for _ in range(5))
    for row in bad:
        place, rule = rules[row.tensor]
        parts = (
            carried(rule, step.before.averages.get(place, {})),
            row.torch,
            row.jax,
            carried(rule, now),
            carried(rule, before),
        )
        if any(part is None for part in parts):
            return ""
        for into, part in zip((old, ours, theirs, new, last), parts, strict=True):
            into.append(np.asarray(part, np.float64).ravel())
    if not bad:
        return ""
    o, a, b, p, q = (np.concatenate(parts) for parts in (old, ours, theirs, new, last))
    statistics = fine and all(rules[row.tensor][1].sources[0] in step.after.buffers for row in bad)
    if relative_error(p, b) <= SAME:
        return "statistics are not averaged" if statistics else "there is no average: it is the new parameters"
    if relative_error(o, b) <= SAME:
        return STILL
    mine, other = _decay(o, p, a), _decay(o, p, b)
    if np.array_equal(o, a) and other is not None:
        return f"PyTorch's average does not move at this step, JAX's does, with decay {other:.6g}"
    early = _decay(o, q, b)
    if mine is not None and other is not None and abs(mine - other) > SAME:
        swapped = ": the shares are swapped" if abs(other - (1 - mine)) < 1e-9 else ""
        return f"the average's decay is {other:.6g} where PyTorch's is {mine:.6g}{swapped}"
    if mine is not None and early is not None:
        same = f", decay {early:.6g}" if abs(early - mine) > SAME else ""
        return f"the average is made before the update, of the old parameters{same}; PyTorch's after it"
    return ""


def _decay(old: np.ndarray, new: np.ndarray, found: np.ndarray) -> float | None:
    """Return the d of found = d old + (1 - d) new, if there is one."""
    way = old - new
    size = float(way @ way)
    if not size:
        return None
    share = float(way @ (found - new)) / size
    return share if norm(new + share * way - found) <= 1e-8 * norm(way) else None
