"""Activations, gradients, kernels and max-pooling of a network, by name. Twin of `jaxnets.activations`.

A hook sees each layer of a PyTorch module, but ReLU and pooling may be functions. So a function mode, which PyTorch
asks before each of its functions, sees those; the hooks tell it which layer it is in.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from experiment.activations import Activation, Kernel, Pool, common_name, names, settle, without_partial_sums
from torchnets.step import Variables

# What PyTorch calls it: the common name.
FUNCTIONS = {
    **{name: name for name in ("relu", "relu6", "gelu", "silu", "elu", "leaky_relu", "softplus", "sigmoid", "tanh")},
    **{name: name for name in ("softmax", "log_softmax", "add", "mean", "hardswish")},
    **{"relu_": "relu", "cat": "concatenate", "concat": "concatenate", "__add__": "add", "__iadd__": "add"},
}
POOLS = {
    f"{prefix}{name}{dims}d{suffix}": kind
    for name, kind in (("max_pool", "max_pool"), ("avg_pool", "average_pool"), ("adaptive_avg_pool", "average_pool"))
    for dims in (1, 2)
    for prefix in ("", "_")
    for suffix in ("", "_with_indices")
}


class _Call(NamedTuple):
    """The call of a layer or of a function."""

    scope: str  # the name of the layer, or of the one that calls the function; "" at the top
    kind: str
    result: torch.Tensor
    layer: bool = False
    source: torch.Tensor | None = None  # what a function is given
    function: Callable[[torch.Tensor], torch.Tensor] | None = None


class _Trace(NamedTuple):
    """What a network computes, and its calls by name."""

    inputs: torch.Tensor
    logits: torch.Tensor
    calls: dict[str, _Call]
    kernels: dict[str, Kernel]


def activations(model: nn.Module, variables: Variables, inputs: np.ndarray) -> dict[str, Activation]:
    """Return what each layer and each function of the network puts out, in the order of the code.

    Args:
        model: a network.
        variables: its weights and statistics.
        inputs: (N, ..., C), normalised.
    """
    trace = _trace(model, variables, inputs)
    return {name: Activation(call.kind, _array(call.result, call.kind)) for name, call in trace.calls.items()}


def gradient(
    model: nn.Module, variables: Variables, inputs: np.ndarray, labels: np.ndarray, name: str | None = None
) -> np.ndarray:
    """Return the gradient (N, ..., C) of each example's logit of its label, by an activation or by the inputs (None).

    What max-pooling is given is rounded by `settle`, so of values that are equal but for rounding the first is kept.

    Args:
        model: a network.
        variables: its weights and statistics.
        inputs: (N, ..., C), normalised.
        labels: (N,).
        name: of the activation.
    """
    trace = _trace(model, variables, inputs, settled=True)
    call = trace.calls[name] if name is not None else None
    chosen = trace.logits[torch.arange(len(labels)), torch.from_numpy(np.asarray(labels, np.int64))].sum()
    (found,) = torch.autograd.grad(chosen, call.result if call else trace.inputs)
    return _array(found, call.kind if call else "")


def kernels(model: nn.Module, variables: Variables, inputs: np.ndarray) -> dict[str, Kernel]:
    """Return the weights of each convolution and each linear layer, in the order of the code."""
    return _trace(model, variables, inputs).kernels


def max_pools(model: nn.Module, variables: Variables, inputs: np.ndarray) -> dict[str, Pool]:
    """Return what each max-pooling keeps: where the gradient of the sum of its outputs arrives."""
    found = {}
    for name, call in _trace(model, variables, inputs).calls.items():
        if call.kind == "max_pool" and call.source is not None and call.function is not None:
            given = settle(_array(call.source))  # of equal values the first is kept
            x = torch.from_numpy(given).movedim(-1, 1).contiguous().to(call.source.device).requires_grad_()
            outputs = call.function(x)
            (kept,) = torch.autograd.grad(outputs.sum(), x)
            found[name] = Pool(given, _array(kept), _array(outputs))
    return found


class _Functions(TorchFunctionMode):
    """Records the calls of functions outside of the layers."""

    def __init__(self, calls: list[_Call], scopes: list[tuple[str, nn.Module]], count: int, settled: bool):
        super().__init__()
        self._calls, self._scopes, self._count, self._settled = calls, scopes, count, settled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kind = FUNCTIONS.get(func.__name__) or POOLS.get(func.__name__, "")
        args = (_settled(args[0]), *args[1:]) if self._settled and kind == "max_pool" else args
        result = func(*args, **kwargs)
        if not kind or _is_layer(self._scopes[-1][1]) or not _is_new(kind, func.__name__, args, result, self._count):
            return result
        scope = next(name for name, module in reversed(self._scopes) if not _is_transparent(module))
        pool = partial(_call, func, args[1:], kwargs) if kind == "max_pool" else None
        self._calls.append(_Call(scope, kind, result, source=args[0] if pool else None, function=pool))
        return result.clone()  # which a function that works in place may change


def _trace(model: nn.Module, variables: Variables, inputs: np.ndarray, *, settled: bool = False) -> _Trace:
    calls: list[_Call] = []
    kernels: dict[str, Kernel] = {}
    scopes: list[tuple[str, nn.Module]] = []

    def enter(module: nn.Module, args: Any, name: str) -> None:
        scopes.append((name, module))
        if (kernel := _kernel(module, variables, name, args)) is not None:
            kernels[common_name(name)] = kernel

    def leave(module: nn.Module, _args: Any, output: Any, name: str) -> Any:
        scopes.pop()
        if not _is_layer(module) or not isinstance(output, torch.Tensor):
            return None
        calls.append(_Call(common_name(name), _kind(module), output, layer=True))
        return output.clone()

    device = next(iter(variables.values())).device
    x = torch.from_numpy(np.asarray(inputs)).to(device).movedim(-1, 1).requires_grad_()
    model.eval()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(enter, name=name)).remove)
            stack.callback(module.register_forward_hook(partial(leave, name=name)).remove)
        stack.enter_context(_Functions(calls, scopes, len(inputs), settled))
        logits = functional_call(model, variables, (x,))
    calls = [calls[at] for at in without_partial_sums([call[:2] for call in calls])]
    named = names([(common_name(call.scope), call.kind) for call in calls], [call.layer for call in calls])
    return _Trace(x, logits, dict(zip(named, calls, strict=True)), kernels)


def _is_new(kind: str, name: str, args: Any, result: Any, count: int) -> bool:
    """Return whether a function's result is an activation: of the examples, and not its input again."""
    if not isinstance(result, torch.Tensor) or result.shape[:1] != (count,):
        return False
    if kind == "add":
        return all(isinstance(each, torch.Tensor) and each.shape == result.shape for each in args[:2])
    return not ("adaptive" in name and args[0].shape == result.shape)


