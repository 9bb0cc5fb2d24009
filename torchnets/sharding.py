"""Data parallel training: a copy of the network in each process, gradients averaged by PyTorch's DDP.

What is a mean over the whole batch has to be made one: gradients (DDP does), BatchNorm's statistics, metrics.
"""

import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from data import UserError
from experiment.distributed.environment import ProcessInfo, device_index

TIMEOUT = timedelta(seconds=120)  # `experiment.distributed.agreement` has noticed long before that a process is gone
Metrics = dict[str, Any]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def join(process: ProcessInfo, host: str, port: int) -> None:
    """Make one network's training of several processes; before any device is touched.

    Raises:
        UserError: there are fewer GPUs on this machine than processes.
    """
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    index = device_index(process, os.environ)
    if torch.cuda.is_available():
        if (index or 0) >= (count := torch.cuda.device_count()):
            raise UserError(f"process {process.rank} would need GPU {index}, but there are {count} here; start fewer")
        torch.cuda.set_device(index or 0)
    # Process 0 is the one to meet, also under torchrun, whose agent would be; under srun and mpirun there is none.
    os.environ.pop("TORCHELASTIC_USE_AGENT_STORE", None)
    options = {"rank": process.rank, "world_size": process.size, "timeout": TIMEOUT}
    distributed.init_process_group(backend, f"tcp://{host}:{port}", **options)


def replicas() -> int:
    """Return among how many devices, of all processes, a batch is divided."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


class GlobalSum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs, since each of them has used it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, group: distributed.ProcessGroup | None = None) -> torch.Tensor:
        """Return the sum, the same one in every process of the group; None: of all."""
        ctx.group = group
        total = x.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[Any, None]:
        """Return the sum of the gradients that the processes have for the sum."""
        return GlobalSum.apply(grad_outputs[0], ctx.group), None


class GlobalBatchNorm(nn.Module):
    """A BatchNorm over the batches of all processes together: (N, C, ...) to the same.

    The tensors are those of the layer it takes the place of, and so are their names. PyTorch's SyncBatchNorm is for
    GPUs only; this is the same on any device, so that what the tests prove on CPUs is what runs on GPUs.

    Attributes:
        divided: whether each process has a share of the batch, of equal size, or each the whole of it.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, layer: nn.BatchNorm1d | nn.BatchNorm2d):
        super().__init__()
        if layer.momentum is None:
            raise ValueError("a BatchNorm without momentum keeps the mean of all batches; give it one")
        self.eps, self.momentum, self.divided = layer.eps, float(layer.momentum), True
        self.weight, self.bias = layer.weight, layer.bias
        for name in STATISTICS:
            self.register_buffer(name, getattr(layer, name))
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise by the statistics of all processes' batches and keep them (train), or by the kept ones."""
        if self.training:
            self.num_batches_tracked.add_(1)
        if not (self.training and self.divided):
            kept = self.running_mean, self.running_var, self.weight, self.bias
            return functional.batch_norm(x, *kept, self.training, self.momentum, self.eps)
        axes, shape = [axis for axis in range(x.ndim) if axis != 1], (1, -1, *(1,) * (x.ndim - 2))
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        n = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = GlobalSum.apply(wide.sum(axes), None) / n
        centred = wide - mean.view(shape)
        # Two passes, like one process's: E[x^2] - E[x]^2 cancels in float32 (trap 3).
        var = GlobalSum.apply(centred.square().sum(axes), None) / n
        with torch.no_grad():  # the kept variance is the unbiased one, of the whole batch (trap 1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (n / (n - 1)), self.momentum)
        y = centred * ((var + self.eps).rsqrt() * self.weight).view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


def globalise(module: nn.Module) -> None:
    """Put a `GlobalBatchNorm` in the place of every BatchNorm inside, in place; no tensor or its name changes."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, GlobalBatchNorm(child))
        else:
            globalise(child)


class Replica:
    """A process's copy of a network; of a process that is alone, the network itself.

    Attributes:
        module: what to take a step with.
    """

    def __init__(self, model: nn.Module, seed: int):
        self.module, self._norms, self._seed, self._divided = model, [], seed, True
        if replicas() > 1:
            globalise(model)
            self._norms = [layer for layer in model.modules() if isinstance(layer, GlobalBatchNorm)]
            # Of a weight for one channel strides may be written in two ways: DDP minds, and copies.
            warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
            # What it would send with every step, BatchNorm's statistics, are the same everywhere.
            self.module = DistributedDataParallel(model, broadcast_buffers=False)

    def begin(self, step: tuple[int, int], share: int, size: int) -> None:
        """Prepare for step (epoch, number), with `share` examples of a batch of `size`: all of them, or this part."""
        if replicas() > 1:
            self._divided = share < size
            for layer in self._norms:
                layer.divided = self._divided
            # Each drops out other units, and the same ones if the training is resumed.
            draw = np.random.SeedSequence([self._seed, *step, distributed.get_rank()]).generate_state(1)
            torch.manual_seed(int(draw[0]))

    def combine(self, metrics: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the `loss` and `correct` of the whole batch, from those of this process's part."""
        if replicas() == 1:
            return metrics
        both = torch.stack([metrics["loss"].double(), metrics["correct"].double()])
        distributed.all_reduce(both)
        loss, correct = both
        return {"loss": loss / replicas(), "correct": correct if self._divided else correct / replicas()}


def with_combined(step: Callable[..., Metrics], combine: Callable[[Metrics], Metrics]) -> Callable[..., Metrics]:
    """Return `step` with the metrics of the whole batch; DDP has averaged the gradients, and so their norm."""

    def combined(*args: Any, **options: Any) -> Metrics:
        metrics = step(*args, **options)
        return {**metrics, **combine(metrics)}

    return combined


def with_global_mean(loss: Callable[..., torch.Tensor], measure: Callable[[Any], Any]) -> Callable[..., torch.Tensor]:
    """Return a loss whose mean over the processes is that over the whole batch, if examples differ in weight.

    DDP takes the plain mean of the processes' gradients; `measure` gives the weight of a process's labels.
    """

    def scaled(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        own = torch.as_tensor(measure(labels), dtype=torch.float64, device=logits.device)
        total = own.clone()
        distributed.all_reduce(total)
        return loss(logits, labels) * (own * replicas() / total).to(logits.dtype)

    return scaled
