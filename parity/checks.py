"""The checks: each is one function from a pair of networks to its worst figure and, if it fails, where and why."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from flax import linen as nn
from torch import nn as torch_nn

from parity.compare import CHAOTIC, Difference, compare, difference, short, whole_error, worst, zero_gradients
from parity.copy import flax_path, layer_path
from parity.flax_side import FlaxSide
from parity.imitate import of_statistics
from parity.locate import backward_place, forward_places
from parity.report import Failure, Report, Result
from parity.structure import Counts, check_round_trip, check_structure, exact, without_counters
from parity.torch_side import Masks, Run, TorchSide, one_rounding_away, randomised

# The bounds. In float64 bugs are 1e-3 and above, roundings 1e-14 and below: between them lies proof.
FORWARD_EVAL, FORWARD_TRAIN, GRADIENT, STATISTICS = 1e-13, 1e-12, 1e-11, 1e-12
FORWARD_FLOAT32, GRADIENT_FLOAT32 = 1e-5, 1e-4
STATISTICS_STEPS, DROPOUT_DRAWS = 5, 3
# See `check_gradients_float32`. A ReLU that flips is rare: of 13 float32 gradients of PyTorch's GoogLeNet, moved by a
# rounding each, two had the error that Flax's had (1.5e-2), seven one of 3e-5.
AS_NEAR, FLOAT32_NUDGES = 3.0, 12

Gradients = dict[str, np.ndarray]  # by Flax's path, with the "input"'s


class Pair(NamedTuple):
    """Two networks with the same weights, and something to show them."""

    torch: TorchSide
    flax: FlaxSide
    variables: dict[str, np.ndarray]  # the weights of both, by Flax's path
    inputs: np.ndarray  # (N, ..., C)
    cotangent: np.ndarray  # what the output is weighted by before it is differentiated
    masks: Masks  # for the dropout layers, the same for both


class Both(NamedTuple):
    """One pass of each side, forward and back."""

    reference: Run
    gradients: Gradients  # of what PyTorch trains, and of the input
    found: Run
    found_gradients: Gradients


Passes = Callable[[bool], Both]  # whether in training mode -> the passes, which are run once


def check(
    torch_module: torch_nn.Module,
    flax_module: nn.Module,
    inputs: np.ndarray,
    *,
    name: str = "",
    num_params: int | None = None,
    seed: int = 0,
) -> Report:
    """Prove that two modules are the same network, or say where they are not.

    The weights are PyTorch's, copied by name (`parity.to_flax`); the affines of its norm layers, and parameters that
    are all zero, are replaced by random ones, statistics by those of the inputs, moved at random. Neither module is
    changed.

    Args:
        torch_module: the reference.
        flax_module: a Linen module whose layers have the same names.
        inputs: at least two examples, channels last: (N, H, W, C), (N, length, C) or (N, features).
        name: what the report is called; by default the Flax module's class.
        num_params: how many trainable values there must be; None if nobody has published it.
        seed: of the random statistics, affines, masks and cotangents.

    Returns:
        A report with `ok` and `failures`. Errors are relative L2 norms per tensor.
    """
    name = name or type(flax_module).__name__
    counts = None if num_params is None else Counts(num_params)
    structure = guarded(
        lambda: check_structure(torch_module, FlaxSide(flax_module, np.float32), inputs.shape[1:], counts),
        "structure",
        "structure",
    )
    if structure.failure:  # nothing can be copied, so nothing more can be asked
        return Report(name, (structure,))
    try:
        torch_module = randomised(torch_module, inputs, seed)
        pair = make_pair(torch_module, flax_module, inputs, np.float64, seed)
    except Exception as error:
        return Report(name, (structure, _crashed(error, "forward, eval", "forward")))
    results = [structure, guarded(lambda: check_round_trip(torch_module), "round trip", "copy")]
    passes = cache(lambda train: run_both(pair, train=train))  # three checks look at the same two
    results += [
        guarded(lambda: check_forward(pair, passes, train=False), "forward, eval", "forward"),
        guarded(lambda: check_forward(pair, passes, train=True), "forward, train", "forward"),
        guarded(lambda: check_gradients(pair, passes), "gradients", "backward"),
        guarded(lambda: check_statistics(pair), "BatchNorm statistics", "statistics"),
        guarded(lambda: check_dropout(pair, seed), "dropout", "forward"),
    ]
    single = make_pair(torch_module, flax_module, inputs, np.float32, seed)
    zeros = frozenset[str]() if results[4].failure else zero_gradient_names(pair, passes)
    results += [
        guarded(lambda: check_forward_float32(single), "float32 forward", "forward"),
        guarded(lambda: check_gradients_float32(single, zeros, seed), "float32 gradients", "backward"),
    ]
    return Report(name, tuple(results), zeros)


def make_pair(
    torch_module: torch_nn.Module, flax_module: nn.Module, inputs: np.ndarray, dtype: type[np.floating], seed: int
) -> Pair:
    """Give both modules the same weights in one precision."""
    torch_side, flax_side = TorchSide(torch_module, dtype), FlaxSide(flax_module, dtype)
    variables = without_counters(torch_side.variables(), flax_side.structure(inputs.shape[1:]))
    inputs = np.asarray(inputs, dtype)
    output = torch_side.forward(inputs).output
    cotangent = np.random.default_rng([seed, 1]).normal(size=output.shape).astype(dtype) / len(inputs)
    return Pair(torch_side, flax_side, variables, inputs, cotangent, draw_masks(torch_side, inputs, seed))


def draw_masks(torch_side: TorchSide, inputs: np.ndarray, seed: int) -> Masks:
    """Draw a mask for every call of a dropout layer, in the order in which PyTorch makes them."""
    rng = np.random.default_rng([seed, 2])
    return {name: rng.random(site.shape) >= site.rate for name, site in torch_side.sites(inputs).items()}


def check_forward(pair: Pair, passes: Passes, *, train: bool) -> Result:
    """Output, and that of every layer, in float64; dropout, if there is any, with the same masks on both sides."""
    both, bound = passes(train), FORWARD_TRAIN if train else FORWARD_EVAL
    check = f"forward, {'train' if train else 'eval'}"
    return _forward_result(check, pair, both.reference, both.found, bound, train=train)


def check_gradients(pair: Pair, passes: Passes) -> Result:
    """Every trained parameter's gradient and the input's in float64, in both modes."""
    found, zeros = _gradient_differences(passes(False), GRADIENT)
    trained, zeros_trained = _gradient_differences(passes(True), GRADIENT)
    for differences, train in ((found, False), (trained, True)):
        if not all(d.ok for d in differences):
            return _gradient_failure(pair, passes(train), differences, train=train)
    notes = []
    if names := sorted(short(name) for name in zeros | zeros_trained):
        listed = ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
        notes.append(f"{listed}: zero but for rounding, judged by the whole gradient")
    if frozen := frozen_names(pair):
        notes.append(f"{len(frozen)} frozen tensors have none")
    return _tensor_result("gradients", "backward", [*found, *trained], "; ".join(notes))


def _gradient_failure(pair: Pair, both: Both, differences: list[Difference], *, train: bool) -> Result:
    """Walk back from the loss to the first gradient that differs."""
    result = _tensor_result("gradients", "backward", differences, backward=True)
    failure = result.failure
    assert failure is not None
    if not _worst_layer(both.reference, both.found, FORWARD_TRAIN).ok:
        words = f"it follows from the forward pass, which differs already: {failure.diagnosis}"
        return result._replace(failure=failure._replace(diagnosis=words))
    masks = pair.masks if train else None
    torch_side = TorchSide(pair.torch.module, pair.torch.dtype)
    ours = torch_side.cotangents(pair.inputs, pair.cotangent, train=train, masks=masks)
    common = {name: both.reference.calls[name] for name in both.reference.calls if name in both.found.calls}
    theirs = pair.flax.cotangents(pair.variables, pair.inputs, pair.cotangent, common, train=train, masks=masks)
    place = backward_place(ours, theirs, differences, both.reference, GRADIENT)
    if place is None:
        return result
    words = f"{place.diagnosis}; {sum(not d.ok for d in differences)} tensors differ"
    return result._replace(failure=failure._replace(layer=place.layer, error=place.error, diagnosis=words))


def zero_gradient_names(pair: Pair, passes: Passes | None = None) -> frozenset[str]:
    """Return the parameters whose float64 gradient in training mode is zero but for rounding, by Flax's path."""
    both = run_both(pair, train=True) if passes is None else passes(True)
    return zero_gradients(both.gradients, both.found_gradients)


