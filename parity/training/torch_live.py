"""A PyTorch training that is here, as the comparison asks for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data.errors import UserError
from parity.sides.faults import explained
from parity.training.first_step import first_step
from parity.training.precision import Precision
from parity.training.steps import TorchStep
from parity.training.torch_precision import torch_precision
from parity.training.torch_steps import TorchTraining
from parity.training.weights import First


class LiveTorch:
    """A function that makes a PyTorch training, and the batches of its steps."""

    def __init__(self, make: Callable[[], Any], batches: Sequence[Any]):
        self.make, self.batches = make, batches
        self.as_tensors = False
        self._training: TorchTraining | None = None

    def first(self, supply: Any) -> First:
        """Make the first step with random weights, and record its forward pass."""
        training = TorchTraining(self.make)
        training.supply = supply
        found = first_step(training, self.batches[0])
        self.as_tensors = training.as_tensors
        return found

    def steps(self, supplies: Sequence[Any]) -> list[TorchStep]:
        """Make the steps, each with its random numbers; after `first`."""
        training = self.training()
        return [self.step(training, batch, supply) for batch, supply in zip(self.batches, supplies, strict=True)]

    def training(self) -> TorchTraining:
        """Return the training, made anew."""
        self._training = TorchTraining(self.make)
        self._training.as_tensors = self.as_tensors
        return self._training

    @staticmethod
    def step(training: TorchTraining, batch: Any, supply: Any) -> TorchStep:
        """Make one step."""
        training.supply = supply
        try:
            return training.run(batch)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"the PyTorch step cannot be called: {explained(error)}") from error

    @property
    def shares(self) -> Mapping[str, Any]:
        """Return a batch's share in running statistics, by layer."""
        layers = self._training.module.named_modules() if self._training is not None else ()
        return {name: layer.momentum for name, layer in layers if isinstance(getattr(layer, "momentum", None), float)}

    def precision(self) -> Precision | None:
        """Return what it computes in which type."""
        return torch_precision(self.make, self.batches[0], as_tensors=self.as_tensors)
