"""Where two networks part: every layer is judged on its own, so that one bug does not paint all that comes after it.

Forward, each of Flax's layers is fed PyTorch's own input of that layer, and what follows it is fed PyTorch's own
output. A layer that still returns something else is wrong itself; where it would have been given something else than
PyTorch's input, what lies before it is wrong. Backward, the walk goes from the loss to the input, and stops at the
first gradient that differs.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiment.weights.layout import layer_path
from parity.diagnose import one_layer as imitate
from parity.diagnose.between_layers import compare_steps, explain, joined, order_of_calls
from parity.report.compare import Difference, Values, difference
from parity.sides.calls import Call, CallName, Masks, Run
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import TorchSide


class Place(NamedTuple):
    """A place where Flax does something else than PyTorch."""

    layer: str
    error: float
    words: str  # what agrees, what does not, both values there
    looks_like: str = ""  # the trap, if something reproduces the wrong numbers
    values: Values | None = None

    @property
    def diagnosis(self) -> str:
        """Return all that can be said."""
        return f"{self.looks_like}: {self.words}" if self.looks_like else self.words


def forward_places(
    torch_side: TorchSide,
    flax_side: FlaxSide,
    variables: dict[str, np.ndarray],
    inputs: np.ndarray,
    reference: Run,
    bound: float,
    *,
    train: bool,
    masks: Masks | None,
) -> list[Place]:
    """Return every place where Flax's forward pass differs, in forward order.

    Args:
        torch_side: the reference, as it was before its pass.
        flax_side: its twin.
        variables: the weights of both.
        inputs: (N, ..., C).
        reference: PyTorch's pass.
        bound: for each error.
        train: the mode of both passes.
        masks: for dropout.
    """
    forced = flax_side.forced(variables, inputs, reference.calls, train=train, masks=masks)
    modules = {layer_path(name): layer for name, layer in torch_side.module.train(train).named_modules()}
    places = list(_places(modules, variables, inputs, reference, forced, bound))
    if not places:
        return []
    (_, explained), *others = places  # a search each: what the first looks like is enough
    return [explained(), *(place for place, _ in others)]


def _places(
    modules: Mapping[str, Any],
    variables: Mapping[str, np.ndarray],
    inputs: np.ndarray,
    reference: Run,
    forced: Run,
    bound: float,
) -> Iterator[tuple[Place, Callable[[], Place]]]:
    """Yield every place that differs, and a search that returns it with what it looks like."""
    sources = {"the input": inputs}
    order = order_of_calls(list(reference.calls), list(forced.calls))
    for name, ours in reference.calls.items():
        layer = CallName(name).layer
        if name not in forced.calls:
            if _has_weights(layer, variables):
                place = Place(layer, np.inf, "Flax never calls it", "a layer is left out (trap 10)")
                yield place, lambda place=place: place
            continue
        theirs = forced.calls[name]
        before = difference(layer, ours.input, theirs.input, bound)
        if not before.ok:
            earlier = _made_before(layer, sources)
            place = Place(layer, before.error, _before_words(before, next(reversed(earlier))), "", before.values)
            around = earlier | _inputs_around(layer, reference)
            around["the input"] = around.pop("the input")  # last: the search looks at the latest only
            yield place, partial(_before, place, before, around, ours.input, theirs.input, order)
        inside = difference(layer, ours.output, theirs.output, bound)
        if not inside.ok:
            words = f"given PyTorch's input, its output is {inside.error:.1e} off: {inside.detail}"
            place = Place(layer, inside.error, words, "", inside.values)
            yield place, partial(_inside, place, modules.get(layer), ours, theirs.output, dict(sources))
        sources.pop(layer, None)  # of an earlier call: the latest is last
        sources[layer] = ours.output
    end = difference("output", reference.output, forced.output, bound)
    if not end.ok:
        words = f"every layer up to {next(reversed(sources))} agrees, what comes after it differs: {end.detail}"
        place = Place("output", end.error, words, "", end.values)
        yield place, lambda: place._replace(looks_like=_between(sources, reference.output, forced.output)[1])


def _made_before(layer: str, sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what was made before a layer: the layers of a block finish before the block, and begin after it."""
    return {name: array for name, array in sources.items() if not name.startswith(f"{layer}/")}


