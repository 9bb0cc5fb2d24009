"""Decoding many files once, on all cores, into a cache that later starts map into memory.

The cache knows nothing of what is in the files. A `Decoder` makes an array of one or more examples of each; all
examples of a decoder have one shape and dtype:

    def decode(path: Path, content: bytes) -> Decoded:       # raises DataError for a file that cannot be used
        return Decoded(examples, about)                      # (k, *shape), k >= 1; about: anything that JSON can hold

    decoder = Decoder("sounds at 8000 Hz", version="1, soundfile 0.13", shape=(2000, 1), dtype="int16", decode=decode)
    found = decode_all(root, files, decoder, cache_dir=None)
    found.base                   # all examples: a `Mapped` file of the cache, or an array if the folder is small
    found.starts, found.counts   # of file i the rows starts[i] to starts[i] + counts[i]; 0 rows of a bad file
    found.hashes, found.about    # of each file the SHA-256 of its content, and what the decoder says of it
    found.bad                    # number of a bad file -> why, as "PATH: cannot be read (...)"; see `check_bad`
    found.note                   # a line for `Dataset.notes`, or None
    select(found.base, rows)     # (`data.rows`) the examples of an index: `inputs` of a `Split`, not copied if large

`decode` is called in threads, on different files at once. Files of equal content are decoded once and share their
rows. A later start compares names, sizes and times with those in the index and reads no file. A file of which one of
them differs is read again, and decoded if its content has changed; what is known of the others is taken over.
"""

import errno
import hashlib
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.bad_files import check_bad as check_bad
from data.cache_entry import INDEX, ROWS, Entry, entry_folder, in_units, locked, read_entry, write_entry
from data.cache_entry import cache_folder as cache_folder
from data.decoding import Decode as Decode
from data.decoding import Decoded as Decoded
from data.decoding import Decoder as Decoder
from data.decoding import Decoding, FileSink, Known, MemorySink, Table, read_file, times_of
from data.errors import DataError
from data.rows import Mapped
from data.threads import in_order

SMALL = 2**24  # bytes of decoded examples up to which the default folder is not used, and
SMALL_FILES = 2**26  # bytes of files; below both, decoding takes about as long as a start
CHECKED = 2**28  # bytes of a cache that are compared with their checksums at the start; of a larger one as it is read
LONG = 2**30  # bytes of which decoding takes so long that it is announced
WASTE = 2  # times as many examples as are used make the cache be written anew


class Collection(NamedTuple):
    """The examples of many files."""

    base: np.ndarray | Mapped  # (N, *shape)
    starts: np.ndarray  # (files,) the first example of each file
    counts: np.ndarray  # (files,) its number of examples; 0 if it is bad
    hashes: list[bytes]  # SHA-256 of each file's content; empty if it is bad
    about: list[Any]  # what the decoder says of each file; None if it is bad
    bad: dict[int, str]  # why a file could not be decoded, by its number
    note: str | None  # what was decoded, and where to; None if nothing was


class Job(NamedTuple):
    """Files to decode."""

    root: Path
    files: Sequence[Path]
    names: list[str]  # relative to `root`
    times: np.ndarray  # (files, 3) int64, see `times_of`
    decoder: Decoder
    needed: int  # bytes of the examples, at one for each file

    @property
    def text(self) -> str:
        """The text of the progress bar."""
        return f"decoding {self.root.name}"


def decode_all(root: Path, files: Sequence[Path], decoder: Decoder, cache_dir: Path | str | None = None) -> Collection:
    """Return the examples of files in `root`, decoded now or before.

    Args:
        root: the folder in which they are.
        files: their paths, at least one.
        decoder: how they are decoded.
        cache_dir: see `cache_folder`. If neither it nor the environment names a folder, small folders are decoded into
            memory at each start.

    Raises:
        DataError: the examples fit neither on the disk nor into memory.
    """
    listing = [_stat(path) for path in files]
    inodes = {(found.st_dev, found.st_ino or -at) if found else at for at, found in enumerate(listing)}
    needed = len(inodes) * math.prod(decoder.shape) * np.dtype(decoder.dtype).itemsize
    times = np.array([times_of(found) for found in listing], np.int64).reshape(-1, 3)
    top = f"{str(root).rstrip(os.sep)}{os.sep}"
    names = [text.removeprefix(top) for text in map(str, files)]
    job = Job(root, files, names, times, decoder, needed)
    chosen = cache_dir or os.environ.get("JAXNETS_CACHE")
    if not chosen and needed < SMALL and sum(found.st_size for found in listing if found) < SMALL_FILES:
        return _in_memory(job)
    folder = entry_folder(cache_folder(cache_dir), root, [decoder.name, decoder.shape, decoder.dtype])
    known = _open(folder, job)
    if isinstance(known, Collection):
        return known
    try:
        with locked(folder):
            known = _open(folder, job)  # another process may have made it meanwhile
            if isinstance(known, Collection):
                return known
            return (_update(folder, job, known) if known else None) or _build(folder, job, known)
    except OSError as error:
        reason = f"{folder.parent} cannot hold the decoded files ({error.strerror or error})"
        advice = "--cache-dir names another folder"
        print(f"warning: {reason}: they are decoded into memory, at every start; {advice}", file=sys.stderr)
        return _in_memory(job, f"; {reason}; {advice}")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # reading it says why
        return None


