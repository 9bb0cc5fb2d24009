"""The functions for Python programs: build a network, train it, load a run. Twin of `torchnets.program`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from data import UserError
from experiment.config import Config
from experiment.programs import loading, networks, training
from experiment.programs.result import Framework
from experiment.programs.result import Result as Result
from jaxnets import loop
from jaxnets.environment import FIXED
from jaxnets.own_network import OwnNetwork
from jaxnets.step import eval_step

SETTINGS = (*FIXED, "jax_default_matmul_precision", "jax_enable_x64")


def build(name: str, num_classes: int | None = None, *, seed: int = 0, **options: Any) -> nn.Module:  # noqa: ARG001
    """Return a network.

    Args:
        name: of a registered network, see `MODELS`, or of one of your own: "my_net.py:Net".
        num_classes: the number of logits; 0 for the features in front of the last layer. Default: the network's own.
        seed: of the initial weights, which a Flax module does not hold.
        options: further arguments of the network, such as dropout.

    Raises:
        UserError: there is no such network, or it has no such option.
    """
    found, tag = networks.make(loop.MODELS, name, num_classes, options)
    module = found.module if isinstance(found, OwnNetwork) else found
    object.__setattr__(module, networks.TAG, tag)  # Flax's modules are frozen
    return module


def fit(
    model: str | nn.Module, dataset: Any, *, variables: Any = None, verbose: bool = False, **options: Any
) -> Result:
    """Train a network and return it with its history: the numbers of `python -m jaxnets.train` with these options.

    Nothing is printed or written, unless `verbose` or `out` say so.

    Args:
        model: a name, what `build` returns, or any Flax Linen module.
        dataset: a dataset's name, the path of a folder, what `data.load` or `data.from_arrays` return, or a pair
            (inputs, labels).
        variables: the initial weights and statistics. Default: random ones, by the seed.
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
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    try:
        loop.set_precision(config)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def _check(model: Any) -> None:
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise UserError(f"fit: found the class {model.__name__}, expected a module of it: {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        kind = f"{type(model).__module__.partition('.')[0]}'s {type(model).__name__}"
        raise UserError(f"fit: found {kind}, expected a flax.linen.Module or a network's name")


def _unwrap(model: Any, _variables: Any) -> nn.Module:
    return model.module if isinstance(model, OwnNetwork) else model


FRAMEWORK = Framework(
    "jaxnets", loop, _settings, _check, OwnNetwork, _unwrap, lambda _module: None, eval_step, rebuilds=False
)
