"""The gradients of any port: compared tensor by tensor, located operation by operation."""

import importlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from parity.align.pair import PortPair
from parity.checks.float32_operations import AS_NEAR, LEAST, yardstick
from parity.checks.moved import GRADIENT_FLOAT32, nearest
from parity.checks.padding import ACCEPTED, ADVICE, WORDS, padding_rows, without_padding
from parity.checks.trained import Apart, trained_apart
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import difference, total_norm, worst
from parity.sides.frameworks import x64
from parity.sides.numbers import is_array, to_numpy, tree_leaves
from parity.sides.outputs import named_leaves
from parity.sides.pairing import twins, way_between
from parity.trace.fingerprint import comparable, sized
from parity.trace.lines import Line

GRADIENT = 1e-10  # right ones of a deep network are 1e-14 apart or so, wrong ones 1e-7 or more
ZERO = 1e-13  # a gradient this small against all of them is zero but for rounding (trap 28)


def check_gradients(pair: PortPair, accept: Collection[str] = ()) -> list[Result]:
    """Compare the gradients of every trained tensor and floating-point input, and which numbers are trained."""
    # An output that the JAX side does not have has no say in it.
    reference, cotangents = pair.torch.gradients(pair.torch_inputs, among={twin.name for twin in pair.shared})
    by_leaf, by_input = _jax_gradients(pair, cotangents)
    results = _compared(pair, reference, cotangents, _by_key(pair, by_leaf, by_input), accept)
    if any(result.failure for result in results):
        return results
    apart, notes = trained_apart(pair, by_leaf, reference)
    if apart:
        return [_trained_apart(pair, one) for one in apart]
    return [result._replace(note="; ".join(filter(None, (result.note, *notes)))) for result in results]


def _compared(
    pair: PortPair,
    reference: Mapping[str, Any],
    cotangents: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    accept: Collection[str],
) -> list[Result]:
    bounds = dict.fromkeys(reference, GRADIENT)
    if pair.narrow:
        errors = pair.torch.float32_errors(pair.torch_inputs, reference, cotangents)
        bounds = {name: max(LEAST * 10, AS_NEAR * error) for name, error in errors.items()}
    padding = padding_rows(pair.torch)
    rows, padded = _gradient_rows(reference, found, bounds, padding)
    if not rows:
        return []
    bad = [row for row in rows if not row.ok]
    if bad and (result := _with_float64(pair, reference, cotangents, found, padding)) is not None:
        return [result]
    top = worst(rows)
    if not bad and padded and ACCEPTED not in accept:
        return [_padding_trained(pair, name, padding[name], row) for name, row in padded.items()]
    if not bad:
        note = f"accepted by name: {ACCEPTED}, in {len(padded)} tensors" if padded else yardstick(pair)
        return [Result("gradients", top.error, top.bound, top.name, note)]
    # The last layer is the first of the backward pass; the inputs come last of all.
    last = next((row for row in reversed(bad) if not row.name.startswith("input")), bad[-1])
    located = _located(pair, cotangents)
    if not located:
        mine, theirs = _lines_of(pair, last.name)
        words = f"{last.detail}; it is used at {mine} against {theirs}"
        failure = Failure("gradients", "backward", last.name, last.error, last.bound, words, None, mine, theirs)
        located = [failure._replace(values=last.values)]
    return [Result("gradients", top.error, top.bound, last.name, "", failure) for failure in located]


def _gradient_rows(
    reference: Mapping[str, Any],
    found: Mapping[str, np.ndarray],
    bounds: Mapping[str, float],
    padding: Mapping[str, int],
) -> tuple[list[Compared], dict[str, Compared]]:
    """Compare gradients; return the rows, and those of tables whose row of padding JAX trains."""
    whole, rows = total_norm({name: sized(array) for name, array in reference.items()}), list[Compared]()
    padded: dict[str, Compared] = {}
    for name, ours in reference.items():
        theirs = found.get(name)
        if theirs is None:
            continue
        scale = whole if np.linalg.norm(sized(ours)) <= ZERO * whole else None
        ours, theirs = comparable(ours, theirs)
        kept = without_padding(padding, name, ours, theirs)
        if kept is not None:
            padded[name], theirs = difference(name, ours, theirs, bounds[name], scale), kept
        rows.append(difference(name, ours, theirs, bounds[name], scale))
    return rows, padded


def _with_float64(
    pair: PortPair,
    reference: Mapping[str, Any],
    cotangents: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    padding: Mapping[str, int],
) -> Result | None:
    """Judge gradients by the same program in float64, where rounding is all that float32 does; None if it is not.

    Where a ReLU flips, or XLA adds up thousands of numbers one by one, they may be further off than PyTorch's float32.
    """
    if not pair.narrow or hasattr(pair.jax, "program") or not hasattr(pair.torch, "moved"):
        return None
    exact = _by_key(pair, *_jax_gradients(pair, cotangents, in_float64=True))
    rows, padded = _gradient_rows(reference, exact, dict.fromkeys(reference, LEAST), padding)
    if padded or not all(row.ok for row in rows):
        return None
    among = {twin.name for twin in pair.shared}
    near = nearest(pair.torch, reference, found, lambda side: side.gradients(pair.torch_inputs, among=among)[0])
    if near is None:
        return None
    note = f"float32 inside; in float64 {worst(rows).error:.1e}; this one from PyTorch's {near[1]}"
    return Result("gradients", near[0], GRADIENT_FLOAT32, "the whole gradient", note)


