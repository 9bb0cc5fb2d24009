"""Every check on every network that the registries hold; a network without a twin is a failure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

import jaxnets
import torchnets
from data import Batch, Dataset, Loader, Split, fit_to, hold_out, load
from data.registry import lookup
from experiment.registry import Entry
from jaxnets.environment import start_device
from parity.checks import check, zero_gradient_names
from parity.flax_side import FlaxSide
from parity.pair import make_pair
from parity.report import Failure, Report, Result
from parity.structure import Counts, check_full_size, check_structure
from parity.torch_side import randomised
from parity.trajectory import OPTIMIZERS, check_trajectory
from parity.verdicts import guarded

BATCH_SIZE = 16
EXAMPLES = 8  # of the checks of a single pass
LARGE = 1_000_000  # trained parameters, from which on not every optimizer is tried
QUICK_STEPS, FULL_STEPS = 10, 100
FEW_OPTIMIZERS = ("momentum", "adam")
NOISE = 0.05  # standard deviation of what is added to a picture's normalised pixels


class Twins(NamedTuple):
    """Both sides of a network in a size in which every number can be checked."""

    torch: Any
    flax: Any
    input_shape: tuple[int, ...]


def names() -> list[str]:
    """Return the name of every network of either side."""
    return sorted(jaxnets.MODELS.keys() | torchnets.MODELS.keys())


def check_model(name: str, *, full: bool = False, seed: int = 0) -> Report:
    """Run every check on a registered network.

    Args:
        name: as in `jaxnets.MODELS`.
        full: check the whole depth of large networks; train for 100 steps instead of 10, and small networks with every
            optimizer instead of two.
        seed: of weights, data order, masks and cotangents.

    Raises:
        UserError: no such network.
    """
    start_device()
    report = check_network(name, full=full, seed=seed)
    if not report.ok:  # networks that differ cannot train the same way; where they differ has just been said
        return report
    steps = FULL_STEPS if full else QUICK_STEPS
    trained = [
        guarded(
            lambda o=optimizer: check_training(name, o, steps=steps, zeros=report.zeros, full=full, seed=seed),
            f"trajectory {optimizer}",
            "optimizer",
        )
        for optimizer in optimizers(name, full=full)
    ]
    return report._replace(results=(*report.results, *trained))


def optimizers(name: str, *, full: bool) -> Sequence[str]:
    """Return the optimizers that a network is trained with."""
    return OPTIMIZERS if full and torchnets.MODELS[name].num_params < LARGE else FEW_OPTIMIZERS


def check_network(name: str, *, full: bool = False, seed: int = 0) -> Report:
    """Run every check on a registered network but those of its training.

    Structure and shapes are checked in full size, where no weights are made; all that is computed, in the small one.

    Raises:
        UserError: no such network.
    """
    lookup("model", name, dict.fromkeys(names()))
    twins = _check_twins(name, jaxnets.MODELS, torchnets.MODELS)
    if twins.failure:
        return Report(name, (twins,))
    whole = (
        guarded(lambda: _check_count(name), "structure, full size", "structure"),
        guarded(lambda: _check_shapes(name), "full size", "structure"),
    )
    torch_module, flax_module, input_shape = build_small(name, seed, full=full)
    inputs = real_batches(input_shape, 1, seed)[0].inputs[:EXAMPLES]
    report = check(torch_module, flax_module, inputs, name=name, seed=seed, same_names=True)
    return report._replace(results=(twins, *whole, *report.results))


def check_training(
    name: str,
    optimizer: str,
    *,
    steps: int = QUICK_STEPS,
    zeros: Collection[str] | None = None,
    full: bool = False,
    seed: int = 0,
) -> Result:
    """Train both sides of a registered network with one optimizer, on real data, and compare where they end.

    `zeros` are the tensors whose true gradient is zero, if that is known already.
    """
    torch_module, flax_module, input_shape = build_small(name, seed, full=full)
    # A bias that starts at zero and has no gradient moves to either side by rounding, and L1 then drives it on.
    batches = real_batches(input_shape, steps, seed)
    torch_module = randomised(torch_module, batches[0].inputs, seed)
    if zeros is None:
        pair = make_pair(torch_module, FlaxSide(flax_module, np.float64), batches[0].inputs, seed)
        zeros = zero_gradient_names(pair)
    return check_trajectory(torch_module, flax_module, batches, optimizer, zeros=zeros, seed=seed)


def build_small(name: str, seed: int, *, full: bool = False) -> Twins:
    """Make both sides of a network in its small size: with `full` in its whole depth."""
    entry = torchnets.MODELS[name]
    options = {**entry.small.options, **({} if full else entry.small.quick)}
    torch.manual_seed(seed)
    torch_module, flax_module = (side.MODELS[name].build(**options) for side in (torchnets, jaxnets))
    return Twins(torch_module, flax_module, entry.small.input_shape or entry.input_shape)


def _build_abstract(name: str) -> tuple[Any, FlaxSide]:
    with torch.device("meta"):
        torch_module = torchnets.MODELS[name].build()
    return torch_module, FlaxSide(jaxnets.MODELS[name].build(), np.float32)


def _check_count(name: str) -> Result:
    entry = torchnets.MODELS[name]
    counts = Counts(entry.num_params, entry.num_frozen)
    result = check_structure(*_build_abstract(name), entry.input_shape, counts)
    failure = result.failure and result.failure._replace(check="structure, full size")
    return result._replace(check="structure, full size", failure=failure)


def _check_shapes(name: str) -> Result:
    return check_full_size(*_build_abstract(name), torchnets.MODELS[name].input_shape)


def real_batches(input_shape: tuple[int, ...], steps: int, seed: int) -> list[Batch]:
    """Return batches of real handwritten digits, or of telephone tones, in the network's size, in float64."""
    dataset = _pictures(input_shape) if len(input_shape) == 3 else _sounds(input_shape[0])
    train, _ = hold_out(dataset.train)
    loader = Loader(train, dataset.mean, dataset.std, BATCH_SIZE, seed)
    rng = np.random.default_rng([seed, 4])

    def whole() -> Iterator[Batch]:
        epoch = 0
        while True:
            yield from (batch for batch in loader.epoch(epoch) if len(batch.labels) == BATCH_SIZE)
            epoch += 1

    # A little noise: in a plain background all pixels tie in a max-pool, and which of them the gradient goes to would
    # hang on the last bit of a convolution.
    return [
        Batch(batch.inputs + rng.normal(scale=NOISE, size=batch.inputs.shape), batch.labels)
        for batch, _ in zip(whole(), range(steps), strict=False)
    ]


