"""Converting a file of weights between PyTorch and Flax, bit by bit: python -m parity convert NAME SOURCE TARGET.

The networks themselves say which tensors there must be. Neither is given memory: PyTorch builds its one on the meta
device, JAX only traces its own.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

import jaxnets
import torchnets
from data import UserError
from data.registry import lookup
from experiment.registry import Entry
from experiment.runs.atomic import check_new, write_new
from experiment.weights.conversion import dtype_note
from experiment.weights.files import SAFETENSORS, TORCH, check_suffix, read_noted, without_auxiliary
from experiment.weights.layout import CopyError, flax_path
from experiment.weights.names import by_own_names
from experiment.weights.safetensors_file import pack
from jaxnets.environment import start_device
from parity.copy import (
    COUNTER,
    belongs,
    is_flax,
    leaves,
    state_dict_from_weights,
    variables_from_weights,
)


def convert(name: str, source: Path, target: Path, num_classes: int | None = None) -> str:
    """Convert the weights of a registered network to the other framework; return a line that says what was done.

    Args:
        name: as in the registries.
        source: a file of weights in any format that `read` knows, or a run folder.
        target: file to make: .safetensors for Flax, any of the three for PyTorch.
        num_classes: of the network; by default as many as the last layer in `source` has.

    Raises:
        UserError: an argument is wrong, or a tensor of `source` is missing, unexpected, or of another shape or
            dtype than the network's (all are listed). Nothing has been written then.
    """
    entry = lookup("model", name, torchnets.MODELS)
    lookup("model", name, jaxnets.MODELS)
    start_device()
    if num_classes is not None and num_classes < 1:
        raise UserError(f"--num-classes is {num_classes}, expected at least 1")
    check_suffix(target)
    check_new(target)
    weights, note = read_noted(source)
    template = _torch_template(entry, {})
    try:
        weights, renamed = by_own_names(weights, template)
    except CopyError as error:
        raise UserError(f"{source} does not hold {name}: {error}") from None
    weights, left_out = without_auxiliary(weights, entry)
    notes = "".join(f"; {one}" for one in (note, renamed) if one) + dtype_note(weights, template) + left_out
    from_flax = is_flax(weights)
    if not from_flax and target.suffix in TORCH:
        raise UserError(f"{target}: {source} is PyTorch's, so this becomes Flax's, which must end in {SAFETENSORS}")
    classes, reason = (num_classes, "--num-classes") if num_classes else _count_classes(weights, entry)
    options = {"num_classes": classes} if classes else {}
    try:
        result = _to_torch(weights, name, options) if from_flax else _to_flax(weights, name, options)
    except CopyError as error:
        network = f"{name} with {classes} classes ({reason})" if classes else name
        raise UserError(f"{source} does not hold {network}: {error}") from None
    write_new(target, _pack_torch(result) if target.suffix in TORCH else pack(result))
    parameters = sum(array.size for path, array in (weights if from_flax else result).items() if _is_parameter(path))
    what = f"{name}, {classes} classes ({reason}), {len(result)} tensors, {parameters:,} parameters"
    way = f"Flax {source} -> PyTorch {target}" if from_flax else f"PyTorch {source} -> Flax {target}"
    added = len(result) - len(weights)
    counters = f"; {added} counters of batches ({COUNTER}), not in the source, are 0" if added else ""
    return f"{what}: {way}{counters}{notes}"


def _is_parameter(path: str) -> bool:
    return path.startswith("params/")


def _count_classes(weights: Mapping[str, np.ndarray], entry: Entry) -> tuple[int | None, str]:
    """Return how many outputs the last tensor of the source's head has, and where that is seen; None if nowhere."""
    template = _torch_template(entry, {})
    key = [key for key in template if belongs(key, entry.head)][-1]
    path = flax_path(key, template[key].ndim) if is_flax(weights) else key
    if path not in weights or 0 in (weights[path].ndim, weights[path].size):
        return None, ""
    shape = weights[path].shape
    return shape[-1 if is_flax(weights) else 0], f"{path} is {shape}"


def _torch_template(entry: Entry, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return PyTorch's state_dict of a network: keys, shapes and dtypes, without its numbers."""
    with torch.device("meta"):
        state = entry.build(**options).state_dict()
    return {key: _blank(tensor) for key, tensor in state.items()}


def _flax_template(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return Flax's variables of a network: paths, shapes and dtypes, without their numbers."""
    inputs = jax.ShapeDtypeStruct((1, *entry.input_shape), np.float32)
    return jax.tree.map(_blank, jax.eval_shape(entry.build(**options).init, jax.random.key(0), inputs))


def _blank(tensor: Any) -> np.ndarray:
    """Return zeros of the tensor's shape and dtype that are one number in memory."""
    return np.broadcast_to(np.zeros((), str(tensor.dtype).removeprefix("torch.")), tuple(tensor.shape))


def _to_flax(weights: Mapping[str, np.ndarray], name: str, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    # By its own side's template first, so that what does not match is called as it is in the file.
    state = state_dict_from_weights(weights, _torch_template(torchnets.MODELS[name], options))
    return dict(leaves(variables_from_weights(state, _flax_template(jaxnets.MODELS[name], options))))


def _to_torch(weights: Mapping[str, np.ndarray], name: str, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    variables = variables_from_weights(weights, _flax_template(jaxnets.MODELS[name], options))
    return state_dict_from_weights(dict(leaves(variables)), _torch_template(torchnets.MODELS[name], options))


def _pack_torch(state: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, buffer)
    return buffer.getvalue()