def _open(folder: Path, job: Job) -> Collection | Known | None:
    """Return the collection if the cache is of the same files; else what is known of them; None if it is nothing."""
    entry = read_entry(folder)
    if entry is None or entry.version != job.decoder.version:
        return None
    try:
        base = entry.open(folder)
        if base.nbytes <= CHECKED:
            base.check()
    except DataError:  # truncated or damaged
        return None
    same = entry.names == job.names and np.array_equal(entry.stats, job.times)
    if not same or not entry.sure.all() or (entry.contents < 0).any():
        return Known(entry, base, again=job.decoder.again is not None)
    with suppress(OSError):  # on a disk that is read only
        os.utime(folder / INDEX)  # for the list: when it was last used
    return _collection(entry, base)


def _update(folder: Path, job: Job, known: Known) -> Collection | None:
    """Return the collection if all that can be decoded is in the cache already, under whatever name; else None."""
    entry, bad = known.entry, {}
    hashes = [known.hash_of(*each) for each in zip(job.names, map(tuple, job.times.tolist()), strict=True)]
    contents = np.array([known.contents.get(content or b"", -1) for content in hashes], np.int64)
    stats, sure = job.times.copy(), contents >= 0

    def look(at: int) -> tuple[int, Any]:
        try:
            read = read_file(job.files[at])
            number = known.contents.get(hashlib.sha256(read.content).digest())
            if number is None:
                job.decoder.decode(job.files[at], read.content)
            return at, (number, read)
        except DataError as error:
            return at, str(error)

    with job.decoder.around():
        for at, seen in in_order(look, np.flatnonzero(~sure).tolist()):
            if isinstance(seen, str):
                bad[at] = seen
            elif seen[0] is None:
                return None
            else:
                contents[at], stats[at], sure[at] = seen[0], seen[1].times, seen[1].sure
    used = np.unique(contents[contents >= 0])
    changes = job.decoder.again and len(used) < len(entry.hashes) and any(one is not None for one in entry.about)
    if changes or entry.counts[used].sum() * WASTE < len(entry.sums):
        return None
    entry = entry._replace(names=job.names, stats=stats, sure=sure, contents=contents)
    with suppress(OSError):  # on a disk that is read only: it is looked at again by the next start
        write_entry(folder, entry)
    return _collection(entry, known.base, bad)


def _build(folder: Path, job: Job, known: Known | None) -> Collection:
    """Decode into the cache.

    Raises:
        OSError: the disk refuses.
    """
    if job.needed > (free := shutil.disk_usage(folder).free):
        raise OSError(errno.ENOSPC, f"{in_units(job.needed)} are needed, {in_units(free)} are free")
    began, count = time.monotonic(), len(job.files)
    if job.needed >= LONG and not sys.stderr.isatty():  # where there is no progress bar
        print(f"decoding {count:,} files once, into {folder} ({in_units(job.needed)})", file=sys.stderr)
    damaged = known is None and (folder / INDEX).exists()
    file = os.urandom(8).hex() + ROWS
    temporary = folder / f"{file}.part"
    try:
        with temporary.open("wb") as opened:
            table = Decoding(job.files, job.names, job.decoder, known).run(FileSink(opened), job.times, job.text)
            opened.flush()
            os.fsync(opened.fileno())
        if not len(table.sums):
            temporary.unlink()
            return _collection(table, np.empty((0, *job.decoder.shape), job.decoder.dtype), table.bad)
        entry = _entry(job, file, table)
        temporary.replace(folder / file)
        write_entry(folder, entry)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    base = entry.open(folder)
    why = " (what was there is damaged, or of another version)" if damaged else ""
    note = f"{count:,} files are decoded into {folder}{why}: {in_units(base.nbytes)}, {time.monotonic() - began:.0f} s"
    return _collection(entry, base, table.bad, f"{note}; python -m data cache lists and removes it")


def _entry(job: Job, file: str, table: Table) -> Entry:
    values = {name: value for name, value in table._asdict().items() if name != "bad"}
    shape, decoder = (len(table.sums), *job.decoder.shape), job.decoder
    root = str(job.root.resolve())
    return Entry(root, decoder.name, decoder.version, file, shape, decoder.dtype, names=job.names, **values)


def _in_memory(job: Job, why: str = "") -> Collection:
    """Decode into an array.

    Raises:
        DataError: there is not enough memory; `why` says why no disk is used.
    """
    count, free = len(job.files), _free_memory()
    try:
        if free is not None and job.needed > free:
            raise MemoryError
        sink = MemorySink(count, job.decoder)
        table = Decoding(job.files, job.names, job.decoder, None).run(sink, job.times, job.text)
    except MemoryError:
        left = "" if free is None else f" ({in_units(free)})"
        taken = f"the examples of {count:,} files take {in_units(job.needed)}"
        raise DataError(f"{job.root}: {taken}, more than the free memory{left}{why}") from None
    return _collection(table, sink.array[: len(table.sums)], table.bad)


def _collection(
    table: Table | Entry, base: np.ndarray | Mapped, bad: dict[int, str] | None = None, note: str | None = None
) -> Collection:
    good = table.contents >= 0
    starts, counts = np.zeros((2, len(good)), np.int64)
    starts[good], counts[good] = table.starts[table.contents[good]], table.counts[table.contents[good]]
    hashes = [one.tobytes() for one in table.hashes]
    numbers = table.contents.tolist()
    return Collection(
        base,
        starts,
        counts,
        [hashes[at] if at >= 0 else b"" for at in numbers],
        [table.about[at] if at >= 0 else None for at in numbers],
        bad or {},
        note,
    )


def _free_memory() -> int | None:
    """Return the bytes of memory that are free; None if the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return None
