"""Registered networks in a size in which every number can be checked, and real examples for them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

import jaxnets
import torchnets
from data import Batch, Dataset, Loader, Split, fit_to, hold_out, load

BATCH_SIZE = 16
LARGE = 1_000_000  # trained parameters, from which on not every optimizer is tried
NOISE = 0.05  # standard deviation of what is added to a picture's normalised pixels


class Twins(NamedTuple):
    """Both sides of a network in a size in which every number can be checked."""

    torch: Any
    flax: Any
    input_shape: tuple[int, ...]


def names() -> list[str]:
    """Return the name of every network of either side."""
    return sorted(jaxnets.MODELS.keys() | torchnets.MODELS.keys())


def build_small(name: str, seed: int, *, full: bool = False) -> Twins:
    """Make both sides of a network in its small size: with `full` in its whole depth."""
    entry = torchnets.MODELS[name]
    options = {**entry.small.options, **({} if full else entry.small.quick)}
    torch.manual_seed(seed)
    torch_module, flax_module = (side.MODELS[name].build(**options) for side in (torchnets, jaxnets))
    return Twins(torch_module, flax_module, entry.small.input_shape or entry.input_shape)


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
