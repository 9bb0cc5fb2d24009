"""The input pipeline: batches come from the host one by one, or from all examples kept on the device."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from data import Batch, Loader
from data.base import Split
from data.loader import RawBatch, Rows
from experiment.config import Config
from experiment.loop.input_pipeline import keeps_examples, steps_at_once
from jaxnets.averaging import State
from jaxnets.sharding import replicas

Step = Callable[[State, Any], tuple[State, dict[str, jax.Array]]]
Batches = Callable[
    [int, int], Iterator[tuple[int, Any]]
]  # of an epoch, from a batch on; each with its number of steps


class Chosen(NamedTuple):
    """All examples, and the indices of the next batch (B), or of the next batches (steps, B)."""

    examples: Split
    rows: Rows


def feed(take_step: Step, loader: Loader, config: Config) -> tuple[Batches, Step]:
    """Return what yields an epoch's batches from one on, and the step that takes them, not yet compiled."""
    if keeps_examples(config, loader, accelerator=jax.default_backend() != "cpu", replicas=replicas()):
        return resident(take_step, loader, config)
    batches = on_device(loader) if config.augment_on == "device" else loader.epoch
    return lambda epoch, start: ((1, batch) for batch in batches(epoch, start)), take_step


def on_device(loader: Loader) -> Callable[[int, int], Iterator[Batch]]:
    """Return what yields an epoch's batches from one on, all arithmetic on them done where the network computes."""
    finish = jax.jit(partial(loader.finish, xp=jnp))
    return lambda epoch, start: map(finish, loader.raw(epoch, start))


def resident(take_step: Step, loader: Loader, config: Config, examples: Split | None = None) -> tuple[Batches, Step]:
    """Return the same where all examples lie on the device: of a batch only its indices go there.

    Many steps are one `lax.scan`: the device need not wait for Python between them. Their metrics are then (steps,).
    `examples` are the loader's, if they are on the device already.
    """
    held = examples or jax.device_put(loader.arrays)

    def batches(epoch: int, start: int) -> Iterator[tuple[int, Chosen]]:
        drawn = loader.draw(epoch)
        while start < len(loader):
            steps = steps_at_once(config, loader, epoch, start)
            rows = loader.rows(drawn, start, steps)
            if steps > 1:
                rows = Rows(*(part.reshape(steps, len(part) // steps, *part.shape[1:]) for part in rows))
            yield steps, Chosen(held, rows)
            start += steps

    def step(state: State, chosen: Chosen) -> tuple[State, dict[str, jax.Array]]:
        def one(state: State, rows: Rows) -> tuple[State, dict[str, jax.Array]]:
            inputs, labels = (part[rows.which] for part in chosen.examples)
            return take_step(state, loader.finish(RawBatch(inputs, labels, rows.draws, rows.shares), jnp))

        return one(state, chosen.rows) if chosen.rows.which.ndim == 1 else jax.lax.scan(one, state, chosen.rows)

    return batches, step
