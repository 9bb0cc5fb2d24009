"""Decoding files in threads, each content once, into a file or into memory."""

import hashlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from data.cache_entry import Entry
from data.errors import DataError
from data.rows import Mapped
from data.threads import in_order, shown

TICK, COARSE_TICK = 10**7, 2 * 10**9  # nanoseconds within which a file system may give two changes the same time
TRIES = 3  # to read a file that changes meanwhile


class Decoded(NamedTuple):
    """What a file holds."""

    examples: np.ndarray  # (k, *shape), k >= 1
    about: Any = None  # what JSON can hold


Decode = Callable[[Path, bytes], Decoded]


class Decoder(NamedTuple):
    """How files become examples."""

    name: str  # of the kind of examples and of all options that they depend on
    version: str  # of what computes them; the cache of another version is replaced
    shape: tuple[int, ...]  # of one example
    dtype: str
    decode: Decode
    # Given what was said of each content: which contents to decode again, and how (to as many examples).
    again: Callable[[Sequence[Any]], tuple[list[int], Decode] | None] | None = None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext  # entered once, around all calls


class Sink(Protocol):
    """Where examples are put, one after the other."""

    def put(self, start: int, examples: np.ndarray) -> None:
        """Write examples from number `start` on, which is at most the number of those before."""
        ...


class FileSink:
    """Examples in a file."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def put(self, start: int, examples: np.ndarray) -> None:
        """Write examples from number `start` on."""
        self._file.seek(start * examples[0].nbytes)
        self._file.write(np.ascontiguousarray(examples).data)


class MemorySink:
    """Examples in an array."""

    def __init__(self, count: int, decoder: Decoder):
        self.array = np.empty((count, *decoder.shape), decoder.dtype)

    def put(self, start: int, examples: np.ndarray) -> None:
        """Write examples from number `start` on."""
        if (end := start + len(examples)) > len(self.array):
            more = np.empty((max(end, 2 * len(self.array)), *self.array.shape[1:]), self.array.dtype)
            more[:start] = self.array[:start]
            self.array = more
        self.array[start:end] = examples


class Read(NamedTuple):
    """A file that has been read."""

    content: bytes
    times: tuple[int, ...]  # see `times_of`
    sure: bool  # a later change would show in its times


class Found(NamedTuple):
    """What a thread has found out about a file."""

    times: tuple[int, ...] = (-1, -1, -1)  # see `times_of`
    sure: bool = False
    hash: bytes = b""
    decoded: Decoded | None = None  # None: another file of the same content is decoded, or this one is bad
    sums: Sequence[int] = ()
    digests: Sequence[bytes] = ()
    bad: str = ""


class Table(NamedTuple):
    """What is known of each file, and of each content."""

    stats: np.ndarray
    sure: np.ndarray
    contents: np.ndarray
    hashes: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    digests: np.ndarray
    about: list[Any]
    bad: dict[int, str]


def times_of(found: os.stat_result | None) -> tuple[int, ...]:
    """Return size, time of modification and time of change; the last one changes if the others are set back."""
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns) if found else (-1, -1, -1)


def read_file(path: Path) -> Read:
    """Read a file that does not change meanwhile.

    Raises:
        DataError: it cannot be read, or changes each time.
    """
    try:
        for _ in range(TRIES):
            now = time.time_ns()
            with path.open("rb") as file:
                before, content = os.fstat(file.fileno()), file.read()
                after = os.fstat(file.fileno())
            if times_of(before) == times_of(after) and len(content) == after.st_size:
                tick = TICK if after.st_ctime_ns % 10**9 else COARSE_TICK
                return Read(content, times_of(after), after.st_ctime_ns + tick < now)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    raise DataError(f"{path}: cannot be read (it changed meanwhile, {TRIES} times)")


class Known:
    """What an earlier cache holds of the same files."""

    def __init__(self, entry: Entry, base: Mapped, *, again: bool):
        self.entry, self.base, self._again = entry, base, again
        self.files = {name: at for at, name in enumerate(entry.names)}
        self.contents = {one.tobytes(): at for at, one in enumerate(entry.hashes)}

    def hash_of(self, name: str, times: Sequence[int]) -> bytes | None:
        """Return the hash of a file's content, if its times say that it is still the same."""
        at = self.files.get(name)
        if at is None or not self.entry.sure[at] or self.entry.contents[at] < 0:
            return None
        return self.entry.hashes[self.entry.contents[at]].tobytes() if tuple(self.entry.stats[at]) == times else None

    def examples_of(self, content: bytes) -> Decoded | None:
        """Return the examples of a content; None if there are none that can be taken over."""
        at = self.contents.get(content)
        if at is None or (self._again and self.entry.about[at] is not None):
            return None
        start = int(self.entry.starts[at])
        try:
            rows = np.arange(start, start + int(self.entry.counts[at]))
            return Decoded(self.base.take(rows), self.entry.about[at])
        except DataError:  # damaged
            return None


