"""What the leaves of a JAX state are: parameters, slots of the optimizer, moving averages, statistics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.mapping.rule import Rule
from parity.training.assignment import assigned
from parity.training.steps import AVERAGE_WORDS, Arrays, Snapshot
from parity.training.weights import carried

# What optax and people call PyTorch's slots.
NAMES = {
    "exp_avg": ("mu", "m", "exp_avg", "first", "mean"),
    "exp_avg_sq": ("nu", "v", "exp_avg_sq", "second"),
    "momentum_buffer": ("trace", "momentum", "velocity", "buf", "momentum_buffer", "m", "mom"),
    "square_avg": ("nu", "square_avg", "v", "rms"),
    "max_exp_avg_sq": ("nu_max", "max_exp_avg_sq"),
    "sum": ("sum_of_squares", "sum"),
}
FREE = ("acc_grads", "acc", "accumulated", "grads")  # what several pieces of a batch add up to
ALIKE = 0.7  # how much a slot must be like PyTorch's if its name does not tell
NAMED = 0.5


class Roles(NamedTuple):
    """Leaves by what they are, each with what it is made of."""

    params: dict[str, Rule]
    slots: dict[str, tuple[str, Rule]]  # with PyTorch's word for the slot
    averages: dict[str, tuple[str, Rule]]  # with where PyTorch keeps it
    statistics: dict[str, Rule]

    def fed(self, leaves: Mapping[str, np.ndarray], at: Snapshot) -> dict[str, np.ndarray]:
        """Return a state with all that PyTorch has in place of JAX's own."""
        found = dict(leaves)
        given: dict[str, np.ndarray | None] = {
            leaf: carried(rule, {**at.buffers, **at.params}) for leaf, rule in self.params.items()
        }
        given |= {leaf: carried(rule, at.buffers) for leaf, rule in self.statistics.items()}
        given |= {
            leaf: carried(rule, at.slots.get(slot, {}), constant=False) for leaf, (slot, rule) in self.slots.items()
        }
        given |= {leaf: carried(rule, at.averages.get(name, {})) for leaf, (name, rule) in self.averages.items()}
        for leaf, array in given.items():
            if array is not None:
                found[leaf] = np.asarray(array, found[leaf].dtype).reshape(found[leaf].shape)
        return found


Copies = dict[str, list[dict[str, str]]]


def groups(params: Mapping[str, Rule], leaves: Mapping[str, np.ndarray]) -> Copies:
    """Return copies of a tree, or of a part of it, within a state.

    Returns:
        Where each copy begins, and the leaf for each leaf of the tree. Parts of the tree that are built alike may each
        be what it is a copy of: then there are several.
    """
    by_name: dict[str, list[str]] = {}
    for name in params:
        by_name.setdefault(name.rpartition("/")[2], []).append(name)
    pairs: dict[tuple[str, str], dict[str, str]] = {}
    for leaf, array in leaves.items():
        if leaf in params or array.dtype.kind != "f":
            continue
        for name in by_name.get(leaf.rpartition("/")[2], ()):
            if leaves[name].shape == array.shape:
                ours, theirs = name.split("/"), leaf.split("/")
                same = _suffix(ours, theirs)
                pairs.setdefault(("/".join(theirs[:-same]), "/".join(ours[:-same])), {})[name] = leaf
    found: Copies = {}
    taken: dict[str, str] = {}  # by leaf, where its copy begins
    depth = {key: key[0].count("/") for key in pairs}
    for key in sorted(pairs, key=lambda key: (-len(pairs[key]), depth[key])):
        place, members = key[0], pairs[key]
        alike = place in found and set(members.values()) == set(found[place][0].values())
        if alike or not any(leaf in taken for leaf in members.values()):
            found.setdefault(place, []).append(members)
            taken |= dict.fromkeys(members.values(), place)
    return found


