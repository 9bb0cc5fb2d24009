"""What an update is, if it is not PyTorch's: other rules tried on PyTorch's own gradients and slots.

A hypothesis is a variant of PyTorch's rule. The direction that it gives is fitted to JAX's step together with a
decoupled decay, of weights and of other parameters: step = -a direction - b parameter. It is held only if nothing is
left over, at several steps; then a is the rate and b the decay. A decay that is applied after the rule, to the new
parameters, takes its share of the direction, too: a is then (1 - b) times the rate.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_numbers import MOMENTS, SQUARES, Numbers, numbers

SAME = 1e-8  # of a step, that may be left over
STEPS = 3  # at which a hypothesis must hold
FEWEST = 4  # numbers to which both a rate and a decay are fitted
NONE, ALL, WEIGHTS, OWN = "none", "all", "weights", "own"  # which parameters have a coupled decay

Coupled = str | tuple[float, float]  # of PyTorch's decay, or decays of weights and of other parameters


class Variant(NamedTuple):
    """A rule: PyTorch's own settings, some of them changed."""

    beta1: float = 0.0  # or momentum
    beta2: float = 0.0  # or alpha
    eps: float = 0.0
    inside: bool = False  # epsilon within the square root
    first: bool = True  # whether the first moment's bias is corrected
    second: bool = True
    late: int = 0  # steps by which the count of both corrections is off
    late_first: int = 0  # of the first moment's alone
    nesterov: bool = False
    dampening: float = 0.0
    coupled: Coupled = OWN
    raw: bool = False  # whether gradients are those before clipping
    amsgrad: bool = False


class Fit(NamedTuple):
    """A variant that reproduces a step."""

    variant: Variant
    rate: float
    weights: float  # decoupled decay of weights, in a step
    others: float  # of biases and scales
    after: bool = False  # whether the decay is applied after the rule, to the new parameters


def own(given: Numbers) -> Variant:
    """Return PyTorch's own rule."""
    s = given.settings[0]
    if given.kind in ("SGD",):
        return Variant(s["momentum"], nesterov=bool(s["nesterov"]), dampening=s["dampening"])
    if given.kind == "RMSprop":
        return Variant(s["momentum"], s["alpha"], s["eps"])
    beta1, beta2 = s.get("betas", (0.9, 0.999))
    named = given.kind == "NAdam"
    return Variant(beta1, beta2, s.get("eps", 1e-8), nesterov=named, amsgrad=bool(s.get("amsgrad")))


def fit(given: Numbers, variant: Variant) -> Fit | None:
    """Fit a variant to JAX's step; None if it does not reproduce it."""
    with np.errstate(all="ignore"):
        ways = list(directions(given, variant))
    base = given.settings[0]["lr"]
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for p, d, s in zip(given.before, ways, given.settings, strict=True):
        step, zero = -np.ravel(d) * (s["lr"] / base if base else 1.0), np.zeros(p.size)
        parts = (step, zero, -p.ravel(), zero) if p.ndim > 1 else (zero, step, zero, -p.ravel())
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
    a, b, *decays = (np.concatenate(column) for column in columns)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    size = sum(float(np.linalg.norm(p)) for p in given.before)
    moved = np.concatenate([m.ravel() for m in given.moved])
    if (found := _solved([a + b, *decays], moved, size)) is not None:
        return _placed(variant, (found[0], found[0]), (found[1], found[2]), base)
    if min(np.count_nonzero(a), np.count_nonzero(b)) < FEWEST:
        return None
    found = _solved([a, b, *decays], moved, size)
    return None if found is None else _placed(variant, (found[0], found[1]), (found[2], found[3]), base)


def _solved(columns: list[np.ndarray], moved: np.ndarray, size: float) -> list[float] | None:
    """Return how much of each column a step has, None if something is left over."""
    sizes = np.array([np.linalg.norm(column) for column in columns])
    solution, used = np.zeros(len(columns)), sizes > 0
    if used.any():
        scaled = np.stack([c / s for c, s in zip(columns, sizes, strict=True) if s > 0], 1)
        solution[used] = np.linalg.lstsq(scaled, moved, rcond=None)[0] / sizes[used]
    left = np.linalg.norm(sum(x * c for x, c in zip(solution, columns, strict=True)) - moved)
    return [float(x) for x in solution] if left <= SAME * np.linalg.norm(moved) + 1e-15 * size else None


