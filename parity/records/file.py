"""The file of a record: safetensors, whose metadata hold a JSON header. Opening it runs no code.

The header has a hash of every array, and the metadata one of the header, so that an altered file is noticed. The
hashes are no signature: whoever writes a file can make them fit. Nothing that a header says is trusted before it is
checked.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from data.errors import UserError

FORMAT, VERSION = "parity record", 1
DTYPES = frozenset(
    ["float64", "float32", "float16", "complex128", "complex64", "bool"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
LARGEST_HEADER = 100_000_000  # bytes; safetensors refuses more, too


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a record, completely or not at all.

    Raises:
        UserError: it exists, or cannot be written.
    """
    check_new(path)
    stored = {name: _stored(array) for name, array in arrays.items()}
    hashes = {name: [str(arrays[name].dtype), _hash(array)] for name, array in stored.items()}
    text = json.dumps({"version": VERSION, **header, "arrays": hashes}, allow_nan=False, separators=(",", ":"))
    metadata = {"format": FORMAT, "record": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    temporary = path.with_name(path.name + ".part")
    try:
        try:
            save_file(stored, temporary, metadata)
            check_new(path)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from None


def check_new(path: Path) -> None:
    """Raise a UserError if something exists at `path`, or if its folder does not."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists already and is never overwritten; name another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: no such folder to write it in")


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a record's header and arrays, once every hash is checked.

    Raises:
        UserError: it is no record, or damaged, altered, or of a newer version; one line.
    """
    header: dict[str, Any] = {}
    try:
        with safe_open(path, framework="np") as file:
            header = _header(path, file.metadata())
            named = header["arrays"]
            if not isinstance(named, dict) or set(named) != set(file.keys()):
                raise UserError(f"{path}: the file is altered: its arrays are not those that its header names")
            return header, {name: _checked(path, name, file.get_tensor(name), *of) for name, of in named.items()}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        words = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no record, or it is damaged: {words or type(error).__name__}") from None


def is_record(path: Path) -> bool:
    """Return whether a file begins as a record does; it need not be whole."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return FORMAT.encode() in start


def _header(path: Path, metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(f"{path} is a file of safetensors, but no record: parity record writes one")
    text = metadata.get("record", "")
    if len(text) > LARGEST_HEADER:
        raise UserError(f"{path}: the header of the record has {len(text):,} characters; {LARGEST_HEADER:,} at most")
    if hashlib.sha256(text.encode()).hexdigest() != metadata.get("sha256"):
        raise UserError(f"{path}: the file is altered: its header does not have the hash that was written with it")
    try:
        header = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise UserError(f"{path}: the header of the record is nested too deep") from None
    version = header.get("version") if isinstance(header, dict) else None
    if not isinstance(version, int) or version < 1:
        raise UserError(f"{path}: the header of the record has no version")
    if version > VERSION:
        raise UserError(
            f"{path} is a record of version {version}; this parity reads {VERSION} at most: "
            "record it again with this one, or install a newer one"
        )
    return header


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not allowed in the header")


def _checked(path: Path, name: str, array: np.ndarray, dtype: str, digest: str) -> np.ndarray:
    if dtype not in DTYPES:
        raise UserError(f"{path}: {name} has the dtype {dtype!r}, which a record cannot hold")
    if _hash(array) != digest:
        raise UserError(f"{path}: the file is altered: {name} does not have the hash that was written with it")
    if dtype.startswith("complex"):
        return array.view(dtype)[..., 0]
    return array.astype(dtype, copy=False)


def _stored(array: np.ndarray) -> np.ndarray:
    """Return what is written: float64 as float32 where that holds every bit."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.kind == "c":
        return array[..., None].view(np.float64 if array.itemsize == 16 else np.float32)
    if array.dtype == np.float64 and array.size:
        with np.errstate(over="ignore", invalid="ignore"):
            single = array.astype(np.float32)
        if np.array_equal(single, array, equal_nan=False):
            return single
    return array


def _hash(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def size(path: Path) -> int:
    """Return the size of a file in bytes."""
    return path.stat().st_size
