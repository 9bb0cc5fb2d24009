"""One rule for a leaf that was found in parts: layers that are stacked, projections that are fused."""

import re
from collections.abc import Mapping, Sequence

from parity.mapping.rule import Rule

Region = tuple[tuple[int, int], ...]


def assembled(parts: Mapping[Region, Rule]) -> Rule | None:
    """Return the rule of a leaf whose regions are made by these rules; None if no one rule can say it."""
    regions = sorted(parts)
    if len(regions) == 1:
        return parts[regions[0]]
    varying = [axis for axis in range(len(regions[0])) if len({region[axis] for region in regions}) > 1]
    if not varying:
        return None
    axis, *others = varying
    if not others:
        return _joined([parts[region] for region in regions], axis)
    blocks = sorted({region[axis] for region in regions})
    inner = [assembled({r: parts[r] for r in regions if r[axis] == block}) for block in blocks]
    return _joined([rule for rule in inner if rule], axis) if all(inner) else None


def _joined(rules: Sequence[Rule], axis: int) -> Rule | None:
    count, sources = len(rules), tuple(key for rule in rules for key in rule.sources)
    each = {len(rule.sources) for rule in rules}
    if len(each) > 1:
        return None
    if len({rule.steps for rule in rules}) == 1:
        (size,) = each
        steps = [_grouped(step, size) for step in rules[0].steps]
        return Rule(sources, (*steps, f"concat {axis}")) if all(steps) else None
    if each != {1} or any(_joins(step) or step.startswith("[") for rule in rules for step in rule.steps):
        return None
    steps = [f"[{number} of {count}] {step}" for number, rule in enumerate(rules) for step in rule.steps]
    return Rule(sources, (*steps, f"concat {axis}"))


def _joins(step: str) -> bool:
    return re.match(r"(concat|stack|sum)\b", step) is not None


def _grouped(step: str, size: int) -> str:
    """Return a step that joins so many neighbours instead of all."""
    if not _joins(step) or size == 1:
        return step
    return step if " by " in step else f"{step} by {size}"
