"""The IDX format of MNIST and similar datasets: a big-endian header, then the bytes.

Format: http://yann.lecun.com/exdb/mnist/ ("FILE FORMATS FOR THE MNIST DATABASE").
"""

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from data.base import DataError

UNSIGNED_BYTE, INTEGER = 0x08, 0x0C
MAX_BYTES = 2**30  # a header that states a larger size is refused


def read_idx(path: Path, ndim: int, kind: int = UNSIGNED_BYTE) -> np.ndarray:
    """Read an IDX file of unsigned bytes or of integers, gzipped if its name ends in .gz.

    Returns:
        A uint8 array (int32 for integers) of `ndim` dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises:
        DataError: the file is unreadable, has a wrong magic number, or its length differs from its header.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return _parse(file, path, ndim, kind)
    except EOFError:
        raise DataError(f"{path}: the gzip stream is cut short; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: expected gzip data, found something else ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _parse(file: BufferedIOBase, path: Path, ndim: int, kind: int) -> np.ndarray:
    size = 4 + 4 * ndim
    header = file.read(size)
    if len(header) < size:
        raise DataError(f"{path}: expected a header of {size} bytes, found {len(header)} bytes in all")
    magic, *shape = struct.unpack(f">{1 + ndim}I", header)
    expected, dtype = kind << 8 | ndim, np.dtype(np.uint8 if kind == UNSIGNED_BYTE else ">i4")
    if magic != expected:
        raise DataError(f"{path}: expected IDX magic number {expected:#010x}, found {magic:#010x}")
    length = math.prod(shape) * dtype.itemsize
    if length > MAX_BYTES:
        raise DataError(f"{path}: its header promises {length} bytes {tuple(shape)}; expected at most {MAX_BYTES}")
    body = file.read(length + 1)  # one byte more than stated, to detect a file that is too long
    if len(body) != length:
        found = f"only {len(body)}" if len(body) < length else "more"
        raise DataError(f"{path}: its header {tuple(shape)} promises {length} bytes, found {found}")
    # A copy: numpy requests huge pages for its own memory, which makes reading random rows a third faster.
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
