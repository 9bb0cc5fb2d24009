"""Examples that are made of others of a mapped file, and kept beside it: grey ones of colours."""

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.cache_entry import ROWS
from data.decoding import checksums
from data.rows import PIECE, Indexed, Mapped, as_rows, read_checked, write_checked
from data.threads import FEW, cores, in_order, shown

Change = Callable[[np.ndarray], np.ndarray]  # of examples, each by itself


def change_all(inputs: np.ndarray, name: str, change: Change) -> np.ndarray:
    """Return `change(inputs)`; of rows of a mapped file it is done once and kept, under a name for what it does."""
    if not isinstance(inputs, Indexed) or not isinstance(inputs.base, Mapped):
        return change(inputs)
    base = inputs.base
    if name not in base.derived:
        try:
            base.derived[name] = _open(base, name) or _make(base, name, change)
        except OSError as error:
            reason = f"{error.filename or base.path.parent} cannot be written ({error.strerror or error})"
            print(f"warning: {reason}: what is made of the pictures is kept in memory", file=sys.stderr)
            return change(inputs)
    return as_rows(base.derived[name], inputs.index)


def _paths(base: Mapped, name: str) -> tuple[Path, Path]:
    stem = base.path.name.removesuffix(ROWS)
    return base.path.with_name(f"{stem}.{name}{ROWS}"), base.path.with_name(f"{stem}.{name}.index")


def _open(base: Mapped, name: str) -> Mapped | None:
    rows, index = _paths(base, name)
    content = read_checked(index)
    if content is None or not rows.exists():
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        shape, dtype = tuple(found["shape"].tolist()), str(found["dtype"])
        expected = math.prod(shape) * np.dtype(dtype).itemsize
        if rows.stat().st_size != expected:  # truncated
            return None
        return Mapped(rows, shape, dtype, found["sums"], found["digests"])


def _make(base: Mapped, name: str, change: Change) -> Mapped:
    rows, index = _paths(base, name)
    temporary = rows.with_name(f"{rows.name}.part")
    count, (sums, digests), made = base.shape[0], ([], []), base.take(np.arange(0))
    step = max(1, PIECE * count // math.prod(base.shape))

    def one(start: int) -> tuple[np.ndarray, list[int], list[bytes]]:
        made = np.ascontiguousarray(change(base.take(np.arange(start, min(start + step, count)))))
        return made, *checksums(made)

    try:
        with temporary.open("wb") as file:
            starts = range(0, count, step)
            for made, own, hashes in shown(
                in_order(one, starts, min(FEW, cores())), len(starts), f"making {name} examples"
            ):
                file.write(made.data)
                sums += own
                digests += hashes
        found = np.array(sums, np.uint32), np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
        shape, dtype = (count, *made.shape[1:]), made.dtype.str
        content = io.BytesIO()
        np.savez(content, shape=shape, dtype=dtype, sums=found[0], digests=found[1])
        temporary.replace(rows)
        write_checked(index, content.getvalue())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Mapped(rows, shape, dtype, *found)
