"""Words for an update that is not PyTorch's: clipping, rule, decay, schedule."""

from typing import Any

import numpy as np

from parity.report.compare import norm, relative_error, total_norm
from parity.training.decay_words import decay_words
from parity.training.gap_words import gap_words
from parity.training.leaf_words import leaf_words, never_trained, summed_words
from parity.training.roles import Roles
from parity.training.schedules import schedule_words
from parity.training.slot_words import initial_words, slot_words
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.tape import Node
from parity.training.update_numbers import Numbers, numbers
from parity.training.update_rules import Fit, fit, fitted, own
from parity.training.weights import carried

SAME = 1e-9
FEW = 5  # steps at which clipping is looked at: at some it may have no effect
EPSILON = 1e-6  # what PyTorch adds to the norm before it divides by it


def update_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    """Say what an update does otherwise, "" if nothing reproduces it."""
    for one, step in list(zip(compared, steps, strict=True))[number : number + FEW]:
        if words := clipping_words(one, step, roles):
            return words
    if words := initial_words(compared[number], steps[number], roles):
        return words
    if words := never_trained(compared, number, roles) or summed_words(compared[number], steps[number], roles):
        return words
    wrong = next((n for n in range(number, len(compared)) if _params_differ(compared[n], roles)), None)
    at = number if wrong is None else wrong
    known = _is_known(at, compared, steps, roles)
    found = fitted(at, compared, steps, roles) if known else []
    if not found:
        return _of_leaves_or_slots(number, compared, steps, roles, known)
    given, result = found[0]
    words = [*_rule_words(given, result), *decay_words(found)]
    rates = [pair for n in range(len(steps)) if (pair := _rates(n, compared, steps, roles, result)) is not None]
    if any(b is None or abs(b - a) > 1e-7 * max(abs(a), abs(b)) for a, b in rates):
        words += schedule_words([a for a, _ in rates], [b for _, b in rates])
    return "; ".join(word for word in words if word) or _of_leaves_or_slots(number, compared, steps, roles, known)


