"""A moving average of weights and statistics, to evaluate and save in place of the latest."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from data import Batch
from jaxnets.step import TrainState, Variables

Metrics = dict[str, jax.Array]


class AveragedState(NamedTuple):
    """The complete training state with a moving average: `TrainState`, and two fields more."""

    step: jax.Array  # () int32
    variables: Variables
    opt_state: optax.OptState
    key: jax.Array
    average: Variables
    averaged: jax.Array  # () int32, steps in the average; without those that were skipped


State = TrainState | AveragedState


def init_average(state: TrainState) -> AveragedState:
    """Return the state with an average of no steps yet."""
    # A copy: the state is donated, and no buffer can be donated twice (trap 23).
    return AveragedState(*state, jax.tree.map(jnp.array, state.variables), jnp.zeros((), jnp.int32))


def evaluated(state: State) -> Variables:
    """Return the variables to evaluate and save: the average if there is one, else the latest."""
    return state.average if isinstance(state, AveragedState) else state.variables


def update_average(average: Variables, variables: Variables, averaged: jax.Array, decay: float) -> Variables:
    """Return the moving average after a step; after the first, that step's variables. Counters are the latest.

    `optax.incremental_update` starts from the initial weights, mixes counters and rounds otherwise (trap 34).
    """

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        mixed = old + (1 - decay) * (new - old) if jnp.issubdtype(new.dtype, jnp.floating) else new
        return jnp.where(averaged == 0, new, mixed)

    return jax.tree.map(mix, average, variables)


def with_average(
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]], decay: float
) -> Callable[[AveragedState, Batch], tuple[AveragedState, Metrics]]:
    """Return `step` that also updates the moving average, which keeps `decay` of itself."""

    def averaged_step(state: AveragedState, batch: Any) -> tuple[AveragedState, Metrics]:
        after, metrics = step(TrainState(state.step, state.variables, state.opt_state, state.key), batch)
        average = update_average(state.average, after.variables, state.averaged, decay)
        return AveragedState(*after, average, state.averaged + 1), metrics

    return averaged_step
