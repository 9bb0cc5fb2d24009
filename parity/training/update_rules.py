"""What an update is, if it is not PyTorch's: other rules tried on PyTorch's own gradients and slots.

A hypothesis is a variant of PyTorch's rule. The direction that it gives is fitted to JAX's step together with a
decoupled decay: step = -a direction - b weights - c other parameters. It is held only if nothing is left over, at
several steps; then a is the rate and b and c are the decay.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.mapping.rule import Rule
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.weights import carried

SAME = 1e-8  # of a step, that may be left over
STEPS = 3  # at which a hypothesis must hold
NONE, ALL, WEIGHTS, OWN = "none", "all", "weights", "own"  # which parameters have a coupled decay


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
    coupled: str = OWN
    raw: bool = False  # whether gradients are those before clipping


class Fit(NamedTuple):
    """A variant that reproduces a step."""

    variant: Variant
    rate: float
    weights: float  # decoupled decay of weights, in a step
    others: float  # of biases and scales


class Numbers(NamedTuple):
    """Everything that an update starts from, parameter by parameter."""

    kind: str  # "AdamW"
    leaves: list[str]
    before: list[np.ndarray]
    moved: np.ndarray  # JAX's step, all parameters one behind the other
    gradients: list[np.ndarray]
    raw: list[np.ndarray]
    slots: dict[str, list[np.ndarray]]
    settings: list[Mapping[str, Any]]
    update: int  # its number, from 1


def numbers(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> Numbers | None:
    """Return what the update of one step starts from; None if PyTorch makes none."""
    step, one = steps[number], compared[number]
    leaves = [leaf for leaf, rule in roles.params.items() if rule.sources[0] in step.groups]
    leaves = [leaf for leaf in leaves if carried(roles.params[leaf], step.gradients, constant=False) is not None]
    if not leaves:
        return None
    groups = [step.groups[roles.params[leaf].sources[0]] for leaf in leaves]
    before = [np.asarray(one.before[leaf], np.float64) for leaf in leaves]
    after = [np.asarray(one.fed.outputs[leaf].array, np.float64) for leaf in leaves]
    slots = {slot: _of(leaves, roles.params, tensors) for slot, tensors in step.before.slots.items()}
    return Numbers(
        groups[0].optimizer,
        leaves,
        before,
        np.concatenate([(a - b).ravel() for a, b in zip(after, before, strict=True)]),
        _of(leaves, roles.params, step.gradients),
        _of(leaves, roles.params, step.raw),
        slots,
        [group.settings for group in groups],
        sum(bool(s.groups) for s in steps[: number + 1]),
    )


def _of(leaves: list[str], rules: Mapping[str, Rule], tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    found = [(leaf, carried(rules[leaf], tensors, constant=False)) for leaf in leaves]
    return [np.zeros(()) if array is None else array for _, array in found]


def own(given: Numbers) -> Variant:
    """Return PyTorch's own rule."""
    s = given.settings[0]
    if given.kind in ("SGD",):
        return Variant(s["momentum"], nesterov=bool(s["nesterov"]), dampening=s["dampening"])
    if given.kind == "RMSprop":
        return Variant(s["momentum"], s["alpha"], s["eps"])
    beta1, beta2 = s.get("betas", (0.9, 0.999))
    return Variant(beta1, beta2, s.get("eps", 1e-8), nesterov=given.kind == "NAdam")


def fit(given: Numbers, variant: Variant) -> Fit | None:
    """Fit a variant to JAX's step; None if it does not reproduce it."""
    with np.errstate(all="ignore"):
        direction = np.concatenate([d.ravel() for d in _directions(given, variant)])
    if not np.isfinite(direction).all():
        return None
    base = given.settings[0]["lr"] or 1.0
    scale = np.concatenate(
        [np.full(b.size, s["lr"] / base) for b, s in zip(given.before, given.settings, strict=True)]
    )
    weights = np.concatenate([b.ravel() if b.ndim > 1 else np.zeros(b.size) for b in given.before])
    others = np.concatenate([b.ravel() if b.ndim <= 1 else np.zeros(b.size) for b in given.before])
    columns = np.stack([-direction * scale, -weights, -others], 1)
    sizes = np.linalg.norm(columns, axis=0)
    used = sizes > 0
    solution = np.zeros(3)
    scaled = columns[:, used] / sizes[used]
    solution[used] = np.linalg.lstsq(scaled, given.moved, rcond=None)[0] / sizes[used]
    left = np.linalg.norm(columns @ solution - given.moved)
    parts = sum(float(np.linalg.norm(b)) for b in given.before)
    if left > SAME * np.linalg.norm(given.moved) + 1e-15 * parts:
        return None
    return Fit(variant, *(float(x) for x in solution))


