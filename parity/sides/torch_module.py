"""A PyTorch module under test: a copy in float64, its tensors by name, called with any inputs."""

import contextlib
import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from data import UserError
from parity.sides import torch_passes
from parity.sides.draw import Inputs
from parity.sides.faults import explained
from parity.sides.meta_device import materialised, tied_names
from parity.sides.numbers import is_array, to_numpy, tree_map
from parity.sides.random_draws import Draw
from parity.sides.randomise import larger, randomise_, with_statistics_of
from parity.sides.reference import Pass, Statistics
from parity.sides.torch_draws import TorchDraws, draws_of
from parity.sides.torch_side import one_rounding_away

COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


class TorchModule:
    """A copy of a module in one dtype, on the CPU. The module that is given stays as it is."""

    def __init__(self, module: nn.Module, dtype: torch.dtype = torch.float64):
        self.dtype, self.notes = dtype, list[str]()
        self.numbers: Sequence[np.ndarray] | None = None  # what it is given for its draws in evaluation mode
        self._given = False
        self._copies: dict[str, torch.Tensor] = {}
        self.module = _copied(uncompiled(module))
        with self.defaults():
            if materialised(self.module):
                self.notes.append("the PyTorch module is on the meta device: its parameters are made anew")
            _to_dtype(self.module, dtype)
        self.module.eval()
        self.tied = tied_names(self.module)
        every = all(not p.requires_grad for p in self.module.parameters())
        named = dict(self.module.named_parameters())
        self.trained = frozenset(k for k, p in named.items() if (p.requires_grad or every) and p.is_floating_point())
        saved = self.module.state_dict(keep_vars=True)
        self.saved = frozenset(k for k, v in saved.items() if isinstance(v, torch.Tensor))

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the module's own parameters and buffers by name, one name of each."""
        return dict(self.module.named_parameters()) | dict(self.module.named_buffers())

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Return copies of parameters and buffers, those that are not saved, too; one name of each (see `tied`)."""
        return {name: to_numpy(tensor) for name, tensor in self.tensors.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Return how many numbers each tensor has."""
        return {name: tensor.numel() for name, tensor in self.tensors.items()}

    def call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool) -> Any:
        """Return the output tree; gradients are enabled, and in training mode the statistics move on.

        Args:
            args: positional inputs: arrays of numpy, or tensors, which are used as they are.
            kwargs: inputs by name.
            train: the mode.
        """
        self.module.train(train)
        with self.defaults(), self.noise(train=train), torch.enable_grad(), _as_before(self.module):
            return self.module(*self.tensors_of(args), **self.tensors_of(dict(kwargs)))

    def tensors_of(self, tree: Any) -> Any:
        """Return inputs as tensors: floats in the module's dtype, integers in int64."""
        return tree_map(self._tensor, tree)

    def _tensor(self, array: Any) -> Any:
        if isinstance(array, torch.Tensor) or not is_array(array):
            return array
        tensor = torch.from_numpy(to_numpy(array))
        if tensor.is_floating_point():
            return tensor.to(self.dtype)
        if tensor.is_complex():
            return tensor.to(COMPLEX.get(self.dtype, tensor.dtype))
        return tensor if tensor.dtype == torch.bool else tensor.long()

    def randomise(self, seed: int, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] = {}) -> None:
        """Give the copy numbers at which nothing is special; statistics are those of the inputs, moved at random."""
        randomise_(self.module, self.trained, seed)
        if args or kwargs:
            with_statistics_of(self.module, seed, lambda: self.call(args, kwargs, train=False))

    def recorded(self, inputs: Inputs) -> Pass:
        """Return a forward pass in evaluation mode, operation by operation."""
        return torch_passes.recorded(self, inputs)

    def float32(self) -> "TorchModule":
        """Return the module in float32."""
        return self._like(TorchModule(self.module, torch.float32))

    def moved(self, seed: int, units: int) -> "TorchModule":
        """Return a copy whose parameters are moved up or down by some roundings of float32's."""
        return self._like(TorchModule(one_rounding_away(self.float32().module, seed, units), self.dtype))

    def larger(self, factor: float) -> "TorchModule":
        """Return a copy whose parameters are so many times as large."""
        return self._like(TorchModule(larger(self.module, factor), self.dtype))

    def _like(self, module: "TorchModule") -> "TorchModule":
        module.numbers = self.numbers
        return module

    def outputs(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Return the outputs in evaluation mode, by name."""
        return torch_passes.outputs(self, inputs)

    def float32_outputs(self, inputs: Inputs, single: "TorchModule | None" = None) -> dict[str, np.ndarray]:
        """Return the outputs of the module in float32, which is `single` if it has been made."""
        return torch_passes.outputs(single or self.float32(), inputs)

    def gradients(
        self, inputs: Inputs, among: Collection[str] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the gradients of a weighted sum of the outputs (of these), and the weights of the sum by output."""
        return torch_passes.gradients(self, inputs, among=among)

    def float32_errors(
        self,
        inputs: Inputs,
        reference: Mapping[str, Any],
        cotangents: Mapping[str, np.ndarray],
        single: "TorchModule | None" = None,
    ) -> dict[str, float]:
        """Return the relative error of each gradient of the same sum in float32."""
        return torch_passes.float32_errors(single or self.float32(), inputs, reference, cotangents)

    def statistics(self, inputs: Inputs) -> Statistics:
        """Return what a training step makes of running statistics."""
        return torch_passes.statistics(self, inputs)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Put every tensor back afterwards: a call in training mode moves statistics."""
        before = self._copies = {name: self._copy(name, tensor.detach()) for name, tensor in self.tensors.items()}
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self.tensors.items():
                    old = before.get(name)
                    if old is not None and old.shape == tensor.shape and not _equal(old, tensor):
                        tensor.copy_(old)

    def _copy(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy, the one of the last call if nothing has changed: comparing takes less time than copying."""
        known = self._copies.get(name)
        return known if known is not None and _equal(known, tensor) else tensor.clone()

    def draws(self, inputs: Inputs) -> list[Draw]:
        """Return what the module draws in evaluation mode, in order."""
        return draws_of(lambda: self.call(*inputs, train=False))

    @contextlib.contextmanager
    def noise(self, *, train: bool = False) -> Iterator[None]:
        """Give the module its numbers for what it draws in evaluation mode, where it is given any."""
        if self.numbers is None or self._given or train:
            yield
            return
        supply, self._given = iter(self.numbers), True
        try:
            with TorchDraws(lambda _: next(supply)):
                yield
        finally:
            self._given = False

    @contextlib.contextmanager
    def defaults(self) -> Iterator[None]:
        """Let PyTorch make tensors in this dtype, and draw the same random numbers each time."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                yield
        finally:
            torch.set_default_dtype(before)


@contextlib.contextmanager
def _as_before(module: nn.Module) -> Iterator[None]:
    """Give layers the attributes back that they had: a table that a call keeps would be no part of the next one."""
    before = [(layer, dict(vars(layer))) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, attributes in before:
            vars(layer).clear()
            vars(layer).update(attributes)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def _copied(module: nn.Module) -> nn.Module:
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise UserError(f"the PyTorch side is the class {module.__name__}: call it, {module.__name__}(...)")
    if not isinstance(module, nn.Module):
        raise UserError(f"the PyTorch side is {type(module).__name__}: expected a torch.nn.Module")
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError("the PyTorch side is a ScriptModule, which cannot be recorded: give the module that it is of")
    if any(torch.nn.parameter.is_lazy(p) for p in module.parameters()):
        raise UserError("the PyTorch module has lazy parameters: call it once, which makes them")
    memo: dict[int, Any] = {}
    for layer in module.modules():  # weight norm keeps what it has computed, which cannot be copied with its history
        for value in vars(layer).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        raise UserError(f"the PyTorch module cannot be copied: {explained(error)}") from error


def uncompiled(module: Any) -> Any:
    """Return the module that `torch.compile` was given, which computes the same."""
    return getattr(module, "_orig_mod", module)


def _to_dtype(module: nn.Module, dtype: torch.dtype) -> None:
    """Turn parameters, buffers and other tensors that a module keeps into one dtype; ties stay."""
    module.to("cpu")

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(COMPLEX.get(dtype, tensor.dtype))
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    module._apply(cast)
    for layer in module.modules():
        for name, value in list(vars(layer).items()):
            if name in ("_parameters", "_buffers", "_modules") or isinstance(value, nn.Parameter | nn.Module):
                continue
            if isinstance(value, torch.Tensor):
                vars(layer)[name] = cast(value.cpu())
            elif type(value) in (list, tuple) and any(type(v) is torch.Tensor for v in value):
                vars(layer)[name] = type(value)(cast(v.cpu()) if type(v) is torch.Tensor else v for v in value)
            elif type(value) is dict and any(type(v) is torch.Tensor for v in value.values()):
                vars(layer)[name] = {k: cast(v.cpu()) if type(v) is torch.Tensor else v for k, v in value.items()}
