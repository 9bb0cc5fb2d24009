"""Recording the forward pass of a PyTorch step."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from parity.trace.torch_trace import TorchRecorder, _scopes, as_numpy
from parity.trace.values import Value


class StepRecorder(TorchRecorder):
    """A recorder that knows the batch again when the step has made tensors of it."""

    def __init__(self, batch: Sequence[np.ndarray], states: Mapping[str, torch.Tensor]):
        super().__init__([], states)
        self.batch = [np.asarray(b) for b in batch]
        self.outputs: list[int] = []  # numbers of the module's outputs
        self.roots: list[int] = []  # of what is differentiated

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's value; one that holds an array of the batch is data."""
        if id(tensor) not in self._numbers:
            array = as_numpy(tensor)
            if any(_equal(b, array) or _made_of(b, array) or _part_of(b, array) for b in self.batch):
                return self._remember(tensor, Value(array, data=True))
        return super().number(tensor)


@contextlib.contextmanager
def recording(module: torch.nn.Module, recorder: StepRecorder) -> Iterator[None]:
    """Name the places of what is recorded, and take fused attention apart."""
    with _scopes(module, recorder), sdpa_kernel(SDPBackend.MATH):
        yield


def _made_of(batch: np.ndarray, array: np.ndarray) -> bool:
    """Tell whether an array may be the batch's, prepared in numpy."""
    return batch.size == array.size > 1 and batch.ndim > 1 and array.dtype.kind == "f"


def _part_of(batch: np.ndarray, array: np.ndarray) -> bool:
    """Tell whether an array is a part of the batch that was cut out in numpy, or zeros for each of its examples."""
    if min(batch.ndim, array.ndim) < 2 or len(array) != len(batch) or array.size < 2:
        return False
    if array.dtype.kind == "f":
        return not array.any() or (batch.dtype.kind == "f" and bool(np.isin(array, batch).all()))
    length = array.shape[1]
    windows = (batch[:, at : at + length] for at in range(batch.shape[1] - length + 1))
    return array.dtype.kind == batch.dtype.kind and any(_equal(window, array) for window in windows)


def _equal(batch: np.ndarray, array: np.ndarray) -> bool:
    return batch.size == array.size and batch.shape == array.shape and np.array_equal(batch, array)
