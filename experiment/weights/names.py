"""Matching a file's names with the network's, if the network was saved inside a wrapper.

DataParallel puts "module." in front of every name, torch.compile "_orig_mod.", Lightning the attribute's name
("model."), and they can be combined. What is in front is found by comparison with the network's own names, so a
network that has a layer called "model" stays as it is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiment.weights.conversion import is_flax, leaves
from experiment.weights.layout import CopyError, flax_path, layouts

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # anywhere in a name
USUAL = {"model", "net", "network", "state_dict"}  # chosen if the network is there several times
COLLECTIONS = ("params", "batch_stats")
SHOWN = 5


def by_own_names(weights: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], str]:
    """Return the weights by the network's names, and what was removed from their names in words.

    Args:
        weights: of either framework, as stored.
        template: the network's own variables or state_dict, of either framework.

    Raises:
        CopyError: the file holds the network several times, under names that do not say which one is meant.
    """
    given, expected = dict(weights), _paths(template)
    bare = {_without_wrappers(name): name for name in given}
    if len(bare) < len(given):  # two names would become one
        bare = {name: name for name in given}
    votes: Counter[str] = Counter()
    for name, stored in bare.items():
        votes.update(front for front, rest in _splits(name) if _path(rest, given[stored].ndim) in expected)
    direct = sum(_path(name, array.ndim) in expected for name, array in given.items())
    # A few layers of the same names do not make it the same network.
    if not votes or direct >= max(votes.values()) or max(votes.values()) * 2 < len(expected):
        return given, ""
    front = _best(votes)
    kept = {rest: stored for name, stored in bare.items() for at, rest in _splits(name) if at == front}
    if not front:  # beside a wrapped network, what is neither wrapped nor the network's: a counter of averages
        known = {rest for rest, stored in kept.items() if _path(rest, given[stored].ndim) in expected}
        if all(kept[rest] != rest for rest in known):
            kept = {rest: stored for rest, stored in kept.items() if rest != stored or rest in known}
    return {rest: given[stored] for rest, stored in kept.items()}, _note(front, kept, given)


def _paths(template: Mapping[str, Any]) -> set[str]:
    """Return the network's names as Flax's; none if a tensor of PyTorch's follows no rule."""
    if is_flax(template) or any(isinstance(value, Mapping) for value in template.values()):
        return {path for path, _ in leaves(template)}
    try:
        return {layout.path for layout in layouts(template).values()}
    except CopyError:
        return set()


def _path(name: str, ndim: int) -> str:
    if "/" in name:
        return name
    try:
        return flax_path(name, ndim)
    except CopyError:
        return ""


def _without_wrappers(name: str) -> str:
    mark = "/" if "/" in name else "."
    return mark.join(part for part in name.split(mark) if part not in WRAPPERS)


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """Yield every way to take something off a name's front: "model.", "fc1.weight"; Flax's collection stays."""
    mark = "/" if "/" in name else "."
    parts = name.split(mark)
    collection = parts[:1] if mark == "/" and parts[0] in COLLECTIONS else []
    parts = parts[len(collection) :]
    for at in range(len(parts)):
        yield mark.join(parts[:at]), mark.join([*collection, *parts[at:]])


def _best(votes: Counter[str]) -> str:
    """Return what is in front of most of the network's names."""
    most = max(votes.values())
    fronts = [front for front, count in votes.items() if count == most]
    usual = [front for front in fronts if all(part in USUAL for part in front.replace("/", ".").split(".") if part)]
    if len(fronts) > 1 and not usual:
        names = ", ".join(_shown(front) for front in fronts[:SHOWN])
        raise CopyError(
            f"the network is there {len(fronts)} times, in front of its names stand {names}; save one of them"
        )
    return (usual or fronts)[0]


def _note(front: str, kept: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """Return what was taken off the names, and which tensors have none of it."""
    taken = {part for stored in kept.values() for part in stored.replace("/", ".").split(".") if part in WRAPPERS}
    parts = [f"'{part}.'" for part in sorted(taken)] + ([_shown(front)] if front else [])
    left = [name for name in given if name not in kept.values()]
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in left[:SHOWN])
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return f"removed {' and '.join(parts)} from the names" + (f"; left out: {shown}{more}" if left else "")


def _shown(front: str) -> str:
    text = f"{front}{'/' if '/' in front else '.'}"
    return f"'{text}'" if text.isprintable() and len(text) <= 60 else ascii(text[:60])
