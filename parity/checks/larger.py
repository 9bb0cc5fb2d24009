"""The forward pass at larger weights, which reach what the usual ones do not: ReLU6's upper end, a clip, a saturation.

Two functions that agree wherever the inputs happen to lie are not the same. Weights, unlike inputs, may be anything:
no port may count on their size.
"""

from typing import Any

import numpy as np

from parity.align.pair import PortPair, aligned
from parity.checks.failures import failures_of
from parity.checks.pair import Pair
from parity.checks.structure import without_counters
from parity.checks.verdicts import forward_result
from parity.report import Failure, Result
from parity.report.compare import Difference, difference, worst
from parity.sides.calls import Run
from parity.sides.frameworks import x64
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves, paired
from parity.sides.randomise import larger
from parity.sides.torch_side import TorchSide

# A power of two, so that nothing linear is rounded differently. Attention's scores grow by its fourth power, behind a
# norm, and must stay far below a mask of 1e4.
FACTOR = 4.0
BOUND = 1e-9  # saturated functions may be rounded a little further off than others
CHECK = "forward, eval"


def check_larger_layers(pair: Pair) -> Result | None:
    """Return what differs, layer by layer; None if nothing does, or a number is too large for float64."""
    torch_side = TorchSide(larger(pair.torch.module, FACTOR), pair.torch.dtype)
    variables = without_counters(torch_side.variables(), pair.flax.structure(pair.inputs.shape[1:]))
    reference = torch_side.forward(pair.inputs)
    found = pair.flax.run(variables, pair.inputs, pair.cotangent, train=False)[0]  # is compiled already
    if not (_is_finite(reference) and _is_finite(found)):
        return None
    other = pair._replace(torch=torch_side, variables=variables)
    result = forward_result(CHECK, other, reference, found, BOUND, train=False)
    return _said(result) if result.failure else None


def _is_finite(run: Run) -> bool:
    """Tell whether the output and those of all layers are in float64's range."""
    arrays = [run.output, *(call.output for call in run.calls.values())]
    return all(bool(np.isfinite(np.asarray(array)).all()) for array in arrays)


def check_larger(pair: PortPair, mask: Any = None) -> list[Result]:
    """Return what differs of a port, with the lines; nothing of a record, or where float32 is all that there is."""
    if pair.narrow or not hasattr(pair.torch, "larger") or hasattr(pair.jax, "program"):
        return []
    side: Any = pair.torch
    module = side.larger(FACTOR)
    if (top := _worst(pair, module, mask)) is None or top.ok:
        return []
    again = aligned(module, pair.jax, pair.torch_inputs, pair.jax_inputs, "", pair.weights.rules)
    failures = failures_of(again.aligned.differences)
    failures = failures or [Failure(CHECK, "forward", top.name, top.error, BOUND, top.detail, values=top.values)]
    return [_said(Result(CHECK, top.error, BOUND, f.layer, "", f)) for f in failures]


def _worst(pair: PortPair, module: Any, mask: Any) -> Difference | None:
    """Return the output that differs most with a module's weights; None if there is none in float64's range."""
    state = module.parameters
    made = {path: np.asarray(rule(state), np.float64) for path, rule in pair.weights.rules.items()}
    reference = {name: to_numpy(array) for name, array in module.outputs(pair.torch_inputs).items()}
    with x64(), np.errstate(all="ignore"):  # infinite numbers, where the weights are too large
        output = named_leaves(pair.jax.call({**pair.leaves, **made}, *pair.jax_inputs, train=False)[0])
        compared, _ = paired(reference, output, mask)
    finite = [row for row in compared if all(np.isfinite(array).all() for array in row[1:])]
    rows = [difference(name, ours, theirs, BOUND) for name, ours, theirs in finite]
    return worst(rows) if rows else None


def _said(result: Result) -> Result:
    """Return a failure that says at which weights it is one."""
    failure, words = result.failure, f"at weights {FACTOR:g} times as large"
    return result._replace(failure=failure and failure._replace(diagnosis=f"{words}, {failure.diagnosis}"))