def _trained_apart(pair: PortPair, apart: Apart) -> Result:
    """Return the failure of numbers that one side trains and the other does not, or not as one."""
    mine, theirs = _lines_of(pair, apart.key)
    failure = Failure("gradients", "backward", apart.key, np.inf, 0, apart.words, None, mine, theirs)
    return Result("gradients", np.inf, 0, apart.key, "", failure._replace(cause=apart.cause, advice=apart.advice))


def _padding_trained(pair: PortPair, key: str, row: int, apart: Compared) -> Result:
    """Return the failure of a table whose row of padding is trained on the JAX side alone."""
    mine, theirs = _lines_of(pair, key)
    cause = WORDS.format(row=row)
    words = f"{mine} against {theirs}: {cause}; {apart.detail}"
    failure = Failure("gradients", "backward", key, apart.error, apart.bound, words, None, mine, theirs)
    return Result(
        "gradients",
        apart.error,
        apart.bound,
        key,
        "",
        failure._replace(values=apart.values, cause=cause, advice=ADVICE),
    )


def _located(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> list[Failure]:
    """Return a failure for each operation whose gradient differs, none if none could be found."""
    if not hasattr(pair.torch, "module") or hasattr(pair.jax, "program"):  # a record holds no backward pass
        return []
    culprits = importlib.import_module("parity.align.culprits")  # here: a framework may be missing
    try:
        found = culprits.gradient_differences(pair, cotangents)
    except Exception:  # a pass that cannot be walked backwards: the tensor is all there is to say
        return []
    bound = GRADIENT if not pair.narrow else LEAST * 10
    failures = []
    for one in found:
        apart = difference("", one.ours, one.theirs, bound)
        words = f"{one.torch_line} against {one.jax_line}: {one.words}; {apart.detail}"
        lines = one.torch_line, one.jax_line
        failure = Failure("gradients", "backward", one.scope or "gradient", apart.error, bound, words, None, *lines)
        failures.append(failure._replace(values=apart.values))
    return failures


def _lines_of(pair: PortPair, key: str) -> tuple[Line | None, Line | None]:
    """Return the lines at which a tensor meets data on both sides."""
    walk = pair.aligned.walk
    ops = [op for op in walk.trace.ops if any(key in walk.trace.values[n].keys for n in op.inputs)]
    with_data = [op for op in ops if any(walk.trace.values[n].data for n in op.inputs)]
    mine = next((op.line for op in [*with_data, *ops] if op.line), None)
    for piece, found in walk.bindings.found.items():
        trial = walk.bindings.trials.get(piece)
        if found.rule is not None and key in found.rule.sources and trial is not None and trial.at < len(walk.cells):
            return mine, walk.cells[trial.at].line
    return mine, None


def _jax_gradients(
    pair: PortPair, cotangents: Mapping[str, np.ndarray], *, in_float64: bool = False
) -> tuple[Mapping[str, Any], Any]:
    """Return JAX's gradients of the same sum, by leaf and of the inputs; in float64 what says float32, too."""
    side: Any = pair.jax
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    with x64():
        # The layout of square outputs is told by their values.
        output = named_leaves(side.call(pair.leaves, *pair.jax_inputs, train=False)[0])
        pairs = twins(reference, {name: to_numpy(array) for name, array in output.items()})
        given = {
            twin.jax_name: twin.way.back(cotangents[twin.name], tuple(output[twin.jax_name].shape))
            for twin in pairs
            if twin.way is not None and twin.name in cotangents
        }
        if hasattr(side, "gradients"):  # a record's
            return side.gradients(pair.leaves, given), None
        passes = importlib.import_module("parity.sides.jax_passes")  # here: JAX may be missing
        run = passes.gradients_by_all if not in_float64 else passes.gradients_in_float64
        return run(side, pair.leaves, pair.jax_inputs, given)


def _by_key(pair: PortPair, by_leaf: Mapping[str, Any], by_input: Any) -> dict[str, np.ndarray]:
    """Return JAX's gradients as gradients of PyTorch's tensors."""
    shapes = {key: array.shape for key, array in pair.torch.parameters.items()}
    found = {} if by_input is None else _input_gradients(pair, by_input)
    for path, gradient in by_leaf.items():
        rule = pair.weights.rules.get(path)
        for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
            found[key] = found[key] + array if key in found else array
    return found


def _input_gradients(pair: PortPair, gradients: Any) -> dict[str, np.ndarray]:
    """Return JAX's gradients of inputs by PyTorch's numbers for them, in PyTorch's layout.

    An input of whole numbers may be a mask: what lies behind it has a gradient of no meaning.
    """
    ours = [a for a in tree_leaves((pair.torch_inputs.args, dict(pair.torch_inputs.kwargs))) if is_array(a)]
    given = tree_leaves((pair.jax_inputs.args, dict(pair.jax_inputs.kwargs)))
    theirs = list(zip(map(np.asarray, given), tree_leaves(gradients), strict=False))
    found: dict[str, np.ndarray] = {}
    for number, mine in enumerate(map(np.asarray, ours)):
        if mine.dtype.kind != "f" or np.array_equal(mine, np.round(mine)):
            continue
        for place, (array, gradient) in enumerate(theirs):
            way = way_between(mine, array) if array.dtype.kind == "f" else None
            if way is not None and np.array_equal(way(array), mine):
                found[f"input {number}"] = np.asarray(way(np.asarray(gradient)), np.float64)
                del theirs[place]
                break
    return found
