"""Examples chosen by an index instead of copied: rows of an array, or of a file that is mapped into memory.

`Mapped` is such a file; what is read from it is checked. `Indexed` is an index into an array or a `Mapped`. It has
what the loader, the split into parts and the statistics use of an array; `np.asarray` makes an array of it.
"""

import hashlib
import json
import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from data.errors import DataError

T = TypeVar("T")

LARGE = 2**26  # bytes from which on rows are an index and not a copy
PIECE = 2**24  # values at a time: as float64 they take 128 MiB
RESIDENT = 2**29  # bytes of a larger file that may stay in the memory of the process
FAULT = 2**16  # bytes that the system maps around one that is read
VALUES = 200  # that are remembered for one file


class Mapped:
    """A file of examples, mapped into memory. Each example is compared with its checksum when it is first read.

    Attributes:
        path: the file.
        shape, dtype: (N, ...), of the examples.
        digests: (N, 32) uint8, the SHA-256 of each example; None in worker processes.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: str, sums: np.ndarray, digests: np.ndarray | None = None
    ):
        """Map the file; `sums` are the CRC-32 of the examples, (N,) uint32.

        Raises:
            DataError: the file is missing or not of the size that the shape needs.
        """
        self.path, self.shape, self.dtype, self.digests = path, tuple(shape), np.dtype(dtype), digests
        self.derived: dict[str, Mapped] = {}  # what is made of it, see `data.derived`
        self._sums, self._seen, self._held = sums, np.zeros(len(sums), bool), 0
        expected = math.prod(shape) * self.dtype.itemsize
        try:
            with path.open("rb") as file:
                if (found := os.fstat(file.fileno()).st_size) != expected:
                    raise DataError(f"{path}: expected {expected:,} bytes, found {found:,}")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        self._array = np.frombuffer(self._map, self.dtype).reshape(self.shape)

    def __getstate__(self) -> tuple[Any, ...]:  # a worker process maps the file itself
        return self.path, self.shape, self.dtype.str, self._sums

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        Mapped.__init__(self, *state)

    @property
    def nbytes(self) -> int:
        """The size of the file."""
        return self._array.nbytes

    def take(self, index: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return examples as an array.

        Raises:
            DataError: one of them is not what has been written. The file is removed, so that it is made again.
        """
        found = self._array.take(index, axis)
        for at in np.flatnonzero(~self._seen[index]):
            if zlib.crc32(np.ascontiguousarray(found[at]).data) != self._sums[index[at]]:
                with suppress(OSError):
                    self.path.unlink()
                advice = "it has been removed and is made again by the next start; --resume continues a training"
                raise DataError(f"{self.path}: the decoded example {index[at]} is damaged on the disk; {advice}")
        self._seen[index] = True
        self._release(len(found))
        return found

    def check(self) -> None:
        """Compare all examples with their checksums.

        Raises:
            DataError: see `take`.
        """
        step = max(1, PIECE * len(self._sums) // max(1, math.prod(self.shape)))
        for start in range(0, len(self._sums), step):
            self.take(np.arange(start, min(start + step, len(self._sums))))

    def remember(self, key: str, compute: Callable[[], T]) -> T:
        """Return what `compute` returns, which JSON can hold; it is computed once for each key and kept in a file."""
        path = self.path.with_suffix(".values")
        known = _read_values(path)
        if key in known:
            return known[key]
        found = compute()
        content = json.dumps(dict([*_read_values(path).items(), (key, found)][-VALUES:])).encode()
        with suppress(OSError):  # as on a disk that is read only: it is computed again by the next start
            write_checked(path, content)
        return found

    def _release(self, count: int) -> None:
        """Give the pages of a large file back to the system, which keeps them as long as it has room for them."""
        self._held += count * max(FAULT, self._array[:1].nbytes)
        if self.nbytes > RESIDENT and self._held > RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._held = 0


class Indexed:
    """Indexed of an array or of a mapped file, by an index."""

    def __init__(self, base: np.ndarray | Mapped, index: np.ndarray):
        self.base, self.index = base, np.asarray(index, np.int64)
        self.shape, self.dtype, self.ndim = (len(index), *base.shape[1:]), base.dtype, len(base.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return some examples as an array."""
        return self.base.take(self.index[which], axis)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            return self.take(np.array([first]))[(0, *rest)]
        if isinstance(first, slice):
            return self.base.take(self.index[first], 0)[(slice(None), *rest)]
        if isinstance(first, (list, np.ndarray)) and not rest:
            return self.base.take(self.index[first], 0)
        return np.asarray(self)[key]

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in pieces(self):
            yield from piece

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("rows that are chosen by an index cannot be an array without a copy")
        made = np.empty(self.shape, self.dtype if dtype is None else dtype)
        start = 0
        for piece in pieces(self):
            made[start : start + len(piece)] = piece
            start += len(piece)
        return made

    def tobytes(self) -> bytes:
        """Return the bytes of all examples."""
        return np.asarray(self).tobytes()

    def digests(self) -> np.ndarray | None:
        """Return the SHA-256 of each example, (N, 32) uint8, if they are known."""
        known = self.base.digests if isinstance(self.base, Mapped) else None
        return None if known is None else known[self.index]


def select(inputs: Any, index: np.ndarray) -> np.ndarray:
    """Return the examples of an index (N,): not copied if they are rows already, or of a large array."""
    index = np.flatnonzero(index) if index.dtype == bool else index
    if isinstance(inputs, Indexed):
        return as_rows(inputs.base, inputs.index[index])
    if isinstance(inputs, Mapped):
        return as_rows(inputs, index)
    return as_rows(np.ascontiguousarray(inputs), index) if inputs.nbytes >= LARGE else inputs[index]


def as_rows(base: np.ndarray | Mapped, index: np.ndarray) -> np.ndarray:
    """Return `Indexed`, declared as the array in whose place they are."""
    return cast(np.ndarray, Indexed(base, index))


def is_mapped(inputs: Any) -> bool:
    """Return whether the examples are rows of a mapped file, which other processes can map, too."""
    return isinstance(inputs, Indexed) and isinstance(inputs.base, Mapped)


def concatenate(parts: Sequence[Any]) -> np.ndarray:
    """Return the examples of all parts, one after the other: not copied if they are rows of the same array."""
    first = parts[0]
    if isinstance(first, Indexed) and all(isinstance(part, Indexed) and part.base is first.base for part in parts):
        return as_rows(first.base, np.concatenate([part.index for part in parts]))
    return np.concatenate([np.asarray(part) for part in parts])


def pieces(inputs: Any, values: int = PIECE) -> Iterator[np.ndarray]:
    """Yield all examples in arrays of about so many values, of the lengths of `np.array_split`."""
    for start, end in bounds(inputs, values):
        yield inputs[start:end]


def bounds(inputs: Any, values: int = PIECE) -> list[tuple[int, int]]:
    """Return where the pieces of `pieces` begin and end."""
    count = max(1, inputs.size // values)
    least, more = divmod(len(inputs), count)
    ends = np.cumsum([0] + [least + 1] * more + [least] * (count - more)).tolist()
    return list(pairwise(ends))


def remembered(inputs: Any, key: str, compute: Callable[[], T]) -> T:
    """Return what `compute` returns of the examples; of a mapped file it is computed once and then read."""
    if not isinstance(inputs, Indexed) or not isinstance(inputs.base, Mapped):
        return compute()
    return inputs.base.remember(f"{key} {hashlib.sha256(inputs.index.tobytes()).hexdigest()}", compute)


def write_checked(path: Path, content: bytes) -> None:
    """Write a file in one step, with a checksum for `read_checked`."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_checked(path: Path) -> bytes | None:
    """Return the content of a file of `write_checked`; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


def _read_values(path: Path) -> dict[str, Any]:
    return json.loads(read_checked(path) or b"{}")
