"""Which leaves of a JAX state are the weights, and how each is made of PyTorch's: the forward pass of both tells."""

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from data import UserError
from parity.align.frontier import Difference
from parity.align.lockstep import Walk
from parity.align.pair import _weights
from parity.align.search import Aligned, Search
from parity.mapping.rule import NONE, Rule
from parity.sides.arrays import wide, x64
from parity.sides.randomise import randomise_
from parity.trace.jax_eval import as_numpy
from parity.training.jax_steps import JaxTraining, Program
from parity.training.numbers import restored
from parity.training.recorder import StepRecorder, recording
from parity.training.tape import widened
from parity.training.torch_steps import TorchStep, TorchTraining

SECONDS = 25.0  # for which the weights are looked for


class Forward(NamedTuple):
    """Both forward passes of one step, aligned."""

    aligned: Aligned
    recorder: StepRecorder
    step: TorchStep
    rules: dict[str, Rule]  # by leaf
    lost: tuple[str, ...]  # leaves that the forward pass uses and PyTorch does not seem to have

    def differences(self) -> list[tuple[Walk, Difference]]:
        """Return where both part, in PyTorch's order."""
        return sorted(self.aligned.differences, key=lambda pair: pair[1].op)

    def in_loss(self, found: Difference) -> bool:
        """Tell whether a difference is behind the module's last output."""
        makers = [self.recorder.trace.values[n].maker for n in self.recorder.outputs]
        inside = [m for m in makers if m is not None]
        return not inside or found.op > max(inside)


def forward(
    torch_training: TorchTraining,
    jax_training: JaxTraining,
    batch: tuple[Sequence[Any], Sequence[Any]],
    known: Mapping[str, Rule] | None = None,
    *,
    random: bool = True,
) -> Forward:
    """Make one step of PyTorch's, record its forward pass, and walk through JAX's with it.

    Args:
        torch_training: a training that is used for nothing else.
        jax_training: JAX's.
        batch: for PyTorch, for JAX.
        known: rules that are known already.
        random: whether the weights are made random, so that none is like another.
    """
    module = torch_training.module
    if random:
        randomise_(module, frozenset(n for n, p in module.named_parameters() if p.requires_grad), 0)
    states = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    arrays = {name: wide(t) for name, t in states.items()}

    def make() -> StepRecorder:
        return StepRecorder([np.asarray(b) for b in jax.tree.leaves(tuple(batch[0]))], states)

    with _recorded(module) as scopes:
        step, recorder = torch_training.first(batch[0], lambda: scopes(make()))
    if not recorder.roots:
        raise UserError("the PyTorch step makes no backward pass: there is nothing to compare its gradients with")
    program = jax_training.program(batch[1])
    lengths = {len(b) for b in jax.tree.leaves(tuple(batch[1])) if np.ndim(b)}
    closed, used, given = program.loss_alone(_carried(program, jax_training, module, lengths))
    closed = SimpleNamespace(jaxpr=widened(closed.jaxpr), consts=[restored(as_numpy(c)) for c in closed.consts])
    leaves = {name: jax_training.leaves[name] for name in used}
    trained = frozenset(name for name, array in leaves.items() if array.dtype.kind == "f")
    with x64():
        inputs = [jax_training.leaves[name] for name in given]
        inputs += [np.asarray(b) for b in jax.tree.leaves(jax.tree.map(jnp.asarray, tuple(batch[1])))]

        def search(known: Mapping[str, Rule] | None) -> tuple[Aligned, dict[str, Rule]]:
            found = Search(
                recorder.trace, closed, inputs, leaves, trained, arrays, recorder.roots, known, seconds=SECONDS
            ).run()
            side = SimpleNamespace(leaves=leaves, trained=trained)
            tied = dict[str, str]()
            ours = SimpleNamespace(parameters=arrays, saved=set(arrays), tied=tied)
            weights, _ = _weights(ours, side, found)  # type: ignore[arg-type]
            return found, dict(weights.rules)

        aligned, rules = search(known)
        if turned := _unflipped(rules, arrays):
            aligned, rules = search({**(known or {}), **turned})
    lost = tuple(name for name in trained if name not in rules)
    return Forward(aligned, recorder, step, rules, lost)


def _carried(
    program: Program, jax_training: JaxTraining, module: torch.nn.Module, lengths: Collection[int]
) -> set[str]:
    """Return leaves that are carried from step to step and are no weights: PyTorch's module has none of their size."""
    sizes, leaves = {t.numel() for t in module.buffers()}, jax_training.leaves
    found = {name for name in program.carried() if leaves[name].size not in sizes}
    # Or zeros for each example, which nothing changes.
    sizes |= {t.numel() for t in module.parameters()}
    zeros = {name for name in program.unchanged() if leaves[name].ndim > 1 and not leaves[name].any()}
    return found | {n for n in zeros if len(leaves[n]) in lengths and leaves[n].size not in sizes}


def _unflipped(rules: Mapping[str, Rule], arrays: Mapping[str, np.ndarray]) -> dict[str, Rule]:
    """Return rules that reverse channels, without that: it is the data that are reversed, not the weights."""
    return {
        leaf: rule._replace(steps=rule.steps[1:])
        for leaf, rule in rules.items()
        if rule.steps and rule.steps[0] in ("flip 0", "flip 1") and arrays[rule.sources[0]].ndim > 1
    }


class _recorded:
    """Recording that begins when the recorder is made, as the step may have to be called twice."""

    def __init__(self, module: torch.nn.Module):
        self.module, self.open = module, []

    def __enter__(self) -> Any:
        return self._start

    def _start(self, recorder: StepRecorder) -> StepRecorder:
        self._close()
        context = recording(self.module, recorder)
        context.__enter__()
        self.open.append(context)
        return recorder

    def _close(self) -> None:
        while self.open:
            self.open.pop().__exit__(None, None, None)

    def __exit__(self, *_: Any) -> None:
        self._close()


def carried(rule: Rule, tensors: Mapping[str, np.ndarray], *, constant: bool = True) -> np.ndarray | None:
    """Return a leaf made of tensors by a rule; None if one is missing.

    Args:
        rule: from PyTorch's tensors to the leaf.
        tensors: of PyTorch's: parameters, or gradients and slots of them.
        constant: whether what the rule adds is added, as for weights but not for gradients.
    """
    if any(key not in tensors for key in rule.sources):
        return None
    if constant or not any(step.startswith("add") for step in rule.steps):
        return rule(tensors)
    shapes = {key: tensors[key].shape for key in rule.sources}
    table = rule.table(shapes)
    flat = np.concatenate([np.ravel(tensors[key]) for key in dict.fromkeys(rule.sources)])
    return np.where(table.indices == NONE, 0.0, flat[np.maximum(table.indices, 0)]).sum(0)
