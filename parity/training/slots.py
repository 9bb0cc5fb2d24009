"""The state of an optimizer by name, out of either framework and back into optax.

A slot is "exp_avg/params/fc1/kernel": PyTorch's word for it, then Flax's path, in Flax's layout.
"""

from typing import Any

import jax
import numpy as np
import optax
import torch
from torch import nn

from parity.copy import flatten, leaves, to_flax, unflatten

# What optax calls PyTorch's slots, by the part of its state that holds them.
NAMES: dict[type, dict[str, str]] = {
    optax.TraceState: {"trace": "momentum_buffer"},
    optax.ScaleByAdamState: {"mu": "exp_avg", "nu": "exp_avg_sq"},
    optax.ScaleByRmsState: {"nu": "square_avg"},
    optax.ScaleByScheduleState: {},
}
STEP = "step"  # updates made so far


def torch_slots(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> dict[str, np.ndarray]:
    """Return every tensor of a PyTorch optimizer, and the `step` that its schedule has come to."""
    slots = {STEP: np.array(step)}
    by_slot: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        for slot, value in optimizer.state[parameter].items():
            if slot == STEP:  # a tensor per parameter here, one number in optax: they must agree
                slots[f"{STEP}/rule"] = value.numpy()
            elif value is not None:
                by_slot.setdefault(slot, {})[name] = value
    for slot, tensors in by_slot.items():
        slots |= {f"{slot}/{path}": array for path, array in flatten(to_flax(tensors)).items()}
    # Where the rule itself counts nothing (SGD here, RMSprop in optax), the updates are those of the schedule.
    slots.setdefault(f"{STEP}/rule", slots[STEP])
    return slots


def flax_slots(opt_state: optax.OptState) -> dict[str, np.ndarray]:
    """Return the same of optax's state."""
    slots: dict[str, np.ndarray] = {}
    for part in _parts(opt_state):
        for field, slot in NAMES[type(part)].items():
            own = unflatten(dict(_held(getattr(part, field))))
            slots |= flatten({slot: {"params": own}})
        if isinstance(part, optax.ScaleByScheduleState):
            slots[STEP] = np.asarray(part.count)
        elif isinstance(part, optax.ScaleByAdamState):
            slots[f"{STEP}/rule"] = np.asarray(part.count)
    slots.setdefault(f"{STEP}/rule", slots[STEP])
    return slots


def with_slots(opt_state: optax.OptState, slots: dict[str, np.ndarray]) -> optax.OptState:
    """Return optax's state with its tensors and counts replaced; slots that are not there yet stay as they are."""
    nested = unflatten({path: array for path, array in slots.items() if not path.startswith(STEP)})

    def replace(part: Any) -> Any:
        if type(part) not in NAMES:
            return part
        new: dict[str, Any] = {}
        for field, slot in NAMES[type(part)].items():
            if slot in nested:
                old, given = getattr(part, field), dict(leaves(nested[slot]["params"]))
                held = {path: given[path] for path, _ in _held(old)}
                new[field] = unflatten(dict(leaves(old)) | held)
        if "count" in part._fields:  # a tuple has a method of that name
            new["count"] = np.asarray(slots[STEP], part.count.dtype)
        return part._replace(**new)

    return jax.tree.map(replace, opt_state, is_leaf=lambda node: type(node) in NAMES)


def _held(slot: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a slot; of one that only some parameters have, theirs."""
    return [(path, leaf) for path, leaf in leaves(slot) if not isinstance(leaf, optax.MaskedNode)]


def _parts(opt_state: optax.OptState) -> list[Any]:
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: type(node) in NAMES)
    return [leaf for leaf in leaves if type(leaf) in NAMES]
