"""What is asked of a PyTorch module beside its forward pass: its trace, its gradients, its statistics, its float32."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from parity.report.compare import relative_error
from parity.sides.draw import Inputs
from parity.sides.numbers import to_numpy, tree_leaves
from parity.sides.outputs import named_leaves
from parity.sides.reference import Pass, Statistics
from parity.trace.torch_trace import record

if TYPE_CHECKING:
    from parity.sides.torch_module import TorchModule


def recorded(module: "TorchModule", inputs: Inputs) -> Pass:
    """Return a forward pass in evaluation mode, operation by operation."""
    args, kwargs = module.tensors_of(inputs.args), module.tensors_of(dict(inputs.kwargs))
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in _tensors((args, kwargs))]
    with module.defaults(), module.kept(), module.noise():  # outside of the recorder, which sees what it is given
        output, recorder = record(
            module.module, lambda: module.call(args, kwargs, train=False), tensors, module.tensors
        )
    outputs = named_leaves(output)
    names = [name for name, tensor in outputs.items() if isinstance(tensor, torch.Tensor)]
    numbers = recorder.numbers_of([outputs[name] for name in names])
    return Pass(recorder.trace, outputs, dict(zip(names, numbers, strict=True)))


def outputs(module: "TorchModule", inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the outputs in evaluation mode, by name."""
    with torch.no_grad():
        output = named_leaves(module.call(*inputs, train=False))
    return {name: to_numpy(array) for name, array in output.items()}


def gradients(
    module: "TorchModule",
    inputs: Inputs,
    cotangents: Mapping[str, np.ndarray] | None = None,
    among: Collection[str] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return PyTorch's gradients of a weighted sum of the outputs (of these), and the weights of the sum."""
    args, kwargs = (module.tensors_of(part) for part in (inputs.args, dict(inputs.kwargs)))
    floats = {
        f"input {i}": tensor.requires_grad_()
        for i, tensor in enumerate(_tensors((args, kwargs)))
        if tensor.is_floating_point()
    }
    rng = np.random.default_rng(1)
    with module.kept():  # tensors are put back only when the gradients are there: they count what is written to them
        outputs = {
            name: array
            for name, array in named_leaves(module.call(args, kwargs, train=False)).items()
            if isinstance(array, torch.Tensor) and array.requires_grad and (among is None or name in among)
        }
        if cotangents is None:
            cotangents = {name: rng.normal(size=tuple(array.shape)) for name, array in outputs.items()}
        total = sum((outputs[n] * torch.from_numpy(c).to(outputs[n].dtype)).sum() for n, c in cotangents.items())
        named = {k: t for k, t in module.tensors.items() if k in module.trained and t.requires_grad} | floats
        found = gradients_of(total, named) if isinstance(total, torch.Tensor) else {}
    return found, dict(cotangents)


class _ExactBackward(TorchDispatchMode):
    """A backward pass in float64 throughout: PyTorch's own of hardsigmoid multiplies by 1/6 in float32."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that TorchDynamo need not be kept out of the mode; to do so, PyTorch imports it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation."""
        if func is torch.ops.aten.hardsigmoid_backward.default:
            given, x = args
            return torch.where((x > -3) & (x < 3), given / 6, 0.0)
        return func(*args, **(kwargs or {}))


def gradients_of(total: torch.Tensor, named: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return the gradients of a number by some leaves; zeros where it does not depend on one.

    By `backward`, since `torch.autograd.grad` refuses the older form of checkpointing.
    """
    for tensor in named.values():
        tensor.grad = None
    with _ExactBackward():
        total.backward()
    found = {
        name: np.zeros(tuple(tensor.shape)) if tensor.grad is None else to_numpy(tensor.grad)
        for name, tensor in named.items()
    }
    for tensor in named.values():
        tensor.grad = None
    return found


def float32_errors(
    single: "TorchModule", inputs: Inputs, reference: Mapping[str, Any], cotangents: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return the relative error of each gradient of the same sum in a module that is in float32."""
    found, _ = gradients(single, inputs, cotangents)
    return {name: relative_error(array, found[name]) for name, array in reference.items()}


def statistics(module: "TorchModule", inputs: Inputs) -> Statistics:
    """Return what a training step makes of running statistics."""
    named = dict(module.module.named_modules())
    moving = {n: layer for n, layer in named.items() if isinstance(getattr(layer, "running_mean", None), torch.Tensor)}
    noisy = sum(isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0 for m in named.values())
    if not moving or noisy:
        return Statistics(len(moving), noisy, {}, {})
    with module.kept():
        with torch.no_grad():
            module.call(*inputs, train=True)
        after = {name: array for name, array in module.parameters.items() if name not in module.trained}
    module.module.eval()
    shares = {n: 1.0 if (m := getattr(layer, "momentum", None)) is None else float(m) for n, layer in moving.items()}
    return Statistics(len(moving), noisy, after, shares)


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (t for t in tree_leaves(tree) if isinstance(t, torch.Tensor))
