"""The folder of an album: written whole, and no file that the command has not written is ever touched."""

import json
from collections.abc import Mapping
from pathlib import Path

from data import UserError
from experiment.runs import atomic

MANIFEST = "visualize.json"  # lists the files that the command has written


def check_out(path: Path, *, overwrite: bool) -> None:
    """Check that the folder can be written, before anything is computed.

    Raises:
        UserError: it exists, and is not one of this command's that may be replaced.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise UserError(f"--out {path}: exists already; name another folder, or give --overwrite")
    if not path.is_dir():
        raise UserError(f"--out {path}: is a file; name a folder")
    written(path)


def written(path: Path) -> list[str]:
    """Return the names of the files that the command has written into a folder.

    Raises:
        UserError: it has not written this folder.
    """
    try:
        found = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        if all(isinstance(name, str) and Path(name).name == name for name in found):
            return list(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"--out {path}: not written by visualize ({MANIFEST} is missing or damaged); name another folder")


def write(path: Path, files: Mapping[str, bytes]) -> int:
    """Write a new folder in one step, or replace the command's own files in one that it has written.

    Returns:
        The number of pictures.

    Raises:
        UserError: it cannot be written, or a file that is not the command's own is in the way.
    """
    listed = json.dumps({"files": sorted([*files, MANIFEST])}, indent=1).encode() + b"\n"
    if not path.exists():
        atomic.write_folder(path, {**files, MANIFEST: listed})
        return _count(files)
    own = written(path)
    if foreign := [name for name in files if name not in own and (path / name).exists()]:
        raise UserError(f"--out {path}: {foreign[0]} is not a file of visualize's; name another folder")
    # What is there is listed at any time: first both, then the new files alone.
    both = json.dumps({"files": sorted({*own, *files})}, indent=1).encode() + b"\n"
    atomic.write(path / MANIFEST, both)
    for name, content in files.items():
        atomic.write(path / name, content)
    for name in set(own) - {*files, MANIFEST}:
        (path / name).unlink(missing_ok=True)
    atomic.write(path / MANIFEST, listed)
    return _count(files)


def _count(files: Mapping[str, bytes]) -> int:
    return sum(name.endswith(".png") for name in files)