def frozen_names(pair: Pair) -> frozenset[str]:
    """Return the parameters that PyTorch does not train, by Flax's path."""
    frozen = {name: p for name, p in pair.torch.module.named_parameters() if not p.requires_grad}
    return frozenset(flax_path(name, p.ndim) for name, p in frozen.items())


def check_statistics(pair: Pair) -> Result:
    """Running mean, variance and counter after each of a few training steps, each from where the last one ended."""
    bound = STATISTICS
    torch_side, variables = TorchSide(pair.torch.module, pair.torch.dtype), pair.variables
    statistics = [path for path in variables if not path.startswith("params/")]
    if not statistics:
        return Result("BatchNorm statistics", 0.0, bound, "", "none in this network")
    rng, found, looks = np.random.default_rng(0), [], ""
    for step in range(STATISTICS_STEPS):
        inputs = pair.inputs * rng.uniform(0.5, 2) + rng.normal()  # other statistics each step
        reference = torch_side.run(inputs, pair.cotangent, train=True, masks=pair.masks)[0]
        after = pair.flax.run(variables, inputs, pair.cotangent, train=True, masks=pair.masks)[0].statistics
        after = variables | after  # none of them, where the module keeps them still
        ours, theirs = ({path: side[path] for path in statistics} for side in (reference.statistics, after))
        found += [d._replace(detail=f"step {step + 1}, {d.detail}") for d in compare(ours, theirs, bound)]
        if step == 0 and (wrong := [d.name for d in found if not d.ok]):
            looks = _statistics_words(pair, wrong[0].rpartition("/")[0], reference, variables, after)
        variables = after
    result = _tensor_result("BatchNorm statistics", "statistics", found)
    if result.failure and looks:
        return result._replace(failure=result.failure._replace(diagnosis=f"{looks}: {result.failure.diagnosis}"))
    return result