def _inputs_around(layer: str, reference: Run) -> dict[str, np.ndarray]:
    """Return the inputs of the blocks that a layer is in."""
    blocks = ["/".join(layer.split("/")[:depth]) for depth in range(1, layer.count("/") + 1)]
    calls = {block: reference.calls.get(CallName.of(block)) for block in blocks}
    return {f"{block}'s input": call.input for block, call in calls.items() if call is not None}


def _has_weights(layer: str, variables: Mapping[str, Any]) -> bool:
    """Tell whether a layer has tensors of its own, not only its parts."""
    return any("/".join(path.split("/")[1:-1]) == layer for path in variables)


def _before_words(off: Difference, source: str) -> str:
    return f"its input is {off.error:.1e} off: {off.detail}; what lies between {source} and {off.name} differs"


def _before(
    place: Place, off: Difference, around: dict[str, np.ndarray], reference: np.ndarray, found: np.ndarray, order: str
) -> Place:
    """Return a place with what its input looks like; "between" names what PyTorch's input is made of, if it is found.

    The layer that was called last need not be it: of parallel paths, that is the path before.
    """
    source, looks = _between(around, reference, found)
    return place._replace(looks_like=looks or order, words=_before_words(off, source) if source else place.words)


def _between(sources: dict[str, np.ndarray], reference: np.ndarray, found: np.ndarray) -> tuple[str, str]:
    """Return what PyTorch's tensor is made of, and how Flax's is made otherwise; empty if no search finds it."""
    ours, theirs = explain(sources, reference), explain(sources, found)
    if theirs and theirs.source.startswith("["):  # not "the block's input" against what that is put together of
        ours = joined(sources, reference) or ours
    looks = compare_steps(ours, theirs) or imitate.narrowed(reference, found) or imitate.factor(reference, found)
    return ours.source if ours else "", looks


def _inside(place: Place, module: Any, ours: Call, found: np.ndarray, sources: dict[str, np.ndarray]) -> Place:
    """Return a place with what a layer does otherwise, or, of a block, what lies between its layers."""
    looks = ""
    if module is not None and any(True for _ in module.children()):
        _, looks = _between({**sources, "its input": ours.input}, ours.output, found)
    elif module is not None:
        looks = imitate.of_layer(module, ours, found)
    return place._replace(looks_like=looks)


def backward_place(
    torch_calls: Mapping[str, Call],
    flax_calls: Mapping[str, Call],
    gradients: list[Difference],
    reference: Run,
    bound: float,
) -> Place | None:
    """Return the first place, from the loss on, where a gradient differs; None if none of a layer's does.

    Args:
        torch_calls: gradients at the input and the output of every call of a layer, in forward order.
        flax_calls: Flax's.
        gradients: how the parameters' gradients compare.
        reference: PyTorch's forward pass.
        bound: for each error.
    """
    nearer, bad = "the loss", {d.name.partition("/")[2].rpartition("/")[0]: d for d in gradients if not d.ok}
    for name in reversed([name for name in torch_calls if name in flax_calls]):
        layer, ours, theirs, values = CallName(name).layer, torch_calls[name], flax_calls[name], reference.calls[name]
        after = difference(layer, ours.output, theirs.output, bound)
        if not after.ok:
            words = (
                f"the gradient at its output is {after.error:.1e} off: {after.detail}; "
                f"what lies between {layer} and {nearer} differs"
            )
            looks = _gradient_words(values.output, ours.output, theirs.output)
            return Place(layer, after.error, words, looks, after.values)
        if any(other.startswith(f"{layer}/") for other in torch_calls):  # a block: its layers come next
            continue
        within = difference(layer, ours.input, theirs.input, bound)
        if not within.ok:
            words = f"the gradient at its output agrees, at its input it is {within.error:.1e} off: {within.detail}"
            looks = _gradient_words(values.input, ours.input, theirs.input)
            return Place(layer, within.error, words, looks, within.values)
        if layer in bad and name == CallName.of(layer):
            tensor = bad[layer]
            words = f"the gradients at its input and output agree, that of {tensor.name} does not: {tensor.detail}"
            return Place(layer, tensor.error, words, "", tensor.values)
        nearer = layer
    return None


def _gradient_words(values: np.ndarray, reference: np.ndarray, found: np.ndarray) -> str:
    """Say how a gradient at `values` differs."""
    wrong = ~np.isclose(reference, found, rtol=imitate.SAME, atol=0)
    if wrong.any() and not values[wrong].any():
        return "only where its value is 0: the gradient at zero is another one (trap 11)"
    return imitate.of_gradients([reference], [found], len(values))
