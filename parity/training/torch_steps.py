"""A PyTorch training, step by step, as data: losses, outputs, gradients before and after clipping, what it changes.

Nothing is asked of the step but that it trains: backward passes and optimizers are watched from outside.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from data.errors import UserError
from parity.sides.faults import explained
from parity.training.made import made_by
from parity.training.snapshots import Copies, kept_tensors, snapshot
from parity.training.step_draws import StepDraws
from parity.training.steps import TorchStep
from parity.training.torch_watch import FORWARD, Watch


class TorchTraining:
    """A module and the step that trains it, in float64."""

    def __init__(self, make: Callable[[], Any], dtype: torch.dtype | None = torch.float64):
        self.dtype = dtype
        with self._defaults():
            torch.manual_seed(0)
            made = made_by(make, "PyTorch")
            if not (isinstance(made, tuple | list) and len(made) == 2 and isinstance(made[0], nn.Module)):
                raise UserError("the PyTorch training must return (module, step)")
            self.module, self.step = made
            if not callable(self.step):
                raise UserError(f"the PyTorch training returned {type(self.step).__name__} for a step")
            if dtype is not None:
                self.module.to("cpu", dtype)
        self.copies: Copies = {}
        kept_tensors(self.module, self.step, self.copies)  # now, as copies are equal at the beginning
        self.optimizers: dict[int, Any] = {}
        self.as_tensors = False
        self.supply: Any = None  # of random numbers, at the next step

    @contextlib.contextmanager
    def _defaults(self) -> Iterator[None]:
        before = torch.get_default_dtype()
        if self.dtype is not None:
            torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def run(self, batch: Sequence[Any], recorder: Any = None) -> TorchStep:
        """Train once.

        Args:
            batch: what the step is given; numpy's arrays, or tensors where the step wants these.
            recorder: a mode that records the forward pass.
        """
        watch = Watch(self, recorder)
        before = snapshot(self.module, self.optimizers, self.step, self.copies)
        with self._defaults(), self._supplied(watch), watch.watching():
            result = self.step(*(torch.from_numpy(np.array(b)) if self.as_tensors and _array(b) else b for b in batch))
        before = before._replace(slots={**watch.initial, **before.slots})
        after = snapshot(self.module, self.optimizers, self.step, self.copies)
        loss = _number(result)
        return TorchStep(
            loss,
            tuple(watch.roots),
            tuple(watch.inputs),
            tuple(watch.outputs),
            () if watch.later else tuple(watch.pieces),
            {} if watch.many else watch.first_gradients(),
            {} if watch.many else watch.gradients,
            watch.groups,
            before,
            after,
            watch.lines,
            watch.random,
            tuple(watch.calls) if len(watch.calls) > 1 else (),
            watch.held if watch.carried and not watch.later else None,
        )

    def _supplied(self, watch: Watch) -> Any:
        if self.supply is None:
            return contextlib.nullcontext()
        self.supply.restart()
        return StepDraws(self.supply, lambda: watch.phase == FORWARD)

    def first(self, batch: Sequence[Any], make_recorder: Callable[[], Any]) -> tuple[TorchStep, Any]:
        """Train once, and find out on the way whether the step wants numpy's arrays or tensors."""
        state = snapshot(self.module, self.optimizers, self.step, self.copies)
        try:
            recorder = make_recorder()
            return self.run(batch, recorder), recorder
        except UserError:
            raise
        except Exception as error:
            with torch.no_grad():
                tensors = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
                for name, array in (state.params | state.buffers).items():
                    tensors[name].copy_(torch.from_numpy(np.asarray(array)))
            self.as_tensors = True
            try:
                recorder = make_recorder()
                return self.run(batch, recorder), recorder
            except Exception as other:
                shown = other if isinstance(error, TypeError | AttributeError) else error
                raise UserError(f"the PyTorch step cannot be called: {explained(shown)}") from other


def _array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _number(result: Any) -> Any:
    """Return the loss that a step returned, as a number."""
    if isinstance(result, dict):
        result = result.get("loss", next(iter(result.values()), None))
    if isinstance(result, tuple | list):
        result = result[0] if result else None
    if isinstance(result, torch.Tensor):
        return float(result.detach().double().sum()) if result.numel() == 1 else None
    return float(result) if isinstance(result, int | float | np.generic) else None
