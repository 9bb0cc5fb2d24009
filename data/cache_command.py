"""The command that lists and removes the decoded files of own folders: `python -m data cache [--clear]`."""

import time
from pathlib import Path

from data.bad_files import LISTS
from data.cache_entry import Listed, cache_folder, entries, in_units, remove
from data.errors import DataError
from data.terminal import printable


def list_cache(cache_dir: str | None) -> int:
    """Print a line for each folder in the cache, the last used first, and what they take together."""
    folder = cache_folder(cache_dir)
    found = _entries(folder)
    for one in found:
        print(printable(_line(one)))
    print(printable(f"{_count(len(found))} in {folder}, {in_units(sum(one.size for one in found))}"))
    return 0


def clear_cache(cache_dir: str | None) -> int:
    """Remove all folders in the cache; return 1 if a process is decoding into one."""
    folder = cache_folder(cache_dir)
    found = _entries(folder)
    for path in folder.glob(LISTS):
        path.unlink(missing_ok=True)
    kept = [one for one in found if not remove(one.folder)]
    removed = [one for one in found if one not in kept]
    print(printable(f"{_count(len(removed))} removed, {in_units(sum(one.size for one in removed))}"))
    for one in kept:
        print(printable(f"{one.folder}: not removed, a process is decoding into it"))
    return 1 if kept else 0


def _entries(folder: Path) -> list[Listed]:
    try:
        return entries(folder)
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read ({error.strerror or error})") from None


def _count(number: int) -> str:
    return "1 decoded folder" if number == 1 else f"{number:,} decoded folders"


def _line(one: Listed) -> str:
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
    if one.entry is None:
        return f"{in_units(one.size):>10}  {used}  {one.folder.name}, unfinished or damaged"
    entry, gone = one.entry, "" if Path(one.entry.root).is_dir() else ", which is gone"
    shape = "x".join(map(str, entry.shape[1:]))
    return f"{in_units(one.size):>10}  {used}  {len(entry.names):,} {entry.name} {shape} of {entry.root}{gone}"