def _statistics_words(
    pair: Pair, path: str, reference: Run, before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> str:
    """Say how the layer at "batch_stats/<layer>" moves its statistics in a step."""
    layer = path.partition("/")[2]
    modules = {layer_path(name): module for name, module in pair.torch.module.named_modules()}
    call, statistics = reference.calls.get(f"{layer}#0"), (f"{path}/mean", f"{path}/var")
    if call is None or not all(s in before and s in after for s in statistics):
        return ""
    old, new = ((side[statistics[0]], side[statistics[1]]) for side in (before, after))
    return of_statistics(modules[layer], call, old, new)


def check_dropout(pair: Pair, seed: int = 0) -> Result:
    """The dropout layers themselves, then output, gradients and statistics under several draws of masks."""
    ours, theirs = pair.torch.sites(pair.inputs), pair.flax.sites(pair.variables, pair.inputs)
    faults = [
        (name.split("#")[0], f"dropout (mask shape, rate): PyTorch {ours.get(name)}, Flax {theirs.get(name)}")
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name)
    ]
    if faults:
        return exact("dropout", "forward", faults, "")
    if not ours:
        return Result("dropout", 0.0, GRADIENT, "", "none in this network")
    results = []
    for draw in range(DROPOUT_DRAWS):
        drawn = pair._replace(masks=draw_masks(pair.torch, pair.inputs, seed + 1 + draw))
        reference, grads, found, found_grads = run_both(drawn, train=True)
        zeros = zero_gradients(grads, found_grads)
        moved = [path for path in pair.variables if not path.startswith("params/")]
        ours, theirs = (
            {path: (pair.variables | run.statistics)[path] for path in moved} for run in (reference, found)
        )
        results += [
            _forward_result("forward, train", drawn, reference, found, FORWARD_TRAIN, train=True),
            _tensor_result("gradients", "backward", compare(grads, found_grads, GRADIENT, zeros=zeros), backward=True),
        ]
        results += [_tensor_result("statistics", "statistics", compare(ours, theirs, STATISTICS))] if moved else []
    result = max(results, key=lambda r: (r.failure is not None, r.error / r.bound))
    failure = result.failure and result.failure._replace(check="dropout")
    note = f"{result.check}; {len(pair.masks)} layers, {DROPOUT_DRAWS} draws of masks"
    return result._replace(check="dropout", note=note, failure=failure)


def check_forward_float32(pair: Pair) -> Result:
    """Output in float32, evaluation mode."""
    reference, found = pair.torch.forward(pair.inputs), pair.flax.forward(pair.variables, pair.inputs)
    return _forward_result("float32 forward", pair, reference, found, FORWARD_FLOAT32, train=False)


