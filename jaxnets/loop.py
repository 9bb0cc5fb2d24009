"""The training loop over epochs and batches, and the rest of `experiment.backend.Backend`."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data import Loader
from experiment.backend import LoopState, ResumePoint
from experiment.config import Config
from experiment.loop.class_weights import class_weights
from experiment.loop.monitor import Monitor
from experiment.registry import Entry
from experiment.weights.conversion import flatten, variables_from_weights
from jaxnets import MODELS as MODELS
from jaxnets.activations import activations as activations
from jaxnets.activations import gradient as gradient
from jaxnets.activations import kernels as kernels
from jaxnets.activations import max_pools as max_pools
from jaxnets.averaging import evaluated
from jaxnets.compose import logits_of, training
from jaxnets.ensemble import fit_many as fit_many
from jaxnets.ensemble import trains_together as trains_together
from jaxnets.environment import ONCE, fix_settings, start_device
from jaxnets.environment import settings as settings
from jaxnets.frozen import parts as parts
from jaxnets.gradient_transforms import split_params
from jaxnets.input_pipeline import feed
from jaxnets.model_summary import summarize as summarize
from jaxnets.own_network import check
from jaxnets.precision import cast
from jaxnets.sharding import divide, local, make_mesh, replicate, sharing, whole
from jaxnets.sharding import join as join
from jaxnets.sharding import replicas as replicas
from jaxnets.snapshot import from_arrays, to_arrays
from jaxnets.step import Variables


def describe() -> tuple[str, dict[str, str]]:
    """Return the device in words, and the versions that decide the numbers."""
    device = jax.devices()[0]
    return f"{device.platform}: {device.device_kind}", {name: version(name) for name in ("jax", "flax", "optax")}


def set_precision(config: Config) -> None:
    """Make float32 mean float32 on a GPU, too, where JAX would multiply in TF32 (trap 19); and allow float64.

    Raises:
        UserError: the device that the environment asks for cannot be used.
    """
    start_device()
    fix_settings()
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if config.tf32 else "highest")
    jax.config.update("jax_enable_x64", config.precision == "float64")


def create(entry: Entry, num_classes: int, seed: int) -> tuple[nn.Module, Variables]:
    """Return a network and its initial variables."""
    model = entry.build(num_classes=num_classes)
    key = jax.random.fold_in(jax.random.key(seed), 0)
    if entry.own:
        check(model, key, entry.input_shape, num_classes, entry.own)
    variables = jax.jit(model.init, compiler_options=ONCE)(key, jnp.zeros((1, *entry.input_shape)))
    return model, cast(variables, jnp.float64) if jax.config.read("jax_enable_x64") else variables


def count_parameters(model: nn.Module, variables: Variables) -> int:
    """Return the number of trainable values."""
    return sum(p.size for p in jax.tree.leaves(split_params(model, variables["params"])[0]))


def fit(
    model: nn.Module,
    variables: Variables,
    loader: Loader,
    config: Config,
    monitor: Monitor,
    start: ResumePoint | None = None,
) -> Iterator[LoopState]:
    """Train from `variables`, or go on from `start`; yield each epoch's end, and where the monitor asks to.

    The state is donated to each step: the arrays of the one before, `variables` too, are gone then (trap 23).
    """
    init, take_step = training(model, config, config.epochs * len(loader), class_weights(config, loader))
    state = init(variables, config.seed)
    state, first, done = (from_arrays(state, start.state), start.epoch, start.batches) if start else (state, 0, 0)
    mesh = make_mesh()  # of all devices, if there are several: each then computes its share of every batch
    state = replicate(state, mesh)
    batches, take_step = feed(take_step, loader, config)
    step = jax.jit(sharing(take_step, mesh), donate_argnums=0, out_shardings=whole(mesh))
    for epoch in range(first, config.epochs):
        monitor.begin(epoch, start.counts if start and done else None)
        for steps, batch in batches(epoch, done):
            done += steps
            size = loader.size(done - 1)
            state, metrics = step(state, divide(batch, size, mesh))
            if monitor.step(size, metrics, steps) or done == len(loader):
                variables = local(evaluated(state), mesh)
                yield LoopState(epoch, done, variables, partial(to_arrays, state))
                if monitor.stopped:
                    return
        done = 0


def trace(folder: Path) -> AbstractContextManager[None]:
    """Return what records all that is computed, for TensorBoard and Perfetto."""
    return jax.profiler.trace(str(folder))


def predict(model: nn.Module, variables: Variables, loader: Loader, config: Config) -> np.ndarray:
    """Return the logits (N, classes) of every image, in the loader's order."""
    found: list[np.ndarray | jax.Array] = []
    for batch in loader.epoch():
        found.append(logits_of(model, variables, batch.inputs, config))
        # Dispatch is asynchronous: waiting for the batch before bounds the memory of those that are under way.
        found[-2:-1] = [np.asarray(logits) for logits in found[-2:-1]]
    return np.concatenate(found)


def export(variables: Variables) -> dict[str, np.ndarray]:
    """Return the weights as they are stored: "params/fc1/kernel" and so on."""
    return flatten(variables)


def restore(variables: Variables, weights: Mapping[str, np.ndarray], head: str = "") -> Variables:
    """Return the variables that stored weights stand for, from either framework; `variables` are the template.

    The layer that PyTorch calls `head`, if any is named, keeps the values it has in `variables`.

    Raises:
        UserError: a tensor is missing, unexpected, or of another shape or dtype; all are listed.
    """
    # Onto the device here, once, not with every batch; as copies, since training donates them (trap 23).
    return jax.tree.map(jnp.array, variables_from_weights(weights, variables, head))
