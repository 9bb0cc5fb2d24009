"""Target networks: copies of parameters that follow these, and that the loss is computed with.

No backward pass changes them, so they are moving averages, be they part of the module or kept beside it.
"""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from parity.mapping.rule import Rule
from parity.report.compare import norm
from parity.training.steps import Arrays, Snapshot, TorchStep

MARK = "::"  # between the place where a step keeps a tensor and the parameter that it is a copy of
Kept = dict[str, tuple[str, Rule]]  # by leaf: the place, and how it is made of what is there


def split_targets(
    rules: Mapping[str, Rule],
    inside: Mapping[str, tuple[str, str]],
    joined: Mapping[str, str] | None = None,
    met_by_loss: set[str] | None = None,
) -> tuple[dict[str, Rule], Kept]:
    """Return the rules of leaves that are parameters, and of those that are targets.

    Args:
        rules: of all leaves.
        inside: of each parameter of the module that is a target, its place and what it follows.
        joined: names of places that are one, by their own.
        met_by_loss: parameters with a gradient. If no leaf is one of these but one is its target, then JAX's loss uses
            the parameter in both places, and it is the parameter.
    """
    names = joined or {}
    params, kept = dict[str, Rule](), Kept()
    met = met_by_loss or set()
    for leaf, rule in rules.items():
        found = [inside.get(key) or _beside(key) for key in rule.sources]
        places = {names.get(place, place) for place, _ in found}
        if places == {""} or not found:
            params[leaf] = rule
        elif len(places) == 1:
            kept[leaf] = places.pop(), rule._replace(sources=tuple(name for _, name in found))
    own = {key for rule in params.values() for key in rule.sources}
    for leaf, (_, rule) in list(kept.items()):
        if met.issuperset(rule.sources) and own.isdisjoint(rule.sources):
            params[leaf] = rule
            del kept[leaf]
    return params, kept


def with_joined(steps: list[TorchStep]) -> tuple[list[TorchStep], dict[str, str]]:
    """Return steps in which places that keep copies of different parameters are one, and its name by theirs.

    Two critics may have their targets in two variables, and JAX's in one tree.
    """
    joined: dict[str, list[str]] = {}
    held: dict[str, set[str]] = {}
    for place, tensors in steps[0].before.averages.items():
        home = next((p for p, names in held.items() if names.isdisjoint(tensors)), place)
        joined.setdefault(home, []).append(place)
        held.setdefault(home, set()).update(tensors)
    names = {place: ", ".join(places) for places in joined.values() for place in places}
    if all(place == name for place, name in names.items()):
        return steps, names

    def together(at: Snapshot) -> Snapshot:
        averages: dict[str, Arrays] = {}
        for place, tensors in at.averages.items():
            averages.setdefault(names.get(place, place), {}).update(tensors)
        return at._replace(averages=averages)

    return [s._replace(before=together(s.before), after=together(s.after)) for s in steps], names


def like_copies(targets: Kept, params: Mapping[str, Rule], made: Mapping[str, np.ndarray]) -> Kept:
    """Return the rules of targets by what JAX starts them as: a copy of a parameter.

    A minimum of two critics does not tell which of the two targets is whose.

    Args:
        targets: as the forward pass tells.
        params: rules of parameters.
        made: the state that JAX starts with.
    """
    ends: dict[tuple[str, ...], tuple[str, ...]] = {}  # where a copy begins, and what it is a copy of
    for target in targets:
        equal = [p for p in params if np.array_equal(made[p], made[target]) and np.ptp(made[p]) > 0]
        if len(equal) == 1:
            ours, theirs = tuple(equal[0].split("/")), tuple(target.split("/"))
            same = ending(ours, theirs)
            ends[theirs[: len(theirs) - same]] = ours[: len(ours) - same]
    found = Kept()
    for target, (place, rule) in targets.items():
        parts = tuple(target.split("/"))
        start = max((begin for begin in ends if parts[: len(begin)] == begin), key=len, default=None)
        followed = "/".join((*ends[start], *parts[len(start) :])) if start is not None else ""
        fits = followed in params and made[followed].shape == made[target].shape
        found[target] = (place, params[followed] if fits else rule)
    return found


def _beside(key: str) -> tuple[str, str]:
    place, mark, name = key.rpartition(MARK)
    return (place, name) if mark else ("", key)


def followers(steps: Sequence[TorchStep]) -> dict[str, tuple[str, str]]:
    """Return the parameters of the module that no optimizer trains and that follow one which is trained."""
    trained = {name for step in steps for name in step.groups} or {name for step in steps for name in step.raw}
    before, after = steps[0].before.params, steps[-1].after.params
    found = {}
    for name in before:
        if name in trained or np.array_equal(before[name], after[name]):
            continue
        parts = name.split(".")
        fitting = [other for other in trained if before[other].shape == before[name].shape]
        fitting = [other for other in fitting if ending(parts, other.split(".")) and _follows(steps, name, other)]
        if fitting:
            alike = {other: difflib.SequenceMatcher(None, name, other).ratio() for other in fitting}
            followed = max(fitting, key=lambda other: (ending(parts, other.split(".")), alike[other]))
            found[name] = ".".join(parts[: -ending(parts, followed.split("."))]) or name, followed
    return found


def ending(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many parts both names end with."""
    most = min(len(a), len(b))
    return next((n for n in range(most) if a[-1 - n] != b[-1 - n]), most)


def _follows(steps: Sequence[TorchStep], name: str, other: str) -> bool:
    """Tell whether each step moves a tensor straight towards another one, as it was or as it is."""
    for step in steps:
        old, new = step.before.params[name], step.after.params[name]
        if not any(_towards(old, new, at.params[other]) for at in (step.after, step.before)):
            return False
    return True


def _towards(old: np.ndarray, new: np.ndarray, goal: np.ndarray) -> bool:
    way, moved = goal - old, new - old
    size = float(np.vdot(way, way))
    share = float(np.vdot(way, moved)) / size if size else 0.0
    return norm(moved - share * way) <= 1e-8 * max(norm(way), 1e-8 * norm(old))


def with_targets(steps: list[TorchStep], inside: Mapping[str, tuple[str, str]]) -> list[TorchStep]:
    """Return steps in which the targets of a module are averages, and no parameters."""
    if not inside:
        return steps

    def moved(at: Snapshot) -> Snapshot:
        averages = {place: dict(tensors) for place, tensors in at.averages.items()}
        for name, (place, followed) in inside.items():
            averages.setdefault(place, {})[followed] = at.params[name]
        return at._replace(params=_without(at.params, inside), averages=averages)

    return [
        step._replace(
            before=moved(step.before),
            after=moved(step.after),
            raw=_without(step.raw, inside),
            gradients=_without(step.gradients, inside),
            pieces=tuple(_without(piece, inside) for piece in step.pieces),
        )
        for step in steps
    ]


def _without(tensors: Arrays, names: Mapping[str, object]) -> Arrays:
    return {name: array for name, array in tensors.items() if name not in names}
