"""The checks of a JAX model against another one, operation by operation: weights, passes, gradients, statistics.

In training mode, too, unless there is noise: dropout draws masks of its own on each side.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from data import UserError
from parity.align.pair import PortPair, aligned, widened
from parity.checks.float32_operations import check_float32
from parity.checks.gradients import GRADIENT, ZERO
from parity.checks.operations import (
    FORWARD,
    STATISTICS,
    check_forward,
    check_round_trip,
    check_weights,
)
from parity.jax_reference.recorded import JaxReference, differentiated, draws
from parity.jax_reference.words import in_words
from parity.mapping.candidates import rules
from parity.mapping.rule import Rule
from parity.report import Failure, Report, Result
from parity.report.compare import Difference, describe, relative_error, total_norm, worst
from parity.sides.arrays import to_numpy, x64
from parity.sides.draw import Inputs
from parity.sides.faults import explained
from parity.sides.given import fitted, normalised
from parity.sides.jax_inputs import jax_parameters
from parity.sides.jax_side import JaxSide, jax_side
from parity.sides.outputs import named_leaves
from parity.sides.pairing import twins

FLOAT32 = 1e-5  # where a side computes in float32


def check_jax_port(
    reference: Any,
    model: Any,
    inputs: Any,
    jax_inputs: Any = None,
    *,
    purpose: str = "training",
    mapping: Mapping[str, Rule] | Mapping[str, str] | Path | None = None,
    output_mask: Any = None,
    name: str = "",
    seed: int = 0,
    precision: bool = True,
) -> tuple[PortPair, Report]:
    """Prove that a JAX model computes what another one does, or say where they part.

    Args:
        reference: a Linen, NNX or Equinox module, a pair (apply, params), or a function that holds its parameters.
        model: another one.
        inputs: an array, a tuple of arrays, or a dict by name, as the reference takes them.
        jax_inputs: the same, where the model is given something else; by default channels last or first as it fits.
        purpose: "training": gradients and training mode, too; "inference": weights and forward pass alone.
        mapping: what is known of the weights: the reference's paths to the model's, rules by path, or a file.
        output_mask: of positions of the output that are compared.
        name: what the report is called.
        seed: of the random weights.
        precision: whether outputs are compared in float32, too.

    Raises:
        UserError: a side cannot be called with these inputs.
    """
    found = None
    for by_name in (True, False) if mapping is None else (False,):
        try:
            pair = align(reference, model, inputs, jax_inputs, mapping=mapping, by_name=by_name, seed=seed)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the two sides cannot be compared: {explained(error)}") from error
        if pair is None:  # the names do not say which is which
            continue
        report = _report(pair, purpose, output_mask, name or type(model).__name__, precision=precision)
        if found is None or report.ok:
            found = pair, report
        if report.ok:
            break
    assert found is not None
    return found


def _report(pair: PortPair, purpose: str, output_mask: Any, name: str, *, precision: bool) -> Report:
    """Return what the checks say of a pair."""
    results = [check_weights(pair)]
    if not results[0].failure:
        results += check_forward(pair, output_mask)
    if precision and not any(result.failure for result in results):
        results += check_float32(pair, output_mask)
    if not any(result.failure for result in results):
        results.append(check_round_trip(pair))
        if purpose == "training":
            results += check_training(pair)
    notes = list(pair.notes)
    if pair.float32:
        notes.append(f"computes in float32 at {', '.join(str(line) for line in pair.float32[:3])}")
    report = Report(name, tuple(results), notes=tuple(notes))
    return in_words(report, _reference(pair).side.kind, pair.jax.kind)


def align(
    reference: Any,
    model: Any,
    inputs: Any,
    jax_inputs: Any = None,
    *,
    mapping: Any = None,
    by_name: bool = False,
    seed: int = 0,
) -> PortPair | None:
    """Record the reference, and walk the model along it; None if weights are to be taken by name, and cannot be."""
    given = normalised(widened(inputs))
    ours = fitted(given, jax_parameters(reference), "the reference")[0]
    module = JaxReference(reference, ours)
    module.randomise(seed)
    side, theirs, words = _fitting(module, model, given, jax_inputs)
    if by_name and (mapping := same_names(module.parameters, side.leaves)) is None:
        return None
    return aligned(module, side, ours, theirs, words, mapping)


def same_names(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> dict[str, Rule] | None:
    """Return the rules of leaves that have the same names, but for "weight" and "kernel"; None unless all have."""
    by_name = {_plain(path): path for path in ours}
    found: dict[str, Rule] = {}
    for path, array in theirs.items():
        source = by_name.get(_plain(path))
        if source is None:
            return None
        shape = ours[source].shape
        rule = Rule((source,), ()) if shape == array.shape else next(rules({source: shape}, array.shape), None)
        if rule is None:
            return None
        found[path] = rule
    return found if len({rule.sources for rule in found.values()}) == len(found) else None


def _plain(path: str) -> str:
    *layer, last = path.split("/")
    return "/".join([*layer, "weight" if last in ("kernel", "scale", "embedding") else last])


def _fitting(module: JaxReference, model: Any, given: Inputs, others: Any) -> tuple[JaxSide, Inputs, str]:
    """Return the model's side and its inputs: as they are given, or with their channels first, or last."""
    if others is not None:
        theirs = fitted(normalised(widened(others)), jax_parameters(model), "the model")[0]
        return jax_side(model, *theirs), theirs, "both sides are given inputs of their own"
    sizes = [int(np.prod(leaf.shape)) for leaf in named_leaves(module.side.output).values()]
    errors: list[UserError] = []
    found: list[tuple[JaxSide, Inputs, str]] = []
    for words, (start, end) in WAYS.items():
        theirs = fitted(_moved(given, start, end), jax_parameters(model), "the model")[0]
        try:
            side = jax_side(model, *theirs)
        except UserError as error:
            errors.append(error)
            continue
        found.append((side, theirs, words))
        if [int(np.prod(leaf.shape)) for leaf in named_leaves(side.output).values()] == sizes:
            return found[-1]
    if not found:
        raise errors[0]
    return found[0]