def _is_known(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> bool:
    """Tell whether PyTorch's rule is one that is known here: it reproduces PyTorch's own step."""
    given = numbers(number, compared, steps, roles)
    if given is None:
        return False
    after = [carried(roles.params[leaf], steps[number].after.params) for leaf in given.leaves]
    if any(array is None for array in after):
        return False
    moved = [np.asarray(a) - b for a, b in zip(after, given.before, strict=True)]
    found = fit(given._replace(moved=moved), own(given))
    rate = float(given.settings[0]["lr"])
    return found is not None and abs(found.rate - rate) <= 1e-6 * abs(rate)


def _of_leaves_or_slots(
    number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles, known: bool
) -> str:
    words = leaf_words(number, compared, steps, roles, known=known) or slot_words(number, compared, steps, roles)
    return words or ("" if known else gap_words(number, compared, steps, roles))


def _params_differ(one: Compared, roles: Roles) -> bool:
    return any(not row.ok for row in one.found if row.stage == "update" and row.tensor in roles.params)


def _rates(
    n: int, compared: list[Compared], steps: list[TorchStep], roles: Roles, result: Fit
) -> tuple[float, float | None] | None:
    """Return PyTorch's rate at a step and JAX's, which may not be known; None if there is no update."""
    if (given := numbers(n, compared, steps, roles)) is None:
        return None
    found = fit(given, result.variant)
    return float(given.settings[0]["lr"]), None if found is None else found.rate


def _rule_words(given: Numbers, result: Fit) -> list[str]:
    """Return words for settings that are not PyTorch's."""
    mine, theirs, words = own(given), result.variant, []
    sgd = given.kind == "SGD"
    if theirs.raw:
        words.append(f"the gradients are not clipped{_clipped_by(given)}")
    if theirs.beta1 != mine.beta1:
        name = "momentum" if sgd else "beta1"
        words.append(f"{name} is {theirs.beta1:g} where PyTorch's is {mine.beta1:g}")
    if theirs.beta2 != mine.beta2:
        words.append(f"beta2 is {theirs.beta2:g} where PyTorch's is {mine.beta2:g}")
    if theirs.inside and not mine.inside:
        words.append("epsilon is inside the square root (trap 14)")
    if theirs.eps != mine.eps:
        words.append(f"epsilon is {theirs.eps:g} where PyTorch's is {mine.eps:g}")
    for moment in ("first", "second"):
        if not getattr(theirs, moment):
            words.append(f"the bias correction of the {moment} moment is missing")
    if late := theirs.late or theirs.late_first:
        which = "the bias correction" if theirs.late else "the bias correction of the first moment"
        words.append(f"{which} counts {abs(late)} step {'more' if late > 0 else 'less'}")
    if theirs.nesterov != mine.nesterov:
        words.append(f"Nesterov's momentum in {'JAX' if theirs.nesterov else 'PyTorch'} alone (trap 15)")
    if theirs.amsgrad != mine.amsgrad:
        words.append(f"AMSGrad's maximum of second moments in {'JAX' if theirs.amsgrad else 'PyTorch'} alone")
    if theirs.dampening != mine.dampening:
        words.append(f"dampening is {theirs.dampening:g} where PyTorch's is {mine.dampening:g} (trap 15)")
    return words


def _clipped_by(given: Numbers) -> str:
    """Say how PyTorch clips by value, "" if it does not; JAX may, with a limit that nothing reaches."""
    top = max((float(np.abs(g).max()) for g in given.gradients if g.size), default=0.0)
    pairs = list(zip(given.raw, given.gradients, strict=True))
    if not top or not all(a.shape == b.shape and _equal(np.clip(a, -top, top), b) for a, b in pairs):
        return ""
    return f" at this step, in PyTorch by value, to {top:.3g}"


def clipping_words(one: Compared, step: TorchStep, roles: Roles) -> str:
    """Say how gradients are clipped otherwise, "" if they are clipped as in PyTorch or nothing reproduces it."""
    leaves = [leaf for leaf in one.gradient_nodes if leaf in one.raw and norm(one.raw[leaf]) > 0]
    held = {leaf: carried(roles.params[leaf], step.held or {}, constant=False) for leaf in one.raw}
    every = {leaf: array if (kept := held[leaf]) is None else kept for leaf, array in one.raw.items()}
    raw = {leaf: every[leaf] for leaf in leaves}
    clipped = {leaf: carried(roles.params[leaf], step.gradients, constant=False) for leaf in leaves}
    if not leaves or any(array is None for array in clipped.values()):
        return ""
    whole, shares = total_norm(every), {leaf: _ratio(raw[leaf], clipped[leaf]) for leaf in leaves}
    if any(share is None for share in shares.values()):
        return ""
    first = next(share for share in shares.values() if share is not None)
    limit = first * (whole + EPSILON)
    chains = {leaf: _chain(one, leaf) for leaf in leaves}
    found = {
        leaf: [r for node in chain if (r := _ratio(raw[leaf], node.array)) is not None]
        for leaf, chain in chains.items()
    }
    if abs(first - 1) > SAME and all(any(abs(r - first) <= 1e-11 for r in ratios) for ratios in found.values()):
        return ""  # clipped alike
    if all(ratios for ratios in found.values()):
        words = _of_ratios(found, {leaf: norm(raw[leaf]) for leaf in leaves}, whole, first, limit)
        if words:
            return words
    return _by_value(raw, chains)


def clipped_alike(one: Compared, step: TorchStep, roles: Roles) -> bool:
    """Tell whether JAX has PyTorch's clipped gradients to the last digits, if they are clipped."""
    for leaf, node in one.gradient_nodes.items():
        clipped = carried(roles.params[leaf], step.gradients, constant=False)
        if clipped is None or relative_error(one.raw[leaf], clipped) <= SAME / 10:
            continue
        nodes = (node, *_chain(one, leaf))
        if not any(
            n.array.shape == clipped.shape and relative_error(clipped, np.asarray(n.array)) <= 1e-11 for n in nodes
        ):
            return False
    return True


def _ratio(raw: np.ndarray, array: Any) -> float | None:
    """Return the number by which one is a multiple of the other."""
    array = np.asarray(array, np.float64)
    if array.shape != raw.shape:
        return None
    size = float(np.vdot(raw, raw))
    ratio = float(np.vdot(raw, array)) / size if size else 0.0
    return ratio if ratio and relative_error(raw * ratio, array) <= 1e-11 else None


def _chain(one: Compared, leaf: str) -> list[Node]:
    """Return what is made of a gradient on its way to the parameter, in order."""
    at = one.gradient_nodes[leaf].number
    nodes = [n for n in one.fed.outputs[leaf].ancestors(one.raw[leaf].size) if n.number > at and not n.back]
    return sorted(nodes, key=lambda node: node.number)


def _of_ratios(
    found: dict[str, list[float]], sizes: dict[str, float], whole: float, share: float, limit: float
) -> str:
    def all_have(value: Any) -> bool:
        return all(any(abs(r - value(leaf)) <= 1e-10 * abs(r) for r in ratios) for leaf, ratios in found.items())

    if abs(share - 1) > SAME:
        if all_have(lambda _: limit / whole):
            return "clipping divides by the norm alone, PyTorch adds 1e-06 to it"
        for eps in (0.0, EPSILON):
            several = len(sizes) > 1 and min(limit / (size + eps) for size in sizes.values()) < 1
            if several and all_have(lambda leaf, e=eps: min(1.0, limit / (sizes[leaf] + e))):
                return "each tensor is clipped by its own norm, in PyTorch all by the norm of all"
    commons = [r for r in next(iter(found.values())) if 0 < r < 1 and all_have(lambda _, r=r: r)]
    for ratio in commons[:1]:
        for eps in (0.0, EPSILON):
            other = ratio * (whole + eps)
            alike = abs(share - 1) > SAME and f"{other:.4g}" == f"{limit:.4g}"  # what differs is the gradient
            if not alike and abs(float(f"{other:.4g}") - other) <= 1e-9 * other:
                mine = f"PyTorch's to {limit:.4g}" if abs(share - 1) > SAME else "PyTorch's are not at this step"
                return f"the gradients are clipped to a norm of {other:.4g}, {mine}"
    return ""


def _by_value(raw: dict[str, np.ndarray], chains: dict[str, list[Node]]) -> str:
    whole = max(float(np.abs(g).max()) for g in raw.values())
    for node in chains[max(raw, key=lambda leaf: float(np.abs(raw[leaf]).max()))]:
        top = float(np.abs(np.asarray(node.array, np.float64)).max(initial=0))
        if not 0 < top < whole or f"{top:.3g}" != f"{top:.9g}":
            continue
        if all(any(_equal(np.clip(g, -top, top), n.array) for n in chains[leaf]) for leaf, g in raw.items()):
            return f"each gradient is clipped by value, to {top:.3g}, in PyTorch all by the norm of all"
    return ""


def _equal(a: np.ndarray, b: Any) -> bool:
    b = np.asarray(b, np.float64)
    return a.shape == b.shape and relative_error(a, b) <= 1e-12
