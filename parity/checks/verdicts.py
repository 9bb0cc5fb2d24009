"""From what was compared to what is said: the worst figure and, if a check fails, where and what it looks like."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiment.weights.layout import layer_path
from parity.checks.pair import Both, Pair
from parity.diagnose.locate import Place, backward_place, forward_places
from parity.diagnose.one_layer import of_statistics
from parity.report import Failure, Result
from parity.report.compare import Difference, difference, short, worst
from parity.sides.calls import CallName, Run
from parity.sides.torch_side import TorchSide

MOST_NAMED = 6  # layers in a diagnosis
CRASHED = "unknown"  # in place of a layer: the check could not be made
NOT_LOCATED = "it could not be located"


def forward_result(check: str, pair: Pair, reference: Run, found: Run, bound: float, *, train: bool) -> Result:
    """Compare two passes; if they differ, feed each of Flax's layers PyTorch's input to see which are wrong."""
    top = worst_layer(reference, found, bound)
    if top.ok:
        return Result(check, top.error, bound, top.name)
    try:
        places = forward_places(
            pair.torch, pair.flax, pair.variables, pair.inputs, reference, bound, train=train, masks=pair.masks
        )
        words = "every layer agrees when it is given PyTorch's input: it is rounding that grows"
    except Exception as error:  # the failure stands, wherever it comes from
        places, words = [], f"{NOT_LOCATED}: {type(error).__name__}: {error}"
    if not places:
        failure = Failure(check, "forward", top.name, top.error, bound, f"{top.detail}; {words}", values=top.values)
        return Result(check, top.error, bound, top.name, "", failure)
    first, *others = places
    words = first.diagnosis
    if others:
        names = list(dict.fromkeys(place.layer for place in others))
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        words += f"; and of themselves wrong, too: {', '.join(names[:MOST_NAMED])}{more}"
    failure = Failure(check, "forward", first.layer, first.error, bound, words)
    failure = failure._replace(values=first.values, cause=first.looks_like)
    return Result(check, top.error, bound, first.layer, "", failure)


def worst_layer(reference: Run, found: Run, bound: float) -> Difference:
    """Compare the output and, as a network may forget its input on the way, that of every layer both sides have."""
    return worst(layer_differences(reference, found, bound))


def layer_differences(reference: Run, found: Run, bound: float) -> list[Difference]:
    """Return how far the outputs of layers that both sides have are apart, and last the network's own."""
    common = [name for name in reference.calls if name in found.calls]
    outputs = [(CallName(name).layer, reference.calls[name].output, found.calls[name].output) for name in common]
    outputs.append(("output", reference.output, found.output))
    return [difference(name, ours, np.asarray(theirs), bound) for name, ours, theirs in outputs]


def tensor_result(
    check: str, stage: str, found: Sequence[Difference], note: str = "", *, backward: bool = False
) -> Result:
    """Return the worst of several tensors; a failure names the first, or in a backward pass the last, that differs."""
    top, failed = worst(found), [d for d in found if not d.ok]
    if not failed:
        return Result(check, top.error, top.bound, short(top.name), note)
    first = failed[0]
    if backward:  # the layer nearest to the loss; the input's gradient, listed last, is the last to be computed
        first = next((d for d in reversed(failed) if d.name != "input"), first)
    more = f"; {len(failed)} tensors differ, the worst {short(top.name)} by {top.error:.1e}" if len(failed) > 1 else ""
    words = f"{first.detail}{more}"
    failure = Failure(check, stage, short(first.name), first.error, first.bound, words, values=first.values)
    return Result(check, top.error, top.bound, short(top.name), note, failure)


def gradient_failure(
    pair: Pair, both: Both, differences: list[Difference], forward_bound: float, bound: float, *, train: bool
) -> Result:
    """Walk back from the loss to the first gradient that differs."""
    result = tensor_result("gradients", "backward", differences, backward=True)
    failure = result.failure
    assert failure is not None
    if not worst_layer(both.reference, both.found, forward_bound).ok:
        words = f"it follows from the forward pass, which differs already: {failure.diagnosis}"
        return result._replace(failure=failure._replace(diagnosis=words))
    try:
        place = _backward_place(pair, both, differences, bound, train=train)
    except Exception as error:  # the failure stands, wherever it comes from
        words = f"{failure.diagnosis}; {NOT_LOCATED}: {type(error).__name__}: {error}"
        return result._replace(failure=failure._replace(diagnosis=words))
    if place is None:
        return result
    found: Any = {"layer": place.layer, "error": place.error, "values": place.values, "cause": place.looks_like}
    words = f"{place.diagnosis}; {sum(not d.ok for d in differences)} tensors differ"
    return result._replace(failure=failure._replace(**found, diagnosis=words))


def _backward_place(
    pair: Pair, both: Both, differences: list[Difference], bound: float, *, train: bool
) -> Place | None:
    masks = pair.masks if train else None
    torch_side = TorchSide(pair.torch.module, pair.torch.dtype)
    ours = torch_side.cotangents(pair.inputs, pair.cotangent, train=train, masks=masks)
    common = {name: call for name, call in both.reference.calls.items() if name in both.found.calls}
    theirs = pair.flax.cotangents(pair.variables, pair.inputs, pair.cotangent, common, train=train, masks=masks)
    return backward_place(ours, theirs, differences, both.reference, bound)


def statistics_words(
    pair: Pair, path: str, reference: Run, before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> str:
    """Say how the layer at "batch_stats/<layer>" moves its statistics in a step."""
    layer = path.partition("/")[2]
    modules = {layer_path(name): module for name, module in pair.torch.module.named_modules()}
    call, statistics = reference.calls.get(CallName.of(layer)), (f"{path}/mean", f"{path}/var")
    if call is None or not all(s in before and s in after for s in statistics):
        return ""
    old, new = ((side[statistics[0]], side[statistics[1]]) for side in (before, after))
    return of_statistics(modules[layer], call, old, new)


def guarded(run: Callable[[], Result], check: str, stage: str) -> Result:
    """Turn a crash of someone's module into a failure of that check: the others still say something."""
    try:
        return run()
    except Exception as error:
        return crashed(error, check, stage)


def crashed(error: Exception, check: str, stage: str) -> Result:
    """Return the failure of a check that could not be made."""
    text = " ".join(str(error).split())[:300]
    failure = Failure(check, stage, CRASHED, np.inf, 0.0, f"{type(error).__name__}: {text}")
    return Result(check, np.inf, 0.0, "crashed", failure=failure)
