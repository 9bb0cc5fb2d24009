"""Evaluating several views of each example."""

from collections.abc import Callable
from functools import reduce
from operator import add

import torch
from torch import nn

from data.augment import views
from torchnets.step import Variables

EvalStep = Callable[[nn.Module, Variables, torch.Tensor], torch.Tensor]


def with_views(step: EvalStep, kind: str) -> EvalStep:
    """Return `step` with the mean of the logits of several views of each example (`data.augment.views`)."""

    def averaged(model: nn.Module, variables: Variables, inputs: torch.Tensor) -> torch.Tensor:
        seen = views(inputs.movedim(1, -1), kind, torch)
        return reduce(add, [share * step(model, variables, view.movedim(-1, 1)) for share, view in seen])

    return averaged
