"""The recipes of this project as trainings to be compared: both trainers' own steps, in the networks' small sizes."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jaxnets
import jaxnets.compose
import torchnets
import torchnets.compose
from data import Batch
from experiment.config import Config, load_recipe
from experiment.weights.pretrained import as_built
from parity.checks.small import real_batches
from parity.copy import flatten, to_flax
from parity.mapping.rule import Rule
from torchnets.tensors import as_tensors

EXAMPLES = 4  # of a batch


class Trainings(NamedTuple):
    """What `check_training` is given."""

    torch: Callable[[], Any]
    jax: Callable[[], Any]
    batches: Callable[[], Iterator[Any]]
    weights: dict[str, Rule]  # by leaf of JAX's state


def recipe_trainings(name: str, steps: int) -> Trainings:
    """Return both trainings of a recipe, `steps` long, and real batches of a few examples.

    The network has its small size; optimizer, schedule, loss, dropout and all else are the recipe's.

    Raises:
        UserError: no such recipe.
    """
    return trainings(load_recipe(name), steps)


def trainings(config: Config, steps: int) -> Trainings:
    """Return both trainings by a configuration of this project, as `recipe_trainings` does."""
    config = dataclasses.replace(config, batch_size=EXAMPLES)
    entries = [as_built(side.MODELS[config.model], config, side.MODELS) for side in (torchnets, jaxnets)]
    small = entries[0].small
    shape = small.input_shape or entries[0].input_shape

    def build(side: int) -> Any:
        return entries[side].build(**{**small.options, **small.quick})

    def batches() -> Iterator[Any]:
        for batch in real_batches(shape, steps, config.seed):
            yield np.asarray(batch.inputs[:EXAMPLES], np.float32), batch.labels[:EXAMPLES]

    return Trainings(
        lambda: _torch_training(build(0), config, steps),
        lambda: _jax_training(build(1), build(0), config, steps),
        batches,
        _rules(build(0)),
    )


def _rules(model: torch.nn.Module) -> dict[str, Rule]:
    """Return how each weight of Flax's is made of PyTorch's: the names are the same, kernels are transposed."""
    steps = {2: ("o i -> i o",), 3: ("o i l -> l i o",), 4: ("o i h w -> h w i o",)}
    found = {}
    for key, parameter in model.named_parameters():
        path = next(iter(flatten(to_flax({key: parameter.detach()}))))
        found[f"variables/{path}"] = Rule((key,), steps.get(parameter.ndim, ()))
    return found


def _torch_training(model: torch.nn.Module, config: Config, steps: int) -> Any:
    model.train()
    state, train = torchnets.compose.training(model, config, steps)

    def step(inputs: np.ndarray, labels: np.ndarray) -> Any:
        metrics = train(as_tensors(Batch(inputs, labels)))
        state.schedule.step()
        return metrics["loss"]

    return model, step


def _jax_training(model: Any, like: torch.nn.Module, config: Config, steps: int) -> Any:
    init, train = jaxnets.compose.training(model, config, steps)
    # PyTorch's weights take their place anyway, and each operation of `model.init` would be compiled by itself.
    variables = to_flax(like.state_dict())

    def step(state: Any, inputs: Any, labels: Any) -> Any:
        return train(state, Batch(inputs, labels))

    return init(jax.tree.map(jnp.asarray, variables), config.seed), step
