"""What a PyTorch training has changed at one time: parameters, buffers, slots of its optimizers, moving averages."""

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from parity.sides.numbers import wide
from parity.training.steps import Arrays, Snapshot

DEEPEST = 6  # containers inside of each other in which a moving average is looked for


def snapshot(module: nn.Module, optimizers: Mapping[int, Any], step: Any) -> Snapshot:
    """Copy all that a training has come to."""
    names = {id(p): name for name, p in module.named_parameters()}
    slots: dict[str, Arrays] = {}
    for optimizer in optimizers.values():
        for slot, tensors in optimizer_slots(optimizer, names).items():
            slots.setdefault(slot, {}).update(tensors)
    params = {name: wide(p) for name, p in module.named_parameters()}
    buffers = {name: wide(b) for name, b in module.named_buffers()}
    averages = {
        place: {name: wide(t) for name, t in tensors.items()} for place, tensors in kept_tensors(module, step).items()
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


def kept_tensors(module: nn.Module, step: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Find tensors that the step keeps beside the module and its optimizer, by the parameter whose copy each is."""
    own = {id(t) for t in (*module.parameters(), *module.buffers())}
    own |= {id(p.grad) for p in module.parameters() if p.grad is not None}
    shapes = {name: tuple(t.shape) for name, t in (*module.named_parameters(), *module.named_buffers())}
    order = [name for name, p in module.named_parameters() if p.requires_grad]
    found: dict[str, dict[str, torch.Tensor]] = {}
    for path, tensor in _reachable(step, (), 0, {id(module)}):
        if id(tensor) in own or not tensor.is_floating_point():
            continue
        own.add(id(tensor))
        name = _name_of(path, shapes, order)
        if name is not None and tuple(tensor.shape) == shapes[name]:
            place = ".".join(path)
            place = place.removesuffix(name).rstrip(".") if place.endswith(name) else ".".join(path[:-1])
            found.setdefault(place, {})[name] = tensor
    return found


def _name_of(path: tuple[str, ...], shapes: Mapping[str, Any], order: list[str]) -> str | None:
    """Return the parameter whose name ends a path, or whose place in a list it is."""
    text = ".".join(path)
    fitting = [name for name in shapes if text == name or text.endswith(f".{name}")]
    if fitting:
        return max(fitting, key=len)
    last = path[-1] if path else ""
    return order[int(last)] if last.isdecimal() and int(last) < len(order) else None


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
