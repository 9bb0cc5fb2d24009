"""What PyTorch itself has loaded, as arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import UserError
from experiment.extras import needs_torch
from experiment.weights.small_floats import ml_dtypes
from experiment.weights.torch_tensor import advice, cannot_hold


def to_arrays(found: Any, source: str) -> dict[str, np.ndarray]:
    """Return the flat dict of tensors that PyTorch has loaded as arrays.

    Raises:
        UserError: it is anything else; `source` is what it was read from.
    """
    torch = import_torch()
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{source}: expected a dict of names to tensors; {advice()}")
    return {name: _to_array(name, tensor, source) for name, tensor in found.items()}


def import_torch() -> Any:
    """Import PyTorch.

    Raises:
        UserError: it is not installed; says which extra to install.
    """
    try:
        import torch  # here: only torchvision's own download needs it
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch("reading what PyTorch has loaded") from None
    return torch


def _to_array(name: str, tensor: Any, source: str) -> np.ndarray:
    torch = import_torch()
    dtype = str(tensor.dtype).removeprefix("torch.")
    tensor = tensor.detach()
    try:
        if not hasattr(ml_dtypes, dtype):
            return tensor.numpy()
        # bfloat16 and the like, which numpy has only by way of ml_dtypes: the same bits under another name.
        bits = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        return tensor.contiguous().view(bits).numpy().view(getattr(ml_dtypes, dtype))
    except (TypeError, RuntimeError, NotImplementedError):  # sparse, quantized, without storage, of exotic types
        kind = f"{tensor.layout} {tensor.dtype} tensor on '{tensor.device}'".replace("torch.", "")
        raise cannot_hold(source, name, kind) from None
