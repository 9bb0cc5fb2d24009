"""Writing so that a power cut, a kill or a full disk leaves the old file or the new one, whole, never half of it."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data.errors import UserError



def write(path: Path, content: bytes) -> None:
    """Write a file under its name at one stroke, and see it onto the disk.

    Raises:
        UserError: it cannot be written; what was there is there still.
    """
    temporary = path.with_name(path.name + ".part")
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


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of files, in their order, that has its name only once all of them are on the disk.

    Raises:
        UserError: it cannot be written; nothing is left of it.
    """
    temporary = path.with_name(path.name + ".part")
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
    """Make `path` a symbolic link, at one stroke; where there are none, there is none."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
    except OSError:  # a convenience, which nothing relies on
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return what to say of a file that could not be written."""
    return UserError(f"{path}: cannot be written ({error.strerror or error}); what was saved before is untouched")






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
    """See the names in a folder onto the disk, which a file's own fsync does not."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet, whole or not at all.

    Raises:
        UserError: it exists (and is left as it is), or cannot be written.
    """
    temporary = path.with_name(path.name + ".part")
    check_new(path)
    try:
        temporary.touch(exist_ok=False)  # somebody else's file of that name is not ours to overwrite, either
        try:
            temporary.write_bytes(content)
            check_new(path)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be written ({error.strerror})") from None


def check_new(path: Path) -> None:
    """Raise a UserError if there is something at `path`, or no folder to put it in."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists already and is never overwritten; name another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: no such folder to write it in")
