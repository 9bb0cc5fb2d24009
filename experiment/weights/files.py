"""Reading weights of either framework as named numpy arrays, whatever the format, without running any code in them.

The content decides the format, not the suffix. Neither PyTorch nor JAX is needed.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.errors import UserError
from data.pickled import read_pickled
from experiment.registry import Entry
from experiment.runs.checkpoint import MANIFEST, load
from experiment.runs.folder import WEIGHTS
from experiment.runs.kinds import CONFIG, require_run
from experiment.weights.array_files import read_msgpack, read_npz
from experiment.weights.formats import kind_of, read_index
from experiment.weights.orbax_folder import find_folder, read_orbax
from experiment.weights.safetensors_file import read_weights
from experiment.weights.torch_file import read_stream, read_zip
from experiment.weights.torch_tensor import advice
from experiment.weights.unwrap import FLAX, in_collections, unwrap_arrays, unwrap_torch, without_value

SAFETENSORS, TORCH = ".safetensors", (".pth", ".pt")  # of files that are written
AUXILIARY = ("aux1.", "aux2.")
PUBLISHED = (  # the names of weights in a folder of Hugging Face's
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "flax_model.msgpack",
)


class Weights(NamedTuple):
    """Named arrays, and what was done to find them."""

    tensors: dict[str, np.ndarray]
    note: str = ""  # in words; "" if the file holds nothing else


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a file of weights of any known format, or the weights of a run folder or of one of its checkpoints.

    Returns:
        Names as stored, "params/fc1/kernel" of Flax or "fc1.weight" of PyTorch, to arrays of the stored dtypes.

    Raises:
        UserError: it is missing, damaged, or something else; says what it is and what to do.
    """
    return read_noted(path).tensors


def read_noted(path: Path) -> Weights:
    """Read weights as `read` does; say also what was unwrapped and left out."""
    path = path.expanduser()
    if not path.exists():
        raise UserError(f"{path}: no such file or run folder")
    found = _read_folder(path) if path.is_dir() else _read_file(path)
    if not found.tensors:
        raise UserError(f"{path}: holds no tensors")
    return found


def check_suffix(path: Path) -> None:
    """Raise a UserError if the suffix is not that of a format that is written."""
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


def _read_folder(folder: Path) -> Weights:
    """Read a run, a checkpoint, a folder of Orbax or one of Hugging Face's."""
    if (folder / MANIFEST).is_file():
        return Weights(load(folder).weights())
    if (folder / WEIGHTS).exists():
        return Weights(read_weights(folder / WEIGHTS))
    if place := find_folder(folder):
        found = unwrap_arrays(read_orbax(place), place)
        return Weights(found.tensors, _joined("" if place == folder else f"read {place}", found.note))
    for name in PUBLISHED:
        if (folder / name).is_file():
            tensors, note = _read_file(folder / name)
            return Weights(tensors, _joined(f"read {folder / name}", note))
    if (folder / ".metadata").is_file():
        how = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pth"
        raise UserError(f"{folder}: is a distributed checkpoint of PyTorch; make one file of it: {how}")
    if (folder / "saved_model.pb").is_file():
        raise UserError(f"{folder}: is a SavedModel of TensorFlow; save the arrays with numpy.savez")
    if (folder / "data.pkl").is_file():
        raise UserError(f"{folder}: is an unpacked file of torch.save; give the file that it was unpacked from")
    if (folder / CONFIG).is_file():
        require_run(folder)
    return Weights(read_weights(folder / WEIGHTS))


def _read_file(path: Path) -> Weights:
    kind = kind_of(path)
    if kind == "index":
        return _read_shards(path)
    if kind == "safetensors":
        return _named(read_weights(path))
    if kind == "npz":
        return _named(read_npz(path))
    if kind == "msgpack":
        return Weights(*unwrap_arrays(read_msgpack(path), path))
    if kind == "torch":
        with zipfile.ZipFile(path) as archive:
            content = read_zip(path, archive)
    else:
        content = read_stream(path)
    if content is None:
        return _read_pickle(path)
    found = unwrap_torch(content.root, path)
    return Weights(content.arrays(found.tensors, path), found.note)


def _read_pickle(path: Path) -> Weights:
    """Read a pickle that is not torch.save's: nested dicts of numpy arrays."""
    try:
        found = read_pickled(path)
    except UserError as error:
        raise UserError(f"{error}; it is a Python pickle, but not of torch.save; {advice()}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: is a Python pickle of {type(found).__name__}, expected a dict of arrays; {advice()}")
    return Weights(*unwrap_arrays(found, path))


def _read_shards(index: Path) -> Weights:
    """Read the files beside an index of sharded weights."""
    places, found = read_index(index), dict[str, np.ndarray]()
    for name in sorted(set(places.values())):
        shard = index.with_name(name)
        if not shard.is_file():
            raise UserError(f"{index}: names {name}, which is not beside it; get every file that the index names")
        if kind_of(shard) == "index":
            raise UserError(f"{index}: names {name}, which is an index itself")
        content = _read_file(shard).tensors
        wanted = [tensor for tensor, place in places.items() if place == name]
        if missing := [tensor for tensor in wanted if tensor not in content]:
            raise UserError(
                f"{index}: {ascii(missing[0])[1:-1][:100]} is not in {name}; the files do not belong together"
            )
        found |= {tensor: content[tensor] for tensor in wanted}
    return _named({tensor: found[tensor] for tensor in places})._replace(
        note=f"{len(set(places.values()))} files by their index"
    )


def _named(tensors: dict[str, np.ndarray]) -> Weights:
    """Return arrays by name, Flax's names as "params/fc1/kernel" however they were joined."""
    if tensors and all(n.split(".")[0] in FLAX and not n.endswith(".weight") and "/" not in n for n in tensors):
        tensors = {name.replace(".", "/"): array for name, array in tensors.items()}
    return Weights(in_collections(without_value(tensors)))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
