"""Every check on every network that the registries hold; a network without a twin is a failure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

import jaxnets
import torchnets
from data import Batch, Loader, fit_to, hold_out, load
from data.registry import lookup
from experiment.registry import Entry
from parity.checks import check, guarded, zero_gradient_names
from parity.report import Failure, Report, Result
from parity.trajectory import OPTIMIZERS, check_trajectory

BATCH_SIZE, STEPS = 16, 100


def names() -> list[str]:
    """Return the name of every network of either side."""
    return sorted(jaxnets.MODELS.keys() | torchnets.MODELS.keys())


def check_model(name: str, *, optimizers: Sequence[str] = OPTIMIZERS, steps: int = STEPS, seed: int = 0) -> Report:
    """Run every check on a registered network.

    Args:
        name: as in `jaxnets.MODELS`.
        optimizers: those whose trajectory is checked.
        steps: of each trajectory.
        seed: of weights, data order, masks and cotangents.

    Raises:
        UserError: no such network.
    """
    report = check_network(name, seed=seed)
    if not report.ok:  # networks that differ cannot train the same way; where they differ has just been said
        return report
    trained = [
        guarded(
            lambda o=optimizer: check_training(name, o, steps=steps, seed=seed), f"trajectory {optimizer}", "optimizer"
        )
        for optimizer in optimizers
    ]
    return report._replace(results=(*report.results, *trained))


def check_network(name: str, *, seed: int = 0) -> Report:
    """Run every check on a registered network but those of its training.

    Raises:
        UserError: no such network.
    """
    lookup("model", name, dict.fromkeys(names()))
    twins = _check_twins(name, jaxnets.MODELS, torchnets.MODELS)
    if twins.failure:
        return Report(name, (twins,))
    torch_module, flax_module, entry = _build(name, seed)
    inputs = real_batches(entry.input_shape, 1, seed)[0].inputs
    report = check(torch_module, flax_module, inputs, name=name, num_params=entry.num_params, seed=seed)
    return report._replace(results=(twins, *report.results))


def check_training(name: str, optimizer: str, *, steps: int = STEPS, seed: int = 0) -> Result:
    """Train both sides of a registered network with one optimizer, on real digits, and compare where they end."""
    torch_module, flax_module, entry = _build(name, seed)
    batches = real_batches(entry.input_shape, steps, seed)
    zeros = zero_gradient_names(torch_module, flax_module, batches[0].inputs, seed)
    return check_trajectory(torch_module, flax_module, batches, optimizer, zeros=zeros, seed=seed)


def _build(name: str, seed: int) -> tuple[Any, Any, Entry]:
    torch.manual_seed(seed)
    return torchnets.MODELS[name].build(), jaxnets.MODELS[name].build(), torchnets.MODELS[name]


def real_batches(input_shape: tuple[int, ...], steps: int, seed: int) -> list[Batch]:
    """Return batches of real handwritten digits, in the size that the network takes, in float64."""
    dataset, _ = fit_to(load("digits"), input_shape)
    train, _ = hold_out(dataset.train)
    loader = Loader(train, dataset.mean, dataset.std, BATCH_SIZE, seed)

    def whole() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from (batch for batch in loader.epoch(epoch) if len(batch.labels) == BATCH_SIZE)
            epoch += 1

    return [
        Batch(batch.inputs.astype(np.float64), batch.labels) for batch, _ in zip(whole(), range(steps), strict=False)
    ]


def _check_twins(name: str, flax_models: Mapping[str, Entry], torch_models: Mapping[str, Entry]) -> Result:
    """Both sides have the network, and say the same of it."""
    fault = ""
    for side, models in (("jaxnets", flax_models), ("torchnets", torch_models)):
        if name not in models:
            fault = f"missing in {side}.MODELS: there is no proof without a twin"
    if not fault:
        ours, theirs = torch_models[name], flax_models[name]
        for field in ("input_shape", "num_params", "source"):
            if getattr(ours, field) != getattr(theirs, field):
                fault = f"{field} is {getattr(ours, field)!r} in torchnets, {getattr(theirs, field)!r} in jaxnets"
    failure = Failure("twins", "structure", name, np.inf, 0.0, fault) if fault else None
    return Result("twins", np.inf if fault else 0.0, 0.0, "", failure=failure)
