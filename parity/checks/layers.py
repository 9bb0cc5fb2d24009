"""The checks: each is one function from a pair of networks to its worst figure and, if it fails, where and why."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from flax import linen as nn
from flax import nnx
from torch import nn as torch_nn

from data import UserError
from parity.checks.float32 import check_forward_float32, check_gradients_float32
from parity.checks.larger import check_larger_layers
from parity.checks.layer_match import match
from parity.checks.pair import Both, Pair, draw_masks, frozen_names, make_pair, run_both
from parity.checks.structure import Counts, check_round_trip, check_structure, exact
from parity.checks.ties import MOVED, settled, undecided
from parity.checks.verdicts import (
    CRASHED,
    crashed,
    forward_result,
    gradient_failure,
    guarded,
    statistics_words,
    tensor_result,
)
from parity.compiler.check import check_compiled
from parity.report import Report, Result
from parity.report.compare import Difference, compare, short, zero_gradients
from parity.sides.calls import CallName
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.flax_side import FlaxSide
from parity.sides.names import Names
from parity.sides.torch_side import TorchSide, randomised

# The bounds. In float64 bugs are 1e-3 and above, roundings 1e-14 and below: between them lies proof.
FORWARD_EVAL, FORWARD_TRAIN, GRADIENT, STATISTICS = 1e-13, 1e-12, 1e-11, 1e-12
STATISTICS_STEPS, DROPOUT_DRAWS = 5, 3

Passes = Callable[[bool], Both]  # whether in training mode -> the passes, which are run once


def check(
    torch_module: torch_nn.Module,
    flax_module: nn.Module | nnx.Module,
    inputs: np.ndarray,
    *,
    name: str = "",
    num_params: int | None = None,
    seed: int = 0,
    mapping: Mapping[str, str] | None = None,
    same_names: bool = False,
    fail_fast: bool = False,
) -> Report:
    """Prove that two modules are the same network, or say where they are not.

    The weights are PyTorch's; the affines of its norm layers, and parameters that are all zero, are replaced by random
    ones, statistics by those of the inputs, moved at random. Neither module is changed.

    Args:
        torch_module: the reference.
        flax_module: a Linen or NNX module.
        inputs: at least two examples, channels last: (N, H, W, C), (N, length, C) or (N, features).
        name: what the report is called; by default the Flax module's class.
        num_params: how many trainable values there must be; None if nobody has published it.
        seed: of the random statistics, affines, masks and cotangents.
        mapping: keys of PyTorch's state_dict to paths of Flax's variables, {"conv1.weight": "params/Conv_0/kernel"},
            as far as they are known; the rest is found (`parity.match`).
        same_names: require the same names on both sides, up to `parity.to_flax`'s rule.
        fail_fast: make no further check after the first that fails.

    Returns:
        A report with `ok` and `failures`. Errors are relative L2 norms per tensor.
    """
    counts = None if num_params is None else Counts(num_params)
    name, names, ambiguous = name or type(flax_module).__name__, Names(), ""
    if not same_names:
        try:
            found = match(torch_module, FlaxSide(flax_module, np.float64), inputs, mapping, seed)
        except UserError:
            raise
        except Exception as error:
            return Report(name, (crashed(error, "structure", "structure"),))
        names, ambiguous = found.names, found.ambiguous
    sides = FlaxSide(flax_module, np.float64, names), FlaxSide(flax_module, np.float32, names)
    return check_sides(torch_module, sides, inputs, name, counts, seed, ambiguous, fail_fast=fail_fast)


def check_sides(
    torch_module: torch_nn.Module,
    sides: tuple[FlaxSide, FlaxSide],
    inputs: np.ndarray,
    name: str,
    counts: Counts | None = None,
    seed: int = 0,
    ambiguous: str = "",
    *,
    fail_fast: bool = False,
) -> Report:
    """Do as `check`, with a Flax module that may have been compiled already, in float64 and in float32."""
    wide, single = sides
    structure = guarded(
        lambda: check_structure(torch_module, single, inputs.shape[1:], counts), "structure", "structure"
    )
    if structure.failure:  # nothing can be copied, so nothing more can be asked
        if ambiguous:
            words = f"{structure.failure.diagnosis}; {ambiguous}: say it with a mapping"
            structure = structure._replace(failure=structure.failure._replace(diagnosis=words))
        return Report(name, (structure,))
    try:
        torch_module = randomised(torch_module, inputs, seed)
        pair = make_pair(torch_module, wide, inputs, seed)
    except Exception as error:
        return Report(name, (structure, crashed(error, "forward, eval", "forward")))
    drawn = guarded(lambda: check_draws(pair), "dropout", "structure")
    if drawn.failure and drawn.failure.layer != CRASHED:
        return Report(name, (structure, drawn))
    pair, results, zeros = _check_settled(pair, seed, fail_fast=fail_fast)
    results = [structure, guarded(lambda: check_round_trip(torch_module), "round trip", "copy"), *results]
    if any(result.failure for result in results):  # float32 would show the same, less clearly
        if not fail_fast and (found := _compiled_wrong(pair)):
            results.append(found)
        return Report(name, tuple(results))
    narrow = make_pair(torch_module, single, pair.inputs, seed)
    results += [
        guarded(lambda: check_forward_float32(narrow), "float32 forward", "forward"),
        guarded(lambda: check_gradients_float32(narrow, zeros, seed), "float32 gradients", "backward"),
    ]
    results.append(
        guarded(lambda: check_compiled(sides, pair.variables, pair.inputs, pair.cotangent), "compiled", "compiler")
    )
    return Report(name, tuple(results), zeros)


def _compiled_wrong(pair: Pair) -> Result | None:
    """Return the fault of the compiler if the programs of the checks are wrong themselves; None if they are right."""
    result = guarded(
        lambda: check_compiled([pair.flax], pair.variables, pair.inputs, pair.cotangent, QUICK_COMPILATION),
        "compiled",
        "compiler",
    )
    return result if result.failure and result.failure.fault else None


def _check_settled(pair: Pair, seed: int, *, fail_fast: bool) -> tuple[Pair, list[Result], frozenset[str]]:
    """Run the checks of float64; again with other inputs, if at these PyTorch's own gradient is undecided."""
    results, zeros, apart = _check_float64(pair, seed, fail_fast=fail_fast)
    if not apart:
        return pair, results, zeros
    pair = settled(pair, seed)
    results, zeros, _ = _check_float64(pair, seed, fail_fast=fail_fast)
    words = f"the inputs moved by {MOVED:g} of their deviation: at the given ones PyTorch's own gradient is"
    words += f" {apart:.1e} from itself by one rounding"
    noted = [  # with `fail_fast`, the second time an earlier check may fail: then there are no gradients to say it of
        r._replace(note="; ".join(filter(None, (r.note, words)))) if r.check == "gradients" else r for r in results
    ]
    return pair, noted, zeros