def _suffix(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many parts both paths end with, less than one of them has."""
    most = min(len(a), len(b))
    return next((n for n in range(most) if a[-1 - n] != b[-1 - n]), most)


def common(paths: Sequence[Sequence[str]]) -> int:
    """Return how many parts all paths begin with; the last part of each is its own."""
    shortest = min((len(path) for path in paths), default=1) - 1
    for at in range(shortest):
        if len({path[at] for path in paths}) > 1:
            return at
    return max(shortest, 0)


def slots_and_averages(
    params: Mapping[str, Rule],
    leaves: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    torch_after: Snapshot,
) -> tuple[dict[str, tuple[str, Rule]], dict[str, tuple[str, Rule]]]:
    """Tell which copies of the tree of parameters are which slot or average of PyTorch's, by what a step made of them.

    Args:
        params: leaves that are parameters.
        leaves: the state before a step that was fed with PyTorch's parameters.
        after: the state after it.
        torch_after: PyTorch's after it.
    """
    slots: dict[str, tuple[str, Rule]] = {}
    averages: dict[str, tuple[str, Rule]] = {}
    taken: set[tuple[str, str]] = set()  # slots and averages, each with the parameter
    for prefix, candidates in groups(params, leaves).items():
        words = [w.lower() for w in prefix.split("/")]
        last = next((w for w in reversed(words) if not w.isdecimal() and w != "params"), "")
        if last in FREE:
            continue
        scores = {
            (*what, i): score
            for i, members in enumerate(candidates)
            for what, score in _scores(params, leaves, after, torch_after, members, last, taken).items()
        }
        if not scores:
            continue
        (kind, name, at), score = max(scores.items(), key=lambda item: item[1])
        named = kind == "slot" and last in NAMES.get(name, (name,))
        if score < (0.0 if named else ALIKE):
            continue
        members = candidates[at]
        taken |= {(name, parameter) for parameter in members}
        into = slots if kind == "slot" else averages
        into |= {leaf: (name, params[parameter]) for parameter, leaf in members.items()}
    return slots, averages


def _scores(
    params: Mapping[str, Rule],
    leaves: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    torch_after: Snapshot,
    members: Mapping[str, str],
    last: str,
    taken: set[tuple[str, str]],
) -> dict[tuple[str, str], float]:
    """Return how much a copy of the tree is like each slot and average; `last` is the name that it has."""
    scores: dict[tuple[str, str], float] = {}

    def again(name: str) -> float:
        return 0.1 if any((name, parameter) in taken for parameter in members) else 0.0

    for slot, tensors in torch_after.slots.items():
        named = last in NAMES.get(slot, (slot,))
        scores["slot", slot] = _alike(params, members, tensors, after) + NAMED * named - again(slot)
    moved = any(not np.array_equal(after[leaf], leaves[leaf]) for leaf in members.values())
    for place, tensors in torch_after.averages.items():
        named = any(word in last for word in AVERAGE_WORDS) and moved
        scores["average", place] = _alike(params, members, tensors, after) + NAMED * named - again(place)
    return scores


def _alike(
    params: Mapping[str, Rule], members: Mapping[str, str], tensors: Arrays, after: Mapping[str, np.ndarray]
) -> float:
    """Return the cosine of what both sides have, over all parameters."""
    ours, theirs = [], []
    for parameter, leaf in members.items():
        array = carried(params[parameter], tensors, constant=False)
        if array is not None:
            ours.append(array.ravel())
            theirs.append(np.asarray(after[leaf], np.float64).ravel())
    return cosine(np.concatenate(ours), np.concatenate(theirs)) if ours else 0.0


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine between two arrays, 0 if one is zero or not finite."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.vdot(a, b)) / size if 0 < size < np.inf else 0.0


def statistics(
    params: Mapping[str, Rule],
    others: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    torch_before: Snapshot,
    torch_after: Snapshot,
) -> dict[str, Rule]:
    """Tell which leaves are running statistics, by their layer, their name and how a step moved them."""
    moved = [
        k
        for k, b in torch_after.buffers.items()
        if b.dtype.kind == "f" and b.size and not np.array_equal(b, torch_before.buffers[k])
    ]
    leaves = [name for name, array in others.items() if array.dtype.kind == "f" and array.ndim]
    if not moved or not leaves:
        return {}
    owners = {rule.sources[0].rpartition(".")[0]: name.split("/")[:-1] for name, rule in params.items()}
    root = common([name.split("/") for name in params])
    scores = np.zeros((len(moved), len(leaves)))
    for i, key in enumerate(moved):
        layer, _, kind = key.rpartition(".")
        owner = owners.get(layer, ["?"])[root:]
        for j, leaf in enumerate(leaves):
            if others[leaf].shape != torch_after.buffers[key].shape:
                scores[i, j] = -10
                continue
            ours = torch_after.buffers[key] - torch_before.buffers[key]
            scores[i, j] = cosine(ours.ravel(), (after[leaf] - others[leaf]).ravel())
            parts = leaf.split("/")
            scores[i, j] += len(owner) > 0 and parts[:-1][-len(owner) :] == owner
            scores[i, j] += 0.5 * any(w in kind and w in parts[-1] for w in ("mean", "var"))
            # A moving average of statistics goes the same way, but not as far.
            scores[i, j] += 0.1 * _as_far(ours, after[leaf] - others[leaf])
            scores[i, j] -= 0.2 * any(word in part.lower() for part in parts for word in AVERAGE_WORDS)
    return {leaves[j]: Rule((moved[i],)) for i, j in assigned(scores) if scores[i, j] > ALIKE}


def _as_far(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the ratio of two movements' lengths, at most 1."""
    short, long = sorted((float(np.linalg.norm(ours)), float(np.linalg.norm(theirs))))
    return short / long if 0 < long < np.inf else 0.0


def averaged_statistics(
    found: Mapping[str, Rule], leaves: Mapping[str, np.ndarray], torch_after: Snapshot
) -> dict[str, tuple[str, Rule]]:
    """Tell which leaves are moving averages of running statistics, copies of the tree of these."""
    averages = {}
    for members, *_ in groups(found, leaves).values():
        for leaf, copy in members.items():
            rule = found[leaf]
            place = next((p for p, tensors in torch_after.averages.items() if rule.sources[0] in tensors), None)
            if place is not None:
                averages[copy] = (place, rule)
    return averages
