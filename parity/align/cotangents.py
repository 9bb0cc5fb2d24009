"""What PyTorch's autograd hands back: the cotangent of every recorded value, and what each of its users adds to it.

The pass is recorded once more. Each value keeps its place in autograd's graph, and hooks on the graph's nodes see what
goes along each edge. A value that autograd does not follow, behind `detach()` or made under `no_grad`, is opened: it
has a gradient of its own, which goes no further, so that what is computed behind it can be compared all the same.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from torch.autograd.graph import GradientEdge
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from parity.sides.arrays import to_numpy
from parity.sides.draw import Inputs
from parity.sides.outputs import named_leaves
from parity.sides.torch_module import TorchModule
from parity.trace.lines import Line, belongs_to_user, line_of_stack
from parity.trace.torch_trace import TorchRecorder, record
from parity.trace.values import Trace

RUN = "run"  # the function that calls the module: what is further out calls the checker
Edge = tuple[Any, int]  # a node of autograd's graph and the number of its result


class Use(NamedTuple):
    """What a node of autograd's graph adds to the cotangent of a value."""

    node: Any
    array: np.ndarray | None  # None: nothing


@dataclass
class TorchCotangents:
    """The backward pass of PyTorch's."""

    trace: Trace
    edges: dict[int, Edge] = field(default_factory=dict)  # by value
    opened: set[int] = field(default_factory=set)  # values that autograd does not follow further back
    arrays: dict[Edge, np.ndarray] = field(default_factory=dict)  # cotangents, as the hooks on a tensor leave them
    uses: dict[Edge, list[Use]] = field(default_factory=dict)
    makers: dict[Any, int] = field(default_factory=dict)  # the operation of a node
    keys: dict[str, Edge] = field(default_factory=dict)  # of parameters
    calls: dict[int, Line] = field(default_factory=dict)  # where a Function of the user's is called, by operation
    stacks: dict[int, tuple[Line, ...]] = field(default_factory=dict)  # the user's lines, the innermost first
    hooks: dict[int, Line] = field(default_factory=dict)  # where a hook is put on a value

    def cotangent(self, number: int) -> np.ndarray | None:
        """Return the cotangent of a value, zeros if nothing reaches it, None if autograd does not know the value."""
        edge = self.edges.get(number)
        if edge is None:
            return None
        found = self.arrays.get(edge)
        return np.zeros(self.trace.values[number].array.shape) if found is None else found

    def line(self, op: int | None) -> Line | None:
        """Return an operation's line; of what runs in a Function of the user's, the line that calls it."""
        if op is None:
            return None
        return self.calls.get(op, self.trace.ops[op].line)


class _EdgeRecorder(TorchRecorder):
    """A recorder that keeps each value's place in autograd's graph."""

    def __init__(self, inputs: list[torch.Tensor], states: Mapping[str, torch.Tensor]):
        self.edges: dict[int, Edge] = {}
        self.leaves: dict[int, torch.Tensor] = {}
        self.calls: dict[int, Line] = {}
        self.stacks: dict[int, tuple[Line, ...]] = {}
        super().__init__(inputs, states)

    def number(self, tensor: torch.Tensor) -> int:
        """Return the number of a tensor's value; autograd knows by now what it comes from."""
        number = super().number(tensor)
        if tensor.requires_grad and number not in self.edges and number not in self.leaves:
            if tensor.grad_fn is None:
                self.leaves[number] = tensor
            else:
                self.edges[number] = tensor.grad_fn, tensor.output_nr
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record an operation, and where the user calls the Function that it runs in."""
        before = len(self.trace.ops)
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if len(self.trace.ops) > before:
            self.stacks[before] = _stack(sys._getframe(1))
            if (line := _call(sys._getframe(1))) is not None:
                self.calls[before] = line
        return out


class _Opener(TorchFunctionMode):
    """Gives a gradient of its own to what depends on the inputs and has none."""

    def __init__(self, recorder: _EdgeRecorder):
        super().__init__()
        self.recorder, self.opened, self.hooks = recorder, set[int](), dict[int, Line]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Open the arguments of a function."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if torch.is_grad_enabled() and not name.startswith("requires_grad") and name != "__set__":
            for tensor in tree_flatten((args, kwargs))[0]:
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not tensor.requires_grad:
                    self._open(tensor)
        if name == "register_hook" and (line := line_of_stack(sys._getframe(1))) is not None:
            self.hooks[self.recorder.number(args[0])] = line
        return func(*args, **kwargs)

    def _open(self, tensor: torch.Tensor) -> None:
        number = self.recorder.number(tensor)
        if self.recorder.trace.values[number].data:
            tensor.requires_grad_()
            self.opened.add(number)


def torch_cotangents(module: TorchModule, inputs: Inputs, cotangents: Mapping[str, np.ndarray]) -> TorchCotangents:
    """Return PyTorch's backward pass, for the cotangents of its outputs by name."""
    try:
        return _recorded(module, inputs, cotangents, opening=True)
    except RuntimeError:  # what was opened is written to
        return _recorded(module, inputs, cotangents, opening=False)


