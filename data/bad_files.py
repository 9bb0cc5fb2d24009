"""Files that cannot be used: all of them named at once, or left out."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.cache_entry import cache_folder
from data.errors import DataError

SHOWN = 5  # files in a message
LISTS = "bad-files-*.txt"  # names of the files that list all


def check_bad(root: Path, files: int, bad: Mapping[int, str], on_bad_file: str, cache_dir: Any = None) -> str | None:
    """Return a line about the bad files that are left out, if `on_bad_file` is "skip"; None if there are none.

    Raises:
        DataError: there are some, and `on_bad_file` is "stop"; names the first, and a file that lists all.
    """
    lines = [bad[at] for at in sorted(bad)]
    if not lines:
        return None
    few = "; ".join(lines[:SHOWN])
    if len(lines) > SHOWN:
        few += f" and {len(lines) - SHOWN:,} more{_write_list(root, lines, cache_folder(cache_dir))}"
    counts = f"{len(lines):,} of {files:,} files cannot be used"
    if on_bad_file == "skip":
        return f"{counts} and {'is' if len(lines) == 1 else 'are'} left out: {few}"
    if len(lines) == 1:
        raise DataError(f"{few}; --on-bad-file skip leaves it out")
    raise DataError(f"{counts}: {few}; --on-bad-file skip leaves them out")


def _write_list(root: Path, lines: list[str], folder: Path) -> str:
    """Write a list of bad files into the folder of the cache; return where it is, or that it is not."""
    name = LISTS.replace("*", hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:8])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8", "backslashreplace")
    except OSError as error:
        return f" ({folder / name} cannot be written: {error.strerror or error})"
    return f" ({folder / name} lists all)"
