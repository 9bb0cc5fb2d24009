"""The hypotheses that need no PyTorch: a factor, a sign, another activation, another order, an operand handed on."""

from collections.abc import Callable, Iterator

import numpy as np

from parity.align.frontier import Difference
from parity.align.lockstep import NEAR, Walk
from parity.trace import special
from parity.trace.index import close, laid_out

AHEAD = 40  # JAX's operations among whose results a hypothesis is looked for
FEW = 2  # numbers that may agree by chance
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exact GELU": lambda x: x * 0.5 * (1 + special.erf(x / np.sqrt(2))),
    "GELU by tanh": lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "GELU by a sigmoid": lambda x: x * special.expit(1.702 * x),
    "SiLU": lambda x: x * special.expit(x),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU squared": lambda x: np.maximum(x, 0) ** 2,
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(x, 0),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "nothing (it is left out)": lambda x: x,
}
NAMES = {"gelu": "GELU", "silu": "SiLU", "relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid", "elu": "ELU",
         "softplus": "softplus", "hardtanh": "ReLU6", "leaky_relu": "leaky ReLU", "mish": "mish"}  # fmt: skip


def plain_words(walk: Walk, found: Difference) -> str:
    """Return what a difference looks like, "" if no hypothesis gives JAX's numbers."""
    with np.errstate(all="ignore"):
        targets = list(_targets(walk, found))
        return next((words for words, array in _guesses(walk, found) if any(_is(array, t) for t in targets)), "")


def _targets(walk: Walk, found: Difference) -> Iterator[tuple[np.ndarray, float]]:
    """Yield results of JAX's near a difference that PyTorch does not have."""
    for cell in walk.cells[found.cell or 0 :][:AHEAD]:
        array = np.asarray(cell.computed) if cell.data and not cell.same and cell.computed is not None else None
        if array is not None and array.dtype.kind == "f" and array.size > FEW and np.isfinite(array).all():
            yield array.astype(np.float64), NEAR.get(cell.bits, NEAR[2])


def _is(guess: np.ndarray, target: tuple[np.ndarray, float]) -> bool:
    array, near = target
    return guess.size == array.size and laid_out(guess, array, near) is not None


def _guesses(walk: Walk, found: Difference) -> Iterator[tuple[str, np.ndarray]]:
    """Yield words, and what JAX would have computed."""
    op, values = walk.trace.ops[found.op], walk.trace.values
    kept = [n for n in (*op.outputs[:1], *op.inputs) if values[n].data and isinstance(values[n].array, np.ndarray)]
    floats = {n: values[n].array.astype(np.float64) for n in kept if values[n].array.dtype.kind == "f"}
    out, base = floats.get(op.outputs[0] if op.outputs else -1), op.name.rstrip("_")
    operands = [floats[n] for n in op.inputs if n in floats]
    if base in NAMES and operands:
        yield from ((f"{name} instead of {NAMES[base]}", run(operands[0])) for name, run in ACTIVATIONS.items())
    if base in ("add", "sub") and len(operands) == 2:
        a, b = operands
        yield "the sign is reversed: subtracted instead of added", a - b
        yield "the sign is reversed: subtracted instead of added", b - a
        yield "added instead of subtracted: a sign", a + b
    if out is not None and base in ("add", "sub", "mul", "div"):
        yield from (("one operand of the operation is left out", a) for a in operands if a.size == out.size)
    for array in floats.values():
        yield from _scaled(walk, found, array)


def _scaled(walk: Walk, found: Difference, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield an array times the factors that give the norms of JAX's results."""
    size = np.linalg.norm(array)
    for target, near in _targets(walk, found) if size else ():
        factor = float(np.linalg.norm(target) / size) if target.size == array.size else 0.0
        for signed in (factor, -factor):
            if factor and abs(signed - 1) > 1e-4 and close(np.sort(signed * array, None), np.sort(target, None), near):
                scale = f"{signed:.6g} times PyTorch's: a scale is missing or applied twice"
                yield "the sign is reversed" if abs(signed + 1) < 1e-6 else scale, signed * array
