"""The checks in float32: output and gradients, and what a rounding decides there.

A deep network with BatchNorm has activations so near to zero that one rounding decides whether a ReLU lets them
through, and where a ReLU flips, the gradient jumps. That it is no fault is shown and not assumed: PyTorch's exact
gradient must jump to the same one if its weights are moved by a few roundings.
"""

from collections.abc import Iterator

import numpy as np
from torch import nn as torch_nn

from parity.checks.float32_operations import AS_NEAR as OUTPUTS_AS_NEAR
from parity.checks.float32_operations import CHECK as FORWARD
from parity.checks.float32_operations import FORWARD as FORWARD_FLOAT32
from parity.checks.moved import GRADIENT_FLOAT32, moves
from parity.checks.pair import Gradients, Pair, run_both
from parity.checks.verdicts import forward_result, layer_differences, tensor_result
from parity.report import Result
from parity.report.compare import CHAOTIC, compare, whole_error, worst
from parity.sides.torch_side import TorchSide, one_rounding_away

GRADIENTS = "float32 gradients"
CHECKS = FORWARD, GRADIENTS
# See `_as_near`. Of 13 float32 gradients of PyTorch's GoogLeNet, moved by a rounding each, two had the error that
# Flax's had (1.5e-2), seven one of 3e-5.
AS_NEAR, FLOAT32_NUDGES = 3.0, 12


def check_forward_float32(pair: Pair) -> Result:
    """Output of every layer in float32, evaluation mode.

    Flax's must be PyTorch's own, or as near to PyTorch's float64 ones as PyTorch's own are, within a factor.
    """
    reference, found = pair.torch.forward(pair.inputs), pair.flax.forward(pair.variables, pair.inputs)
    result = forward_result(FORWARD, pair, reference, found, FORWARD_FLOAT32, train=False)
    if not result.failure:
        return result
    exact = TorchSide(pair.torch.module, np.float64).forward(pair.inputs)
    own: dict[str, float] = {}  # of a layer that is called several times, the largest
    for row in layer_differences(exact, reference, FORWARD_FLOAT32):
        own[row.name] = max(own.get(row.name, 0.0), row.error)
    rows = layer_differences(exact, found, FORWARD_FLOAT32)
    top = worst([row._replace(bound=max(row.bound, OUTPUTS_AS_NEAR * own[row.name])) for row in rows])
    note = f"from PyTorch's float64 outputs, PyTorch's own being {own[top.name]:.1e} off"
    return Result(FORWARD, top.error, top.bound, top.name, note) if top.ok else result


def check_gradients_float32(pair: Pair, zeros: frozenset[str], seed: int = 0) -> Result:
    """Gradients in float32, training mode; `zeros` are those which float64 has shown to be zero but for rounding.

    Flax's must be PyTorch's own, or PyTorch's exact one, at these weights or some roundings away from them.
    """
    both = run_both(pair, train=True)
    result = _compared(both.gradients, both.found_gradients, zeros)
    if not result.failure:
        return result
    for words, exact in _exact_gradients(pair, seed):
        nearer = _compared(exact, both.found_gradients, zeros)
        if not nearer.failure:
            return nearer._replace(note=f"{words}; from its float32 one {result.error:.1e}")
    return _as_near(pair, both.found_gradients, seed, result)


def _compared(reference: Gradients, found: Gradients, zeros: frozenset[str]) -> Result:
    differences = compare(reference, found, GRADIENT_FLOAT32, zeros=zeros)
    return tensor_result(GRADIENTS, "backward", differences, backward=True)


def _exact_gradients(pair: Pair, seed: int) -> Iterator[tuple[str, Gradients]]:
    """Yield PyTorch's float64 gradients, in words and numbers: as they are, and with weights moved by roundings."""
    module = pair.torch.module
    yield "from PyTorch's float64 gradient", _gradients(pair, module, np.float64)
    for nudge, units, words in moves(seed):
        moved = one_rounding_away(module, nudge, units)
        yield f"from PyTorch's float64 gradient {words}", _gradients(pair, moved, np.float64)


def _as_near(pair: Pair, found: Gradients, seed: int, result: Result) -> Result:
    """Judge the whole gradient where many ReLUs flip, and no two have the same ones.

    Where PyTorch's own is shown to be that far from its float64 one, Flax's must be as near to that, within a factor.
    """
    ours, own = float32_errors(pair, found, seed)
    note = f"from float64: Flax {ours:.1e}, PyTorch {own:.1e}; one from the other, at worst {result.error:.1e}"
    if own <= CHAOTIC * GRADIENT_FLOAT32 or not ours <= AS_NEAR * own:
        return result._replace(note=note)
    return Result(result.check, ours, AS_NEAR * own, "the whole gradient", note)


def float32_errors(pair: Pair, found: Gradients, seed: int) -> tuple[float, float]:
    """Return how far the whole float32 gradient is from PyTorch's float64 one: Flax's, and PyTorch's.

    PyTorch's is the worst of several: of the weights as they are, and moved by one rounding.
    """
    module = pair.torch.module
    modules = [module, *(one_rounding_away(module, seed + i) for i in range(FLOAT32_NUDGES))]
    own = max(whole_error(_gradients(pair, m, np.float64), _gradients(pair, m, np.float32)) for m in modules)
    return whole_error(_gradients(pair, module, np.float64), found), own


def _gradients(pair: Pair, module: torch_nn.Module, dtype: type[np.floating]) -> Gradients:
    return TorchSide(module, dtype).run(pair.inputs, pair.cotangent, train=True, masks=pair.masks)[1]
