"""What is asked of the PyTorch side of a port, be it here (`TorchModule`) or in a file (`RecordedModule`)."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from parity.sides.draw import Inputs
from parity.trace.values import Trace


class Pass(NamedTuple):
    """A forward pass in evaluation mode."""

    trace: Trace
    outputs: Mapping[str, Any]  # by name, tensors or numpy's arrays
    numbers: Mapping[str, int]  # of the outputs' values in the trace


class Statistics(NamedTuple):
    """What a training step makes of running statistics."""

    layers: int  # how many have any
    noisy: int  # layers of dropout, which draw their own masks
    after: Mapping[str, np.ndarray]  # the buffers
    shares: Mapping[str, float]  # of a batch in the statistics of each layer, by the layer's name


class Reference(Protocol):
    """A PyTorch module in float64, or what has been recorded of one."""

    tied: dict[str, str]  # other names of tensors that have several
    trained: frozenset[str]
    saved: frozenset[str]  # what a state_dict has
    notes: list[str]

    @property
    def parameters(self) -> Mapping[str, np.ndarray]:
        """Return parameters and buffers, one name of each."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return how many numbers each of them has."""
        ...

    def recorded(self, inputs: Inputs, /) -> Pass:
        """Return a forward pass in evaluation mode, operation by operation."""
        ...

    def float32_outputs(self, inputs: Inputs, /) -> Mapping[str, np.ndarray]:
        """Return the outputs of the module in float32."""
        ...

    def gradients(self, inputs: Inputs, /) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the gradients of a weighted sum of the outputs, and the weights of the sum by output."""
        ...

    def float32_errors(
        self, inputs: Inputs, reference: Mapping[str, Any], cotangents: Mapping[str, np.ndarray], /
    ) -> Mapping[str, float]:
        """Return the relative error of each gradient, of the same sum, in float32."""
        ...

    def statistics(self, inputs: Inputs, /) -> Statistics:
        """Return what a training step makes of running statistics."""
        ...
