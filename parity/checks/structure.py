"""The checks that need no arithmetic: names, shapes, dtypes, counts, and the copy there and back. All exact."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn as torch_nn

from experiment.weights.layout import by_path, layouts
from parity.copy import COUNTER, to_flax, to_torch
from parity.report import Failure, Result
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import layer_shapes

MOST_NAMED = 20  # faults in a diagnosis


class Counts(NamedTuple):
    """How many values a network must have."""

    trained: int
    frozen: int = 0


def check_structure(
    torch_module: torch_nn.Module, flax_side: FlaxSide, input_shape: tuple[int, ...], counts: Counts | None
) -> Result:
    """Every tensor's path, shape and dtype, and the number of parameters; both modules may be abstract."""
    expected, found = torch_structure(torch_module), flax_structure(flax_side, input_shape)
    expected = without_counters(expected, found)
    faults: list[tuple[str, str]] = []
    for path in [*expected, *sorted(found.keys() - expected.keys())]:
        if path not in found or path not in expected:
            faults.append((path, "missing in " + ("Flax" if path not in found else "PyTorch")))
        elif expected[path] != found[path]:
            ours, theirs = expected[path], found[path]
            faults.append((path, f"PyTorch has {ours[0]} {ours[1]}, Flax {theirs[0]} {theirs[1]}"))
    trained = sum(p.numel() for p in torch_module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in torch_module.parameters() if not p.requires_grad)
    in_flax = sum(int(np.prod(shape)) for path, (shape, _) in found.items() if path.startswith("params/"))
    counts = counts or Counts(trained, frozen)
    if (trained, frozen) != counts:
        expected_count = f"expected {counts.trained:,} trained and {counts.frozen:,} frozen"
        faults.append(("parameters", f"PyTorch has {trained:,} trained and {frozen:,} frozen, {expected_count}"))
    if in_flax != sum(counts):
        faults.append(("parameters", f"Flax has {in_flax:,}, expected {sum(counts):,}"))
    note = f"{len(expected)} tensors, {trained:,} parameters" + (f" and {frozen:,} frozen" if frozen else "")
    return exact("structure", "structure", faults, note)


def check_full_size(torch_module: torch_nn.Module, flax_side: FlaxSide, input_shape: tuple[int, ...]) -> Result:
    """The output's shape of every layer that both sides have, for one input of full size; nothing is computed.

    Args:
        torch_module: on PyTorch's meta device, where tensors have shapes alone.
        flax_side: its twin.
        input_shape: (H, W, C) or (length, C).
    """
    ours, theirs = layer_shapes(torch_module, input_shape), flax_side.layer_shapes(input_shape)
    faults = [
        (name, f"the output's shape is {shape} in PyTorch, {theirs[name]} in Flax")
        for name, shape in ours.items()
        if name in theirs and theirs[name] != shape
    ]
    common = len(ours.keys() & theirs.keys())
    return exact("full size", "structure", faults, f"{common} layers' output shapes at {input_shape}")


def check_round_trip(torch_module: torch_nn.Module) -> Result:
    """PyTorch to Flax to PyTorch, parameters and buffers: bit-exact."""
    state = torch_module.state_dict()
    back = to_torch(to_flax(torch_module), torch_module)
    faults = []
    for key, tensor in state.items():
        before, after = tensor.detach().cpu().numpy(), back[key].detach().cpu().numpy()
        if before.dtype != after.dtype or before.shape != after.shape or before.tobytes() != after.tobytes():
            faults.append((key, "not the same bits after PyTorch to Flax to PyTorch"))
    return exact("round trip", "copy", faults, f"{len(state)} tensors")


def torch_structure(module: torch_nn.Module) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return every tensor's shape, in Flax's layout, and dtype by Flax's path; the module may be on the meta device.

    Raises:
        CopyError: two keys would land in one place.
    """
    tensors = module.state_dict()
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for path, key, layout in by_path(layouts(module)):
        hollow = np.broadcast_to(np.empty(()), tensors[key].shape)  # a shape of any size in eight bytes
        found[path] = layout.to_flax(hollow).shape, str(tensors[key].dtype).removeprefix("torch.")
    return found


def flax_structure(flax_side: FlaxSide, input_shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the same of what Flax's `init` would make."""
    structure = flax_side.structure(input_shape)
    return {path: (tuple(tensor.shape), np.dtype(tensor.dtype).name) for path, tensor in structure.items()}


def without_counters(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out PyTorch's counters of batches and its constants where the Flax module keeps none, as most do not."""
    counts = any(path.endswith(COUNTER) for path in found)
    return {
        path: array
        for path, array in expected.items()
        if path in found or (not path.startswith("buffers/") and (counts or not path.endswith(COUNTER)))
    }


def exact(check: str, stage: str, faults: Sequence[tuple[str, str]], note: str) -> Result:
    """Return the result of a check that knows no tolerance: a failure if there is any fault (layer, what)."""
    if not faults:
        return Result(check, 0.0, 0.0, "", note)
    layer = faults[0][0]
    diagnosis = "; ".join(f"{name}: {what}" for name, what in faults[:MOST_NAMED])
    if len(faults) > MOST_NAMED:
        diagnosis += f"; and {len(faults) - MOST_NAMED} more"
    return Result(check, np.inf, 0.0, layer, failure=Failure(check, stage, layer, np.inf, 0.0, diagnosis))
