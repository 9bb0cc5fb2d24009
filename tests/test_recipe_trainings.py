"""Every recipe in the folder: both trainers take the same steps by it, stage by stage, and nothing is left out."""

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import parity
import torchnets.compose
from experiment.config import Config, load_recipe
from experiment.recipes import recipes
from parity.checks.recipe_trainings import recipe_trainings, trainings
from parity.checks.small import build_small
from tests.quick import slow_unless

QUICK = ("mlp-mnist-original",)
STEPS = 2
# Of the update rules of PyTorch's and of the project's own: what they keep of each parameter, those that Muon does not
# turn being Adam's.
KEPT = {"sgd": 0, "momentum": 1, "nesterov": 1, "rmsprop": 1, "adam": 2, "adamw": 2}


@cache
def network(name: str) -> nn.Module:
    """Return PyTorch's side of a network in its small size."""
    return build_small(name, 0).torch


def wanted(config: Config) -> dict[str, int]:
    """Return how many tensors a training has for each stage, counted without the checker."""
    module = network(config.model)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torchnets.compose.training(module, config, STEPS).state.optimizer
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    slots = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim]
    assert config.optimizer not in KEPT or len(slots) == KEPT[config.optimizer] * len(trained)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return {
        "forward": config.accumulate,  # once for each piece of the batch
        "loss": 1,
        "gradients": len(trained),
        "update": len(list(module.parameters())) + len(slots),
        "statistics": 2 * len(norms),  # a frozen norm's, too, which stay as they are (trap 21)
        "average": (len(list(module.parameters())) + 2 * len(norms)) if config.ema else 0,
    }


def checked(report: Any, config: Config) -> None:
    """Assert that both train the same way, to 1e-10, and that every tensor has been compared."""
    assert report.ok, report.failures[0].text
    assert {stage.stage: stage.tensors for stage in report.stages} == wanted(config)
    assert max(stage.error for stage in report.stages) <= 1e-10
    assert not [note for note in report.notes if "the same on both sides" not in note]


@pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, list(recipes())))
def test_every_recipe_is_proved(name):
    torch_training, jax_training, batches, weights = recipe_trainings(name, STEPS)
    checked(parity.check_training(torch_training, jax_training, batches, STEPS, weights=weights), load_recipe(name))


@pytest.mark.slow
def test_what_no_recipe_has_is_proved_too():
    options = {"ema": 0.9, "clip_norm": 0.5, "l1": 1e-5, "accumulate": 2, "on_nan": "skip", "schedule": "onecycle"}
    config = Config(model="custom_mlp", optimizer="nesterov", lr=0.01, **options)  # pyright: ignore[reportArgumentType]
    torch_training, jax_training, batches, weights = trainings(config, STEPS)
    checked(parity.check_training(torch_training, jax_training, batches, STEPS, weights=weights), config)


@pytest.mark.slow
def test_a_wrong_rule_of_a_recipe_is_told():
    right = load_recipe("mlp-mnist")
    found = against(right, dataclasses.replace(right, weight_decay=0.0))
    assert (found.stage, found.step) == ("update", 1)
    assert "there is no weight decay, PyTorch's is 0.05" in found.diagnosis


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "step"), [({"momentum": 0.5}, 2), ({"decay_weights_only": False}, 1), ({"lr": 0.011}, 1)]
)
def test_a_wrong_rule_of_muon_is_caught(wrong, step):
    right = Config(model="custom_mlp", optimizer="muon", lr=0.01, momentum=0.6, weight_decay=0.5)
    right = dataclasses.replace(right, decay_weights_only=True)
    found = against(right, dataclasses.replace(right, **wrong))
    assert [failure.stage for failure in found.failures] == ["update"]
    assert found.step == step


def against(right: Config, wrong: Config) -> Any:
    """Return what is found of PyTorch's training by one configuration against JAX's by another."""
    torch_training, _, batches, weights = trainings(right, STEPS)
    return parity.check_training(torch_training, trainings(wrong, STEPS).jax, batches, STEPS, weights=weights)
