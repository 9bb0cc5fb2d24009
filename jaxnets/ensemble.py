"""Ensembles: several trainings as one program, `vmap` of the step over their seeds or options."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data import Loader
from experiment.backend import LoopState
from experiment.config import Config
from experiment.loop.class_weights import class_weights
from experiment.loop.input_pipeline import keeps_examples
from experiment.loop.monitor import Monitor
from experiment.options import MAPPED
from jaxnets.averaging import State, evaluated
from jaxnets.compose import training
from jaxnets.input_pipeline import Batches, Chosen, Step, feed, resident
from jaxnets.sharding import replicas
from jaxnets.snapshot import to_arrays
from jaxnets.step import Variables

Numbers = dict[str, jax.Array]  # the options in `MAPPED`: of one training (), of all (trainings,)
ROOM = 10_000_000  # parameters of all the networks that share a GPU without being told to: 32 of the larger MLP's


class Own(NamedTuple):
    """One training's part of the numbers of all, which come from the device together, once they are looked at."""

    numbers: jax.Array  # (trainings,), or (trainings, steps)
    at: int

    def __float__(self) -> float:
        return float(np.asarray(self.numbers)[self.at])

    def __int__(self) -> int:
        return int(np.asarray(self.numbers)[self.at])

    def tolist(self) -> list[float]:
        """Return those of several steps."""
        return np.asarray(self.numbers)[self.at].tolist()


def trains_together(config: Config, count: int, parameters: int) -> bool:
    """Return whether `count` trainings of a network of so many `parameters` are one program.

    It pays where a network is too small to keep a GPU busy; on a CPU it does not.
    """
    if config.together != "auto":
        return config.together == "yes"
    alone = replicas() == 1 and not config.workers
    return jax.default_backend() != "cpu" and alone and 0 < count * parameters <= ROOM  # 0: nobody knows


def fit_many(
    model: nn.Module,
    variables: Sequence[Variables],
    loaders: Sequence[Loader],
    configs: Sequence[Config],
    monitors: Sequence[Monitor],
) -> Iterator[list[LoopState]]:
    """Train as `jaxnets.loop.fit` does, but all at once; yield the points of all.

    Of the configurations only the seeds and the options in `MAPPED` differ. The first monitor's signal stops all.
    """
    config, length = configs[0], len(loaders[0])
    compose = partial(training, model, steps=config.epochs * length, weights=class_weights(config, loaders[0]))
    own = [compose(one).init(each, one.seed) for each, one in zip(variables, configs, strict=True)]
    state: State = jax.tree.map(lambda *parts: jnp.stack(parts), *own)
    numbers = {name: jnp.array([getattr(one, name) for one in configs]) for name in MAPPED}

    def step_of(numbers: Numbers) -> Step:  # one training's own, which are not known yet when the step is traced
        return compose(dataclasses.replace(config, **numbers)).step

    streams, take_step = _feed(step_of, loaders, config)
    step = jax.jit(take_step, donate_argnums=0)
    for epoch in range(config.epochs):
        for monitor in monitors:
            monitor.begin(epoch)
        done = 0
        for batches in zip(*(stream(epoch, 0) for stream in streams), strict=True):
            steps = batches[0][0]
            done += steps
            state, metrics = step(state, _stack([batch for _, batch in batches]), numbers)
            size = loaders[0].size(done - 1)
            due = [monitor.step(size, _own(metrics, at), steps) for at, monitor in enumerate(monitors)]
            if any(due) or done == length:
                for monitor in monitors[1:]:
                    monitor.stopped = monitors[0].stopped
                yield [_point(epoch, done, state, at) for at in range(len(loaders))]
                if monitors[0].stopped:
                    return


def _feed(
    step_of: Callable[[Numbers], Step], loaders: Sequence[Loader], config: Config
) -> tuple[list[Batches], Callable[..., tuple[State, dict[str, jax.Array]]]]:
    """Return what yields each training's batches, and the step (states, batches, numbers) of all."""
    if not keeps_examples(config, loaders[0], accelerator=jax.default_backend() != "cpu", replicas=1):
        streams = [feed(step_of({}), loader, config)[0] for loader in loaders]
        return streams, jax.vmap(lambda state, batch, numbers: step_of(numbers)(state, batch))
    examples = jax.device_put(loaders[0].arrays)  # once, for all
    streams = [resident(step_of({}), loader, config, examples)[0] for loader in loaders]

    def step(state: State, chosen: Chosen, numbers: Numbers) -> tuple[State, dict[str, jax.Array]]:
        def one(state: State, rows: Any, numbers: Numbers) -> tuple[State, dict[str, jax.Array]]:
            _, step = resident(step_of(numbers), loaders[0], config, chosen.examples)
            return step(state, Chosen(chosen.examples, rows))

        return jax.vmap(one)(state, chosen.rows, numbers)

    return streams, step


def _stack(batches: Sequence[Any]) -> Any:
    if isinstance(batches[0], Chosen):
        return Chosen(batches[0].examples, _stack([chosen.rows for chosen in batches]))
    return jax.tree.map(lambda *parts: np.stack(parts), *batches)


def _own(metrics: Mapping[str, jax.Array], at: int) -> dict[str, Own]:
    return {name: Own(numbers, at) for name, numbers in metrics.items()}


def _point(epoch: int, done: int, state: State, at: int) -> LoopState:
    mine: State = jax.tree.map(lambda x: x[at], state)
    return LoopState(epoch, done, evaluated(mine), partial(to_arrays, mine))