def _pictures(input_shape: tuple[int, ...]) -> Dataset:
    *size, channels = input_shape
    dataset, _ = fit_to(load("digits"), (*size, 1))
    inputs, statistics = dataset.train.inputs, (dataset.mean, dataset.std)
    # Another digit in each channel: three equal ones would hide that two of them are swapped.
    stacked = np.concatenate([np.roll(inputs, shift, axis=0) for shift in range(channels)], axis=-1)
    mean, std = (np.repeat(values, channels) for values in statistics)
    return dataset._replace(train=dataset.train._replace(inputs=stacked), mean=mean, std=std)


def _sounds(length: int) -> Dataset:
    dataset = load("tones")
    repeats = -(-length // dataset.train.inputs.shape[1])
    inputs = np.tile(dataset.train.inputs, (1, repeats, 1))[:, :length]
    # Twelve keys, ten classes: what is learned does not matter here.
    return dataset._replace(train=Split(inputs, dataset.train.labels % 10))


def _check_twins(name: str, flax_models: Mapping[str, Entry], torch_models: Mapping[str, Entry]) -> Result:
    """Both sides have the network, and say the same of it."""
    fault = ""
    for side, models in (("jaxnets", flax_models), ("torchnets", torch_models)):
        if name not in models:
            fault = f"missing in {side}.MODELS: there is no proof without a twin"
    if not fault:
        ours, theirs = torch_models[name], flax_models[name]
        for field in Entry._fields:
            if field != "build" and getattr(ours, field) != getattr(theirs, field):
                fault = f"{field} is {getattr(ours, field)!r} in torchnets, {getattr(theirs, field)!r} in jaxnets"
    failure = Failure("twins", "structure", name, np.inf, 0.0, fault) if fault else None
    return Result("twins", np.inf if fault else 0.0, 0.0, "", failure=failure)
