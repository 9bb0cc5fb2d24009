"""The reference: the same steps as `jaxnets.steps`, with the state inside the module and the optimizer."""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from data import Batch
from data.augment import views
from experiment.config import Config

Variables = dict[str, torch.Tensor]  # a state_dict
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of logits and labels


def trained_params(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained; for the frozen ones no gradient and no state is ever made."""
    return [p for p in model.parameters() if p.requires_grad]


def as_tensor(inputs: np.ndarray) -> torch.Tensor:
    """Return inputs (N, ..., C) as (N, C, ...) without a copy: the view is PyTorch's channels_last format."""
    return torch.from_numpy(inputs).movedim(-1, 1)


def as_tensors(batch: Batch, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch's inputs and labels on `device`."""
    return as_views(*(torch.from_numpy(part).to(device) for part in batch))


def as_views(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (N, ..., C) as (N, C, ...), and the labels as the losses want them."""
    # PyTorch's losses want int64 labels, JAX's default is int32 (trap 26); shares of classes stay floats.
    return inputs.movedim(-1, 1), labels if labels.ndim == 2 else labels.long()


def as_targets(labels: torch.Tensor, logits: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return each class's share of each example, (N, classes): of labels (N,), or of shares already (mixup).

    With `smoothing` that much of every example is spread evenly over all classes, its own too: Szegedy et al. 2016,
    arXiv 1512.00567.
    """
    classes = logits.shape[1]
    targets = labels if labels.ndim == 2 else functional.one_hot(labels, classes)
    return targets.to(logits.dtype) * (1 - smoothing) + smoothing / classes


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean over the batch of softmax cross-entropy; logits (N, classes), labels as in `as_targets`."""
    labels = labels.to(logits.dtype) if labels.ndim == 2 else labels
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean over batch and classes (trap 18) of each class against the rest."""
    return functional.binary_cross_entropy_with_logits(logits, as_targets(labels, logits, smoothing))


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many of the predictions are right; of a mixed example, its larger share."""
    return (logits.argmax(dim=1) == (labels.argmax(dim=1) if labels.ndim == 2 else labels)).sum()


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return what keeps the moving average of weights and statistics; the first step's is that step's own."""
    mix = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(average: Any, new: Any, count: Any) -> None:
        if average[0].is_floating_point():
            mix(average, new, count)
        else:  # counters are not averaged: they are the latest
            for old, latest in zip(average, new, strict=True):
                old.copy_(latest)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, torch.Tensor],
    *,
    loss: Loss = cross_entropy,
    l1: float = 0.0,
    clip_norm: float = 0.0,
    accumulate: int = 1,
    average: AveragedModel | None = None,
    skip: bool = False,
    dtype: torch.dtype | None = None,
    combine: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
) -> dict[str, Any]:
    """Take one step in place; return the batch's mean `loss` (without L1), `correct` count and `grad_norm`.

    The options are those of `experiment.config.Config`; 0 and 1 piece leave them out. With `skip` a step whose loss
    or gradients are not finite changes nothing, and is said to be `skipped`. Where `model` averages its gradients with
    those of other processes, `combine` does so with the metrics.
    """
    optimizer.zero_grad()
    before = [buffer.clone() for buffer in model.buffers()] if skip else []  # the forward pass moves statistics
    metrics = compute_grads(model, batch, loss=loss, l1=l1, accumulate=accumulate, dtype=dtype)
    metrics: dict[str, Any] = combine(metrics) if combine else metrics
    params = [p for group in optimizer.param_groups for p in group["params"]]  # a walk through the module takes longer
    metrics["grad_norm"] = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    if skip and not is_finite(metrics):  # waits for the device, which only --on-nan skip does
        for buffer, old in zip(model.buffers(), before, strict=True):
            buffer.copy_(old)
        return {**metrics, "skipped": True}
    if clip_norm:  # of all gradients together: Pascanu et al. 2013, arXiv 1211.5063
        nn.utils.clip_grads_with_norm_(params, clip_norm, metrics["grad_norm"])
    optimizer.step()
    if average:
        average.update_parameters(model)
    return metrics


def is_finite(metrics: dict[str, torch.Tensor]) -> bool:
    """Return whether a step's loss and gradients are finite; the norm is if all gradients are."""
    return bool(metrics["loss"].isfinite() & metrics["grad_norm"].isfinite())


def compute_grads(
    model: nn.Module,
    batch: tuple[torch.Tensor, torch.Tensor],
    *,
    loss: Loss,
    l1: float,
    accumulate: int,
    dtype: torch.dtype | None = None,
) -> dict[str, torch.Tensor]:
    """Add the gradients to those of the trained parameters, in place; return the metrics.

    The batch is taken in `accumulate` pieces, one after another, as if there were memory for no more.
    """
    model.train()
    results = []
    for inputs, labels in split_batch(batch, accumulate):
        logits = forward(model, inputs, dtype)
        value = loss(logits, labels)
        penalty = l1 * sum(p.abs().sum() for p in trained_params(model)) if l1 else 0.0
        share = len(inputs) / len(batch[0])  # pieces may differ in size, and then do not count alike
        ((value + penalty) * share).backward()
        results.append((value.detach() * share, count_correct(logits, labels)))
    values, counts = zip(*results, strict=True)
    return {"loss": reduce(add, values), "correct": reduce(add, counts)}


def split_batch(batch: tuple[torch.Tensor, torch.Tensor], pieces: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return a batch in that many pieces, or fewer: BatchNorm has no variance of one example."""
    pieces = max(1, min(pieces, len(batch[0]) // 2))
    return list(zip(*(part.tensor_split(pieces) for part in batch), strict=True))


def forward(model: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, dtype: Any) -> torch.Tensor:
    """Return what `model` does, computed in `dtype` (None: in that of the inputs), the logits float32 at least.

    Layers that multiply get their weights rounded, while BatchNorm keeps its own: PyTorch's autocast.
    """
    if dtype is None:
        return model(inputs)
    with torch.autocast(inputs.device.type, dtype):
        return model(inputs.to(dtype)).float()


def compute_dtype(config: Config) -> torch.dtype | None:
    """Return what is computed in, if it is not what the weights are in."""
    return torch.bfloat16 if config.precision == "bfloat16" else None


def step_options(config: Config) -> dict[str, Any]:
    """Return what `config` says to `train_step`; the average is kept by `make_average`."""
    loss = partial(LOSSES[config.loss], smoothing=config.label_smoothing)
    options = {name: getattr(config, name) for name in ("l1", "clip_norm", "accumulate")}
    return {"loss": loss, "dtype": compute_dtype(config), "skip": config.on_nan == "skip", **options}


@torch.no_grad()
def eval_step(
    model: nn.Module, variables: Variables, inputs: torch.Tensor, *, dtype: Any = None, tta: str = "none"
) -> torch.Tensor:
    """Return logits (N, classes) of inputs (N, C, ...), dropout off and BatchNorm by its kept statistics.

    With `tta` they are the mean of those of several views (`data.augment.views`).
    The variables are those given, not the module's own: a training may go on from others than it is judged by.
    """
    model.eval()
    seen = [(share, view.movedim(-1, 1)) for share, view in views(inputs.movedim(1, -1), tta, torch)]
    call = partial(functional_call, model, variables)
    return reduce(add, [share * forward(call, view, dtype) for share, view in seen])
