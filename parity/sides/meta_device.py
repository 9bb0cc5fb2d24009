"""Modules on PyTorch's meta device, whose tensors have shapes alone: memory and values for them."""

import contextlib
from typing import Any

import torch
from torch import nn

from data import UserError
from parity.sides.numbers import is_float


def tied_names(module: nn.Module) -> dict[str, str]:
    """Return the other names of a tensor that has several, and its first."""
    first: dict[int, str] = {}
    tied = {}
    pairs = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, tensor in pairs:
        known = first.setdefault(id(tensor), name)
        if known != name:
            tied[name] = known
    return tied


def materialised(module: nn.Module) -> bool:
    """Give a module on the meta device memory and initial values; return whether there was anything to do."""
    hollow = {n for n, t in [*module.named_parameters(), *module.named_buffers()] if t.is_meta}
    if not hollow:
        return False
    tied = tied_names(module)
    with torch.no_grad():
        for layer in module.modules():
            if any(t is not None and t.is_meta for t in [*layer._parameters.values(), *layer._buffers.values()]):
                _fill_layer(layer)
    for name, first in tied.items():
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, _tensor_of(module, first))
    empty = [n for n, b in module.named_buffers() if n in hollow and _is_hollow(b)]
    if empty:
        raise UserError(
            f"the PyTorch module is on the meta device, and nothing tells the values of its buffer {empty[0]}: "
            "make it on the CPU"
        )
    for name, p in module.named_parameters():
        if name in hollow and p.isnan().any():
            with torch.no_grad():
                p.normal_(0, 1 / max(1, p[0].numel() if p.ndim else 1) ** 0.5)
    return True


def _nothing(tensor: torch.Tensor) -> Any:
    """Return what stands for no value, until the layer's own reset has written one."""
    return torch.nan if is_float(tensor) else torch.iinfo(tensor.dtype).max if tensor.dtype != torch.bool else True


def _is_hollow(tensor: torch.Tensor) -> bool:
    return bool(tensor.isnan().any() if is_float(tensor) else (tensor == _nothing(tensor)).all())


def _fill_layer(layer: nn.Module) -> None:
    for name, p in layer._parameters.items():
        if p is not None and p.is_meta:
            layer._parameters[name] = nn.Parameter(torch.full_like(p, torch.nan, device="cpu"), p.requires_grad)
    for name, b in layer._buffers.items():
        if b is not None and b.is_meta:
            layer._buffers[name] = torch.full_like(b, _nothing(b), device="cpu")
    for method in ("reset_parameters", "_reset_parameters", "init_weights"):
        if callable(reset := getattr(layer, method, None)):
            with contextlib.suppress(TypeError):  # it wants arguments
                reset()
            break


def _tensor_of(module: nn.Module, name: str) -> torch.Tensor:
    owner, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(owner), leaf)
