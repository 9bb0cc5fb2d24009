"""Words for an update that is PyTorch's rule with another rate or decay for some parameters, or leaves some out."""

from collections.abc import Sequence

import numpy as np

from parity.report.compare import norm
from parity.training.gradient_nodes import ZERO
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_numbers import Numbers, numbers, solved
from parity.training.update_rules import FEWEST, STEPS, directions, start

SHOWN = 3  # parameters that are named
SAME = 1e-6


def leaf_words(
    number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles, *, known: bool = True
) -> str:
    """Say which parameters have another rate or decay, or are trained by one side alone; "" if that is not all.

    `known`: whether PyTorch's rule is one that is known here; else nothing is said of rates and decays.
    """
    words = _alone(compared[number], steps[number], roles)
    if words or not known:
        return words
    found = [numbers(n, compared, steps, roles) for n in range(number, len(steps))]
    given = [one for one in found if one is not None][:STEPS]
    rows = [_rows(one) for one in given]
    if not rows or any(row is None for row in rows):
        return ""
    one, fits = given[-1], {leaf: pair for row in rows if row for leaf, pair in row.items()}
    return "; ".join(word for word in (_rates(one, fits), _decays(one, fits)) if word)


def never_trained(compared: list[Compared], number: int, roles: Roles) -> str:
    """Name the parameters that JAX moves at no step, "" unless these are all that differ."""
    bad = {
        row.tensor
        for row in compared[number].found
        if row.stage == "update" and not row.ok and row.tensor in roles.params
    }
    still = [leaf for leaf in roles.params if leaf in bad and not any(_moves(one, leaf) for one in compared)]
    return f"JAX does not train {listed(still)}" if still and len(still) == len(bad) else ""


def summed_words(one: Compared, step: TorchStep, roles: Roles) -> str:
    """Say that a leaf is the sum of parameters that PyTorch trains each, "" unless such leaves are all that differ.

    A recurrent layer has two biases in PyTorch and one in JAX, which makes one step where the sum makes two.
    """
    bad = [row for row in one.found if row.stage == "update" and not row.ok and row.tensor in roles.params]
    for row in bad:
        rule = roles.params[row.tensor]
        if "sum" not in rule.steps or not all(key in step.groups for key in rule.sources):
            return ""
        before, after = step.before.params, step.after.params
        moved = [
            norm(np.asarray(row.jax) - one.before[row.tensor]),
            norm(np.asarray(row.torch) - one.before[row.tensor]),
        ]
        own = max(norm(after[key] - before[key]) for key in rule.sources)
        if moved[1] <= moved[0] or not own:
            return ""
    sources = {" + ".join(roles.params[row.tensor].sources): row.tensor for row in bad}
    pairs = [f"{leaf} is {names}" for names, leaf in list(sources.items())[:SHOWN]]
    return f"{'; '.join(pairs)}, each trained by itself in PyTorch: the sum moves further" if bad else ""


def _moves(one: Compared, leaf: str) -> bool:
    return not np.array_equal(np.asarray(one.fed.outputs[leaf].array, np.float64), one.before[leaf])


def _alone(one: Compared, step: TorchStep, roles: Roles) -> str:
    """Return words for parameters that one side alone trains."""
    bad = {row.tensor for row in one.found if row.stage == "update" and not row.ok}
    ours, theirs = [], []
    for leaf in (leaf for leaf in roles.params if leaf in bad):
        after = np.asarray(one.fed.outputs[leaf].array, np.float64)
        moved = [norm(after - one.before[leaf]), norm(_torch(one, leaf) - one.before[leaf])]
        if moved[0] and not moved[1] and roles.params[leaf].sources[0] not in step.groups:
            theirs.append(leaf)
        elif moved[1] and not moved[0]:
            ours.append(leaf)
    if len(ours) + len(theirs) < len(bad & roles.params.keys()):
        return ""
    words = [f"JAX does not train {listed(ours)}"] if ours else []
    return "; ".join([*words, f"JAX trains {listed(theirs)}, PyTorch does not"] if theirs else words)


def _torch(one: Compared, leaf: str) -> np.ndarray:
    row = next(row for row in one.found if row.stage == "update" and row.tensor == leaf)
    return np.asarray(row.torch, np.float64)


def _rows(given: Numbers) -> dict[str, tuple[float, float]] | None:
    """Return the rate and the decay of each parameter, None if one of them does not follow PyTorch's rule."""
    found, whole = {}, np.sqrt(sum(norm(g) ** 2 for g in given.gradients))
    with np.errstate(all="ignore"):
        ways = list(directions(given, start(given)))
    rows = zip(given.leaves, given.before, given.gradients, ways, given.moved, strict=True)
    for leaf, p, g, d, moved in rows:
        if norm(g) <= ZERO * whole:  # rounding (trap 28)
            continue
        d = np.broadcast_to(d, p.shape)
        basis = [-np.ravel(d), -p.ravel()] if p.size >= FEWEST else [-np.ravel(d)]
        if not np.isfinite(d).all():
            return None
        pair = solved(basis, moved.ravel()) if norm(moved) else [0.0, 0.0]
        if pair is None:
            return None
        found[leaf] = (pair[0], pair[1] if len(pair) > 1 else 0.0)
    return found


def _rates(given: Numbers, fits: dict[str, tuple[float, float]]) -> str:
    other: dict[tuple[str, str], list[str]] = {}
    for leaf, s in zip(given.leaves, given.settings, strict=True):
        if leaf not in fits:
            continue
        ours, theirs = float(s["lr"]), fits[leaf][0]
        if abs(theirs - ours) > SAME * max(abs(ours), abs(theirs)):
            other.setdefault((f"{theirs:.6g}", f"{ours:.6g}"), []).append(leaf)
    parts = [
        f"the rate of {listed(leaves)} is {theirs} where PyTorch's is {ours}"
        for (theirs, ours), leaves in other.items()
    ]
    return "; ".join(parts[:SHOWN])


def _decays(given: Numbers, fits: dict[str, tuple[float, float]]) -> str:
    other: dict[tuple[str, str], list[str]] = {}
    for leaf, s, decay in zip(given.leaves, given.settings, given.decays, strict=True):
        if leaf not in fits:
            continue
        rate, share = fits[leaf]
        ours = decay if given.decoupled else 0.0
        theirs = share / (rate or float(s["lr"]) or 1.0)
        if abs(theirs - ours) > SAME * max(abs(ours), abs(theirs), 1e-6):
            other.setdefault((f"{theirs:.6g}", f"{ours:.6g}"), []).append(leaf)
    parts = [
        f"the decay of {listed(leaves)} is {theirs} where PyTorch's is {ours}"
        for (theirs, ours), leaves in other.items()
    ]
    return "; ".join(parts[:SHOWN])


def listed(leaves: Sequence[str]) -> str:
    """Return some names, and how many more there are."""
    more = f" and {len(leaves) - SHOWN} more" if len(leaves) > SHOWN else ""
    return ", ".join(leaves[:SHOWN]) + more