def _settled(x: torch.Tensor) -> torch.Tensor:
    """Round a value; its derivative is that of the value."""
    return x + (torch.from_numpy(settle(x.detach().cpu().numpy())).to(x.device) - x).detach()


def _call(func: Any, args: Any, kwargs: Mapping[str, Any], x: torch.Tensor) -> torch.Tensor:
    return func(x, *args, **kwargs)


def _array(tensor: torch.Tensor, kind: str = "") -> np.ndarray:
    """Return a tensor (N, C, ...) as an array (N, ..., C); a linear layer's are (N, ..., C) already."""
    moved = tensor if kind == "linear" or tensor.ndim < 2 else tensor.movedim(1, -1)
    return moved.detach().cpu().numpy().copy()


def _is_transparent(module: nn.Module) -> bool:
    """Return whether a module is a function or a list, which Flax's networks do not name."""
    return isinstance(module, nn.Sequential) or not any(True for _ in module.parameters())


def _is_layer(module: nn.Module) -> bool:
    return bool(list(module.parameters(recurse=False)))


def _kernel(module: nn.Module, variables: Variables, name: str, args: Any) -> Kernel | None:
    """Return the weights (..., inputs, outputs) of a convolution or a linear layer; None of others."""
    if not isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return None
    weight = variables[f"{name}.weight"].detach().cpu().numpy()  # (outputs, inputs, ...)
    shape = args[0].shape[1:] if _kind(module) == "linear" else (*args[0].shape[2:], args[0].shape[1])
    return Kernel(_kind(module), weight.transpose(*range(2, weight.ndim), 1, 0).copy(), tuple(shape))


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "linear"
    return "convolution" if isinstance(module, (nn.Conv1d, nn.Conv2d)) else _other(module)


def _other(module: nn.Module) -> str:
    return "normalization" if "Norm" in type(module).__name__ else "layer"
