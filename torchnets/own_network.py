"""Networks of the user's own: their conventions behind the one of this package, and what they must put out."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from data import UserError
from experiment.own_network import Target, check_output, training_words, where
from torchnets.input_pipeline import DEVICE


def adapt(target: Target, value: Any, make: Callable[[], Any]) -> nn.Module:
    """Return the network that a target names: a module, or what makes one.

    Raises:
        UserError: it is none.
    """
    is_module = isinstance(value, nn.Module)
    module = _anew(value) if is_module else make() if callable(value) else value
    if not isinstance(module, nn.Module):
        kind = f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"
        raise UserError(f"{target.text} is {kind}, expected a torch.nn.Module, or a function that returns one")
    return tell_mode(module)


def _anew(module: nn.Module) -> nn.Module:
    """Return a copy of a module with new initial weights, as the seed of a training decides them."""
    module = copy.deepcopy(module)
    for layer in module.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return module


def tell_mode(module: nn.Module) -> nn.Module:
    """Let a module whose `forward` has a keyword for it know whether it is trained: `train`, `deterministic`, ..."""
    parameters = inspect.signature(module.forward).parameters
    if training_words(parameters, train=True):

        def add(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return args, training_words(parameters, train=module.training) | kwargs

        module.register_forward_pre_hook(add, with_kwargs=True)
    return module


def check(module: nn.Module, shape: tuple[int, ...], num_classes: int, name: str) -> None:
    """Check that a network puts out logits, in evaluation and in training; nothing of it changes.

    Raises:
        UserError: it fails, has no parameters, or puts out something else; names what came out.
    """
    x = torch.zeros(2, *shape, device=DEVICE).movedim(-1, 1)
    _check_mode(module.eval(), x, num_classes, name)  # first, as lazy layers take their shapes from it
    if not any(p.requires_grad for p in module.parameters()):
        raise UserError(f"{name} has no parameters to train")
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with torch.random.fork_rng():
        _check_mode(module.train(), x, num_classes, name)
    module.load_state_dict(before)


def _check_mode(module: nn.Module, x: torch.Tensor, num_classes: int, name: str) -> None:
    mode = "in training" if module.training else "in evaluation"
    try:
        with torch.no_grad():
            found = module(x)
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"{name} fails on inputs {tuple(x.shape)} {mode}, {where(error)}") from None
    check_output(name, found, tuple(x.shape), num_classes)