def _placed(variant: Variant, rates: tuple[float, float], decays: tuple[float, float], rate: float) -> Fit | None:
    """Tell a decay before a rule from one after it, by what it leaves of the direction; None if it is neither."""
    later = tuple(a / (1 - b) if abs(b) < 1 else np.inf for a, b in zip(rates, decays, strict=True))
    before, after = (_apart(pair) for pair in (rates, later))
    gaps = [abs(pair[0] - rate) for pair in (rates, later)]
    if any(decays) and after <= SAME and (before > SAME or gaps[1] < 1e-3 * gaps[0]):
        return Fit(variant, later[0], *decays, after=True)
    return Fit(variant, rates[0], *decays) if before <= SAME else None


def _apart(pair: tuple[float, ...]) -> float:
    return abs(pair[0] - pair[1]) / (max(map(abs, pair)) or 1.0)


def directions(given: Numbers, v: Variant) -> Iterator[np.ndarray]:
    """Yield what a variant multiplies by the rate, parameter by parameter."""
    gradients = given.raw if v.raw else given.gradients
    for i, (p, g) in enumerate(zip(given.before, gradients, strict=True)):
        g = g + coupled_decay(given, v, i) * p
        slot = {name: arrays[i] for name, arrays in given.slots.items()}
        if given.kind == "SGD":
            yield _sgd(given, v, g, slot)
        elif given.kind == "RMSprop":
            square = v.beta2 * slot.get("square_avg", 0) + (1 - v.beta2) * g**2
            scaled = g / (np.sqrt(square + v.eps) if v.inside else np.sqrt(square) + v.eps)
            yield v.beta1 * slot.get("momentum_buffer", 0) + scaled
        elif given.kind == "Adagrad":
            square = slot.get("sum", 0) + g**2
            yield g / (np.sqrt(square + v.eps) if v.inside else np.sqrt(square) + v.eps)
        else:
            yield _adam(given, v, g, slot)


def _sgd(given: Numbers, v: Variant, g: np.ndarray, slot: Mapping[str, np.ndarray]) -> np.ndarray:
    if not v.beta1:
        return g
    old = slot.get("momentum_buffer")
    share = 1.0 if old is None and v.dampening == given.settings[0]["dampening"] else 1 - v.dampening
    buffer = v.beta1 * (0 if old is None else old) + share * g
    return g + v.beta1 * buffer if v.nesterov else buffer


def _adam(given: Numbers, v: Variant, g: np.ndarray, slot: Mapping[str, np.ndarray]) -> np.ndarray:
    count = max(given.update + v.late, 0)
    first = max(count + v.late_first, 0)
    m = v.beta1 * slot.get("exp_avg", 0) + (1 - v.beta1) * g
    n = v.beta2 * slot.get("exp_avg_sq", 0) + (1 - v.beta2) * g**2
    if v.amsgrad:
        n = np.maximum(slot.get("max_exp_avg_sq", 0), n)
    if v.nesterov:
        m = v.beta1 * m / (1 - v.beta1 ** (count + 1)) + (1 - v.beta1) * g / (1 - v.beta1**count)
    elif v.first:
        m = m / (1 - v.beta1**first)
    if v.second:
        n = n / (1 - v.beta2**count)
    return m / (np.sqrt(n + v.eps) if v.inside else np.sqrt(n) + v.eps)


def coupled_decay(given: Numbers, v: Variant, i: int) -> float:
    """Return the decay that is part of a parameter's gradient."""
    matrix = given.before[i].ndim > 1
    if not isinstance(v.coupled, str):
        return v.coupled[0 if matrix else 1]
    if v.coupled == OWN:
        return 0.0 if given.decoupled else given.decays[i]
    if v.coupled == NONE or (v.coupled == WEIGHTS and not matrix):
        return 0.0
    return max(given.decays)


