"""What a difference looks like: hypotheses, each computed from PyTorch's operands, taken if it gives JAX's numbers.

A hypothesis changes a value of PyTorch's trace. The operations behind are run again, and one of the results has to be
what JAX computes near the difference, and not what PyTorch computes: so it does not matter in which operation JAX
shows what it has done.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from parity.align.attention import groups, masks, rotary_words, rotations
from parity.align.frontier import Difference
from parity.align.hypotheses import activations, norms, orders, reductions, tables
from parity.align.kernels import kernels
from parity.align.lockstep import NEAR, Cell, Walk
from parity.align.replay import Guess, Replay
from parity.align.structure import (
    chains,
    elsewhere,
    left_out,
    low_precision,
    number_words,
    rewritten,
    swapped,
)
from parity.align.words import Looks
from parity.trace.index import close, laid_out
from parity.trace.values import VIEWS

AHEAD = 60  # JAX's operations among whose results a hypothesis is looked for
FEW = 2  # numbers that may agree by chance
SECONDS = 2.5  # of the processor that hypotheses are tried for
BEHIND, BEFORE = 6, 3  # operations around the difference that hypotheses are about
SIZE = 200_000  # numbers of arrays that are compared at most
Maker = Callable[[Replay, int], Iterator[Guess]]
NAMED: tuple[Maker, ...] = (activations, norms, reductions, kernels, groups, tables, masks, orders)
SHAPES: tuple[Maker, ...] = (swapped, left_out, rewritten, chains, elsewhere, low_precision)


class Target(NamedTuple):
    """A result of JAX's that is not among PyTorch's values."""

    cell: Cell
    array: np.ndarray
    sorted: np.ndarray
    near: float


def explained(walk: Walk, found: Difference) -> Looks:
    """Return what a difference looks like."""
    try:
        with torch.no_grad(), np.errstate(all="ignore"):
            return _explained(walk, found)
    except Exception:  # an explanation is a help: nothing depends on it
        return Looks()


def _explained(walk: Walk, found: Difference) -> Looks:
    replay, until = Replay(walk.trace), time.process_time() + SECONDS
    targets = _targets(walk, found)
    if early := _ends_early(walk, replay, found.op):
        return early
    if not targets:
        return Looks()
    here, behind = found.op, replay.behind(found.op, BEHIND)
    before = [n for n in replay.before(found.op, BEFORE) if n not in behind]
    tries = (
        lambda: _rotary(replay, targets, here),
        lambda: _first(replay, targets, NAMED, (here,), until),
        lambda: _factor(replay, targets, here),
        lambda: _epsilon(replay, targets, (here, *behind[1:3])),
        lambda: _first(replay, targets, SHAPES[:2], (here,), until),
        lambda: _first(replay, targets, NAMED, (*behind[1:], *before), until),
        lambda: _first(replay, targets, SHAPES, (here, *behind[1:3]), until + SECONDS / 2),
        lambda: _other_operand(walk, replay, found),
    )
    for attempt in tries:
        looks = attempt()
        if looks:
            return looks if isinstance(looks, Looks) else Looks(looks)
    return Looks(_order(walk, found, replay))


def _targets(walk: Walk, found: Difference) -> dict[int, list[Target]]:
    """Return JAX's results near a difference that PyTorch does not have, by size."""
    start = found.cell or 0
    end = max(start, found.counterpart or 0) + AHEAD
    result: dict[int, list[Target]] = {}
    fine = _fine(walk)
    for cell in walk.cells[start:end]:
        if not cell.data or cell.computed is None or id(cell) in fine:
            continue
        array = np.asarray(cell.computed)
        if array.dtype.kind != "f" and str(array.dtype) != "bfloat16":
            continue
        array = array.astype(np.float64)
        if not FEW < array.size <= SIZE or np.isnan(array).any() or _constant(array):
            continue
        near = NEAR[8] if cell.bits == 8 else NEAR[4] if cell.bits == 4 else 4e-3
        result.setdefault(array.size, []).append(Target(cell, array, np.sort(array, axis=None), near))
    return result


def _ends_early(walk: Walk, replay: Replay, number: int) -> Looks | None:
    """Return what it looks like for a last operation that is left out: JAX's last result is its operand."""
    op, last = replay.op(number), walk.cells[-1]
    if not last.alike or last.forced or replay.trace.users.get(op.outputs[0]):
        return None
    for guess in left_out(replay, number):
        array = guess.changed[op.outputs[0]].numpy()
        if laid_out(array, np.asarray(last.computed, np.float64), max(NEAR[8], NEAR[last.bits])) is not None:
            return Looks(guess.words, guess.given, guess.op)
    return None


