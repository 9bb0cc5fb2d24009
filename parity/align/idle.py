"""Weights that neither side uses with these inputs, such as a mask token: taken by their names and shapes."""

from collections import Counter
from collections.abc import Iterable, Mapping

from parity.align.names import alike
from parity.mapping.candidates import rules
from parity.mapping.rule import Rule
from parity.trace.values import Trace

IDLE = "its name and shape: neither side uses it with these inputs"
Shape = tuple[int, ...]


def used_keys(trace: Trace) -> set[str]:
    """Return the tensors that PyTorch's operations take."""
    return {key for op in trace.ops for number in op.inputs for key in trace.values[number].keys}


def idle_rules(
    leaves: Mapping[str, Shape], tensors: Mapping[str, Shape], known: Mapping[str, Rule]
) -> dict[str, Rule]:
    """Return rules for leaves without data, each from another tensor, the most similar names first.

    Args:
        leaves: that meet no data, by path.
        tensors: that no operation uses, by key.
        known: the rules of other leaves: a kernel is turned as theirs are.
    """
    pairs = [(alike(path, key), path, key) for path in leaves for key in tensors]
    found: dict[str, Rule] = {}
    taken: set[str] = set()
    for _, path, key in sorted(pairs, key=lambda pair: -pair[0]):
        if path in found or key in taken:
            continue
        rule = _usual(rules({key: tensors[key]}, leaves[path]), path, known)
        if rule is not None:
            found[path] = rule
            taken.add(key)
    return found


def _usual(options: Iterable[Rule], path: str, known: Mapping[str, Rule]) -> Rule | None:
    """Return the option whose steps are the most usual ones for leaves of this name."""
    name = path.rpartition("/")[2]
    steps = Counter(rule.steps for other, rule in known.items() if other.rpartition("/")[2] == name)
    options = list(options)
    return max(options, key=lambda rule: steps[rule.steps], default=None)
