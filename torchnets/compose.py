"""The one place where the options of a configuration are composed around the training step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from experiment.config import Config
from torchnets.accumulation import in_pieces
from torchnets.averaging import make_average, with_average
from torchnets.gradient_transforms import clip_by_norm, trained_params, with_l1
from torchnets.losses import LOSSES, Loss, measure
from torchnets.optimizers import Optimizer, Step, make_optimizer
from torchnets.precision import InPrecision, in_precision
from torchnets.sharding import with_combined, with_global_mean
from torchnets.skipping import skip_not_finite
from torchnets.snapshot import TrainState
from torchnets.step import eval_step, train_step
from torchnets.test_time_augmentation import EvalStep, with_views


class Training(NamedTuple):
    """A network with its optimizer and schedule, and the step (batch) -> metrics that changes them."""

    state: TrainState
    step: Callable[[tuple[torch.Tensor, torch.Tensor]], dict[str, Any]]


def training(
    model: nn.Module,
    config: Config,
    steps: int,
    *,
    module: nn.Module | None = None,
    combine: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    weights: np.ndarray | None = None,
) -> Training:
    """Return a training of `steps` steps; with every option off, its step is `train_step` with these arguments.

    Args:
        model: the network.
        config: the options.
        steps: the number of steps of the whole training, for the schedule.
        module: what to call in its place: compiled, or DDP's copy.
        combine: what makes the metrics of the whole batch from those of this process's share.
        weights: of the classes in the loss.
    """
    optimizer, schedule = update_rule(model, config, steps)
    average = make_average(model, config.ema) if config.ema else None
    step: Step = train_step
    if config.accumulate > 1:
        step = in_pieces(step, config.accumulate, partial(measure, weights=weights))
    if combine:
        step = with_combined(step, combine)
    if average:
        step = with_average(step, average)
    if config.on_nan == "skip":
        step = skip_not_finite(step, average)
    loss = loss_of(config, weights)
    if combine and weights is not None:
        loss = with_global_mean(loss, partial(measure, weights=weights))
    if config.l1:
        loss = with_l1(loss, trained_params(model), config.l1)
    called = for_training(module or model, config)
    return Training(TrainState(model, optimizer, schedule, average), partial(step, called, optimizer, loss=loss))


def update_rule(model: nn.Module, config: Config, steps: int) -> tuple[Optimizer, Any]:
    """Return the optimizer, behind clipping, for the parameters that are trained; and its schedule."""
    optimizer, schedule = make_optimizer(config, steps, trained_params(model))
    if config.clip_norm:
        clip_by_norm(optimizer, config.clip_norm)
    return optimizer, schedule


def loss_of(config: Config, weights: np.ndarray | None = None) -> Loss:
    """Return the loss, with label smoothing and the weights of the classes if there are any."""
    loss = LOSSES[config.loss]
    if weights is not None:
        loss = partial(loss, weights=weights)
    return partial(loss, smoothing=config.label_smoothing) if config.label_smoothing else loss


def compute_dtype(config: Config) -> torch.dtype | None:
    """Return the dtype to compute in, or None for that of the weights."""
    return torch.bfloat16 if config.precision == "bfloat16" else None


def for_training(module: nn.Module, config: Config) -> nn.Module:
    """Return the network that computes in the precision of `config`."""
    dtype = compute_dtype(config)
    return InPrecision(module, dtype) if dtype else module


def evaluation(config: Config) -> EvalStep:
    """Return the step (model, variables, inputs) that evaluates; with every option off, it is `eval_step`."""
    dtype = compute_dtype(config)
    step = in_precision(eval_step, dtype) if dtype else eval_step
    return with_views(step, config.tta) if config.tta != "none" else step