def _fine(walk: Walk) -> set[int]:
    """Return the cells that PyTorch has, too, or that something is computed from that it has."""
    fine, shifts = set(), set()
    for cell in reversed(walk.cells):
        if (cell.alike and not cell.forced) or id(cell) in fine:
            fine.add(id(cell))
            fine.update(id(parent) for parent in cell.parents if parent.data and not parent.forced)
        elif cell.name == "stop_gradient":  # the maximum that softmax takes off
            shift = [cell]
            while shift and shift[0].name in ("stop_gradient", "broadcast_in_dim", "max", "reduce_max"):
                shifts.add(id(shift[0]))
                shift = [parent for parent in shift[0].parents if parent.data]
    return fine | shifts


def _first(
    replay: Replay, targets: dict, makers: tuple[Maker, ...], ops: tuple[int, ...], until: float
) -> Looks | None:
    """Return the first hypothesis that gives JAX's numbers."""
    for number, make in itertools.product(ops, makers):
        guesses = make(replay, number)
        while time.process_time() < until:
            try:
                guess = next(guesses, None)
            except Exception:  # the operation is not what the hypothesis is about
                break
            if guess is None:
                break
            if any(_is_there(replay, targets, n, tensor) for n, tensor in replay.follow(guess.changed)):
                return Looks(guess.words, guess.given, guess.op)
    return None


def _is_there(replay: Replay, targets: dict[int, list[Target]], number: int, tensor: torch.Tensor) -> bool:
    """Tell whether JAX computes a changed value, and PyTorch does not."""
    among = targets.get(tensor.numel())
    if not among or not tensor.is_floating_point():
        return False
    array = tensor.double().numpy()
    if np.isnan(array).any():
        return False
    flat, own = np.sort(array, axis=None), np.sort(replay.trace.values[number].array, axis=None)
    same = own.size == flat.size and close(own, flat, 3 * NEAR[4])
    for target in among:
        if not close(target.sorted, flat, target.near):
            continue
        if not close(own, flat, 3 * target.near) if own.size == flat.size else True:
            return True
        if same and laid_out(array, target.array, target.near) is not None:
            return laid_out(replay.trace.values[number].array, target.array, target.near) is None
    return False


def _epsilon(replay: Replay, targets: dict[int, list[Target]], ops: tuple[int, ...]) -> str:
    """Return words for an epsilon that is none of the usual ones: solved for."""
    for number in ops:
        op = replay.op(number)
        if op.name.rstrip("_") == "add" and len(op.inputs) == 1 and isinstance(op.settings[1], float):
            flat = np.sort(replay.trace.values[op.inputs[0]].array, axis=None)
            for target in targets.get(flat.size, ()):
                other = target.sorted - flat
                if np.ptp(other) < 1e-9 * np.abs(flat).max() and 0 < other.mean() < 1:
                    return f"epsilon {other.mean():.3g} instead of {op.settings[1]:g} (trap 2)"
        if op.name != "native_layer_norm":
            continue
        x, shape = replay.args(op)[:2]
        axes = tuple(range(x.ndim - len(shape), x.ndim))
        centred, variance = x - x.mean(axes, keepdim=True), x.var(axes, keepdim=True, correction=0)
        for target in targets.get(x.numel(), ()):
            low, high, size = -14.0, 1.0, np.linalg.norm(target.array)
            for _ in range(45):
                middle = (low + high) / 2
                smaller = float((centred / torch.sqrt(variance + 10**middle)).norm()) < size
                low, high = (low, middle) if smaller else (middle, high)
            scaled = np.sort((centred / torch.sqrt(variance + 10**low)).numpy(), axis=None)
            if -13 < low < 0.9 and close(scaled, target.sorted, max(target.near, 1e-8)):
                return f"epsilon {10**low:.3g} instead of {replay.args(op)[4]:g} (trap 2)"
    return ""


