"""Words for a decay that is not PyTorch's: value, place, parameters, and whether it is multiplied by the rate."""

from parity.training.leaf_words import listed
from parity.training.update_numbers import Numbers
from parity.training.update_rules import ALL, NONE, OWN, WEIGHTS, Fit

AFTER = "applied after the rule, to the new parameters"
IN_GRADIENT = "PyTorch's is part of the gradient"


def decay_words(found: list[tuple[Numbers, Fit]]) -> list[str]:
    """Return words for how JAX's decay differs, given the fits of several steps."""
    given, result = found[-1]  # at first, zeros may hide a decay
    inside, outside = _coupled(given, result), _decoupled(result)
    wanted = (given.largest(True), given.largest(False))
    if not any(inside) and not any(outside):
        return [f"there is no weight decay, PyTorch's is {max(wanted):g}"] if any(wanted) else []
    if not any(wanted):
        return _added(found, inside, outside)
    if given.decoupled:
        words = _in_gradient(inside, wanted) if any(inside) else []
        return words + (_outside(found, outside, wanted, "") if any(outside) or not words else [])
    if _same(inside, wanted):
        return _beside(found, outside) if any(outside) else _also(given, inside)
    if any(inside) and not any(outside):
        return [word for word in (_value(inside, wanted), which(inside, wanted)) if word]
    coupled = f", where {IN_GRADIENT} (trap 13)"
    return [*(_beside(found, outside) if any(inside) else _outside(found, outside, wanted, coupled))]


def _coupled(given: Numbers, result: Fit) -> tuple[float, float]:
    """Return JAX's decay that is part of the gradient, of weights and of other parameters."""
    coupled, most = result.variant.coupled, max(given.decays)
    if not isinstance(coupled, str):
        return coupled
    own = (0.0, 0.0) if given.decoupled else (given.largest(True), given.largest(False))
    return {OWN: own, NONE: (0.0, 0.0), ALL: (most, most), WEIGHTS: (most, 0.0)}[coupled]


def _decoupled(result: Fit) -> tuple[float, float]:
    a, b = (value if abs(value) > 1e-9 else 0.0 for value in (result.weights, result.others))
    return a, b


def _same(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return all(abs(x - y) <= 1e-6 * max(abs(x), abs(y)) for x, y in zip(a, b, strict=True))


def _added(found: list[tuple[Numbers, Fit]], inside: tuple[float, float], outside: tuple[float, float]) -> list[str]:
    """Return words for a decay where PyTorch has none."""
    words = []
    if any(inside):
        words.append(f"there is a decay of {max(inside):.6g}, part of the gradient, none in PyTorch")
    if any(outside):
        value, flat = _per_rate(found, outside, 0.0)
        plain = ", not multiplied by the rate" if flat else ""
        after = f", {AFTER}" if found[-1][1].after else ""
        words.append(f"there is a decoupled decay of {value:.6g}{plain}{after}, none in PyTorch")
    return words


def _also(given: Numbers, inside: tuple[float, float]) -> list[str]:
    """Return words for parameters that have the decay of others, where PyTorch's groups have another."""
    rows = zip(given.leaves, given.before, given.decays, strict=True)
    other: dict[tuple[float, float], list[str]] = {}
    for leaf, p, decay in rows:
        theirs = inside[0 if p.ndim > 1 else 1]
        if p.any() and abs(theirs - decay) > 1e-6 * max(abs(theirs), abs(decay)):
            other.setdefault((theirs, decay), []).append(leaf)
    return [f"the decay of {listed(leaves)} is {a:.6g} where PyTorch's is {b:g}" for (a, b), leaves in other.items()]


def _beside(found: list[tuple[Numbers, Fit]], outside: tuple[float, float]) -> list[str]:
    value, flat = _per_rate(found, outside, max(found[-1][0].decays))
    plain = ", not multiplied by the rate" if flat else ""
    after = f", {AFTER}," if found[-1][1].after else ""
    return [f"there is a decoupled decay of {value:.6g}{plain}{after} beside the one that is part of the gradient"]


def _in_gradient(inside: tuple[float, float], wanted: tuple[float, float]) -> list[str]:
    words = ["the decay is coupled, part of the gradient, where PyTorch's is decoupled (trap 13)"]
    return [word for word in (*words, _value(inside, wanted), which(inside, wanted)) if word]


def _outside(
    found: list[tuple[Numbers, Fit]], outside: tuple[float, float], wanted: tuple[float, float], coupled: str
) -> list[str]:
    """Return words for a decay that is no part of the gradient; `coupled` says that PyTorch's is."""
    given, result = found[-1]
    value, flat = _per_rate(found, outside, max(wanted))
    # A plain gradient step is the same with a decay within the rule or before it.
    plain = given.kind == "SGD" and not given.settings[0]["momentum"]
    words = []
    if coupled and not (plain and not result.after and not flat):
        words.append(f"the decay is decoupled{f', {AFTER}' if result.after else ''}{coupled}")
    elif result.after:
        words.append(f"the decay is {AFTER}, PyTorch's before it")
    if flat:
        words.append("the decay is not multiplied by the rate")
    share = tuple(value if part else 0.0 for part in outside)
    return [word for word in (*words, _value((share[0], share[1]), wanted), which(outside, wanted)) if word]


def _per_rate(found: list[tuple[Numbers, Fit]], outside: tuple[float, float], wanted: float) -> tuple[float, bool]:
    """Return the decay, and whether it is one that is not multiplied by the rate."""
    at = 0 if abs(outside[0]) >= abs(outside[1]) else 1
    pairs = [(_decoupled(result)[at], result.rate) for _, result in found if result.rate and _decoupled(result)[at]]
    share, rate = pairs[-1] if pairs else (outside[at], 1.0)
    if len({f"{r:.5g}" for _, r in pairs}) > 1:  # a schedule tells
        return (share, True) if len({f"{s:.5g}" for s, _ in pairs}) == 1 else (share / rate, False)
    if wanted and abs(share - wanted) <= 1e-6 * wanted:
        return share, True
    return share / (rate or 1.0), False


def _value(theirs: tuple[float, float], wanted: tuple[float, float]) -> str:
    a, b = max(wanted), max(theirs, key=abs)
    return f"the decay is {b:.6g} where PyTorch's is {a:g}" if abs(b - a) > 1e-6 * a else ""


def which(theirs: tuple[float, float], wanted: tuple[float, float]) -> str:
    """Say which parameters decay, of weights and others, if it is not PyTorch's choice."""
    (weights, others), (own_weights, own_others) = (tuple(map(bool, pair)) for pair in (theirs, wanted))
    if others and not own_others:
        return "all parameters decay, in PyTorch weights only"
    if own_others and not others:
        return "weights only decay, in PyTorch all parameters"
    return "" if weights == own_weights else "other parameters decay than in PyTorch"
