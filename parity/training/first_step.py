"""The first step of a PyTorch training, with random weights, and its forward pass operation by operation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from data.errors import UserError
from parity.sides.numbers import tree_leaves, wide
from parity.sides.randomise import moved, randomise_
from parity.training.recorder import StepRecorder, recording
from parity.training.snapshots import kept_tensors
from parity.training.targets import MARK
from parity.training.torch_steps import TorchTraining
from parity.training.weights import First


def first_step(training: TorchTraining, batch: Sequence[Any], *, random: bool = True) -> First:
    """Make one step, and record its forward pass.

    Args:
        training: one that is used for nothing else.
        batch: PyTorch's.
        random: whether the weights are made random, so that none is like another.
    """
    module = training.module
    if random:
        randomise_(module, frozenset(n for n, p in module.named_parameters() if p.requires_grad), 0)
    beside = _kept_beside(training, random=random)
    states = {**dict(module.named_parameters()), **dict(module.named_buffers()), **beside}
    arrays = {name: wide(t) for name, t in states.items()}

    def make() -> StepRecorder:
        return StepRecorder([np.asarray(b) for b in tree_leaves(tuple(batch))], states)

    with _recorded(module) as scopes:
        step, recorder = training.first(batch, lambda: scopes(make()))
    if not recorder.roots:
        raise UserError("the PyTorch step makes no backward pass: there is nothing to compare its gradients with")
    values = recorder.trace.values
    used = {key for op in recorder.trace.ops for number in op.inputs for key in values[number].keys}
    arrays = {name: array for name, array in arrays.items() if name not in beside or name in used}
    return First(recorder.trace, recorder.outputs, recorder.roots, arrays, step)


def _kept_beside(training: TorchTraining, *, random: bool) -> dict[str, torch.Tensor]:
    """Return what a step keeps beside the module, as a target network, random where it is not zero."""
    found, rng = {}, np.random.default_rng(21)
    with torch.no_grad():
        for place, tensors in kept_tensors(training.module, training.step, training.copies).items():
            zeros = not any(bool(tensor.any()) for tensor in tensors.values())
            for name, tensor in tensors.items():
                found[f"{place}{MARK}{name}"] = tensor
                if random and not zeros and "running_" not in name:
                    tensor.copy_(torch.from_numpy(np.asarray(moved(wide(tensor), name, None, rng))))
    return found


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
