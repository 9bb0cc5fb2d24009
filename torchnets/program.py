"""The functions for Python programs: build a network, train it, load a run. Twin of `jaxnets.program`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data import UserError
from experiment.config import Config
from experiment.programs import loading, networks, training
from experiment.programs.result import Framework
from experiment.programs.result import Result as Result
from torchnets import loop
from torchnets.own_network import tell_mode
from torchnets.step import Variables, eval_step


def build(name: str, num_classes: int | None = None, *, seed: int = 0, **options: Any) -> nn.Module:
    """Return a network.

    Args:
        name: of a registered network, see `MODELS`, or of one of your own: "my_net.py:Net".
        num_classes: the number of logits; 0 for the features in front of the last layer. Default: the network's own.
        seed: of the initial weights, which a training with the same seed would start from.
        options: further arguments of the network, such as dropout.

    Raises:
        UserError: there is no such network, or it has no such option.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, tag = networks.make(loop.MODELS, name, num_classes, options)
    setattr(module, networks.TAG, tag)
    return module


def fit(
    model: str | nn.Module, dataset: Any, *, variables: Any = None, verbose: bool = False, **options: Any
) -> Result:
    """Train a network and return it with its history: the numbers of `python -m torchnets.train` with these options.

    Nothing is printed or written, unless `verbose` or `out` say so. A module that is given holds the trained weights
    afterwards.

    Args:
        model: a name, what `build` returns, or any PyTorch module.
        dataset: a dataset's name, the path of a folder, what `data.load` or `data.from_arrays` return, or a pair
            (inputs, labels).
        variables: the initial weights and statistics. Default: those of the module, or random ones by the seed.
        verbose: whether to print what the command line prints.
        options: of `experiment.options.Config`: epochs, batch_size, optimizer, lr, seed, out and so on.

    Raises:
        UserError: an option, the network or the data are not what is expected; says what is.
    """
    return training.fit(FRAMEWORK, model, dataset, variables, verbose=verbose, options=options)


def load(folder: Path | str, model: str | None = None) -> Result:
    """Return a saved run, of either framework.

    Args:
        folder: the run folder.
        model: where the network is, if it is one of your own that has moved: "my_net.py:Net".

    Raises:
        UserError: it is no run folder, or its network is not there.
    """
    return loading.load(FRAMEWORK, folder, model)


@contextmanager
def _settings(config: Config) -> Iterator[None]:
    """Set what a training's numbers depend on; restore it at the end."""
    dtype, cudnn, matmul = (
        torch.get_default_dtype(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )
    with torch.random.fork_rng():
        try:
            loop.set_precision(config)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


def _check(model: Any) -> None:
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise UserError(f"fit: found the class {model.__name__}, expected a module of it: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        kind = f"{type(model).__module__.partition('.')[0]}'s {type(model).__name__}"
        raise UserError(f"fit: found {kind}, expected a torch.nn.Module or a network's name")


def _unwrap(model: nn.Module, variables: Variables) -> nn.Module:
    model.load_state_dict(variables)
    return model.eval()


FRAMEWORK = Framework(
    "torchnets",
    loop,
    _settings,
    _check,
    tell_mode,
    _unwrap,
    lambda module: module.state_dict(),
    eval_step,
    rebuilds=True,
)
