"""The training loop over epochs and batches, and the rest of `experiment.backend.Backend`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from data import Loader
from experiment.backend import LoopState, ResumePoint
from experiment.config import Config
from experiment.loop.class_weights import class_weights
from experiment.loop.monitor import Monitor
from experiment.registry import Entry
from experiment.weights.conversion import as_array, state_dict_from_weights
from torchnets import MODELS as MODELS
from torchnets.activations import activations as activations
from torchnets.activations import gradient as gradient
from torchnets.activations import kernels as kernels
from torchnets.activations import max_pools as max_pools
from torchnets.compose import evaluation, training
from torchnets.ensemble import trains_together as trains_together
from torchnets.environment import fix_settings, start_device
from torchnets.environment import settings as settings
from torchnets.frozen import parts as parts
from torchnets.gradient_transforms import trained_params
from torchnets.input_pipeline import DEVICE, feed
from torchnets.model_summary import summarize as summarize
from torchnets.own_network import check
from torchnets.sharding import Replica
from torchnets.sharding import join as join
from torchnets.sharding import replicas as replicas
from torchnets.snapshot import from_arrays, to_arrays
from torchnets.step import Variables
from torchnets.tensors import as_tensors


def describe() -> tuple[str, dict[str, str]]:
    """Return the device in words, and the versions that decide the numbers."""
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{torch.get_num_threads()} threads"
    return f"{DEVICE.type}: {name}", {"torch": version("torch")}


def set_precision(config: Config) -> None:
    """Make float32 mean float32 on a GPU, too, where cuDNN would convolve in TF32 (trap 19); and allow float64.

    Raises:
        UserError: the device cannot be used.
    """
    start_device()
    fix_settings()
    torch.backends.cudnn.allow_tf32 = config.tf32
    torch.backends.cuda.matmul.allow_tf32 = config.tf32
    torch.set_default_dtype(torch.float64 if config.precision == "float64" else torch.float32)


def create(entry: Entry, num_classes: int, seed: int) -> tuple[nn.Module, Variables]:
    """Return a network and its initial variables."""
    torch.manual_seed(seed)  # of dropout, too: the generator is global, and goes on from here
    model = entry.build(num_classes=num_classes).to(DEVICE)
    if entry.own:
        check(model, entry.input_shape, num_classes, entry.own)
    return model, model.state_dict()


def count_parameters(model: nn.Module, variables: Variables) -> int:  # noqa: ARG001 (Flax's are in the variables)
    """Return the number of trainable values."""
    return sum(p.numel() for p in trained_params(model))


def fit(
    model: nn.Module,
    variables: Variables,
    loader: Loader,
    config: Config,
    monitor: Monitor,
    start: ResumePoint | None = None,
) -> Iterator[LoopState]:
    """Train from `variables`, or go on from `start`; yield each epoch's end, and where the monitor asks to.

    The state lives in the module: the tensors yielded change under their reader in the next step (trap 22).
    """
    replica = Replica(model, config.seed)  # of several processes: each then computes its share of every batch
    model.load_state_dict(variables)
    combine = replica.combine if replicas() > 1 else None
    options: dict[str, Any] = {"module": replica.module, "combine": combine}
    options["weights"] = class_weights(config, loader)
    state, take_step = training(model, config, config.epochs * len(loader), **options)
    if start:
        from_arrays(state, start.state)
    first, done = (start.epoch, start.batches) if start else (0, 0)
    batches = feed(loader, config)
    for epoch in range(first, config.epochs):
        monitor.begin(epoch, start.counts if start and done else None)
        for number, batch in enumerate(batches(epoch, done), done + 1):
            size = loader.size(number - 1)
            replica.begin((epoch, number), len(batch[1]), size)
            metrics = take_step(batch)
            if not metrics.get("skipped"):  # Flax's count is the optimizer's, and stands still with it (trap 32)
                state.schedule.step()
            if monitor.step(size, metrics) or number == len(loader):
                evaluated = state.average.module if state.average else model
                yield LoopState(epoch, number, evaluated.state_dict(), partial(to_arrays, state))
                if monitor.stopped:
                    return
        done = 0


@contextmanager
def trace(folder: Path) -> Iterator[None]:
    """Record all that is computed, for Perfetto and chrome://tracing."""
    with torch.profiler.profile(acc_events=True) as found:
        yield
    found.export_chrome_trace(str(folder / "trace.json"))


def predict(model: nn.Module, variables: Variables, loader: Loader, config: Config) -> np.ndarray:
    """Return the logits (N, classes) of every image, in the loader's order."""
    step, batches = evaluation(config), (as_tensors(batch, DEVICE)[0] for batch in loader.epoch())
    return np.concatenate([step(model, variables, inputs).cpu() for inputs in batches])


def export(variables: Variables) -> dict[str, np.ndarray]:
    """Return the weights as they are stored: "fc1.weight" and so on."""
    return {name: as_array(tensor) for name, tensor in variables.items()}


def restore(variables: Variables, weights: Mapping[str, np.ndarray], head: str = "") -> Variables:
    """Return the variables that stored weights stand for, from either framework; `variables` are the template.

    The layer that PyTorch calls `head`, if any is named, keeps the values it has in `variables`.

    Raises:
        UserError: a tensor is missing, unexpected, or of another shape or dtype; all are listed.
    """
    return state_dict_from_weights(weights, variables, head)
