"""Recording what a PyTorch module computes: every aten operation with its values and the line of the user's code.

The mode sees what autograd calls, so layers, functions, operators and methods are all the same to it. Fused attention
is taken apart (the math backend), so that its parts can be compared. A cast to float32 inside of a module that is
checked in float64 stays in float64: the reference is what the module means, not how it rounds.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from parity.trace.lines import line_of_stack
from parity.trace.partials import partials, parts
from parity.trace.values import VIEWS, Op, Ref, Trace, Value, is_single


def record(
    module: torch.nn.Module,
    run: Callable[[], Any],
    inputs: list[torch.Tensor],
    states: Mapping[str, torch.Tensor],
    make: "type[TorchRecorder] | None" = None,
) -> tuple[Any, "TorchRecorder"]:
    """Run a module and return its output and what it computed.

    Args:
        module: whose submodules name the places.
        run: the forward pass, without an argument.
        inputs: what the data is.
        states: parameters and buffers by key.
        make: the recorder's class.
    """
    recorder = (make or TorchRecorder)(inputs, states)
    with _scopes(module, recorder), sdpa_kernel(SDPBackend.MATH), recorder:
        output = run()
    return output, recorder


class TorchRecorder(TorchDispatchMode):
    """A mode under which operations are recorded in `trace`."""

    def __init__(self, inputs: list[torch.Tensor], states: Mapping[str, torch.Tensor]):
        super().__init__()
        self.trace = Trace()
        self.scope: list[str] = []
        self._numbers: dict[int, tuple[int, int]] = {}  # by the tensor's id: the value's number, the tensor's version
        self._plain: dict[int, torch.Tensor] = {}  # by value: the same without its bias, through views and cuts
        self._kept: list[torch.Tensor] = []  # an id is not used again while its tensor lives
        for tensor in inputs:
            self._remember(tensor, Value(as_numpy(tensor), data=True))
        for key, tensor in states.items():
            array = as_numpy(tensor)
            low = not tensor.requires_grad and is_single(array)
            self._remember(tensor, Value(array, keys=frozenset([key]), low=low))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that TorchDynamo need not be kept out of the mode: to do so, PyTorch imports it, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and record it."""
        kwargs = dict(kwargs or {})
        low = _keep_double(kwargs)
        before = [self.number(t) for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        settings, keywords = tree_map(self._ref, (args, kwargs))
        out = func(*args, **kwargs)
        tensors = [t for t in tree_flatten(out)[0] if isinstance(t, torch.Tensor)]
        if not tensors:
            return out
        trace, number = self.trace, len(self.trace.ops)
        given = [trace.values[n] for n in before]
        data = any(value.data for value in given)
        keys = frozenset().union(*(value.keys for value in given if not value.data))
        outputs = []
        for tensor in tensors:
            value = Value(as_numpy(tensor), number, data, frozenset() if data else keys)
            value.low = (
                low or tensor.dtype in LOW or (not given and tensor.is_floating_point() and is_single(value.array))
            )
            outputs.append(self._remember(tensor, value))
        name = str(func).removeprefix("aten.").partition(".")[0]
        op = Op(name, tuple(before), tuple(outputs), line_of_stack(sys._getframe(1)), self.place, settings, keywords)
        trace.add_op(op)
        if data:
            steps = [*partials(name, args, kwargs, tensors), *(self._reordered(op) if name == "mul" else ())]
            steps += self._without_bias(func, name, args, kwargs, before, outputs)
            for array in steps:
                trace.add(Value(array, number, data, partial=True))
            for array in parts(name, args, kwargs, tensors):
                trace.add(Value(array, number, data, partial=True, part=True))
        return out

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's value, a new one if it was written to or comes from elsewhere."""
        known = self._numbers.get(id(tensor))
        if known and known[1] == tensor._version:
            return known[0]
        if known:  # written to through another view, or merely counted anew: autograd gives views their base's version
            old, array = self.trace.values[known[0]], as_numpy(tensor)
            if np.array_equal(old.array, array, equal_nan=array.dtype.kind in "fc"):
                self._numbers[id(tensor)] = known[0], tensor._version
                return known[0]
            last = len(self.trace.ops) - 1
            data = old.data or any(value.data for value in self.trace.results(last))
            return self._remember(tensor, Value(array, last, data, old.keys))
        array = as_numpy(tensor)
        return self._remember(tensor, Value(array, low=tensor.is_floating_point() and is_single(array)))

    def numbers_of(self, tensors: list[torch.Tensor]) -> list[int]:
        """Return the numbers of some tensors' values."""
        return [self.number(tensor) for tensor in tensors]

    def _without_bias(
        self, func: Any, name: str, args: Any, kwargs: Any, before: list[int], outputs: list[int]
    ) -> list[np.ndarray]:
        """Return parts of a product before its bias was added: a recurrent layer cuts it up step by step."""
        if name == "addmm":
            self._plain[outputs[0]] = args[1] @ args[2]
            return []
        if name == "convolution" and args[2] is not None:
            self._plain[outputs[0]] = func(*args[:2], None, *args[3:])
            return []
        if name == "add" and len(before) == 2 and all(isinstance(t, torch.Tensor) for t in args):
            data = [t for n, t in zip(before, args, strict=True) if self.trace.values[n].data]
            if len(data) == 1 and data[0].shape == args[0].shape:
                self._plain[outputs[0]] = data[0]
            return []
        if name not in CUTS or not before or before[0] not in self._plain:
            return []
        out = func(self._plain[before[0]], *args[1:], **kwargs)
        parts = [t for t in tree_flatten(out)[0] if isinstance(t, torch.Tensor)]
        self._plain |= zip(outputs, parts, strict=True)
        return [as_numpy(part) for part in parts]

    def _reordered(self, op: Op) -> Iterator[np.ndarray]:
        """Yield a * w and b * w of (a * b) * w, in which another order may be computed."""
        values = [self.trace.values[n] for n in op.inputs]
        for value, weight in (values, values[::-1]) if len(values) == 2 else ():
            maker = self.trace.ops[value.maker] if value.data and value.maker is not None else None
            if weight.keys and maker is not None and maker.name == "mul":
                yield from (self.trace.values[n].array * weight.array for n in maker.inputs)

    @property
    def place(self) -> str:
        """Return the name of the module that is running."""
        return self.scope[-1] if self.scope else ""

    def _remember(self, tensor: torch.Tensor, value: Value) -> int:
        number = self.trace.add(value)
        self._numbers[id(tensor)] = number, tensor._version
        self._kept.append(tensor)
        return number

    def _ref(self, x: Any) -> Any:
        return Ref(self.number(x)) if isinstance(x, torch.Tensor) else x


# Operations that hand on numbers of their first operand.
CUTS = (
    frozenset(["unbind", "split", "chunk", "unsafe_chunk", "unsafe_split", "slice", "select", "split_with_sizes"])
    | VIEWS
)
LOW = (torch.float32, torch.float16, torch.bfloat16)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a copy; numpy has no bfloat16."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.cpu().numpy().copy()


def _keep_double(kwargs: dict[str, Any]) -> bool:
    """Ask for float64 where float32 is asked for; tell whether a lower precision is left."""
    if kwargs.get("dtype") is torch.float32:
        kwargs["dtype"] = torch.float64
    return kwargs.get("dtype") in (torch.float16, torch.bfloat16)


def _leave(recorder: TorchRecorder) -> None:
    recorder.scope.pop()


@contextmanager
def _scopes(module: torch.nn.Module, recorder: TorchRecorder) -> Iterator[None]:
    """Keep the name of the submodule that is running."""
    handles = []
    for name, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(lambda *_, name=name: recorder.scope.append(name)))
        handles.append(part.register_forward_hook(lambda *_: _leave(recorder)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
