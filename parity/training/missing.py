"""What PyTorch trains or keeps and the JAX state has no place for."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.report.compare import norm, total_norm
from parity.training.gradient_nodes import ZERO
from parity.training.outcome import TrainingFailure
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import Arrays, TorchStep


def missing(steps: list[TorchStep], roles: Roles) -> list[TrainingFailure]:
    """Return a failure for parameters, statistics and averages that the JAX state does not have."""
    first, found = steps[0], []
    held = {key for rule in roles.params.values() for key in rule.sources}
    whole = total_norm(first.raw) if first.raw else 0.0
    lost = {name: g for name, g in first.raw.items() if name not in held and norm(g) > ZERO * whole}
    found += _failure("forward", lost, "no leaf that JAX's loss uses is made of PyTorch's")
    kept = held | {key for rule in roles.statistics.values() for key in rule.sources}
    kept |= {f"{key[:-1]}v" for key in first.before.buffers if key.endswith("_u")}  # spectral norm computes it of u
    moved = {key: b for key, b in _moved(first.before.buffers, first.after.buffers).items() if key not in kept}
    found += _failure("statistics", moved, "the JAX state does not keep PyTorch's")
    for place, tensors in first.after.averages.items():
        averaged = {key for name, rule in roles.averages.values() if name == place for key in rule.sources}
        last = steps[-1].after.averages.get(place, tensors)
        lost = {key: a for key, a in _moved(tensors, last).items() if key not in averaged}
        lost |= {
            key: a for key, a in _moved(first.before.averages.get(place, {}), tensors).items() if key not in averaged
        }
        found += _failure("average", lost, "the JAX state keeps no average of PyTorch's")
    return found


def untied(compared: Sequence[Compared], roles: Roles) -> list[TrainingFailure]:
    """Return a failure for leaves that are one parameter in PyTorch, and each trained by itself in JAX.

    They start alike here, as each is given PyTorch's values, but not where the user makes them.
    """
    leaves: dict[tuple[str, ...], list[str]] = {}
    for leaf, rule in roles.params.items():
        if not any(step.startswith("take") for step in rule.steps):
            leaves.setdefault(rule.sources, []).append(leaf)
    for sources, members in leaves.items():
        rows = [row for row in compared[0].found if row.stage == "update" and row.tensor in members and not row.ok]
        if len(members) < 2 or len(rows) < len(members):
            continue
        ours, theirs = (float(np.ravel(value)[0]) for value in (rows[0].torch, rows[0].jax))
        text = f"{', '.join(members)} are trained apart, in PyTorch they are one: {', '.join(sources)}, not tied"
        return [TrainingFailure("forward", 1, members[0], np.inf, 0.0, ours, theirs, "", text)]
    return []


def _moved(before: Arrays, after: Arrays) -> Arrays:
    return {
        key: array
        for key, array in after.items()
        if array.dtype.kind == "f" and array.size and key in before and not np.array_equal(array, before[key])
    }


def _failure(stage: str, tensors: Mapping[str, np.ndarray], words: str) -> list[TrainingFailure]:
    if not tensors:
        return []
    names = list(tensors)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    value = float(np.ravel(tensors[names[0]])[0])
    text = f"{words} {', '.join(names[:4])}{more}"
    return [TrainingFailure(stage, 1, names[0], np.inf, 0.0, value, np.nan, "", text)]
