"""Reading named numpy arrays: .npz archives, Flax's msgpack files, plain pickles; no code in a file can run."""

import io
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
from numpy.lib import format as npy

from data.errors import UserError

PLAIN = 2**30  # bytes that compressed arrays may take, whatever their ratio
RATIO = 100  # beyond that: weights do not compress as well
NDARRAY, COMPLEX, SCALAR = 1, 2, 3  # Flax's extension types
DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|complex(64|128)|bfloat16|float8_(e4m3fn|e5m2)")
CHUNKED = "__msgpack_chunked_array__"


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read an archive of numpy.savez or numpy.savez_compressed.

    Raises:
        UserError: it is damaged, or would take far more memory than its size, or an array is of Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            check_size(path, sum(info.file_size for info in infos), path.stat().st_size)
            found = {info.filename.removesuffix(".npy"): _read_npy(archive.read(info)) for info in infos}
    except UserError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: damaged, or not an archive of numpy.savez ({_short(error)})") from None
    except Exception as error:  # zlib.error, which is its own class
        raise UserError(f"{path}: damaged ({type(error).__name__}: {_short(error)})") from None
    if unnamed := [name for name in found if name.startswith("arr_")]:
        raise UserError(f"{path}: {unnamed[0]} has no name; save the arrays by name: numpy.savez(FILE, **arrays)")
    return found


def _read_npy(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    found = npy.read_array(stream, allow_pickle=False)
    # numpy stores bfloat16 as two bytes without a type.
    return found.view(ml_dtypes.bfloat16) if found.dtype == np.dtype("V2") else found


def check_size(path: Path, needed: int, size: int) -> None:
    """Raise a UserError if weights would take far more memory than the file that holds them."""
    if needed > max(PLAIN, RATIO * size):
        raise UserError(f"{path}: its arrays would take {needed:,} bytes, {needed // max(size, 1):,} times the file")


def read_msgpack(path: Path) -> dict[str, Any]:
    """Read a file of flax.serialization.to_bytes or msgpack_serialize as nested dicts of arrays.

    Raises:
        UserError: it is damaged, or something else.
    """
    try:
        content = path.read_bytes()
        found = msgpack.unpackb(content, ext_hook=_extension, raw=False, strict_map_key=False)
        found = _joined(found)
    except RecursionError:
        raise UserError(f"{path}: damaged, or not a msgpack file of Flax (nested too deeply)") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, msgpack.UnpackException) as error:
        raise UserError(f"{path}: damaged, or not a msgpack file of Flax ({_short(error)})") from None
    if not isinstance(found, Mapping):
        raise UserError(f"{path}: is msgpack, but holds a {type(found).__name__}, expected a dict of arrays")
    return dict(found)


def _extension(code: int, data: bytes) -> Any:
    if code == COMPLEX:
        return complex(*msgpack.unpackb(data))
    if code not in (NDARRAY, SCALAR):
        raise ValueError(f"extension type {code} is not Flax's")
    match msgpack.unpackb(data, raw=True):
        case [[*sizes], bytes() as name, bytes() as content]:
            dtype = _dtype(name.decode())
        case _:
            raise ValueError("an array without shape, type and content")
    if not all(type(size) is int and size >= 0 for size in sizes) or math.prod(sizes) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {str(sizes)[:60]} {dtype} in {len(content):,} bytes")
    return np.frombuffer(content, dtype).reshape(sizes)


def _dtype(name: str) -> np.dtype:
    if not DTYPE.fullmatch(name):
        raise ValueError(f"an array of {name[:40]!r}")
    return np.dtype(getattr(ml_dtypes, name) if name.startswith(("bfloat", "float8")) else name)


def _joined(tree: Any, depth: int = 0) -> Any:
    """Return a tree with Flax's large arrays, which it stores in pieces of 1 GiB, put together."""
    if not isinstance(tree, Mapping) or depth > 100:
        return tree
    if CHUNKED not in tree:
        return {str(name): _joined(value, depth + 1) for name, value in tree.items()}
    # By number: as a dict, Flax's pieces need not be in order.
    pieces = [value for _, value in sorted(tree["chunks"].items(), key=lambda item: int(item[0]))]
    shape = [int(size) for _, size in sorted(tree["shape"].items(), key=lambda item: int(item[0]))]
    return np.concatenate([np.ravel(piece) for piece in pieces]).reshape(shape)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__
