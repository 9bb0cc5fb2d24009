"""Reading weight files of either framework as named numpy arrays, without running any code in them.

PyTorch is imported only for .pth and .pt files; a .safetensors file needs only numpy.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from data.errors import UserError
from experiment.extras import needs_torch
from experiment.registry import Entry
from experiment.runs.checkpoint import MANIFEST, load
from experiment.runs.folder import WEIGHTS
from experiment.runs.kinds import CONFIG, require_run
from experiment.weights.safetensors_file import read_weights

SAFETENSORS, TORCH = ".safetensors", (".pth", ".pt")
AUXILIARY = ("aux1.", "aux2.")
SHOWN = 5  # of what a checkpoint holds instead of tensors


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a .safetensors, .pth or .pt file, or the weights of a run folder or of one of its checkpoints.

    Returns:
        Names as stored, "params/fc1/kernel" of Flax or "fc1.weight" of PyTorch, to arrays of the stored dtypes.

    Raises:
        UserError: the file is missing, damaged, has an unknown suffix or holds anything but a flat dict of tensors.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file or run folder")
    if (path / MANIFEST).is_file():
        return load(path).weights()
    if path.is_dir():
        if (path / CONFIG).is_file():
            require_run(path)
        path = path / WEIGHTS
    check_suffix(path)
    found = read_weights(path) if path.suffix == SAFETENSORS else _read_torch(path)
    if not found:
        raise UserError(f"{path}: holds no tensors")
    return found


def check_suffix(path: Path) -> None:
    """Raise a UserError if the suffix is not that of a known format."""
    if path.suffix not in (SAFETENSORS, *TORCH):
        found = f"ends in '{path.suffix}'" if path.suffix else "has no suffix"
        raise UserError(f"{path}: {found}, expected a file of weights: {', '.join((SAFETENSORS, *TORCH))}")


def without_auxiliary(weights: Mapping[str, np.ndarray], entry: Entry) -> tuple[dict[str, np.ndarray], str]:
    """Return the weights without GoogLeNet's auxiliary heads, and a note about them ("" if there are none).

    torchvision's files have them, for training as in 2014; its pretrained networks drop them, and ours have none.
    """
    kept = {name: array for name, array in weights.items() if not (entry.torchvision and name.startswith(AUXILIARY))}
    dropped = len(weights) - len(kept)
    return kept, f"; its auxiliary heads, {dropped} tensors, are left out" if dropped else ""


def to_arrays(found: Any, source: str) -> dict[str, np.ndarray]:
    """Return PyTorch's flat dict of tensors as arrays.

    Raises:
        UserError: it is anything else; `source` is what it was read from.
    """
    torch = import_torch()
    if not isinstance(found, Mapping):
        raise UserError(f"{source}: expected a dict of names to tensors, found {type(found).__name__}; {_advice()}")
    odd = {name: value for name, value in found.items() if not isinstance(value, torch.Tensor)}
    odd |= {name: value for name, value in found.items() if not isinstance(name, str)}
    if odd:
        kinds = ", ".join(f"{name!r} is {type(value).__name__}" for name, value in list(odd.items())[:SHOWN])
        more = f", and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        inner = next((name for name, value in odd.items() if isinstance(value, Mapping)), None)
        advice = _advice("model.state_dict()" if inner is None else f"checkpoint[{inner!r}]")
        raise UserError(f"{source}: expected a flat dict of names to tensors, but {kinds}{more}; {advice}")
    return {name: _to_array(name, tensor, source) for name, tensor in found.items()}


def import_torch() -> Any:
    """Import PyTorch.

    Raises:
        UserError: it is not installed; says which extra to install.
    """
    try:
        import torch  # here: a .safetensors file does not need it, and the JAX side may be without it
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise needs_torch("reading a file of PyTorch's own format") from None
    return torch


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = import_torch()
    try:
        path.open("rb").close()  # what the system has against the file is said apart from what is in it
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused anyway
            found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged bytes lead anywhere: KeyError, EOFError, RuntimeError, UnpicklingError
        # PyTorch's own text, several lines, would recommend the very thing that runs a file's code.
        if needs := re.search(r"GLOBAL (\S+)", str(error)):
            fault = f"holds more than tensors ({needs[1]}) and was not loaded, nothing in it was run; {_advice()}"
            raise UserError(f"{path}: {fault}") from None
        raise UserError(f"{path}: damaged, or not a file of tensors by torch.save; {_advice()}") from None
    return to_arrays(found, str(path))


def _to_array(name: str, tensor: Any, source: str) -> np.ndarray:
    torch = import_torch()
    dtype = str(tensor.dtype).removeprefix("torch.")
    tensor = tensor.detach()
    try:
        if not hasattr(ml_dtypes, dtype):
            return tensor.numpy()
        # bfloat16 and the like, which numpy has only by way of this package: the same bits under another name.
        bits = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        return tensor.contiguous().view(bits).numpy().view(getattr(ml_dtypes, dtype))
    except (TypeError, RuntimeError, NotImplementedError):  # sparse, quantized, without storage, of exotic types
        kind = f"{tensor.layout} {tensor.dtype} tensor on '{tensor.device}'".replace("torch.", "")
        raise UserError(f"{source}: '{name}' is a {kind}, which numpy cannot hold; {_advice()}") from None


def _advice(what: str = "model.state_dict()") -> str:
    return f"save the tensors alone: torch.save({what}, FILE)"
