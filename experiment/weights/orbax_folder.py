"""Reading the folder of an Orbax checkpoint with tensorstore, which JAX's users have; JAX itself is not needed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from experiment.weights.array_files import check_size

METADATA, STEP, ITEM = "_METADATA", re.compile(r"(.*_)?\d+"), ("default", "state", "params", "model")
SHOWN = 5


def find_folder(folder: Path) -> Path | None:
    """Return the folder of arrays: `folder`, its item, or that of the newest step in it; None if there is none."""
    if (folder / METADATA).is_file():
        return folder
    for name in ITEM:
        if (folder / name / METADATA).is_file():
            return folder / name
    steps = [one for one in _folders(folder) if STEP.fullmatch(one.name)]
    for step in sorted(steps, key=lambda one: int(one.name.rpartition("_")[2]), reverse=True):
        if found := find_folder(step):
            return found
    return None


def _folders(folder: Path) -> Iterator[Path]:
    return (one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())


def read_orbax(folder: Path) -> dict[str, Any]:
    """Read an Orbax checkpoint as nested dicts of arrays.

    Raises:
        UserError: it is damaged, or tensorstore is not installed.
    """
    try:
        import tensorstore  # here: it comes with Flax, and PyTorch's users may be without it
    except ModuleNotFoundError:
        raise UserError(f"{folder}: reading a folder of Orbax needs tensorstore: pip install tensorstore") from None
    path = folder / METADATA
    try:
        about = json.loads(path.read_bytes())
        entries = about["tree_metadata"].values()
        places = [([str(key["key"]) for key in one["key_metadata"]], one["value_metadata"]) for one in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: damaged, or not of a checkpoint that this version reads") from None
    tree: dict[str, Any] = {}
    size = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    for keys, value in places:
        if (
            not keys
            or value.get("skip_deserialize")
            or value.get("value_type") not in ("jax.Array", "np.ndarray", "scalar")
        ):
            continue
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        try:
            store = tensorstore.open(_spec(folder, keys, about), read=True, open=True).result()
            check_size(folder, int(np.prod(store.shape)) * store.dtype.numpy_dtype.itemsize, size)
            node[keys[-1]] = np.asarray(store.read().result())
        except (ValueError, OSError, RuntimeError, NotImplementedError) as error:
            why = " ".join(str(error).split())[:100]
            raise UserError(f"{folder}: '{'.'.join(keys)}' cannot be read ({why})") from None
    return tree


def _spec(folder: Path, keys: list[str], about: dict[str, Any]) -> dict[str, Any]:
    """Return where tensorstore finds an array: in Orbax's database, or in a folder of its own."""
    name, driver = ".".join(keys), "zarr3" if about.get("use_zarr3") else "zarr"
    if (folder / "manifest.ocdbt").is_file():
        base = f"file://{folder.resolve()}/"
        return {"driver": driver, "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError("a name that leads out of the folder")
    return {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder.resolve()}/{name}/"}}