WAYS = {
    "both sides take the inputs as they are given": (-1, -1),
    "channels last as given for the reference, moved first": (-1, 1),
    "channels first as given for the reference, moved last": (1, -1),
}


def _moved(inputs: Inputs, start: int, end: int) -> Inputs:
    def move(array: Any) -> Any:
        pictures = isinstance(array, np.ndarray) and array.ndim in (3, 4, 5) and array.dtype.kind == "f"
        return np.ascontiguousarray(np.moveaxis(array, start, end)) if pictures else array

    return Inputs(tuple(map(move, inputs.args)), {name: move(array) for name, array in inputs.kwargs.items()})


def _reference(pair: PortPair) -> JaxReference:
    return cast(JaxReference, pair.torch)


def check_training(pair: PortPair) -> list[Result]:
    """Compare the gradients in evaluation mode, and in training mode the outputs, gradients and statistics."""
    results = [_gradients(pair, "gradients, eval", train=False)]
    module = _reference(pair)
    if draws(module.side, module.leaves, module.inputs) or draws(pair.jax, pair.leaves, pair.jax_inputs):
        words = "not compared: dropout draws its own masks on each side; set its rate to 0"
        return [*results, Result("training mode", 0.0, FORWARD, "", words)]
    try:
        (ours, after), (theirs, changed) = _passes(pair, train=True)
    except Exception as error:
        failure = Failure("forward, train", "forward", "output", np.inf, FORWARD, explained(error))
        return [*results, Result("forward, train", np.inf, FORWARD, "crashed", "", failure)]
    bound = FLOAT32 if pair.float32 else FORWARD
    rows = [
        _compared(twin.name, ours[twin.name], twin.way(theirs[twin.jax_name]), bound)
        for twin in twins(ours, theirs)
        if twin.way is not None
    ]
    results.append(_result("forward, train", "forward", rows))
    results.append(_gradients(pair, "gradients, train", train=True))
    rows = _statistics(pair, after, changed)
    return [*results, _result("statistics", "statistics", rows)] if rows else results


def _statistics(pair: PortPair, after: Mapping[str, Any], changed: Mapping[str, Any]) -> list[Difference]:
    """Compare what a training step makes of leaves that are not trained."""
    state, bound = pair.torch.parameters, FLOAT32 if pair.float32 else STATISTICS
    rows = []
    for path, rule in pair.weights.rules.items():
        if path in pair.jax.trained or not set(rule.sources) & after.keys():
            continue
        ours = np.asarray(rule({**state, **after}), np.float64)
        rows.append(_compared(path, ours, np.asarray(changed.get(path, pair.leaves[path]), np.float64), bound))
    return rows


def _gradients(pair: PortPair, check: str, *, train: bool) -> Result:
    """Compare the gradients of a weighted sum of the outputs."""
    module = _reference(pair)
    shapes = {path: array.shape for path, array in module.leaves.items()}
    ours, theirs = (found for found, _ in _passes(pair, train=train))
    same = [twin for twin in twins(ours, theirs) if twin.way is not None and ours[twin.name].dtype.kind == "f"]
    rng = np.random.default_rng(1)
    weights = {twin.name: rng.normal(size=ours[twin.name].shape) for twin in same}
    reference, given = differentiated(module.side, module.leaves, module.inputs, weights, None, train=train)
    native, others = differentiated(pair.jax, pair.leaves, pair.jax_inputs, weights, same, train=train)
    found: dict[str, np.ndarray] = {}
    for path, gradient in native.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            found[key] = found[key] + array if key in found else array
    bound, whole = FLOAT32 if pair.float32 else GRADIENT, total_norm(reference)
    rows = [
        _compared(name, array, found[name], bound, whole if np.linalg.norm(array) <= ZERO * whole else None)
        for name, array in reference.items()
        if name in found
    ]
    for number, (mine, other) in enumerate(zip(given, others, strict=False)):
        if mine.shape == other.shape:
            rows.append(_compared(f"input {number}", mine, other, bound))
    return _result(check, "backward", rows)


def _passes(pair: PortPair, *, train: bool) -> Any:
    """Return outputs by name, and what a step changes, of both sides."""
    ours, after = _reference(pair).run(_reference(pair).leaves, train=train)
    with x64():
        theirs, changed = pair.jax.call(pair.leaves, *pair.jax_inputs, train=train)
    return tuple(
        ({name: to_numpy(array) for name, array in named_leaves(output).items()}, moved)
        for output, moved in ((ours, after), (theirs, changed))
    )


def _compared(name: str, ours: Any, theirs: Any, bound: float, scale: float | None = None) -> Difference:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return Difference(name, relative_error(ours, theirs, scale), bound, describe(ours, theirs))


def _result(check: str, stage: str, rows: Collection[Difference]) -> Result:
    if not rows:
        failure = Failure(check, stage, "output", np.inf, 0, "the two sides have nothing in common")
        return Result(check, np.inf, 0, "output", "", failure)
    top = worst(list(rows))
    if top.ok:
        return Result(check, top.error, top.bound, top.name)
    failure = Failure(check, stage, top.name, top.error, top.bound, top.detail)
    return Result(check, top.error, top.bound, top.name, "", failure)
