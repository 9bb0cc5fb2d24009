"""Rules of layers that are stacked in one leaf: the same rule for "layers.0.x", "layers.1.x", ..."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping

from parity.mapping.rule import Rule

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
INNER = 120  # rules of a layer


def stacked(sources: Shapes, shape: Shape, rules: Callable[[Shapes, Shape], Iterator[Rule]]) -> Iterator[Rule]:
    """Yield rules that stack or concatenate what `rules` yields for the tensors of each layer."""
    for layers in _numbered(sources):
        numbers = sorted(layers)
        for axis, size in enumerate(shape):
            without = (*shape[:axis], *shape[axis + 1 :])
            for start in range(len(numbers) - size + 1 if size > 1 else 0):
                window = [layers[n] for n in numbers[start : start + size]]
                yield from _lifted(window, sources, without, rules, f"stack {axis}")
            if size > len(numbers) and size % len(numbers) == 0:
                part = (*shape[:axis], size // len(numbers), *shape[axis + 1 :])
                yield from _lifted([layers[n] for n in numbers], sources, part, rules, f"concat {axis}")


def _numbered(sources: Shapes) -> Iterator[dict[int, dict[str, str]]]:
    """Yield {number: {rest of the name: key}} of each place in the names where the tensors have different numbers."""
    found: dict[str, dict[int, dict[str, str]]] = {}
    for key in sources:
        for number in re.finditer(r"\d+", key):
            layers = found.setdefault(key[: number.start()], {})
            layers.setdefault(int(number[0]), {})[key[number.end() :]] = key
    yield from (layers for layers in found.values() if len(layers) > 1)


def _lifted(
    layers: list[dict[str, str]],
    sources: Shapes,
    shape: Shape,
    rules: Callable[[Shapes, Shape], Iterator[Rule]],
    join: str,
) -> Iterator[Rule]:
    first = {rest: sources[key] for rest, key in layers[0].items()}
    common = {
        rest: size
        for rest, size in first.items()
        if all(rest in layer and sources[layer[rest]] == size for layer in layers)
    }
    for rule in itertools.islice(rules(common, shape), INNER):
        keys = tuple(layer[rest] for layer in layers for rest in rule.sources)
        yield Rule(keys, (*_each(rule), join))


def _each(rule: Rule) -> list[str]:
    """Return the steps of a rule for many sets of its sources side by side: what joins all joins each set."""
    count, steps = len(rule.sources), []
    for step in rule.steps:
        word = step.split()[0]
        if word in ("concat", "stack", "sum"):
            count, by = (count // int(step.rpartition(" by ")[2]), "") if " by " in step else (1, f" by {count}")
            step = step + by
        steps.append(step)
    return steps