class Decoding:
    """Files on their way into a sink."""

    def __init__(self, files: Sequence[Path], names: Sequence[str], decoder: Decoder, known: Known | None):
        self._files, self._names, self._decoder, self._known = files, names, decoder, known
        self._claimed: set[bytes] = set()
        self._lock = threading.Lock()

    def run(self, sink: Sink, times: np.ndarray, text: str) -> Table:
        """Decode all files into a sink; `times` are those of the listing."""
        found: list[Found] = []
        places: dict[bytes, tuple[int, int, Any]] = {}  # of each content, in the order of the contents
        sums: list[int] = []
        digests: list[bytes] = []
        first: list[int] = []  # of each content the first file
        with self._decoder.around():
            results = in_order(lambda at: self._find(at, tuple(times[at].tolist())), range(len(self._files)))
            for at, one in enumerate(shown(results, len(self._files), text)):
                if one.decoded is not None:
                    self._put(sink, len(sums), one.decoded.examples)
                    places[one.hash] = len(sums), len(one.sums), one.decoded.about
                    sums += one.sums
                    digests += one.digests
                    first.append(at)
                found.append(one._replace(decoded=None, sums=(), digests=()))
            self._decode_again(sink, list(places.values()), first, sums, digests)
            return self._table(self._explain(found, places), places, sums, digests)

    def _find(self, at: int, listed: tuple[int, ...]) -> Found:
        """Read and decode one file, unless it is known or another one has its content; in a thread."""
        path, read = self._files[at], None
        try:
            digest = self._known.hash_of(self._names[at], listed) if self._known else None
            if digest is None:
                read = read_file(path)
                digest = hashlib.sha256(read.content).digest()
            about = (read.times, read.sure, digest) if read else (listed, True, digest)
            with self._lock:
                if digest in self._claimed:
                    return Found(*about)
                self._claimed.add(digest)
            decoded = self._known.examples_of(digest) if self._known else None
            if decoded is None:
                read = read or read_file(path)
                about = read.times, read.sure, hashlib.sha256(read.content).digest()
                decoded = self._decoder.decode(path, read.content)
        except DataError as error:
            return Found(bad=str(error))
        return Found(*about, decoded, *checksums(decoded.examples))

    def _put(self, sink: Sink, start: int, examples: np.ndarray) -> None:
        if examples.shape[1:] != self._decoder.shape or examples.dtype != self._decoder.dtype or not len(examples):
            raise ValueError(f"{self._decoder.name}: made {examples.shape} {examples.dtype}, not what it says")
        sink.put(start, examples)

    def _decode_again(
        self, sink: Sink, places: list[tuple[int, int, Any]], first: list[int], sums: list[int], digests: list[bytes]
    ) -> None:
        """Decode some contents in another way, which depends on what all of them are."""
        found = self._decoder.again([about for _, _, about in places]) if self._decoder.again else None
        if not found:
            return
        which, decode = found

        def one(at: int) -> Decoded:
            path = self._files[first[at]]
            return decode(path, read_file(path).content)

        for at, decoded in zip(which, in_order(one, which), strict=True):
            start, count, _ = places[at]
            self._put(sink, start, decoded.examples)
            sums[start : start + count], digests[start : start + count] = checksums(decoded.examples)

    def _explain(self, found: list[Found], places: dict[bytes, Any]) -> list[Found]:
        """Say why a file is bad of which another one with the same content was to be decoded, which is bad, too."""
        explained = list(found)
        for at, one in enumerate(found):
            if not one.bad and one.hash not in places:
                try:
                    self._decoder.decode(self._files[at], read_file(self._files[at]).content)
                    reason = f"{self._files[at]}: cannot be read (it changed meanwhile)"
                except DataError as error:
                    reason = str(error)
                explained[at] = Found(bad=reason)
        return explained

    def _table(
        self, found: list[Found], places: dict[bytes, tuple[int, int, Any]], sums: list[int], digests: list[bytes]
    ) -> Table:
        numbers = {content: at for at, content in enumerate(places)}
        return Table(
            stats=np.array([one.times for one in found], np.int64).reshape(-1, 3),
            sure=np.array([one.sure for one in found], bool),
            contents=np.array([-1 if one.bad else numbers[one.hash] for one in found], np.int64),
            hashes=_as_bytes(list(places)),
            starts=np.array([start for start, _, _ in places.values()], np.int64),
            counts=np.array([count for _, count, _ in places.values()], np.int64),
            sums=np.array(sums, np.uint32),
            digests=_as_bytes(digests),
            about=[about for _, _, about in places.values()],
            bad={at: one.bad for at, one in enumerate(found) if one.bad},
        )


def checksums(examples: np.ndarray) -> tuple[list[int], list[bytes]]:
    """Return the CRC-32 and the SHA-256 of each example."""
    rows = [np.ascontiguousarray(example).data for example in examples]
    return [zlib.crc32(row) for row in rows], [hashlib.sha256(row).digest() for row in rows]


def _as_bytes(hashes: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
