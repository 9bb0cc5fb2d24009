"""Atomic writes: after a power cut, a kill or a full disk there is the old file or the new one, never half of it."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from data.errors import UserError


class FolderError(UserError):
    """A folder cannot be used as it is: the disk refuses, another process uses it, or its checkpoints do not fit.

    It is no fault of the training, which may be tried again.
    """


def write(path: Path, content: bytes) -> None:
    """Write a file, or replace it, in one step, and flush it to the disk.

    Raises:
        UserError: it cannot be written; a file that was there is unchanged.
    """
    temporary = _temporary(path)
    try:
        try:
            _write(temporary, content)
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from None


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet, completely or not at all, and flush it to the disk.

    Raises:
        UserError: it exists (and is unchanged), or cannot be written.
    """
    check_new(path)
    temporary = _temporary(path)
    try:
        temporary.touch(exist_ok=False)  # a file of that name that somebody else made is not overwritten either
        try:
            _write(temporary, content)
            check_new(path)
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written ({error.strerror})") from None


def check_new(path: Path) -> None:
    """Raise a UserError if something exists at `path`, or if its folder does not."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists already and is never overwritten; name another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: no such folder to write it in")


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files in the given order; it gets its name once all of them are on the disk.

    Raises:
        UserError: it cannot be written; nothing of it remains.
    """
    temporary = _temporary(path)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(parents=True)
            for name, content in files.items():
                _write(temporary / name, content)
            _sync_folder(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from None


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link in one step; do nothing on a file system without links."""
    temporary = _temporary(path)
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
    except OSError:  # nothing relies on the link
        temporary.unlink(missing_ok=True)


def unlink(path: Path) -> None:
    """Remove a symbolic link, if there is one."""
    with contextlib.suppress(OSError):  # nothing relies on it
        path.unlink()


def cannot_write(path: Path, error: OSError) -> FolderError:
    """Return the error for a file that could not be written."""
    return FolderError(f"{path}: cannot be written ({error.strerror or error}); what was saved before is untouched")


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _write(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, which the fsync of a file does not do."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
