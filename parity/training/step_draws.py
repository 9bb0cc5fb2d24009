"""What PyTorch draws in a training step comes from a supply."""

from collections.abc import Callable
from typing import Any

from parity.sides.random_draws import OTHER, TORCH
from parity.sides.torch_draws import TorchDraws
from parity.training.supply import Supply


class StepDraws(TorchDraws):
    """A mode under which a step's forward pass draws what a supply has; other random numbers are PyTorch's."""

    def __init__(self, supply: Supply, drawing: Callable[[], bool]):
        super().__init__(supply)
        self.drawing = drawing

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of TorchDynamo, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").partition(".")[0]
        if TORCH.get(name, OTHER) == OTHER or not self.drawing():
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)