def _check_float64(pair: Pair, seed: int, *, fail_fast: bool) -> tuple[list[Result], frozenset[str], float]:
    """Run the checks of one pass and of a few.

    Returns:
        The results, the tensors whose true gradient is zero, and if gradients differ, how undecided PyTorch's are.
    """
    passes = cache(lambda train: run_both(pair, train=train))  # three checks look at the same two
    results: list[Result] = []
    zeros, apart = frozenset[str](), 0.0
    for name, stage, run in (
        ("forward, eval", "forward", lambda: check_forward(pair, passes, train=False)),
        ("forward, train", "forward", lambda: check_forward(pair, passes, train=True)),
        ("gradients", "backward", lambda: check_gradients(pair, passes)),
        ("BatchNorm statistics", "statistics", lambda: check_statistics(pair)),
        ("dropout", "forward", lambda: check_dropout(pair, seed, [result for result in results if result.failure])),
    ):
        results.append(guarded(run, name, stage))
        failed = bool(results[-1].failure)
        # Where the forward pass differs, gradients differ at any inputs: those of PyTorch's alone say nothing.
        decided = any(result.failure for result in results[:2])
        if failed and not decided and name in ("gradients", "dropout") and np.isfinite(results[-1].error):
            apart = apart or max(undecided(pair, passes(t).gradients, seed, train=t) for t in (False, True))
        if failed and fail_fast:
            break
        if name == "gradients":
            zeros = zeros if failed else zero_gradient_names(pair, passes)
            passes.cache_clear()  # gigabytes, in float64, of a VGG
    return results, zeros, apart


def check_forward(pair: Pair, passes: Passes, *, train: bool) -> Result:
    """Output, and that of every layer, in float64; dropout, if there is any, with the same masks on both sides."""
    both, bound = passes(train), FORWARD_TRAIN if train else FORWARD_EVAL
    check = f"forward, {'train' if train else 'eval'}"
    result = forward_result(check, pair, both.reference, both.found, bound, train=train)
    return result if train or result.failure else check_larger_layers(pair) or result


