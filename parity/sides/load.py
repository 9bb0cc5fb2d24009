"""Modules and inputs from the user's files: "my_torch.py:Net(width=64)", "package.module:make"."""

from parity.sides.load_jax import load_inputs, load_jax
from parity.sides.load_torch import load_torch

__all__ = ["load_inputs", "load_jax", "load_torch"]
