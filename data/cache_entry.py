"""The files of one cached folder: an index with checksums, the decoded examples, and a lock.

A cache folder has a folder for each source that was decoded (`entry_folder`): `index` names the file of the examples,
so that replacing `index` replaces all in one step. What no index names is left by a process that was killed; the next
one that decodes removes it.
"""

import hashlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import DataError
from data.rows import Mapped, read_checked, write_checked

try:
    import fcntl
except ImportError:  # Windows: two processes may decode the same pictures, of which one is kept
    fcntl = None

FORMAT = 1
INDEX, LOCK, ROWS = "index", "lock", ".rows"
FOLDERS = re.compile(r".+-[0-9a-f]{16}")  # names of the folders of entries
FILES = re.compile(r"index|lock|[0-9a-f]{16}(\.\w+)*\.(rows|values|index)|.*\.part")  # and of what is in them


class Entry(NamedTuple):
    """What the index of a cached folder holds."""

    root: str  # the folder that was decoded
    name: str  # of the decoder
    version: str  # of the decoder
    file: str  # name of the file of examples
    shape: tuple[int, ...]  # (N, ...), of all examples
    dtype: str
    about: list[Any]  # what the decoder says of each content
    names: list[str]  # of the files, relative to `root`
    stats: np.ndarray  # (files, 3) int64: size, time of modification, time of change
    sure: np.ndarray  # (files,) bool: a later change of the file would show in its times
    contents: np.ndarray  # (files,) the number of each file's content; -1 for a file that could not be decoded
    hashes: np.ndarray  # (contents, 32) uint8, SHA-256 of each content
    starts: np.ndarray  # (contents,) the first example of each content
    counts: np.ndarray  # (contents,) its number of examples
    sums: np.ndarray  # (N,) uint32, CRC-32 of each example
    digests: np.ndarray  # (N, 32) uint8, SHA-256 of each example

    def open(self, folder: Path) -> Mapped:
        """Map the examples."""
        return Mapped(folder / self.file, self.shape, self.dtype, self.sums, self.digests)


ARRAYS = ("stats", "sure", "contents", "hashes", "starts", "counts", "sums", "digests")


def cache_folder(cache_dir: Path | str | None = None) -> Path:
    """Return the folder of the cache: `cache_dir`, else $JAXNETS_CACHE, else jaxnets/decoded in the user's cache."""
    if chosen := cache_dir or os.environ.get("JAXNETS_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    caches = Path(home) if Path(home).is_absolute() else Path("~/.cache").expanduser()
    return caches / "jaxnets" / "decoded"


def entry_folder(cache: Path, root: Path, decoder: Sequence[Any]) -> Path:
    """Return the folder for what a decoder makes of a folder of files."""
    key = hashlib.sha256(json.dumps([str(root.resolve()), *decoder]).encode(errors="surrogateescape")).hexdigest()
    label = re.sub(r"[^\w.-]+", "_", root.resolve().name, flags=re.ASCII)[:40] or "folder"
    return cache / f"{label}-{key[:16]}"


def read_entry(folder: Path) -> Entry | None:
    """Read an index; None if it is missing, damaged, or of another version of this format."""
    content = read_checked(folder / INDEX)
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    values = json.loads(arrays.pop("header").tobytes())
    if values.pop("format") != FORMAT:
        return None
    values["names"] = os.fsdecode(arrays.pop("names").tobytes()).split("\0")
    return Entry(**values | {"shape": tuple(values["shape"])}, **arrays)


def write_entry(folder: Path, entry: Entry) -> None:
    """Write an index, and remove what the one before it named."""
    values = {name: value for name, value in entry._asdict().items() if name not in (*ARRAYS, "names")}
    header = np.frombuffer(json.dumps(values | {"format": FORMAT}).encode(), np.uint8)
    names = np.frombuffer(os.fsencode("\0".join(entry.names)), np.uint8)
    made = io.BytesIO()
    np.savez(made, header=header, names=names, **{name: getattr(entry, name) for name in ARRAYS})
    write_checked(folder / INDEX, made.getvalue())
    clean(folder, entry.file)


def clean(folder: Path, keep: str) -> None:
    """Remove the files of an entry that its index does not name; `keep` is the file of examples that it names."""
    stem = keep.removesuffix(ROWS)
    for path in folder.iterdir():
        mine = path.name in (INDEX, LOCK) or (stem and path.name.startswith(f"{stem}."))
        if FILES.fullmatch(path.name) and (path.name.endswith(".part") or not mine):
            with suppress(OSError):
                path.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Lock an entry against other processes that decode it; yield whether it is locked."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("ab") as file:
        yield fcntl is None or _lock(file.fileno(), folder, wait=wait)


def _lock(file: int, folder: Path, *, wait: bool) -> bool:
    began = said = time.monotonic()
    while True:
        try:
            assert fcntl
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if not wait:
                return False
        except OSError:  # a file system without locks: two processes may decode the same files, one result is kept
            return True
        if said == began and time.monotonic() > began + 3:
            print(f"waiting for another process, which decodes into {folder}", file=sys.stderr)
            said = time.monotonic()
        time.sleep(0.05)


class Listed(NamedTuple):
    """A cached folder, for the list of all."""

    folder: Path
    entry: Entry | None  # None: unfinished or damaged
    size: int  # bytes of its files
    used: float  # time of its last use


def entries(cache: Path) -> list[Listed]:
    """Return what a cache folder holds, the last used first; other files in it are left out."""
    found = []
    for folder in sorted(cache.iterdir()) if cache.is_dir() else []:
        if not FOLDERS.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        files = [path for path in folder.iterdir() if FILES.fullmatch(path.name)]
        if files:
            index = folder / INDEX
            used = (index if index.exists() else folder).stat().st_mtime
            size = sum(path.stat().st_size for path in files if path.is_file())
            found.append(Listed(folder, read_entry(folder), size, used))
    return sorted(found, key=lambda one: -one.used)


def remove(folder: Path) -> bool:
    """Remove an entry, unless a process is decoding into it; return whether it is removed.

    Raises:
        DataError: the disk refuses.
    """
    try:
        with locked(folder, wait=False) as ours:
            if not ours:
                return False
            (folder / INDEX).unlink(missing_ok=True)
            clean(folder, "")
            (folder / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # files of somebody else's are in it
            folder.rmdir()
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be removed ({error.strerror or error})") from None
    return True


def in_units(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
