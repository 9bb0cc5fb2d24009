"""Writing so that a power cut, a kill or a full disk leaves the old file or the new one, whole, never half of it."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data.registry import UserError

LOCK = ".lock"


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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from working in `folder`; the system lets go of it for a process that has died.

    Raises:
        UserError: another process has it; says which.
    """
    path = folder / LOCK
    file = _open_locked(path)
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _open_locked(path: Path) -> int:
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
                return file
            os.close(
                file
            )  # the one before removed it between our two calls: what we have locked is no name's any more
        except OSError as error:
            holder = os.pread(file, 200, 0).decode(errors="replace")
            os.close(file)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UserError(f"{path}: cannot be locked ({error.strerror})") from None
            raise UserError(f"{path.parent} is in use by {holder or 'another process'}; two would spoil it") from None


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
