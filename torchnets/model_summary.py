"""A network's layers, for `--summary`; only shapes are computed."""

from typing import Any

import torch
from torch import nn

from experiment.model_summary import Layer, product_flops
from experiment.registry import Entry


def summarize(entry: Entry) -> list[Layer]:
    """Return the layers in the order they are called in, for one example of the entry's input shape."""
    layers: list[Layer] = []
    with torch.device("meta"):
        model = entry.build().eval()
        inputs = torch.zeros(1, *entry.input_shape).movedim(-1, 1)
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) or _is_leaf(module):
            module.register_forward_hook(lambda m, _, output, name=name: layers.append(_layer(name, m, output)))
    model(inputs)
    return layers


def _is_leaf(module: nn.Module) -> bool:
    return bool(list(module.parameters(recurse=False)))


def _layer(name: str, module: nn.Module, output: Any) -> Layer:
    shape = tuple(output.movedim(1, -1).shape[1:])
    kernel = getattr(module, "weight", None) if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)) else None
    flops = product_flops(kernel.numel(), shape) if kernel is not None else 0
    return Layer(name, type(module).__name__, shape, sum(p.numel() for p in module.parameters()), flops)
