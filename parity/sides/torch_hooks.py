"""Looking into a pass of a PyTorch module: what each layer is given, and what is put in its place.

Twin of `flax_hooks`.
"""

import contextlib
import functools
import inspect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from experiment.weights.layout import layer_path
from parity.copy import as_array
from parity.sides.calls import Call, CallName, Masks, Numbering, channels_first, channels_last

DROPOUTS = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}


@contextlib.contextmanager
def recorded(module: nn.Module) -> Iterator[dict[str, Call]]:
    """Collect what every layer is given and returns, in the order in which they finish."""
    calls: dict[str, Call] = {}
    given: list[np.ndarray] = []

    # Before it runs: a layer that works in place has changed its input afterwards.
    def before(_name: CallName, _layer: nn.Module, args: tuple[Any, ...]) -> None:
        given.append(channels_last(as_array(args[0])) if _is_tensor(args) else np.empty(0))

    def after(name: CallName, _layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        x = given.pop()
        if _is_tensor(args) and isinstance(output, torch.Tensor):
            calls[name] = Call(x, channels_last(as_array(output)))

    with hooked(module, after, before):
        yield calls


@contextlib.contextmanager
def probed(module: nn.Module) -> Iterator[dict[str, Call]]:
    """Add a probe to the input and to the output of every call of a layer: its gradient is the gradient there."""
    probes: dict[str, Call] = {}
    given: list[torch.Tensor | None] = []

    def before(_name: CallName, _layer: nn.Module, args: tuple[Any, ...]) -> Any:
        given.append(torch.zeros_like(args[0], requires_grad=True) if _is_tensor(args) else None)
        return None if given[-1] is None else (args[0] + given[-1], *args[1:])

    def after(name: CallName, _layer: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        x = given.pop()
        if x is None or not isinstance(output, torch.Tensor):
            return None
        y = torch.zeros_like(output, requires_grad=True)
        probes[name] = Call(x, y)
        return output + y

    with hooked(module, after, before):
        yield probes


def _is_tensor(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor) and args[0].is_floating_point()


@contextlib.contextmanager
def injected(module: nn.Module, masks: Masks | None) -> Iterator[None]:
    """Make dropout layers use the given masks: two generators never agree, masks do (trap 20)."""

    def replace(name: str, rate: float, _whole: bool, x: torch.Tensor) -> torch.Tensor | None:
        if masks is None:
            return None
        mask = torch.from_numpy(np.array(channels_first(masks[name]))).to(x.device)
        return torch.where(mask, x / (1 - rate), 0) if rate < 1 else torch.zeros_like(x)

    with hooked_dropout(module, replace):
        yield


@contextlib.contextmanager
def hooked_dropout(module: nn.Module, visit: Any) -> Iterator[None]:
    """Call `visit(call, rate, whole channels?, input)` at each active dropout; what it returns is the output.

    A call of torch.nn.functional's own, outside of any such layer, is one of "F.dropout".
    """
    numbering = Numbering()  # of the active ones alone
    inside: list[str] = []  # the dropout layer that is running: it calls the function, too

    def visited(name: str, *args: Any) -> Any:
        return visit(numbering.next(name), *args)

    def before(name: CallName, layer: nn.Module, _args: tuple[Any, ...]) -> None:
        if _drops(layer):
            inside.append(name.layer)

    def after(name: CallName, layer: nn.Module, args: tuple[Any, ...], _: Any) -> Any:
        if not _drops(layer):
            return None
        inside.pop()
        return visited(name.layer, layer.p, type(layer) is not nn.Dropout, args[0]) if layer.training else None

    class Functional(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func not in DROPOUTS or inside:
                return func(*args, **(kwargs or {}))
            call = inspect.signature(func).bind(*args, **(kwargs or {}))
            call.apply_defaults()
            x, rate, active = (call.arguments[word] for word in ("input", "p", "training"))
            output = visited("F.dropout", rate, func is not functional.dropout, x) if active else None
            return func(*args, **(kwargs or {})) if output is None else output

    with hooked(module, after, before), Functional():
        yield


def _drops(layer: nn.Module) -> bool:
    """Tell whether a layer sets what it drops to zero, unlike alpha dropout."""
    return isinstance(layer, _DropoutNd) and not isinstance(layer, (nn.AlphaDropout, nn.FeatureAlphaDropout))


@contextlib.contextmanager
def hooked(module: nn.Module, after: Any, before: Any = None) -> Iterator[None]:
    """Call `before(call, layer, args)` and `after(call, layer, args, output)` at each call of a layer.

    What they return, if anything, takes the place of the arguments and of the output.
    """
    handles, numbering, running = [], Numbering(), defaultdict[str, list[CallName]](list)

    def start(path: str, layer: nn.Module, args: tuple[Any, ...]) -> Any:
        running[path].append(numbering.next(path))
        return None if before is None else before(running[path][-1], layer, args)

    def end(path: str, layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        return after(running[path].pop(), layer, args, output)

    for name, layer in module.named_modules():
        if name:
            path = layer_path(name)
            handles.append(layer.register_forward_pre_hook(functools.partial(start, path)))
            handles.append(layer.register_forward_hook(functools.partial(end, path)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