def check_gradients(pair: Pair, passes: Passes) -> Result:
    """Every trained parameter's gradient and the input's in float64, in both modes."""
    found, zeros = _gradient_differences(passes(False), GRADIENT)
    trained, zeros_trained = _gradient_differences(passes(True), GRADIENT)
    for differences, train in ((found, False), (trained, True)):
        if not all(d.ok for d in differences):
            return gradient_failure(pair, passes(train), differences, FORWARD_TRAIN, GRADIENT, train=train)
    notes = []
    if names := sorted(short(name) for name in zeros | zeros_trained):
        listed = ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
        notes.append(f"{listed}: zero but for rounding, judged by the whole gradient")
    if frozen := frozen_names(pair):
        notes.append(f"{len(frozen)} frozen tensors have none")
    return tensor_result("gradients", "backward", [*found, *trained], "; ".join(notes))


def zero_gradient_names(pair: Pair, passes: Passes | None = None) -> frozenset[str]:
    """Return the parameters whose float64 gradient in training mode is zero but for rounding, by Flax's path."""
    both = run_both(pair, train=True) if passes is None else passes(True)
    return zero_gradients(both.gradients, both.found_gradients)


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
            looks = statistics_words(pair, wrong[0].rpartition("/")[0], reference, variables, after)
        variables = after
    result = tensor_result("BatchNorm statistics", "statistics", found)
    if result.failure and looks:
        return result._replace(
            failure=result.failure._replace(diagnosis=f"{looks}: {result.failure.diagnosis}", cause=looks)
        )
    return result


def check_draws(pair: Pair) -> Result:
    """Whether each side draws random numbers in dropout layers alone, once in each: only there are masks put in."""
    sides: Any = ("PyTorch", pair.torch, ()), ("Flax", pair.flax, (pair.variables,))
    for name, side, given in sides:
        draws = side.draws(*given, pair.inputs)
        active = sum(0 < site.rate < 1 for site in side.sites(*given, pair.inputs).values()) if draws else 0
        if len(draws) != active:
            lines = ", ".join(dict.fromkeys(str(draw.line) for draw in draws))
            words = f"{name} draws {len(draws)} times in {active} dropout layers, at {lines}"
            return exact("dropout", "structure", [("random numbers", words)], "")
    return exact("dropout", "structure", [], "")


def check_dropout(pair: Pair, seed: int = 0, known: Sequence[Result] = ()) -> Result:
    """The dropout layers themselves, then output, gradients and statistics under several draws of masks.

    What `known` checks have found already is not found a second time.
    """
    ours, theirs = pair.torch.sites(pair.inputs), pair.flax.sites(pair.variables, pair.inputs)
    faults = [
        (CallName(name).layer, f"dropout (mask shape, rate): PyTorch {ours.get(name)}, Flax {theirs.get(name)}")
        for name in [*ours, *(name for name in theirs if name not in ours)]
        if ours.get(name) != theirs.get(name)
    ]
    if faults:
        return exact("dropout", "forward", faults, "")
    if not ours:
        return Result("dropout", 0.0, GRADIENT, "", "none in this network")
    wrong = {result.check for result in known}
    if "forward, train" in wrong:
        return Result(
            "dropout", 0.0, GRADIENT, "", f"the same {len(ours)} layers; the pass differs already, see above"
        )
    draws = [
        _check_masks(pair._replace(masks=draw_masks(pair.torch, pair.inputs, seed + 1 + draw)))
        for draw in range(DROPOUT_DRAWS)
    ]
    judged = [result for results in draws for result in results if result.check not in wrong]
    result = max(judged, key=lambda r: (r.failure is not None, r.error / r.bound))
    failure = result.failure and result.failure._replace(check="dropout")
    note = f"{result.check}; {len(pair.masks)} layers, {DROPOUT_DRAWS} draws of masks"
    return result._replace(check="dropout", note=note, failure=failure)


def _check_masks(pair: Pair) -> list[Result]:
    """Output, gradients and statistics under one draw of masks."""
    both = run_both(pair, train=True)
    moved = [path for path in pair.variables if not path.startswith("params/")]
    ours, theirs = (
        {path: (pair.variables | run.statistics)[path] for path in moved} for run in (both.reference, both.found)
    )
    gradients, _ = _gradient_differences(both, GRADIENT)
    results = [
        forward_result("forward, train", pair, both.reference, both.found, FORWARD_TRAIN, train=True),
        tensor_result("gradients", "backward", gradients, backward=True),
    ]
    return (
        [*results, tensor_result("BatchNorm statistics", "statistics", compare(ours, theirs, STATISTICS))]
        if moved
        else results
    )


def _gradient_differences(
    both: Both, bound: float, zeros: frozenset[str] | None = None
) -> tuple[list[Difference], frozenset[str]]:
    if zeros is None:
        zeros = zero_gradients(both.gradients, both.found_gradients)
    return compare(both.gradients, both.found_gradients, bound, zeros=zeros), zeros