def _recorded(
    module: TorchModule, inputs: Inputs, cotangents: Mapping[str, np.ndarray], opening: bool
) -> TorchCotangents:
    args, kwargs = module.tensors_of(inputs.args), module.tensors_of(dict(inputs.kwargs))
    tensors = [t for t in jax.tree.leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    opener: list[_Opener] = []

    def make(given: list[torch.Tensor], states: Mapping[str, torch.Tensor]) -> _EdgeRecorder:
        recorder = _EdgeRecorder(given, states)
        opener.append(_Opener(recorder))
        return recorder

    def run() -> Any:
        if not opening:
            return module.call(args, kwargs, train=False)
        with opener[0]:
            return module.call(args, kwargs, train=False)

    states = module.tensors
    with module.defaults(), module.kept():
        output, recorder = record(module.module, run, tensors, states, make)  # type: ignore[arg-type]
        outputs = {
            name: tensor
            for name, tensor in named_leaves(output).items()
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad and name in cotangents
        }
        recorder.numbers_of(list(outputs.values()))
        total = sum((t * torch.from_numpy(cotangents[n]).to(t.dtype)).sum() for n, t in outputs.items())
        assert isinstance(recorder, _EdgeRecorder)
        found = TorchCotangents(
            recorder.trace,
            recorder.edges,
            opener[0].opened,
            calls=recorder.calls,
            stacks=recorder.stacks,
            hooks=opener[0].hooks,
        )
        for number, tensor in recorder.leaves.items():
            if (node := _accumulator(tensor)) is None:
                continue
            found.edges[number] = node, 0
            value = recorder.trace.values[number]
            if value.data and value.maker is not None:
                found.opened.add(number)
        trained = {k: t for k, t in states.items() if k in module.trained and t.requires_grad}
        found.keys |= {key: (node, 0) for key, t in trained.items() if (node := _accumulator(t)) is not None}
        _backward(found, total)
    return found


def _accumulator(tensor: torch.Tensor) -> Any:
    """Return the node that keeps the gradient of a leaf, None for a view that was made under `no_grad`."""
    with torch.enable_grad():
        view = tensor.view_as(tensor)
    return view.grad_fn.next_functions[0][0] if view.grad_fn is not None else None


def _backward(found: TorchCotangents, total: Any) -> None:
    """Run the backward pass and fill in what it hands back."""
    nodes = _nodes(total.grad_fn)
    handles, delivered = [], dict[Edge, np.ndarray]()

    def hook(node: Any) -> Any:
        def keep(given: Any, taken: Any) -> None:
            delivered.update(((node, i), to_numpy(array)) for i, array in enumerate(taken) if array is not None)
            for target, array in zip(node.next_functions, given, strict=False):
                if target[0] is not None:
                    found.uses.setdefault(target, []).append(Use(node, None if array is None else to_numpy(array)))

        return node.register_hook(keep)

    for number, (node, _) in found.edges.items():
        if (maker := found.trace.values[number].maker) is not None:
            found.makers.setdefault(node, maker)
    edges = [edge for edge in dict.fromkeys([*found.edges.values(), *found.keys.values()]) if edge[0] in nodes]
    try:
        handles += [hook(node) for node in nodes]
        gradients = torch.autograd.grad(total, [GradientEdge(*edge) for edge in edges], allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    found.arrays |= {e: to_numpy(g) for e, g in zip(edges, gradients, strict=True) if g is not None}
    found.arrays |= delivered  # what is handed out by `grad` was not given to the hooks


def _nodes(root: Any) -> dict[Any, None]:
    """Return all nodes of autograd's graph, held so that each stays the same object."""
    nodes, front = {root: None}, [root]
    while front:
        for node, _ in front.pop().next_functions:
            if node is not None and node not in nodes:
                nodes[node] = None
                front.append(node)
    return nodes


def _stack(frame: FrameType | None) -> tuple[Line, ...]:
    """Return the lines of the module on the stack, the innermost first."""
    lines = []
    while frame is not None and (frame.f_code.co_name, frame.f_code.co_filename) != (RUN, __file__):
        if belongs_to_user(frame.f_code.co_filename):
            lines.append(Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return tuple(lines)


def _call(frame: FrameType | None) -> Line | None:
    """Return the line that calls the outermost Function that is running, None if none is."""
    line = None
    while frame is not None:
        code = frame.f_code
        if code.co_name == "apply" and code.co_filename.endswith("torch/autograd/function.py"):
            line = line_of_stack(frame.f_back)
        frame = frame.f_back
    return line
