"""The lock of a run folder: one process at a time may work in it."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiment.runs.atomic import FolderError, cannot_write

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process; the system releases the lock if the process dies.

    Raises:
        FolderError: another process holds the lock; says which.
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
                raise FolderError(f"{path}: cannot be locked ({error.strerror})") from None
            raise FolderError(
                f"{path.parent} is in use by {holder or 'another process'}; two would spoil it"
            ) from None