def check_gradients_float32(pair: Pair, zeros: frozenset[str], seed: int = 0) -> Result:
    """Gradients in float32, training mode; `zeros` are those which float64 has shown to be zero but for rounding.

    A deep network with BatchNorm has activations so near to zero that one rounding decides whether a ReLU lets them
    through, and then no two float32 gradients agree. Where PyTorch's own is shown to be that far from its float64 one,
    Flax's must be as near to that as PyTorch's, within a factor.
    """
    both = run_both(pair, train=True)
    found, _ = _gradient_differences(both, GRADIENT_FLOAT32, zeros=zeros)
    result = _tensor_result("float32 gradients", "backward", found, backward=True)
    if not result.failure:
        return result
    ours, own = float32_errors(pair, both.found_gradients, seed)
    note = f"from float64: Flax {ours:.1e}, PyTorch {own:.1e}; one from the other, at worst {result.error:.1e}"
    if own <= CHAOTIC * GRADIENT_FLOAT32 or not ours <= AS_NEAR * own:
        return result._replace(note=note)
    return Result(result.check, ours, AS_NEAR * own, "the whole gradient", note)


def float32_errors(pair: Pair, found: Gradients, seed: int) -> tuple[float, float]:
    """Return how far the whole float32 gradient is from PyTorch's float64 one: Flax's, and PyTorch's.

    PyTorch's is the worst of several: of the weights as they are, and moved by one rounding.
    """

    def gradients(module: torch_nn.Module, dtype: type[np.floating]) -> Gradients:
        return TorchSide(module, dtype).run(pair.inputs, pair.cotangent, train=True, masks=pair.masks)[1]

    module = pair.torch.module
    modules = [module, *(one_rounding_away(module, seed + i) for i in range(FLOAT32_NUDGES))]
    own = max(whole_error(gradients(m, np.float64), gradients(m, np.float32)) for m in modules)
    return whole_error(gradients(module, np.float64), found), own


def run_both(pair: Pair, *, train: bool) -> Both:
    """Run both sides forward and back."""
    masks = pair.masks if train else None
    torch_side = TorchSide(pair.torch.module, pair.torch.dtype)  # a copy: its buffers move in training mode
    reference, gradients = torch_side.run(pair.inputs, pair.cotangent, train=train, masks=masks)
    found, others = pair.flax.run(pair.variables, pair.inputs, pair.cotangent, train=train, masks=masks)
    frozen = frozen_names(pair)
    return Both(reference, gradients, found, {name: grad for name, grad in others.items() if name not in frozen})


def _gradient_differences(
    both: Both, bound: float, zeros: frozenset[str] | None = None
) -> tuple[list[Difference], frozenset[str]]:
    if zeros is None:
        zeros = zero_gradients(both.gradients, both.found_gradients)
    return compare(both.gradients, both.found_gradients, bound, zeros=zeros), zeros


def _forward_result(check: str, pair: Pair, reference: Run, found: Run, bound: float, *, train: bool) -> Result:
    top = _worst_layer(reference, found, bound)
    if top.ok:
        return Result(check, top.error, bound, top.name)
    places = forward_places(
        pair.torch, pair.flax, pair.variables, pair.inputs, reference, bound, train=train, masks=pair.masks
    )
    if not places:
        words = f"{top.detail}; every layer agrees when it is given PyTorch's input: it is rounding that grows"
        return Result(
            check, top.error, bound, top.name, "", Failure(check, "forward", top.name, top.error, bound, words)
        )
    first, *others = places
    words = first.diagnosis
    if others:
        words += f"; and of themselves wrong, too: {', '.join(dict.fromkeys(place.layer for place in others))}"
    failure = Failure(check, "forward", first.layer, first.error, bound, words)
    return Result(check, top.error, bound, first.layer, "", failure)


def _worst_layer(reference: Run, found: Run, bound: float) -> Difference:
    """Compare the output and, as a network may forget its input on the way, that of every layer both sides have."""
    common = [name for name in reference.calls if name in found.calls]
    outputs = [(name.split("#")[0], reference.calls[name].output, found.calls[name].output) for name in common]
    outputs.append(("output", reference.output, found.output))
    return worst([difference(name, ours, np.asarray(theirs), bound) for name, ours, theirs in outputs])


def _tensor_result(
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
    failure = Failure(check, stage, short(first.name), first.error, first.bound, f"{first.detail}{more}")
    return Result(check, top.error, top.bound, short(top.name), note, failure)


def guarded(run: Callable[[], Result], check: str, stage: str) -> Result:
    """Turn a crash of someone's module into a failure of that check: the others still say something."""
    try:
        return run()
    except Exception as error:
        return _crashed(error, check, stage)


def _crashed(error: Exception, check: str, stage: str) -> Result:
    text = " ".join(str(error).split())[:300]
    failure = Failure(check, stage, "unknown", np.inf, 0.0, f"{type(error).__name__}: {text}")
    return Result(check, np.inf, 0.0, "crashed", failure=failure)
