"""A run folder: made once, never overwritten, every file written whole or not at all."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from data.registry import UserError
from experiment.config import Config, load_config, to_json
from experiment.durable import cannot_write, write

RUNS = Path("runs")
CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "weights.safetensors"

# safetensors' names. Its own reader for numpy stops at bfloat16, which is to be named as what it is, not to crash.
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def make_folder(config: Config, framework: str) -> Path:
    """Make the run folder with its config.json.

    Raises:
        UserError: it exists already (nothing in it is touched), or cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = config.out or RUNS / f"{stamp}-{config.model}-{config.dataset_name}-{framework}"
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{path} exists already and is never overwritten; name another folder with --out") from None
    except OSError as error:
        raise UserError(f"{path} cannot be made ({error.strerror})") from None
    write(path / CONFIG, to_json(config).encode())
    return path


def check_free(config: Config) -> None:
    """Refuse an --out that exists before any work is done for it."""
    if config.out and config.out.exists():
        raise UserError(f"{config.out} exists already and is never overwritten; name another folder with --out")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet, whole or not at all.

    Raises:
        UserError: it exists (and is left as it is), or cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    check_new(path)
    try:
        temporary.touch(exist_ok=False)  # somebody else's file of that name is not ours to overwrite, either
        try:
            temporary.write_bytes(content)
            check_new(path)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written ({error.strerror})") from None


def check_new(path: Path) -> None:
    """Raise a UserError if there is something at `path`, or no folder to put it in."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists already and is never overwritten; name another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: no such folder to write it in")


def append_row(folder: Path, row: Mapping[str, Any]) -> None:
    """Add a line to metrics.jsonl.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
    except OSError as error:
        raise cannot_write(folder / METRICS, error) from None


def write_rows(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl anew: a run that goes on starts from the rows of its checkpoint."""
    write(folder / METRICS, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode())


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json."""
    write(folder / SUMMARY, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())


def write_weights(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write weights.safetensors: flat names to arrays, in the naming of the framework that trained them."""
    write(folder / WEIGHTS, pack(weights))


def pack(weights: Mapping[str, np.ndarray]) -> bytes:
    """Return what a safetensors file of `weights` holds."""
    # safetensors stores the buffer as it lies in memory, so a transposed view must be laid out first.
    return safetensors.numpy.save({name: np.array(array, order="C") for name, array in weights.items()})


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Read a safetensors file; no code in it can run.

    Raises:
        UserError: missing or damaged, or numbers of a type that numpy cannot hold.
    """
    try:
        return unpack(path.read_bytes(), path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def unpack(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file's bytes; `path` is where they are from.

    Raises:
        UserError: see `read_weights`.
    """
    try:
        found = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file ({error})") from None
    if odd := {tensor["dtype"] for _, tensor in found} - DTYPES.keys():
        raise UserError(f"{path}: holds tensors of type {', '.join(sorted(odd))}, known: {', '.join(DTYPES)}")
    return {
        name: np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]]).reshape(tensor["shape"]) for name, tensor in found
    }


def read_run(folder: Path) -> tuple[Config, dict[str, np.ndarray]]:
    """Return the configuration and the weights of a finished run.

    Raises:
        UserError: there is no such folder, or a file in it is missing or damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    return load_config(folder / CONFIG), read_weights(folder / WEIGHTS)
