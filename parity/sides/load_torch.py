"""PyTorch modules from the user's files; JAX is not imported."""

import torch

from data.errors import UserError
from parity.sides.frameworks import is_a
from parity.sides.target import loaded

FLAX = ("flax.linen:Module", "flax.nnx:Module")


def load_torch(target: str) -> torch.nn.Module:
    """Return the PyTorch module that a target names, made in the default dtype with seed 0.

    Raises:
        UserError: the file, the name or the call is wrong; one line.
    """
    torch.manual_seed(0)
    value = loaded(target, lambda value: isinstance(value, torch.nn.Module | tuple) or is_a(value, *FLAX))
    if not isinstance(value, torch.nn.Module):
        raise UserError(f"{target} is {type(value).__name__}: expected a torch.nn.Module, or what makes one")
    return value
