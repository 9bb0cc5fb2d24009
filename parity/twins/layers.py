"""The layers of a network in full size: the line that makes each, its output's shape and its parameters, per side.

Nothing is computed: PyTorch's module is on the meta device, Flax's is traced. Each side is read by itself, so that a
page shows what both are and not what one of them should be.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from flax import linen
from torch import nn

import jaxnets
import torchnets
from experiment.weights.layout import layer_path
from parity.sides.calls import CallName
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import layer_shapes
from parity.twins.pairs import Twin

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """A layer on one side."""

    line: int  # of the file, from 1 on; 0 if another file makes it
    kind: str
    shape: Shape  # of its output for one example, in the side's own order; () if it returns no array
    parameters: int  # with those of its parts


def torch_layers(twin: Twin) -> dict[str, Layer]:
    """Return PyTorch's layers by path, in the order in which they are made."""
    assert twin.entry
    with _made(nn.Module, "__init__", twin.torch) as lines, torch.device("meta"):
        module = torchnets.MODELS[twin.name].build()
    shapes = _by_layer(layer_shapes(module, twin.entry.input_shape))
    return {
        layer_path(name): Layer(
            lines.get(id(layer), 0),
            type(layer).__name__,
            _channels_first(shapes.get(layer_path(name), ())),
            sum(p.numel() for p in layer.parameters()),
        )
        for name, layer in module.named_modules()
        if name
    }


def flax_layers(twin: Twin) -> dict[str, Layer]:
    """Return Flax's layers by path, in the order in which they are called."""
    assert twin.entry
    called: dict[str, linen.Module] = {}

    def watch(run: Any, args: Any, kwargs: Any, context: linen.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and context.module.path:
            called.setdefault("/".join(context.module.path), context.module)
        return run(*args, **kwargs)

    side = FlaxSide(jaxnets.MODELS[twin.name].build(), np.float32)
    with _made(linen.Module, "__post_init__", twin.jax) as lines, linen.intercept_methods(watch):
        shapes = _by_layer(side.layer_shapes(twin.entry.input_shape))
    sizes = {path: int(np.prod(leaf.shape)) for path, leaf in side.structure(twin.entry.input_shape).items()}
    return {
        path: Layer(
            lines.get(id(module), 0),
            type(module).__name__,
            shapes.get(path, ()),
            sum(size for name, size in sizes.items() if name.startswith(f"params/{path}/")),
        )
        for path, module in called.items()
    }


@contextlib.contextmanager
def _made(module: type, method: str, file: Path) -> Iterator[dict[int, int]]:
    """Collect the line of a file on which each module is made, by the module's id; modules are kept alive."""
    lines: dict[int, int] = {}
    alive: list[Any] = []
    init = getattr(module, method)

    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        if id(self) not in lines:
            alive.append(self)
            lines[id(self)] = _line(sys._getframe(1), self, str(file))
        return init(self, *args, **kwargs)

    with patch.object(module, method, noting):
        yield lines


def _line(frame: FrameType | None, made: Any, file: str) -> int:
    """Return the innermost line of the file on the stack, but for those of the module's own methods."""
    while frame is not None:
        if frame.f_code.co_filename == file and frame.f_locals.get("self") is not made:
            return frame.f_lineno
        frame = frame.f_back
    return 0


def _by_layer(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the shape of one example's output by layer: the first call's."""
    found: dict[str, Shape] = {}
    for name, shape in shapes.items():
        found.setdefault(CallName(name).layer, shape[1:])
    return found


def _channels_first(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1]) if shape else ()
