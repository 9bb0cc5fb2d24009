"""Words for a schedule that is not PyTorch's, from the rates of all steps."""

from collections.abc import Sequence

import numpy as np

SAME = 1e-6
MOST_STEPS = 8  # for which PyTorch's rate may stay the same


def schedule_words(ours: Sequence[float], theirs: Sequence[float | None]) -> list[str]:
    """Say how JAX's rates differ from PyTorch's, given both at every step; None where it is not known."""
    differing = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if b is not None and not _same(a, b)]
    known = [b for b in theirs if b is not None]
    if not differing or len(known) < len(theirs):
        return _of_one(ours, theirs)
    if len(known) > 1 and not any(known):  # parameters that are never changed
        return []
    at = f"the rate is {known[differing[0]]:.6g} where PyTorch's is {ours[differing[0]]:.6g}"
    ratios = [b / a for a, b in zip(ours, known, strict=True) if a]
    if _moves(ours) or _moves(known):
        for tried in (_shifted, _per_epoch, _denominator):
            if words := tried(ours, known, differing):
                return [f"{at}: {words}"]
    if ratios and len(ratios) == len(known) and all(_same(r, ratios[0]) for r in ratios):
        return [f"{at}: the rate is PyTorch's times {ratios[0]:.6g}"]
    return [at]


def _moves(rates: Sequence[float]) -> bool:
    return any(not _same(rate, rates[0]) for rate in rates)


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b)) + 1e-15


def _of_one(ours: Sequence[float], theirs: Sequence[float | None]) -> list[str]:
    pair = next(((a, b) for a, b in zip(ours, theirs, strict=True) if b is not None and not _same(a, b)), None)
    return [f"the rate is {pair[1]:.6g} where PyTorch's is {pair[0]:.6g}"] if pair else []


def _shifted(ours: Sequence[float], known: Sequence[float], differing: Sequence[int]) -> str:
    if all(_same(known[i], ours[i - 1]) for i in differing if i) and any(differing):
        where = "" if len(differing) > len(ours) // 2 else f", at steps {differing[0] + 1} to {differing[-1] + 1}"
        start = ": the warm-up starts from 0" if differing[0] == 0 and known[0] == 0 else ""
        return f"the schedule is one step behind{where}{start}"
    last = len(ours) - 1
    if all(_same(known[i], ours[i + 1]) for i in differing if i < last) and any(i < last for i in differing):
        where = "" if len(differing) > len(ours) // 2 else f", at steps {differing[0] + 1} to {differing[-1] + 1}"
        return f"the schedule is one step ahead{where}"
    return ""


def _per_epoch(ours: Sequence[float], known: Sequence[float], _differing: Sequence[int]) -> str:
    for k in range(2, MOST_STEPS + 1):
        pairs = [(i, k * i) for i in range(len(ours)) if k * i < len(ours)]
        if len(pairs) < 3:
            break
        if all(_same(known[i], ours[j]) for i, j in pairs):
            return f"JAX's schedule moves every step, PyTorch's every {k}, once per epoch (trap 16)"
        if all(_same(known[j], ours[i]) for i, j in pairs):
            return f"PyTorch's schedule moves every step, JAX's every {k}, once per epoch (trap 16)"
    return ""


def _denominator(ours: Sequence[float], known: Sequence[float], differing: Sequence[int]) -> str:
    for name, steps in (("cosine", _cosine_steps), ("linear", _linear_steps)):
        a, b = steps(ours, differing), steps(known, differing)
        if a and b and not _same(a, b):
            return f"the denominator of the {name} schedule is {b:.6g} where PyTorch's is {a:.6g}"
    return ""


def _cosine_steps(rates: Sequence[float], at: Sequence[int]) -> float:
    """Return in how many steps a cosine falls from its peak to 0, 0 if the rates are none."""
    top = max(rates)
    angles = np.arccos(np.clip(2 * np.array([rates[i] for i in at]) / top - 1, -1, 1)) / np.pi
    inner = [(i, x) for i, x in zip(at, angles, strict=True) if 1e-6 < x < 1 - 1e-6]
    return _slope(inner)


def _linear_steps(rates: Sequence[float], at: Sequence[int]) -> float:
    return _slope([(i, rates[i] / max(rates)) for i in at])


def _slope(points: Sequence[tuple[int, float]]) -> float:
    """Return the inverse of a line's slope, 0 if the points are on no line."""
    if len(points) < 3:
        return 0.0
    x, y = np.array(points, float).T
    slope, start = np.polyfit(x, y, 1)
    if not slope or np.abs(slope * x + start - y).max() > 1e-6:
        return 0.0
    return float(abs(1 / slope))
