"""What is seen of one step of a PyTorch training from outside: backward passes, optimizers, every operation."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from data.errors import UserError
from parity.sides.numbers import wide
from parity.trace.lines import Line, line_of_stack
from parity.trace.torch_trace import LOW
from parity.training.grad_scaler import SCALING
from parity.training.snapshots import optimizer_slots
from parity.training.steps import Arrays, Group
from parity.training.supply import UNLIKE

if TYPE_CHECKING:
    from parity.training.torch_steps import TorchTraining

FORWARD, BACKWARD, BETWEEN, UPDATE, AFTER = "forward", "backward", "between", "update", "after"


class Watch:
    """What is seen of one step from outside."""

    def __init__(self, training: "TorchTraining", recorder: Any):
        self.training, self.recorder = training, recorder
        self.names = {id(p): name for name, p in training.module.named_parameters()}
        self.phase = FORWARD
        self.roots: list[float] = []
        self.root_numbers: list[int] = []
        self.inputs: list[np.ndarray] = []
        self.outputs: list[np.ndarray] = []
        self.pieces: list[Arrays] = []
        self.raw: Arrays = {}
        self.first: dict[str, np.ndarray] = {}  # of the parameters that the first update changes
        self.held: Arrays = {}
        self.gradients: Arrays = {}
        self.groups: dict[str, Group] = {}
        self.lines: dict[str, Line] = {}
        self.random = ""
        self.calls: list[Arrays] = []
        self.later = False  # whether there are backward passes behind an update
        self.initial: dict[str, Arrays] = {}  # slots of optimizers that make their first update
        self.many = False  # whether a parameter is updated several times
        self.carried = False  # whether gradients of earlier steps are still there

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch backward passes, optimizers, the module's outputs and every operation."""
        autograd: Any = torch.autograd
        backward, grad = autograd.backward, autograd.grad
        handles = [
            register_optimizer_step_pre_hook(self._before_update),
            register_optimizer_step_post_hook(self._after_update),
            self.training.module.register_forward_pre_hook(self._before_forward),
            self.training.module.register_forward_hook(self._after_forward),
        ]
        autograd.backward = lambda tensors, *a, **k: self._backward(backward, tensors, a, k)
        autograd.grad = lambda outputs, inputs, *a, **k: self._grad(grad, outputs, inputs, a, k)
        try:
            with _Mode(self):
                yield
        finally:
            autograd.backward, autograd.grad = backward, grad
            for handle in handles:
                handle.remove()

    def seen(self, name: str) -> None:
        """Note the line of an operation outside of the backward pass."""
        if self.phase == FORWARD and name in UNLIKE:
            self.random = self.random or name
        if self.phase in (BETWEEN, AFTER) and name not in ("zero_", "detach", "_local_scalar_dense"):
            line = line_of_stack(sys._getframe(2))
            if line is not None and line != self.lines.get("update"):
                self.lines.setdefault(self.phase, line)

    def _before_forward(self, _module: Any, args: Any) -> None:
        if any(isinstance(t, torch.Tensor) and is_functorch_wrapped_tensor(t) for t in tree_leaves(args)):
            raise UserError(
                "the PyTorch step differentiates by torch.func, whose tensors cannot be watched: "
                "use loss.backward() or torch.autograd.grad, which give the same gradients"
            )
        self.inputs += [wide(t) for t in tree_leaves(args) if isinstance(t, torch.Tensor) and t.is_floating_point()]

    def _after_forward(self, module: Any, _args: Any, output: Any) -> None:
        self.calls.append({name: wide(b) for name, b in module.named_buffers() if b.is_floating_point()})
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and self.phase != AFTER:  # behind an update there are other parameters
                self.outputs.append(wide(tensor))
                if self.recorder is not None:
                    self.recorder.outputs.append(self.recorder.number(tensor))

    def _backward(self, run: Any, tensors: Any, args: Any, kwargs: Any) -> None:
        self._root(tensors)
        before = self._held()
        run(tensors, *args, **kwargs)
        after = self._held()
        self.pieces.append({name: g - before.get(name, 0) for name, g in after.items()})
        if len(self.pieces) == 1:
            self.carried = any(np.any(g) for g in before.values())
        self.held = after
        self._ended(_sum(self.pieces) if self.carried else after)

    def _grad(self, run: Any, outputs: Any, inputs: Any, args: Any, kwargs: Any) -> Any:
        self._root(outputs)
        found = run(outputs, inputs, *args, **kwargs)
        given = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        named = zip((self.names.get(id(t)) for t in given), found, strict=True)
        self.pieces.append({name: wide(g) for name, g in named if name is not None and g is not None})
        self._ended(_sum(self.pieces))
        return found

    def _root(self, tensors: Any) -> None:
        if self.phase == AFTER:
            self.later, self.pieces = True, []
        self.lines["loss"] = line_of_stack(sys._getframe(2)) or self.lines.get("loss")  # type: ignore[assignment]
        for tensor in [tensors] if isinstance(tensors, torch.Tensor) else list(tensors):
            self.roots.append(float(tensor.detach().sum()))
            if self.recorder is not None:
                self.recorder.roots.append(self.recorder.number(tensor))
        self.phase = BACKWARD

    def first_gradients(self) -> Arrays:
        """Return gradients before clipping; behind an update those of the parameters that it changed."""
        return self.first if self.later else self.raw

    def _held(self) -> Arrays:
        named = self.training.module.named_parameters()
        return {name: wide(p.grad) for name, p in named if p.grad is not None}

    def _ended(self, gradients: Arrays) -> None:
        self.raw = gradients
        self.phase = BETWEEN
        self.lines.pop(BETWEEN, None)

    def _before_update(self, optimizer: Any, *_: Any) -> None:
        if id(optimizer) not in self.training.optimizers:
            for slot, tensors in optimizer_slots(optimizer, self.names).items():
                self.initial.setdefault(slot, {}).update(tensors)
        self.training.optimizers[id(optimizer)] = optimizer
        self.lines["update"] = line_of_stack(sys._getframe(1)) or self.lines.get("update")  # type: ignore[assignment]
        self._given(optimizer)
        self.phase = UPDATE

    def _given(self, optimizer: Any) -> None:
        """Note the gradients that an optimizer is given, and its settings."""
        number = list(self.training.optimizers).index(id(optimizer))
        for group in optimizer.param_groups:
            settings = {key: _plain(value) for key, value in group.items() if key != "params"}
            for p in group["params"]:
                if id(p) in self.names and p.grad is not None:
                    name = self.names[id(p)]
                    self.many = self.many or (self.later and name in self.groups)
                    self.gradients[name] = wide(p.grad)
                    self.groups[name] = Group(type(optimizer).__name__, settings, number)
        if not self.later:
            self.first = {name: self.raw[name] for name in self.groups if name in self.raw}

    def _after_update(self, optimizer: Any, *_: Any) -> None:
        if self.phase != UPDATE:  # there was a backward pass: the gradients are those of a closure
            self._given(optimizer)
        self.phase = AFTER


