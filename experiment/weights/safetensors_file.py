"""Packing arrays into the safetensors format, and reading them back; no code in a file can run."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from data.errors import UserError

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
