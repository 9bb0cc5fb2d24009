"""Parameters that only a later loss of a step uses, as an actor's behind its critic's update.

The forward pass of the first loss does not meet them. Names, shapes and order tell which leaves they are, or a target
network that follows them and that the first loss does use. What their update makes of them shows whether it is so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.align.names import alike as named_alike
from parity.mapping.candidates import rules as fitting
from parity.mapping.rule import Rule
from parity.training.assignment import assigned
from parity.training.roles import NAMES
from parity.training.steps import AVERAGE_WORDS, TorchStep

SLOTS = frozenset(word for words in NAMES.values() for word in words if len(word) > 1)
FOLLOWED, ORDER = 3.0, 0.01  # what a target network that tells it counts for, and each place in the order


def behind_updates(
    steps: Sequence[TorchStep],
    known: Mapping[str, Rule],
    targets: Mapping[str, tuple[str, Rule]],
    leaves: Mapping[str, np.ndarray],
) -> dict[str, Rule]:
    """Return how leaves are made of the parameters that the first loss does not use.

    Args:
        steps: PyTorch's.
        known: rules of the leaves that are parameters of the first loss.
        targets: of those that follow parameters: where they are kept, and how they are made of them.
        leaves: JAX's.
    """
    shapes = {name: array.shape for name, array in steps[0].before.params.items()}
    met = {name for name, gradient in steps[0].raw.items() if np.any(gradient)}
    trained = {name for step in steps for name in step.groups} - met
    held = {key for rule in known.values() for key in rule.sources}
    wanted = [name for name in shapes if name in trained and name not in held]
    free = [
        leaf for leaf, array in leaves.items() if leaf not in known and leaf not in targets and _is_weight(leaf, array)
    ]
    if not wanted or not free:
        return {}
    options = [[next(fitting({name: shapes[name]}, leaves[leaf].shape), None) for leaf in free] for name in wanted]
    followed = {leaf: _beside(leaf, targets, leaves) for leaf in free}
    scores = np.full((len(wanted), len(free)), -100.0)
    for i, name in enumerate(wanted):
        for j, leaf in enumerate(free):
            told = followed[leaf]
            if told is not None and told.sources == (name,):
                options[i][j] = told
            if options[i][j] is not None:
                scores[i, j] = FOLLOWED * (told is not None and told.sources == (name,)) + named_alike(leaf, name)
                scores[i, j] -= ORDER * abs(i - j)
    pairs = [(i, j) for i, j in assigned(scores) if scores[i, j] > -50]
    return {free[j]: rule for i, j in pairs if (rule := options[i][j]) is not None}


def _is_weight(leaf: str, array: np.ndarray) -> bool:
    """Tell whether a leaf may be a weight rather than a slot or an average, by what it is called."""
    words = leaf.lower().split("/")
    named = any(word in SLOTS or any(part in word for part in AVERAGE_WORDS) for word in words)
    return array.dtype.kind == "f" and array.ndim > 0 and not named


def _beside(leaf: str, targets: Mapping[str, tuple[str, Rule]], leaves: Mapping[str, np.ndarray]) -> Rule | None:
    """Return the rule of a target whose path is a leaf's but for one word."""
    parts = leaf.split("/")
    for path, (_, rule) in targets.items():
        other = path.split("/")
        alike = len(parts) == len(other) and leaves[leaf].shape == leaves[path].shape
        if alike and sum(a != b for a, b in zip(parts, other, strict=True)) == 1:
            return rule
    return None