class _Mode(TorchDispatchMode):
    """Keep float64 where float32 is asked for, and show every operation to the watch."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of TorchDynamo, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        watch, name = self.watch, str(func).removeprefix("aten.").partition(".")[0]
        if watch.phase == BETWEEN and name in ("convolution", "addmm", "mm", "embedding"):
            watch.phase = FORWARD  # another piece of the batch
        if watch.training.dtype is torch.float64 and kwargs.get("dtype") in LOW:
            kwargs["dtype"] = torch.float64
        if watch.phase == AFTER:
            watch.recorder = None  # what follows an update has other parameters
        if watch.recorder is not None and watch.phase == FORWARD:
            watch.seen(name)
            run = watch.recorder.__torch_dispatch__
            return self._widened(lambda a, k: run(func, types, a, k), args, kwargs)
        scaling = SCALING.get(name)
        out = scaling(*args) if scaling is not None else self._widened(lambda a, k: func(*a, **k), args, kwargs)
        watch.seen(name)
        return out

    def _widened(self, run: Callable[[Any, Any], Any], args: Any, kwargs: Any) -> Any:
        """Run an operation; again with its tensors of float32 in float64, if it refuses a mixture of both."""
        try:
            return run(args, kwargs)
        except RuntimeError:
            tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
            if self.watch.training.dtype is None or len({t.dtype for t in tensors if t.is_floating_point()}) < 2:
                raise
            return run(*tree_map(_double, (args, kwargs)))


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _sum(pieces: Sequence[Arrays]) -> Arrays:
    """Return what several backward passes add up to."""
    names = dict.fromkeys(name for piece in pieces for name in piece)
    return {name: np.sum([piece[name] for piece in pieces if name in piece], axis=0) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 else None
    return value
