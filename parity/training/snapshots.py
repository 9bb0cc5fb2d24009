"""What a PyTorch training has changed at one time: parameters, buffers, slots of its optimizers, moving averages."""

import difflib
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from parity.sides.numbers import wide
from parity.training.steps import Arrays, Snapshot
from parity.training.targets import ending

ENDING = 2  # parts that the path of a copy and the name of its parameter have in common at least
DEEPEST = 6  # containers inside of each other in which a moving average is looked for


Copies = dict[tuple[str, ...], str]  # by the path of a tensor, the parameter whose copy it is


def snapshot(module: nn.Module, optimizers: Mapping[int, Any], step: Any, copies: Copies | None = None) -> Snapshot:
    """Copy all that a training has come to."""
    names = {id(p): name for name, p in module.named_parameters()}
    slots: dict[str, Arrays] = {}
    for optimizer in optimizers.values():
        for slot, tensors in optimizer_slots(optimizer, names).items():
            slots.setdefault(slot, {}).update(tensors)
    params = {name: wide(p) for name, p in module.named_parameters()}
    buffers = {name: wide(b) for name, b in module.named_buffers()}
    averages = {
        place: {name: wide(t) for name, t in tensors.items()}
        for place, tensors in kept_tensors(module, step, copies).items()
    }
    return Snapshot(params, buffers, slots, averages)


def optimizer_slots(optimizer: Any, names: Mapping[int, str]) -> dict[str, Arrays]:
    """Copy an optimizer's slots, by the parameter's name."""
    slots: dict[str, Arrays] = {}
    for parameter, state in optimizer.state.items():
        for slot, value in state.items() if id(parameter) in names else ():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and slot != "step":
                slots.setdefault(slot, {})[names[id(parameter)]] = wide(value)
    return slots


def kept_tensors(module: nn.Module, step: Any, copies: Copies | None = None) -> dict[str, dict[str, torch.Tensor]]:
    """Find tensors that the step keeps beside the module and its optimizer, by the parameter whose copy each is.

    Args:
        module: what is trained.
        step: what trains it.
        copies: what is known of tensors whose paths alone do not tell; what is found is added.
    """
    copies = {} if copies is None else copies
    own = {id(t) for t in (*module.parameters(), *module.buffers())}
    own |= {id(p.grad) for p in module.parameters() if p.grad is not None}
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    order = [name for name, p in module.named_parameters() if p.requires_grad]
    found: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in _reachable(step, (), 0, {id(module)}):
        if id(tensor) in own or not tensor.is_floating_point():
            continue
        own.add(id(tensor))
        name = _name_of(path, tensors, order)
        if name is None or tensors[name].shape != tensor.shape:
            name = copies.get(path) or _copied(path, tensor, tensors, copies)
            if name is not None:
                copies[path] = name
        if name is not None:
            same = ending(path, name.split("."))
            found.setdefault(".".join(path[: -same or -1]), {})[name] = tensor
    return found


def _name_of(path: tuple[str, ...], tensors: Mapping[str, torch.Tensor], order: list[str]) -> str | None:
    """Return the parameter whose name ends a path, or whose place in a list it is."""
    text = ".".join(path)
    fitting = [name for name in tensors if text == name or text.endswith(f".{name}")]
    if fitting:
        return max(fitting, key=len)
    last = path[-1] if path else ""
    return order[int(last)] if last.isdecimal() and int(last) < len(order) else None


def _copied(
    path: tuple[str, ...], tensor: torch.Tensor, tensors: Mapping[str, torch.Tensor], copies: Copies
) -> str | None:
    """Return the parameter of a part of the module whose copy a tensor is: its path ends alike, its values are equal.

    A copy of one of two critics ends as the parameters of both do; so the copies of its other tensors tell, too.
    """
    ends = {
        name: same
        for name, own in tensors.items()
        if own.shape == tensor.shape
        and (same := ending(path, name.split("."))) >= ENDING
        and torch.equal(own.to(tensor), tensor)
    }
    beside = {
        tuple(other[: -ending(known, other)])
        for known, other in ((known, name.split(".")) for known, name in copies.items())
        if known[: -ending(known, other)] == path[: -ending(known, other)]
    }

    def fits(name: str) -> tuple[int, bool, float]:
        parts = name.split(".")
        told = tuple(parts[: -ends[name]]) in beside
        return ends[name], told, difflib.SequenceMatcher(None, name, ".".join(path)).ratio()

    return max(ends, key=fits, default=None)


def _reachable(value: Any, path: tuple[str, ...], depth: int, seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the tensors that can be reached from a step, each with the names that lead there."""
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    if depth > DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
        inner = {
            id(t) for layer in value.modules() if id(layer) in seen and layer is not value for t in layer.parameters()
        }
        for name, tensor in tensors.items():
            if id(tensor) not in inner:
                yield (*path, *name.split(".")), tensor
        if type(value).__module__.startswith("torch."):
            return
    for name, inside in _inside(value):
        yield from _reachable(inside, (*path, name), depth + 1, seen)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a container, a function or an object of the user's holds."""
    if isinstance(value, dict):
        yield from ((str(key), inside) for key, inside in list(value.items()))
    elif isinstance(value, list | tuple):
        yield from ((str(i), inside) for i, inside in enumerate(value))
    elif isinstance(value, functools.partial):
        yield from (("function", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, types.MethodType):
        yield from (("function", value.__func__), ("self", value.__self__))
    elif isinstance(value, types.FunctionType):
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not filled yet
                continue
        names = [n for n in value.__code__.co_names if n in value.__globals__]
        yield from ((n, value.__globals__[n]) for n in names)
        yield "defaults", value.__defaults__
        yield "wrapped", getattr(value, "__wrapped__", None)
    elif _is_users(value):
        yield from vars(value).items()


def _is_users(value: Any) -> bool:
    """Tell whether a value is an object with attributes of its own that is no framework's optimizer or schedule."""
    if isinstance(value, type | types.ModuleType | torch.optim.Optimizer) or not hasattr(value, "__dict__"):
        return False
    return not type(value).__module__.startswith(("torch.optim", "torch.utils.data", "builtins", "numpy", "jax"))