def _factor(replay: Replay, targets: dict[int, list[Target]], number: int) -> str:
    """Return words for PyTorch's numbers times a factor."""
    op = replay.op(number)
    for value in (*op.outputs[:1], *op.inputs):
        if not replay.data(value) or not replay.floats(value):
            continue
        flat = np.sort(replay.trace.values[value].array, axis=None)
        kept = flat[np.abs(flat) < 1e4]
        for target in targets.get(flat.size, ()):
            other = target.sorted[np.abs(target.sorted) < 1e4]
            if other.size != kept.size or kept.size <= FEW or not np.linalg.norm(kept):
                continue
            factor = np.linalg.norm(other) / np.linalg.norm(kept)
            for signed in (factor, -factor):
                if factor and close(np.sort(signed * kept), other, target.near) and abs(signed - 1) > 1e-4:
                    if not _goes_on(replay, targets, value, float(signed)):
                        continue
                    if abs(signed + 1) < 1e-6:
                        return "the sign is reversed"
                    return f"{number_words(float(signed))} times PyTorch's: a scale is missing or applied twice"
    return ""


def _goes_on(replay: Replay, targets: dict[int, list[Target]], value: int, factor: float) -> bool:
    """Tell whether JAX has what follows from a factor, too: a scale put elsewhere makes no difference there."""
    later = False
    for number, tensor in replay.follow({value: factor * replay.tensor(value)}):
        maker = replay.trace.values[number].maker
        op = None if maker is None or number == value else replay.op(maker)
        if op is None or op.name in VIEWS or (op.name in ("mul", "div") and len(op.inputs) == 1):
            continue
        if _is_there(replay, targets, number, tensor):
            return True
        later = True
    return not later


def _rotary(replay: Replay, targets: dict[int, list[Target]], number: int) -> str:
    """Return words for vectors that are turned by their positions in another way."""
    ops = replay.behind(number, 16)
    if not any(replay.op(op).name in ("cat", "stack", "view_as_real") for op in ops):
        return ""
    own = {n for op in ops for n in replay.op(op).outputs if replay.floats(n)}
    given = [n for op in (*replay.before(number, 3), number) for n in replay.op(op).inputs]
    for value in dict.fromkeys(n for n in given if replay.data(n) and replay.floats(n)):
        x = replay.tensor(value)
        if x.ndim < 3 or x.shape[-1] % 2:
            continue
        ours, theirs = None, None
        results = {n: np.sort(replay.trace.values[n].array, axis=None) for n in own}
        for setting, turned in rotations(x):
            flat = np.sort(turned.numpy(), axis=None)
            if any(r.size == flat.size and close(r, flat, NEAR[4]) for r in results.values()):
                ours = setting
            elif any(close(t.sorted, flat, max(t.near, NEAR[4])) for t in targets.get(flat.size, ())):
                theirs = setting
        if ours and theirs:
            return rotary_words(ours, theirs)
    return ""


def _other_operand(walk: Walk, replay: Replay, found: Difference) -> str:
    """Return words for a sum or product of the same data with other numbers."""
    op = replay.op(found.op)
    if found.cell is None or op.name.rstrip("_") not in ("add", "sub", "mul", "div") or len(op.inputs) != 2:
        return ""
    cell = walk.cells[found.cell]
    tables = [n for n in op.inputs if not replay.data(n)]
    fixed = [np.asarray(p.array) for p in cell.parents if not p.data and p.symbol is None and p.array is not None]
    agreed = [p for p in cell.parents if p.data and p.alike]
    if len(tables) != 1 or len(fixed) != 1 or not agreed or cell.name not in ("add", "sub", "mul", "div"):
        return ""
    ours, theirs = replay.trace.values[tables[0]].array.ravel(), fixed[0].astype(np.float64).ravel()
    if ours.size == theirs.size and close(np.sort(ours), np.sort(theirs), NEAR[4]):
        return ""
    made = [replay.op(n).name for n in replay.before(found.op, 4)]
    what = "positions" if "arange" in made else "numbers"
    keys = ", ".join(sorted(replay.trace.values[tables[0]].keys)) or "the other operand"
    return f"the data agrees, the table of {what} that meets it does not ({keys})"


def _order(walk: Walk, found: Difference, replay: Replay) -> str:
    """Return words for the same numbers in another order."""
    flat = np.sort(replay.trace.values[replay.op(found.op).outputs[0]].array, axis=None)
    if flat.dtype.kind != "f" or flat.size <= FEW:
        return ""
    cells = [c for c in walk.cells[found.cell or 0 :][:AHEAD] if c.same and not c.alike]
    arrays = [np.asarray(c.array, np.float64) for c in cells if np.asarray(c.array).size == flat.size]
    if any(close(flat, np.sort(array, axis=None), NEAR[8]) for array in arrays):
        return "the same numbers in another order"
    return ""


def _constant(array: np.ndarray) -> bool:
    finite = array[np.isfinite(array)]
    return finite.size <= FEW or np.ptp(finite) == 0
