"""What a value is, told without importing the framework that it would come from: one of the two may be missing."""

import contextlib
import sys
from typing import Any


def classes(*names: str) -> tuple[type, ...]:
    """Return classes by name, "torch.nn:Module"; those of modules that nobody has imported are left out."""
    found = []
    for name in names:
        module, _, attribute = name.partition(":")
        value = getattr(sys.modules.get(module), attribute, None)
        if isinstance(value, type):
            found.append(value)
    return tuple(found)


def is_a(value: Any, *names: str) -> bool:
    """Return whether a value is of one of some classes, "torch.nn:Module"."""
    return isinstance(value, classes(*names))


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of PyTorch's."""
    return is_a(value, "torch:Tensor")


def is_jax_array(value: Any) -> bool:
    """Return whether a value is an array of JAX's, a traced one, too."""
    return is_a(value, "jax:Array")


def x64() -> Any:
    """Return a context in which JAX, if it is there, has 64 bits."""
    jax = sys.modules.get("jax")
    return contextlib.nullcontext() if jax is None else jax.enable_x64(True)
