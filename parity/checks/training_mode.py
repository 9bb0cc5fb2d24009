"""A pass in training mode, both sides given the same random numbers: outputs, running statistics, gradients."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity.align.pair import PortPair
from parity.checks.operations import statistics_compared
from parity.checks.padding import padding_rows, without_padding
from parity.checks.training_crash import jax_crash
from parity.report import Failure, Result
from parity.report.compare import Difference as Compared
from parity.report.compare import difference, relative_error, total_norm, worst
from parity.sides.arrays import bits, to_numpy, x64
from parity.sides.outputs import named_leaves
from parity.sides.pairing import Twin, twins, ways_between
from parity.sides.random_draws import MASK, NORMAL, OTHER, Draw
from parity.sides.randomness import jax_supplied
from parity.sides.torch_draws import TorchDraws
from parity.sides.torch_module import TorchModule
from parity.sides.torch_passes import gradients_of

FORWARD, GRADIENT, STATISTICS = 1e-11, 1e-10, 1e-12
NARROW_FORWARD, NARROW_STATISTICS, AS_NEAR = 1e-5, 1e-5, 5.0
ROUNDED = 1e-6  # an error up to which a rate that is rounded to float32 may be the cause
ZERO = (
    1e-11  # a gradient this small against all of them is zero but for rounding: of a bias before a BatchNorm (trap 28)
)
SAME_RATE = 1e-6
ACCEPTED = "trap-20"
Arrays = dict[str, np.ndarray]


class Shared(NamedTuple):
    """Random numbers for one draw of each side."""

    ours: Draw
    theirs: Draw
    for_torch: tuple[np.ndarray, ...]  # one for each layout that may be meant
    for_jax: np.ndarray
    words: str = ""  # what a report should say


class Pass(NamedTuple):
    """What a side computes in training mode."""

    outputs: Arrays
    gradients: Arrays  # by key of the state_dict
    after: Arrays  # of PyTorch: its tensors; of JAX: the leaves that are changed


def check_training_mode(pair: PortPair, accept: Collection[str]) -> list[Result]:
    """Compare a pass in training mode, if there is anything that differs from evaluation mode."""
    try:
        return _checked(pair, accept)
    except Exception as error:  # a side may have no training mode, or draw in a loop
        if (failure := jax_crash(pair)) is not None:
            return [failure]
        why = " ".join(str(error).split())[:200]
        return [_not_compared(f"a side cannot be followed in training mode: {type(error).__name__}: {why}")]


def _checked(pair: PortPair, accept: Collection[str]) -> list[Result]:
    ours, run = _torch_draws(pair), _Training(pair)
    if not ours and not _statistics(pair) and not run.switched:
        return []
    theirs = run.draws()
    if not ours and not theirs and not _statistics(pair):
        return []
    shared, failure = _shared(ours, theirs, accept, switched=run.switched)
    if failure is not None:
        return [failure]
    best: list[Result] = []
    for number in range(max((len(s.for_torch) for s in shared), default=1)):
        results = _compared(pair, run, shared, number, accept)
        if not any(r.failure for r in results):
            return results
        best = best or results
    return best


def _statistics(pair: PortPair) -> bool:
    return any(isinstance(getattr(m, "running_mean", None), torch.Tensor) for m in _live(pair).module.modules())


def _live(pair: PortPair) -> TorchModule:
    if not isinstance(pair.torch, TorchModule):
        raise TypeError("a record holds no pass in training mode")
    return pair.torch


def _not_compared(why: str) -> Result:
    return Result("training mode", 0.0, 0, "", f"not compared: {why}")


class _Training:
    """JAX's pass in training mode, as a jaxpr."""

    def __init__(self, pair: PortPair):
        self.pair, self.side = pair, pair.jax
        how = getattr(pair.jax, "_how", None)
        self.switched = bool(how and how.words) or pair.jax.kind in ("NNX", "Equinox")
        self.leaves = {path: np.asarray(array) for path, array in pair.leaves.items()}
        self.given = jax.tree.map(np.asarray, (pair.jax_inputs.args, dict(pair.jax_inputs.kwargs)))

    def draws(self) -> list[Draw]:
        """Trace the pass; return what it draws, in order."""
        found: list[Draw] = []

        def noted(draw: Draw) -> np.ndarray:
            found.append(draw)
            return np.zeros(draw.shape)

        with x64():
            leaves, given = jax.tree.map(jnp.asarray, (self.leaves, self.given))
            call = self._call if not self.side.concrete else lambda leaves, _: self._call(leaves, self.given)
            self.closed, self.shape = jax.make_jaxpr(call, return_shape=True)(leaves, given)
            flat = jax.tree.leaves((leaves, given))
            jax.eval_shape(lambda *v: jax_supplied(self.closed.jaxpr, self.closed.consts, v, noted), *flat)
        return found

    def _call(self, leaves: Any, given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        output, changed = self.side.call(leaves, *given, train=True)
        return dict(named_leaves(output)), changed

    def run(self, numbers: Sequence[np.ndarray], reference: Arrays, cotangents: Arrays | None) -> Pass:
        """Run the pass with these numbers in place of random ones; without cotangents, without gradients."""
        shapes = {key: array.shape for key, array in self.pair.torch.parameters.items()}
        fixed = {p: a for p, a in self.leaves.items() if p not in self.side.trained}
        trained = {p: a for p, a in self.leaves.items() if p in self.side.trained}

        def computed(trained: Any) -> Any:
            supply = iter(numbers)
            flat = jax.tree.leaves(jax.tree.map(jnp.asarray, ({**fixed, **trained}, self.given)))
            with bits(self.side.narrow):
                found = jax_supplied(self.closed.jaxpr, self.closed.consts, flat, lambda _: next(supply))
            return jax.tree.unflatten(jax.tree.structure(self.shape), found)

        def weighted(trained: Any, pairs: Sequence[Twin]) -> Any:
            outputs, _ = computed(trained)
            rows = [(t, cotangents[t.name]) for t in pairs if cotangents and t.name in cotangents]
            return sum((t.way(outputs[t.jax_name]) * c).sum() for t, c in rows if t.way is not None)

        with x64():
            trained = jax.tree.map(jnp.asarray, trained)
            outputs, changed = jax.tree.map(to_numpy, computed(trained))
            pairs = twins(reference, outputs)
            found = {t.name: t.way(outputs[t.jax_name]) for t in pairs if t.way is not None}
            if cotangents is None:
                return Pass(found, {}, changed)
            by_leaf = jax.grad(weighted, allow_int=True)(trained, pairs)
        back: Arrays = {}
        for path, gradient in by_leaf.items():
            rule = self.pair.weights.rules.get(path)
            for key, array in rule.back(np.asarray(gradient, np.float64), shapes).items() if rule is not None else ():
                back[key] = back[key] + array if key in back else array
        return Pass(found, back, changed)


def _torch_draws(pair: PortPair) -> list[Draw]:
    found: list[Draw] = []

    def noted(draw: Draw) -> np.ndarray:
        found.append(draw)
        return np.ones(draw.shape)

    with _live(pair).kept(), torch.no_grad(), TorchDraws(noted):
        _live(pair).call(*pair.torch_inputs, train=True)
    _live(pair).module.eval()
    return found


def _torch_pass(pair: PortPair, module: TorchModule, numbers: Sequence[np.ndarray], cotangents: Arrays | None) -> Pass:
    shared, supply = {twin.name for twin in pair.shared}, iter(numbers)
    with module.kept():
        with TorchDraws(lambda _: next(supply)):
            output = named_leaves(module.call(*pair.torch_inputs, train=True))
        outputs = {n: a for n, a in output.items() if isinstance(a, torch.Tensor) and n in shared}
        after = module.parameters
        named = {k: t for k, t in module.tensors.items() if k in module.trained and t.requires_grad}
        wanted = {n: a for n, a in outputs.items() if a.requires_grad} if named and cotangents is not None else {}
        total = sum((a * torch.from_numpy(cotangents[n]).to(a.dtype)).sum() for n, a in wanted.items() if cotangents)
        found = gradients_of(total, named) if isinstance(total, torch.Tensor) else {}
    module.module.eval()
    return Pass({n: to_numpy(a) for n, a in outputs.items()}, found, after)


def _shared(
    ours: Sequence[Draw], theirs: Sequence[Draw], accept: Collection[str], *, switched: bool
) -> tuple[list[Shared], Result | None]:
    """Draw the numbers for both sides; or say why they cannot be the same."""
    if any(draw.kind == OTHER for draw in [*ours, *theirs]):
        return [], _not_compared("a side draws random numbers that the other cannot be given")
    if len(ours) != len(theirs):
        words = f"PyTorch draws {_counted(ours)} in training mode, JAX {_counted(theirs)}"
        if not theirs and not switched:
            return [], _not_compared(f"{words}: it has no training mode")
        if any(draw.kind != MASK for draw in [*ours, *theirs]):
            return [], _not_compared(words)
        if ACCEPTED in accept:
            return [], _not_compared(f"{words}, accepted by name: {ACCEPTED}")
        mine, other = (next((d.line for d in draws if d.line), None) for draws in (ours, theirs))
        failure = Failure("dropout", "forward", "dropout", np.inf, 0, f"{words} (trap 20)", None, mine, other)
        return [], Result("dropout", np.inf, 0, "dropout", "", failure)
    found = []
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.kind != other.kind:
            return [], _not_compared(f"PyTorch draws {mine.kind} at {mine.line}, JAX {other.kind} at {other.line}")
        if mine.keep is not None and other.keep is not None and abs(mine.keep - other.keep) > SAME_RATE:
            rates = f"PyTorch drops {1 - mine.keep:.3g} at {mine.line}, JAX {1 - other.keep:.3g} at {other.line}"
            failure = Failure(
                "dropout",
                "forward",
                "dropout",
                abs(mine.keep - other.keep),
                SAME_RATE,
                f"{rates}: the rates differ (trap 20)",
                None,
                mine.line,
                other.line,
            )
            return [], Result("dropout", failure.error, SAME_RATE, "dropout", "", failure)
        shared = _draw(mine, other, np.random.default_rng([20, number]))
        if shared is None:
            shapes = f"{mine.shape} at {mine.line}, JAX {other.shape} at {other.line}"
            return [], _not_compared(f"PyTorch draws {shapes}, which cannot be the same mask")
        found.append(shared)
    return found, None


def _counted(draws: Sequence[Draw]) -> str:
    kinds = list(dict.fromkeys(d.kind for d in draws))
    if not draws:
        return "none"
    if kinds == [MASK]:
        return f"{len(draws)} mask{'s' if len(draws) > 1 else ''}"
    return f"random numbers {len(draws)} times"


def _draw(ours: Draw, theirs: Draw, rng: np.random.Generator) -> Shared | None:
    def numbers(shape: tuple[int, ...]) -> np.ndarray:
        if ours.kind == MASK:
            keep = next((k for k in (ours.keep, theirs.keep) if k is not None), 0.5)
            return (rng.random(shape) < keep).astype(np.float64)
        return rng.normal(size=shape) if ours.kind == NORMAL else rng.random(shape)

    if np.prod(ours.shape) == np.prod(theirs.shape):
        drawn = numbers(theirs.shape)
        return Shared(ours, theirs, tuple(way(drawn) for way in ways_between(ours.shape, theirs.shape)), drawn)
    sizes = list(zip(ours.shape, theirs.shape, strict=False))
    if len(ours.shape) != len(theirs.shape) or any(a != b and 1 not in (a, b) for a, b in sizes):
        return None
    drawn = numbers(tuple(min(a, b) for a, b in sizes))
    words = f"PyTorch draws a mask {ours.shape} at {ours.line}, JAX {theirs.shape} at {theirs.line}"
    both = np.broadcast_to(drawn, ours.shape), np.broadcast_to(drawn, theirs.shape)
    return Shared(ours, theirs, (both[0],), both[1], words)


def _compared(
    pair: PortPair, run: _Training, shared: Sequence[Shared], number: int, accept: Collection[str]
) -> list[Result]:
    """Run both sides with the same numbers, and compare what they make of them."""
    mine = [s.for_torch[min(number, len(s.for_torch) - 1)] for s in shared]
    theirs = [s.for_jax for s in shared]
    plain = _torch_pass(pair, _live(pair), mine, None)
    rng = np.random.default_rng(2)
    cotangents = {name: rng.normal(size=array.shape) for name, array in plain.outputs.items()}
    ours = _torch_pass(pair, _live(pair), mine, cotangents)
    found = run.run(theirs, ours.outputs, cotangents)
    forward = _rows(ours.outputs, found.outputs, FORWARD, NARROW_FORWARD, None)
    # A rate of dropout that one side keeps in float32 scales what is kept: judged as what is float32 inside.
    rounded = bool(shared and forward) and FORWARD < max(row.error for row in forward) <= ROUNDED
    single = None
    if pair.narrow or rounded:
        single = _torch_pass(pair, TorchModule(_live(pair).module, torch.float32), mine, cotangents)
    results = []
    if shared:
        notes = list(dict.fromkeys(s.words for s in shared if s.words))
        more = f"; {notes[0]}" + (f" and {len(notes) - 1} more such" if len(notes) > 1 else "") if notes else ""
        results.append(
            Result("dropout", 0.0, 0, "", f"{_counted([s.ours for s in shared])}, the same on both sides{more}")
        )
    forward = _rows(ours.outputs, found.outputs, FORWARD, NARROW_FORWARD, single and single.outputs)
    top = worst(forward) if forward else None
    if top is not None and not top.ok:
        words, lines = _first_mask(pair, run, shared, mine)
        failure = Failure(
            "forward, train", "forward", top.name, top.error, top.bound, top.detail + words, None, *lines
        )
        return [*results, Result("forward, train", top.error, top.bound, top.name, "", failure)]
    if top is not None:
        note = "a rate is rounded to float32 on one side" if rounded else ""
        results.append(Result("forward, train", top.error, top.bound, top.name, note))
    bound = NARROW_STATISTICS if single is not None else STATISTICS
    share = partial(_share, _live(pair).module)
    results += statistics_compared(pair, ours.after, found.after, accept, bound, share)
    padding = padding_rows(pair.torch)
    kept = {k: without_padding(padding, k, ours.gradients[k], g) for k, g in found.gradients.items() if k in padding}
    theirs_by_key = found.gradients | {k: g for k, g in kept.items() if g is not None}  # judged in evaluation mode
    return results + _gradients_compared(ours.gradients, theirs_by_key, single and single.gradients)


def _rows(
    ours: Arrays, theirs: Arrays, bound: float, narrow: float, single: Arrays | None, scale: float | None = None
) -> list[Compared]:
    rows = []
    for name in ours.keys() & theirs.keys():
        near = bound if single is None else max(narrow, AS_NEAR * relative_error(ours[name], single[name]))
        small = scale is not None and np.linalg.norm(ours[name]) <= ZERO * scale
        rows.append(difference(name, ours[name], theirs[name], near, scale if small else None))
    return rows


def _gradients_compared(ours: Arrays, theirs: Arrays, single: Arrays | None) -> list[Result]:
    rows = _rows(ours, theirs, GRADIENT, 1e-4, single, total_norm(ours) if ours else None)
    if not rows:
        return []
    top = worst(rows)
    if top.ok:
        return [Result("gradients, train", top.error, top.bound, top.name)]
    failure = Failure("gradients, train", "backward", top.name, top.error, top.bound, top.detail)
    failure = failure._replace(values=top.values)
    return [Result("gradients, train", top.error, top.bound, top.name, "", failure)]


def _first_mask(
    pair: PortPair, run: _Training, shared: Sequence[Shared], mine: Sequence[np.ndarray]
) -> tuple[str, tuple[Any, Any]]:
    """Return in words, and by its lines, from which mask on the two differ, the others keeping everything."""
    if not shared or any(s.ours.kind != MASK for s in shared):
        return "", (None, None)
    for count in range(len(shared) + 1):
        ours = [m if n < count else np.ones_like(m) for n, m in enumerate(mine)]
        theirs = [s.for_jax if n < count else np.ones_like(s.for_jax) for n, s in enumerate(shared)]
        reference = _torch_pass(pair, _live(pair), ours, None).outputs
        found = run.run(theirs, reference, None).outputs
        narrow = NARROW_FORWARD if pair.narrow else FORWARD
        if any(relative_error(reference[n], found[n]) > narrow for n in reference.keys() & found.keys()):
            if count == 0:
                return "; with masks that keep everything, too: by a scale, or by the batch's statistics", (None, None)
            last = shared[count - 1]
            words = f"; the masks at {last.ours.line} and {last.theirs.line} act at different places (trap 20)"
            return words, (last.ours.line, last.theirs.line)
    return "", (None, None)


def _share(module: torch.nn.Module, key: str) -> float:
    """Return the share of a batch in the statistics of the layer that a buffer belongs to."""
    momentum = getattr(module.get_submodule(key.rpartition(".")[0]), "momentum", None)
    return 1.0 if momentum is None else float(momentum)
