"""A JAX training that is here, as the comparison asks for it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from parity.training.jax_precision import jax_precision
from parity.training.jax_steps import JaxTraining
from parity.training.precision import Precision


class LiveJax:
    """A function that makes a JAX training."""

    def __init__(self, make: Callable[[], Any]):
        self.make, self.training = make, JaxTraining(make)

    @property
    def leaves(self) -> Mapping[str, np.ndarray]:
        """Return the state by path."""
        return self.training.leaves

    def program(self, batch: Any) -> Any:
        """Return the step for a batch."""
        return self.training.program(batch)

    def precision(self, batch: Any) -> Precision | None:
        """Return what it computes in which type."""
        return jax_precision(self.make, batch)