def start(given: Numbers) -> Variant:
    """Return PyTorch's own rule with the decay that JAX's slots have as part of the gradient."""
    v = own(given)
    if given.kind == "SGD" and not v.beta1:  # a decay before the rule is the same as one within it
        return v._replace(coupled=NONE)
    if (found := given.moment) is None:
        return v
    pairs = zip(given.before, given.decays, strict=True)
    theirs = [found.weights if p.ndim > 1 else found.others for p, _ in pairs]
    mine = [0.0 if given.decoupled else decay for decay in given.decays]
    # At zero, a parameter's decay is not to be seen.
    pairs = [(a, b) for a, b, p in zip(mine, theirs, given.before, strict=True) if p.any()]
    if all(abs(a - b) <= 1e-6 * max(abs(a), abs(b)) for a, b in pairs):
        return v
    return v._replace(coupled=(found.weights, found.others) if found.weights or found.others else NONE)


def variants(given: Numbers) -> Iterator[Variant]:
    """Yield PyTorch's own rule, then those with one setting changed, then two."""
    v = start(given)
    yield v
    options: dict[str, list[Any]] = {"raw": [True]}
    sgd = given.kind == "SGD"
    if given.moment is None and not (sgd and not v.beta1):
        options["coupled"] = [NONE, ALL, WEIGHTS] if max(given.decays) else [NONE]
    if sgd:
        options |= {"beta1": [b for b in (0.0, 0.9, 0.95, 0.99) if b != v.beta1], "nesterov": [not v.nesterov]}
        options["dampening"] = [d for d in dict.fromkeys((0.0, v.beta1, 0.1)) if d != v.dampening]
    else:
        options["beta2"] = [b for b in (*_betas(given, SQUARES), 0.999, 0.99, 0.98, 0.95, 0.9) if b != v.beta2]
        options["eps"] = [e for e in (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 0.0) if e != v.eps]
        options["inside"] = [True]
    if given.kind == "RMSprop":
        options["beta1"] = [b for b in (0.0, 0.5, 0.9, 0.95, 0.99) if b != v.beta1]
    if not sgd and given.kind not in ("RMSprop", "Adagrad"):
        options |= {
            "first": [False],
            "second": [False],
            "late": [1, -1],
            "late_first": [1, -1],
            "nesterov": [not v.nesterov],
            "amsgrad": [not v.amsgrad],
        }
        options["beta1"] = [b for b in (*_betas(given, MOMENTS), 0.0, 0.8, 0.9, 0.95, 0.99) if b != v.beta1]
    singles = [{name: value} for name, values in options.items() for value in dict.fromkeys(values)]
    yield from (v._replace(**change) for change in singles)
    for a, b in itertools.combinations(singles, 2):
        if not a.keys() & b.keys():
            yield v._replace(**a, **b)


def _betas(given: Numbers, slots: tuple[str, ...]) -> list[float]:
    """Return the share of the old one that JAX's slots have."""
    found = [shares for slot, shares in given.shares.items() if slot in slots]
    return [float(f"{1 - shares.gradient:.9g}") for shares in found]


def fitted(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> list[tuple[Numbers, Fit]]:
    """Return the simplest variant that reproduces a step and those behind it, with its fit at each of them."""
    found = [numbers(n, compared, steps, roles) for n in range(number, len(steps))]
    given = [one for one in found if one is not None][:STEPS]
    if not given:
        return []
    best: list[tuple[Numbers, Fit]] = []
    least, mine = np.inf, start(given[-1])
    for variant in variants(given[-1]):  # at the first step, zeros may hide a decay
        changes = sum(a != b for a, b in zip(variant, mine, strict=True))
        if changes >= least:
            break
        fits = []
        for one in given:
            result = fit(one, variant)
            if result is None:
                break
            fits.append((one, result))
        if len(fits) == len(given):
            cost = changes + max(_cost(one, result) for one, result in fits)
            if cost < least:
                best, least = fits, cost
    return best


def _cost(given: Numbers, result: Fit) -> float:
    """Return how far a decoupled decay is from PyTorch's: 0 for the same, less for a usual one."""
    wanted = result.rate if given.decoupled else 0.0
    rate = given.settings[0]["lr"]
    cost = 1.05 if abs(result.rate - rate) > 1e-6 * abs(rate) else 0.0
    for share, weights in ((result.weights, True), (result.others, False)):
        if abs(share - wanted * given.largest(weights)) > 1e-6 * max(abs(share), 1e-6):
            most = max(given.decays)
            usual = any(abs(share - d) <= 1e-6 * abs(d) for d in (result.rate * most, most)) or abs(share) < 1e-9
            cost += (0.4 if usual else 0.7) + (2.0 if share < -1e-9 else 0.0)
    return cost