def _directions(given: Numbers, v: Variant) -> Iterator[np.ndarray]:
    """Yield what a variant multiplies by the rate, parameter by parameter."""
    gradients = given.raw if v.raw else given.gradients
    for i, (p, g) in enumerate(zip(given.before, gradients, strict=True)):
        g = g + _coupled(given, v, i) * p
        slot = {name: arrays[i] for name, arrays in given.slots.items()}
        if given.kind == "SGD":
            yield _sgd(given, v, g, slot)
        elif given.kind == "RMSprop":
            square = v.beta2 * slot.get("square_avg", 0) + (1 - v.beta2) * g**2
            yield g / (np.sqrt(square + v.eps) if v.inside else np.sqrt(square) + v.eps)
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
    if v.nesterov:
        m = v.beta1 * m / (1 - v.beta1 ** (count + 1)) + (1 - v.beta1) * g / (1 - v.beta1**count)
    elif v.first:
        m = m / (1 - v.beta1**first)
    if v.second:
        n = n / (1 - v.beta2**count)
    return m / (np.sqrt(n + v.eps) if v.inside else np.sqrt(n) + v.eps)


def is_coupled(kind: str) -> bool:
    """Tell whether PyTorch's rule adds its decay to the gradient."""
    return kind not in ("AdamW",)


def decay(given: Numbers) -> float:
    """Return PyTorch's decay, the largest of its groups."""
    return max(float(s.get("weight_decay", 0) or 0) for s in given.settings)


def _coupled(given: Numbers, v: Variant, i: int) -> float:
    if v.coupled == OWN:
        return float(given.settings[i].get("weight_decay", 0) or 0) if is_coupled(given.kind) else 0.0
    if v.coupled == NONE or (v.coupled == WEIGHTS and given.before[i].ndim <= 1):
        return 0.0
    return decay(given)


def variants(given: Numbers) -> Iterator[Variant]:
    """Yield PyTorch's own rule, then those with one setting changed, then two."""
    v = own(given)
    yield v
    options: dict[str, list[Any]] = {"raw": [True], "coupled": [NONE]}
    if decay(given):
        options["coupled"] += [ALL, WEIGHTS]
    if given.kind == "SGD":
        options |= {"beta1": [b for b in (0.0, 0.9, 0.95, 0.99) if b != v.beta1], "nesterov": [not v.nesterov]}
        options["dampening"] = [d for d in dict.fromkeys((0.0, v.beta1, 0.1)) if d != v.dampening]
    else:
        options["beta2"] = [b for b in (0.999, 0.99, 0.98, 0.95, 0.9) if b != v.beta2]
        options["eps"] = [e for e in (1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 0.0) if e != v.eps]
        options["inside"] = [True]
    if given.kind not in ("SGD", "RMSprop", "Adagrad"):
        options |= {
            "first": [False],
            "second": [False],
            "late": [1, -1],
            "late_first": [1, -1],
            "nesterov": [not v.nesterov],
        }
        options["beta1"] = [b for b in (0.0, 0.8, 0.9, 0.95, 0.99) if b != v.beta1]
    singles = [{name: value} for name, values in options.items() for value in values]
    yield from (v._replace(**change) for change in singles)
    for a, b in itertools.combinations(singles, 2):
        if not a.keys() & b.keys():
            yield v._replace(**a, **b)


def fitted(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> list[tuple[Numbers, Fit]]:
    """Return the simplest variant that reproduces a step and those behind it, with its fit at each of them."""
    found = [numbers(n, compared, steps, roles) for n in range(number, len(steps))]
    given = [one for one in found if one is not None][:STEPS]
    if not given:
        return []
    best: list[tuple[Numbers, Fit]] = []
    least, mine = np.inf, own(given[0])
    for variant in variants(given[0]):
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
    wanted = 0.0 if is_coupled(given.kind) else result.rate
    rate = given.settings[0]["lr"]
    cost = 1.05 if abs(result.rate - rate) > 1e-6 * abs(rate) else 0.0
    for share, dims in ((result.weights, True), (result.others, False)):
        own_decay = max(
            (
                float(s.get("weight_decay", 0) or 0)
                for b, s in zip(given.before, given.settings, strict=True)
                if (b.ndim > 1) is dims
            ),
            default=0.0,
        )
        if abs(share - wanted * own_decay) > 1e-6 * max(abs(share), 1e-6):
            usual = (
                any(abs(share - d) <= 1e-6 * abs(d) for d in (result.rate * decay(given), decay(given)))
                or abs(share) < 1e-9
            )
            cost += (0.4 if usual else 0.7) + (2.0 if share < -1e-9 else 0.0)
    return cost
