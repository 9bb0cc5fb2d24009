"""How the arrays of a JAX model are made from PyTorch's tensors: rules, all usual candidates, files, emitted code."""

from parity.mapping.mapping import Mapping
from parity.mapping.rule import Rule

__all__ = ["Mapping", "Rule"]
