"""Running a PyTorch module and reading everything off it, in Flax's names and layout. Twin of `flax_side`."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from experiment.weights.layout import by_path, layouts
from parity.copy import as_array
from parity.sides.calls import Call, CallName, Masks, Run, Site, channels_first, channels_last
from parity.sides.random_draws import Draw
from parity.sides.torch_draws import draws_of
from parity.sides.torch_hooks import hooked, hooked_dropout, injected, probed, recorded


def randomised(module: nn.Module, inputs: np.ndarray, seed: int) -> nn.Module:
    """Return a copy whose norm layers have affines and statistics that no default could stand in for.

    The statistics are those of the inputs (N, ..., C), moved at random. Wholly random ones would let the activations
    fade from layer to layer, in a deep network to less than a rounding: its output would be the same for every input.
    Other parameters that are all zero, most often biases, are made random, too: they would hide what is done to them.
    """
    module, rng = copy.deepcopy(module), np.random.default_rng(seed)
    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim == 1:
            _fill(weight, rng.uniform(0.5, 1.5, weight.shape))
            if isinstance(bias := getattr(layer, "bias", None), torch.Tensor):
                _fill(bias, rng.normal(0, 0.5, bias.shape))
    for p in module.parameters():
        if not p.any():
            _fill(p, rng.normal(0, 0.1, p.shape))
    for layer in _with_statistics_of(module, inputs):
        mean, var = (as_array(statistic) for statistic in (layer.running_mean, layer.running_var))
        _fill(layer.running_mean, mean + rng.normal(0, 0.5, mean.shape) * np.sqrt(var))
        _fill(layer.running_var, var * rng.uniform(0.5, 2, var.shape))
        _fill(layer.num_batches_tracked, rng.integers(1, 100, ()))
    return module


def _with_statistics_of(module: nn.Module, inputs: np.ndarray) -> list[Any]:
    """Give a module's norm layers the statistics of inputs; return the layers that have any."""
    layers: list[Any] = [m for m in module.modules() if isinstance(getattr(m, "running_mean", None), torch.Tensor)]
    modes = {m: m.training for m in module.modules()}
    momenta = [layer.momentum for layer in layers]
    module.eval()  # so that dropout drops nothing
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # the share of the new statistics
    if layers:
        with torch.no_grad():
            module(torch.from_numpy(np.array(channels_first(inputs))).to(layers[0].running_mean))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    for m, training in modes.items():
        m.training = training
    return layers


def one_rounding_away(module: nn.Module, seed: int, units: int = 1) -> nn.Module:
    """Return a copy whose every weight is moved up or down by one unit in the last place of its precision, or by more.

    Zeros stay: no rounding makes something of nothing, and L1's gradient there is another one on either side.
    """
    module, generator = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in filter(torch.is_floating_point, module.parameters()):
            away = torch.where(torch.rand(p.shape, generator=generator) < 0.5, -torch.inf, torch.inf).to(p.dtype)
            for _ in range(units):
                p.copy_(torch.where(p == 0, p, torch.nextafter(p, away)))
    return module


def _fill(tensor: Any, values: Any) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values)))


class TorchSide:
    """A PyTorch module under test: a copy, in the precision asked for."""

    def __init__(self, module: nn.Module, dtype: type[np.floating]):
        self.dtype = dtype
        self.module = copy.deepcopy(module).to({np.float64: torch.float64, np.float32: torch.float32}[dtype])
        self.layouts = layouts(self.module)

    def variables(self) -> dict[str, np.ndarray]:
        """Return parameters and buffers by Flax's path."""
        return self._flat(self.module.state_dict())

    def run(
        self, inputs: np.ndarray, cotangent: np.ndarray, *, train: bool, masks: Masks | None = None
    ) -> tuple[Run, dict[str, np.ndarray]]:
        """Run the module on inputs (N, ..., C), forward and back; in training mode its buffers move on.

        Returns:
            The forward pass, with the statistics as they are after a training step; and the gradients of
            sum(output * cotangent) by Flax's path, that of the "input" among them, frozen parameters not.
        """
        self.module.train(train).zero_grad()
        x = self._tensor(inputs).requires_grad_()
        # In this order: a hook that is set later sees what an earlier one has made of the output.
        with injected(self.module, masks), recorded(self.module) as calls:
            output = self.module(x)
        (_one_tensor(output) * self._tensor(cotangent)).sum().backward()
        grads = {
            # A parameter that was not used has no gradient here, and a zero one in JAX.
            name: torch.zeros_like(p) if p.grad is None else p.grad
            for name, p in self.module.named_parameters()
            if p.requires_grad
        }
        gradients = self._flat(grads) | {"input": channels_last(as_array(x.grad))}
        buffers = self._flat(dict(self.module.named_buffers()))
        return Run(channels_last(as_array(output)), calls, buffers), gradients

    def cotangents(
        self, inputs: np.ndarray, cotangent: np.ndarray, *, train: bool, masks: Masks | None = None
    ) -> dict[str, Call]:
        """Return the gradients of sum(output * cotangent) at the input and output of every call of a layer."""
        self.module.train(train)
        with injected(self.module, masks), probed(self.module) as probes:
            output = self.module(self._tensor(inputs))
        (output * self._tensor(cotangent)).sum().backward()
        return {
            name: Call(*(channels_last(as_array(torch.zeros_like(p) if p.grad is None else p.grad)) for p in call))
            for name, call in probes.items()
        }

    def forward(self, inputs: np.ndarray) -> Run:
        """Run the module on inputs (N, ..., C) in evaluation mode."""
        with torch.no_grad(), recorded(self.module.eval()) as calls:
            output = _one_tensor(self.module(self._tensor(inputs)))
        return Run(channels_last(as_array(output)), calls, {})

    def sites(self, inputs: np.ndarray) -> dict[str, Site]:
        """Return every call of a dropout layer in a training step, in order."""
        found: dict[str, Site] = {}
        module = copy.deepcopy(self.module).train()

        def visit(name: str, rate: float, whole: bool, x: torch.Tensor) -> None:
            # Dropout2d and its kin drop whole channels: one decision for all positions.
            shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if whole else tuple(x.shape)
            found[name] = Site(channels_last(np.empty(shape)).shape, rate)

        with torch.no_grad(), hooked_dropout(module, visit):
            module(self._tensor(inputs))
        return found

    def draws(self, inputs: np.ndarray) -> list[Draw]:
        """Return what a training step draws, in dropout layers and elsewhere, in order."""
        module = copy.deepcopy(self.module).train()
        return draws_of(lambda: module(self._tensor(inputs)))

    def _flat(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """Return tensors by Flax's path, in its layout; buffers that are not saved are not among them."""
        places = {key: self.layouts[key] for key in tensors if key in self.layouts}
        return {path: np.array(way.to_flax(as_array(tensors[key]))) for path, key, way in by_path(places)}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.array(channels_first(array), self.dtype))
        return tensor.to(next((p.device for p in self.module.parameters()), "cpu"))


def _one_tensor(output: Any) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        words = f"a {type(output).__name__}"
        raise TypeError(f"PyTorch's module returns {words}, one tensor is compared: let it return the logits alone")
    return output


def layer_shapes(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every layer's output, and of the last "output", of a module on the meta device."""
    shapes: dict[str, tuple[int, ...]] = {}

    def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
        return tuple(tensor.movedim(1, -1).shape)

    def hook(name: CallName, _layer: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes[name] = shape_of(output)

    *sides, channels = input_shape
    with torch.no_grad(), hooked(module.eval(), hook):
        output = module(torch.empty((1, channels, *sides), device="meta"))
    return shapes | {"output": shape_of(output)}
