"""Snapshots: the complete state of a training as named arrays, and back; a checkpoint stores them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from experiment.runs.snapshot import check_fitting
from experiment.weights.conversion import as_array


class TrainState(NamedTuple):
    """All that changes in training, beside the global generators of random numbers, which dropout draws from."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    average: AveragedModel | None


def to_arrays(state: TrainState) -> dict[str, np.ndarray]:
    """Return all of a state: "variables/fc1.weight", "optimizer/0/exp_avg" and so on; valid until the next step."""
    found = {name: as_array(tensor) for name, tensor in named_tensors(state).items()}
    for at, slots in state.optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{at}/{name}": as_array(slot) for name, slot in slots.items() if slot is not None}
    found["schedule"] = np.array(state.schedule.last_epoch)
    return found


def from_arrays(state: TrainState, arrays: Mapping[str, np.ndarray]) -> None:
    """Put what `arrays` stand for in the place of what `state` holds.

    Raises:
        UserError: an array is missing, or of another shape or dtype, or one too many.
    """
    slots = optimizer_slots(state, arrays)
    tensors = named_tensors(state)
    expected = {name: as_array(tensor) for name, tensor in tensors.items()}
    check_fitting({**expected, **slots, "schedule": np.array(0)}, arrays)
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[name])))
    torch.set_rng_state(tensors["generator/cpu"])
    if "generator/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["generator/cuda"])
    restored = defaultdict(dict)
    for name, slot in slots.items():
        _, at, slot_name = name.split("/")
        restored[int(at)][slot_name] = torch.from_numpy(np.array(slot))
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": dict(restored)})
    _set_schedule(state.schedule, int(arrays["schedule"]))


def optimizer_slots(state: TrainState, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the optimizer's part of `arrays`: it has no slots before its first step, so there is no template."""
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    shapes = {f"optimizer/{at}": tuple(p.shape) for at, p in enumerate(parameters)}
    found = {}
    for name, array in arrays.items():
        owner, _, slot = name.rpartition("/")
        if owner in shapes and slot.isidentifier() and array.shape in ((), shapes[owner]):
            found[name] = array
    return found


def named_tensors(state: TrainState) -> dict[str, torch.Tensor]:
    """Return the tensors of weights and statistics, of their average, and of the generators, by name."""
    found = {f"variables/{name}": tensor for name, tensor in state.model.state_dict().items()}
    if state.average:
        found |= {f"average/{name}": tensor for name, tensor in state.average.module.state_dict().items()}
        found["averaged"] = state.average.n_averaged
    found["generator/cpu"] = torch.get_rng_state()  # dropout draws from it (trap 31)
    if torch.cuda.is_available():
        found["generator/cuda"] = torch.cuda.get_rng_state()
    return found


def _set_schedule(schedule: LambdaLR, done: int) -> None:
    """Put a schedule where it was after so many steps."""
    schedule.last_epoch = done
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(done)
